"""A training run gives the same adapter however often it is killed, and never half of one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.conversation import to_json
from finetune import branch_attention
from finetune.adapter import open_base
from finetune.batches import Pass, encode, shared_starts
from finetune.graft import graft
from finetune.learner import Learner
from finetune.train import Progress, Settings, train
from retrieval.records import ShopError
from tests.tiny_models import ARCHITECTURES, branched, render, talk, write_tiny_model

SETTINGS = Settings(
    rank=4, alpha=8, learning_rate=1e-2, batch_tokens=1500, max_tokens=15_000, evaluations=2, validation_share=0.1
)
NAME = "tiny/model"


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Two threads wait for each other longer than such a tiny model computes."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def conversations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "conversations.jsonl"
    path.write_text("".join(json.dumps(to_json(talk(number))) + "\n" for number in range(40)), encoding="utf-8")
    return path


def _train(conversations: Path, base: Path, out: Path, **options: Any) -> list[Progress]:
    seen: list[Progress] = []
    train(
        conversations,
        out=out,
        **{
            "base": base,
            "base_name": NAME,
            "settings": SETTINGS,
            "threads": 1,
            "render": render,
            "progress": seen.append,
            **options,
        },
    )
    return seen


KILLED = """
import os, signal, sys
from pathlib import Path
from finetune.train import train
from tests.test_train import NAME, SETTINGS
from tests.tiny_models import render

def stop(progress):
    if progress.step == 3:
        os.kill(os.getpid(), signal.SIGKILL)

train(Path(sys.argv[1]), base=Path(sys.argv[2]), out=Path(sys.argv[3]), base_name=NAME, settings=SETTINGS, threads=1,
      render=render, checkpoint_every=2, progress=stop)
"""


def test_a_killed_run_goes_on_to_the_same_bits(conversations: Path, base: Path, tmp_path: Path) -> None:
    steps = _train(conversations, base, tmp_path / "straight")[-1].steps
    assert steps > 4
    command = [sys.executable, "-c", KILLED, str(conversations), str(base), str(tmp_path / "killed")]
    assert subprocess.run(command, check=False, cwd=Path(__file__).parents[1]).returncode == -9
    assert not (tmp_path / "killed").exists()
    seen = _train(conversations, base, tmp_path / "killed")
    assert [progress.step for progress in seen] == list(range(3, steps + 1))
    weights = "adapter_model.safetensors"
    assert (tmp_path / "killed" / weights).read_bytes() == (tmp_path / "straight" / weights).read_bytes()
    stories = [json.loads((tmp_path / name / "run.json").read_text()) for name in ("killed", "straight")]
    assert stories[0]["curve"] == stories[1]["curve"]
    assert stories[0]["evaluations"] == stories[1]["evaluations"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["killed", "straight"]


def test_a_finished_adapter_is_what_peft_reads_and_names_no_path(
    conversations: Path, base: Path, tmp_path: Path
) -> None:
    import peft
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    seen = _train(conversations, base, tmp_path / "out")
    assert seen[-1].loss < seen[0].loss
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "run.json",
    ]
    for file in ("adapter_config.json", "run.json"):
        text = (tmp_path / "out" / file).read_text()
        assert str(tmp_path.parent) not in text
        assert str(base) not in text
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == NAME
    assert config["target_modules"] == ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]
    tensors = load_file(tmp_path / "out" / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}
    model = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), tmp_path / "out")
    loaded = dict(model.named_parameters())
    for name, tensor in tensors.items():
        place = name.replace(".weight", ".default.weight")
        assert torch.equal(loaded[place].to(torch.bfloat16), tensor)
    story = json.loads((tmp_path / "out" / "run.json").read_text())
    assert story["evaluations"][-1]["plan_exact"] >= 0
    assert story["data"]["conversations"] == 36
    assert story["base"]["name"] == NAME


@pytest.mark.parametrize("grafted", [False, True])
@pytest.mark.parametrize("top_layers", [None, 1])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_step_has_the_loss_and_the_gradients_of_the_plain_loop(
    architecture: str, top_layers: int | None, grafted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards the start that is read once a step, branches, the fused LoRA layer and the output layer at learned positions."""
    import peft
    import torch

    if grafted and architecture == "gemma3":
        pytest.skip("its sliding layers would see too far: train() grafts nothing there")
    monkeypatch.setattr(branch_attention, "CHUNK", 24)
    folder = write_tiny_model(tmp_path / "model", architecture)
    opened = open_base(folder, name=NAME, precision="fp32")
    talks = [*map(talk, range(5)), *(branched(talk(number)) for number in (3, 4)), branched(talk(4), at=4)]
    sequences = [
        sequence
        for one in talks
        for sequence in encode(one, tokenizer=opened.tokenizer, render=render, limit=4096).sequences
    ]
    rows = graft(sequences, gain=60, limit=4096) if grafted else sequences
    assert len(rows) == (5 if grafted else 8)
    learner = Learner(opened, settings=Settings(rank=4, alpha=8, top_layers=top_layers, clip=0.0, learning_rate=1e-3))
    torch.manual_seed(3)
    learner.put(torch.randn_like(learner.master) * 0.1)
    start = {name: weight.clone() for name, weight in learner.model.state_dict().items()}
    shared = shared_starts(rows)[0]
    assert shared > 40
    step = (Pass(members=(0, 1, 2), shared=shared), Pass(members=tuple(range(3, len(rows))), shared=shared))
    loss = learner.step(step, rows, number=0, of=1)
    # After one step AdamW's first moment is a tenth of the gradient.
    gradient = learner.tensors()["exp_avg"] / 0.1

    plain_model = open_base(folder, name=NAME, precision="fp32").model
    plain = peft.get_peft_model(plain_model, learner.model.peft_config["default"])
    plain.load_state_dict(start)
    losses = []
    for sequence in sequences:
        labels = torch.full((len(sequence.ids),), -100)
        for span in sequence.spans:
            labels[span.start : span.end] = torch.tensor(sequence.ids[span.start : span.end])
        logits = plain(input_ids=torch.tensor([sequence.ids])).logits[0, :-1]
        losses.append(torch.nn.functional.cross_entropy(logits, labels[1:], reduction="none")[labels[1:] >= 0])
    expected = torch.cat(losses).mean()
    expected.backward()
    assert loss == pytest.approx(float(expected.detach()), abs=1e-5)
    weights = [weight for _, weight in sorted(plain.named_parameters()) if weight.requires_grad]
    wanted = torch.cat([weight.grad.reshape(-1) for weight in weights])
    assert float((gradient - wanted).abs().max()) <= 1e-5 * max(1.0, float(wanted.abs().max()))


def test_a_talk_is_held_out_with_its_branches(tmp_path: Path, base: Path) -> None:
    path = tmp_path / "talks.jsonl"
    lines = [json.dumps(to_json(one)) for number in range(20) for one in (talk(number), branched(talk(number)))]
    path.write_text("\n".join(lines), encoding="utf-8")
    _train(path, base, tmp_path / "out", settings=replace(SETTINGS, max_tokens=3000))
    data = json.loads((tmp_path / "out" / "run.json").read_text())["data"]
    assert (data["validation_conversations"], data["conversations"]) == (4, 36)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_any_architecture_learns_by_the_same_command(architecture: str, conversations: Path, tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "model", architecture)
    seen = _train(conversations, folder, tmp_path / "out", settings=replace(SETTINGS, max_tokens=None, epochs=3.0))
    assert seen[-1].loss < seen[0].loss - 0.1
    assert "tool calls right" in str(seen[-1])


def test_bf16_trains_too(conversations: Path, base: Path, tmp_path: Path) -> None:
    seen = _train(conversations, base, tmp_path / "out", settings=replace(SETTINGS, precision="bf16", dropout=0.05))
    assert seen[-1].loss < seen[0].loss


def test_patience_ends_a_run_that_gets_no_better(conversations: Path, base: Path, tmp_path: Path) -> None:
    settings = replace(SETTINGS, learning_rate=1e-9, evaluations=8, patience=1, max_tokens=30_000)
    seen = _train(conversations, base, tmp_path / "out", settings=settings)
    assert seen[-1].step <= seen[-1].steps
    story = json.loads((tmp_path / "out" / "run.json").read_text())
    best = min(one["loss"] for one in story["evaluations"])
    assert story["evaluations"][-1]["loss"] >= best


def test_a_finished_adapter_is_trained_further_and_the_story_says_so(
    conversations: Path, base: Path, tmp_path: Path
) -> None:
    once = _train(conversations, base, tmp_path / "once")
    more = _train(conversations, base, tmp_path / "more", start=tmp_path / "once")
    assert more[0].loss < once[0].loss - 0.05, "the first step sees the same batch, with what was learned"
    story = json.loads((tmp_path / "more" / "run.json").read_text())
    assert story["start"]["adapter"] == "once"
    assert story["start"]["run"]["steps"] == once[-1].steps
    with pytest.raises(ShopError, match="rank or layers are others"):
        _train(conversations, base, tmp_path / "wide", start=tmp_path / "once", settings=replace(SETTINGS, rank=2))
    with pytest.raises(ShopError, match="holds no adapter to start from"):
        _train(conversations, base, tmp_path / "none", start=tmp_path)
    assert not (tmp_path / "none").exists()


def test_a_finished_adapter_is_never_overwritten(conversations: Path, base: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "adapter_config.json").write_text("mine")
    with pytest.raises(ShopError, match="already holds"):
        _train(conversations, base, tmp_path / "out")
    assert (tmp_path / "out" / "adapter_config.json").read_text() == "mine"
    assert not (tmp_path / "out.partial").exists()


def test_an_unfinished_run_with_other_settings_is_kept(conversations: Path, base: Path, tmp_path: Path) -> None:
    def stop(progress: Progress) -> None:
        if progress.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _train(conversations, base, tmp_path / "out", checkpoint_every=1, progress=stop)
    before = (tmp_path / "out.partial" / "checkpoint.safetensors").read_bytes()
    with pytest.raises(ShopError, match="unfinished run with other data"):
        _train(conversations, base, tmp_path / "out", settings=replace(SETTINGS, rank=2))
    assert (tmp_path / "out.partial" / "checkpoint.safetensors").read_bytes() == before
    seen = _train(conversations, base, tmp_path / "out", settings=replace(SETTINGS, rank=2), resume=False)
    assert seen[0].step == 1


def test_a_second_process_is_kept_out(conversations: Path, base: Path, tmp_path: Path) -> None:
    def second(progress: Progress) -> None:
        with pytest.raises(ShopError, match="Another process"):
            _train(conversations, base, tmp_path / "out")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _train(conversations, base, tmp_path / "out", progress=second)


def _no_folder(path: Path) -> Path:
    return path / "missing"


def _no_config(path: Path) -> Path:
    write_tiny_model(path)
    (path / "config.json").unlink()
    return path


def _not_json(path: Path) -> Path:
    (path / "config.json").write_text("{")
    return path


def _no_weights(path: Path) -> Path:
    write_tiny_model(path)
    (path / "model.safetensors").unlink()
    return path


def _other_model(path: Path) -> Path:
    write_tiny_model(path)
    config = json.loads((path / "config.json").read_text())
    config |= {"architectures": ["T5ForConditionalGeneration"], "model_type": "t5"}
    (path / "config.json").write_text(json.dumps(config))
    return path


def _broken_weights(path: Path) -> Path:
    write_tiny_model(path)
    (path / "model.safetensors").write_bytes(b"not tensors")
    return path


def _no_template(path: Path) -> Path:
    write_tiny_model(path)
    (path / "chat_template.jinja").unlink()
    return path


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_no_folder, "No model folder at"),
        (_no_config, "no config.json"),
        (_not_json, "is not JSON"),
        (_no_weights, "no \\*.safetensors"),
        (_other_model, "cannot be read as a causal language model"),
        (_broken_weights, "safetensors"),
        (_no_template, "no chat template"),
    ],
)
def test_a_folder_that_is_no_model_is_refused(
    spoil: Callable[[Path], Path], said: str, conversations: Path, tmp_path: Path
) -> None:
    (tmp_path / "base").mkdir()
    with pytest.raises(ShopError, match=said):
        _train(conversations, spoil(tmp_path / "base"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_empty_or_unlearnable_data_is_refused(base: Path, tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text("")
    with pytest.raises(ShopError, match="holds no conversations"):
        _train(data, base, tmp_path / "out")
    data.write_text('{"conversation_id": "c", "messages": [{"role": "user", "content": "hi"}]}\n')
    with pytest.raises(ShopError, match="no assistant message"):
        _train(data, base, tmp_path / "out")
    with pytest.raises(ShopError, match="No conversations at"):
        _train(tmp_path / "nothing.jsonl", base, tmp_path / "out")


FULL = """
import resource, signal, sys
from pathlib import Path
from finetune.train import train
from retrieval.records import ShopError
from tests.test_train import NAME, SETTINGS
from tests.tiny_models import render

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    train(Path(sys.argv[1]), base=Path(sys.argv[2]), out=Path(sys.argv[3]), base_name=NAME, settings=SETTINGS, threads=1,
          render=render, checkpoint_every=2)
except ShopError as error:
    sys.exit(str(error))
"""


def test_a_full_disk_is_said_and_leaves_no_adapter(conversations: Path, base: Path, tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk: the write fails in the same place."""
    command = [sys.executable, "-c", FULL, str(conversations), str(base), str(tmp_path / "out")]
    done = subprocess.run(command, check=False, cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert done.returncode == 1
    assert "No space left to write" in done.stderr
    assert not (tmp_path / "out").exists()
    assert [path.name for path in (tmp_path / "out.partial").iterdir()] == ["lock"]
    _train(conversations, base, tmp_path / "out")
    assert (tmp_path / "out" / "adapter_model.safetensors").is_file()
