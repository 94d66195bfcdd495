"""The served model folder: made once, made again when what it is made of changes, never half there, never the wrong one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from agent import base_model
from agent.base_model import adapter_problem, merge_adapter, model_folder_problem, weights_hash
from retrieval.records import ShopError
from tests.tiny_models import write_tiny_model


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "base")


def write_adapter(folder: Path, base: Path, *, seed: int = 1, made_for: str = "") -> Path:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    config = LoraConfig(r=4, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).save_pretrained(folder)
    described = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    described["base_model_name_or_path"] = made_for
    (folder / "adapter_config.json").write_text(json.dumps(described), encoding="utf-8")
    return folder


def logits(folder: Path, adapter: Path | None = None) -> Any:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    if adapter:
        model = PeftModel.from_pretrained(model, adapter)
    with torch.no_grad():
        return model(torch.arange(5, 25)[None]).logits


@pytest.mark.slow
def test_the_merged_model_says_what_base_and_adapter_say(base: Path, tmp_path: Path) -> None:
    import torch

    adapter = write_adapter(tmp_path / "adapter", base)
    merged = merge_adapter(base=base, adapter=adapter, folder=tmp_path / "out" / "tuned")
    assert model_folder_problem(merged) is None
    assert not (merged / "adapter_config.json").exists()
    beside, apart = logits(base, adapter), logits(base)
    difference = (logits(merged) - beside).abs().max()
    assert difference < 0.1 * (apart - beside).abs().max()  # bf16 rounds
    from safetensors.torch import load_file

    assert {tensor.dtype for tensor in load_file(merged / "model.safetensors").values()} == {torch.bfloat16}
    for name in ("tokenizer.json", "chat_template.jinja"):
        assert (merged / name).read_bytes() == (base / name).read_bytes()


@pytest.mark.slow
def test_merging_is_done_once_and_again_when_the_adapter_changes(base: Path, tmp_path: Path) -> None:
    adapter, tuned = write_adapter(tmp_path / "adapter", base), tmp_path / "tuned"
    merge_adapter(base=base, adapter=adapter, folder=tuned)
    first, inode = weights_hash(tuned), (tuned / "model.safetensors").stat().st_ino
    said: list[str] = []
    merge_adapter(base=base, adapter=adapter, folder=tuned, progress=lambda text, share: said.append(text))
    assert said == ["The tuned model is ready"] and (tuned / "model.safetensors").stat().st_ino == inode
    write_adapter(adapter, base, seed=2)
    merge_adapter(base=base, adapter=adapter, folder=tuned)
    assert weights_hash(tuned) != first
    assert sorted(path.name for path in tmp_path.iterdir()) == [".tuned.lock", "adapter", "tuned"]


@pytest.mark.slow
def test_a_damaged_model_folder_is_made_again(base: Path, tmp_path: Path) -> None:
    adapter, tuned = write_adapter(tmp_path / "adapter", base), tmp_path / "tuned"
    merge_adapter(base=base, adapter=adapter, folder=tuned)
    whole = weights_hash(tuned)
    with (tuned / "model.safetensors").open("r+b") as weights:
        weights.seek(-3, 2)
        weights.write(b"bad")
    merge_adapter(base=base, adapter=adapter, folder=tuned)
    assert weights_hash(tuned) == whole


@pytest.mark.slow
def test_a_merge_that_is_interrupted_leaves_the_old_model(base: Path, tmp_path: Path, monkeypatch: Any) -> None:
    adapter, tuned = write_adapter(tmp_path / "adapter", base), tmp_path / "tuned"
    merge_adapter(base=base, adapter=adapter, folder=tuned)
    before = weights_hash(tuned)
    write_adapter(adapter, base, seed=2)

    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(base_model, "_swap_in", interrupt)
        merge_adapter(base=base, adapter=adapter, folder=tuned)
    assert weights_hash(tuned) == before
    assert not (tmp_path / ".tuned.building").exists()
    tuned.rename(tmp_path / ".tuned.old")  # as if killed between the two renames of a swap
    merge_adapter(base=base, adapter=adapter, folder=tuned)
    assert weights_hash(tuned) != before and not (tmp_path / ".tuned.old").exists()


@pytest.mark.slow
def test_an_adapter_for_another_base_is_refused(base: Path, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "adapter", base)
    shapes = json.loads((base / "config.json").read_text(encoding="utf-8"))
    assert adapter_problem(adapter, base=base) is None
    wide = tmp_path / "wide"
    _widen(base, wide, shapes["intermediate_size"] * 2)
    with pytest.raises(ShopError, match="made for another base"):
        merge_adapter(base=wide, adapter=adapter, folder=tmp_path / "tuned")
    assert not (tmp_path / "tuned").exists()
    named = write_adapter(tmp_path / "named", base, made_for="Somebody/Other-135M")
    renamed = shutil.copytree(base, tmp_path / "renamed")
    manifest = {"made_from": {"name": "HuggingFaceTB/SmolLM2-135M-Instruct"}}
    (renamed / "shoptalk.json").write_text(json.dumps(manifest), encoding="utf-8")
    assert "was made for Somebody/Other-135M" in str(adapter_problem(named, base=renamed))


def _widen(base: Path, folder: Path, size: int) -> None:
    from transformers import AutoConfig, LlamaForCausalLM

    config = AutoConfig.from_pretrained(base)
    config.intermediate_size = size
    LlamaForCausalLM(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(base / name, folder / name)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: shutil.rmtree(folder), "No model folder at"),
        (lambda folder: (folder / "config.json").unlink(), "it has no config.json"),
        (lambda folder: (folder / "config.json").write_text("{"), "is not JSON"),
        (lambda folder: (folder / "config.json").write_text("{}"), '"architectures"'),
        (lambda folder: (folder / "model.safetensors").unlink(), "has no *.safetensors"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"x" * 50), "cannot be read as safetensors"),
        (lambda folder: (folder / "adapter_config.json").write_text("{}"), "is a LoRA adapter, not a base model"),
        (lambda folder: [path.unlink() for path in folder.glob("tokenizer*")], "has no tokenizer"),
    ],
)
def test_a_folder_that_is_no_model_says_what_it_lacks(base: Path, tmp_path: Path, damage: Any, said: str) -> None:
    folder = shutil.copytree(base, tmp_path / "model")
    damage(folder)
    assert said in str(model_folder_problem(folder))


def test_a_folder_that_is_no_adapter_says_what_it_lacks(base: Path, tmp_path: Path) -> None:
    assert "No adapter folder" in str(adapter_problem(tmp_path / "none", base=base))
    (tmp_path / "empty").mkdir()
    assert "it has no adapter_config.json" in str(adapter_problem(tmp_path / "empty", base=base))


def test_a_folder_that_cannot_be_written_is_an_error_for_people(base: Path, tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("", encoding="utf-8")
    with pytest.raises(ShopError, match="Could not write the model folder"):
        base_model.prepare_base_model(in_the_way / "models" / "base")


@pytest.mark.slow
@pytest.mark.model
def test_the_default_base_is_converted_once_and_talks_in_its_template(tmp_path_factory: pytest.TempPathFactory) -> None:
    from transformers import AutoTokenizer

    from tests.conftest import HOME

    folder = base_model.prepare_base_model(HOME / "models" / "base")
    assert model_folder_problem(folder) is None
    assert base_model.base_name(folder) == base_model.DEFAULT_BASE_NAME
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    talk = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]
    spelled = tokenizer.apply_chat_template(talk, tokenize=False, add_generation_prompt=True)
    assert spelled == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    )
    assert tokenizer.eos_token == "<|im_end|>"
