"""The rules that keep the code readable: one direction, one reader of the environment, nothing of one machine."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("agent", "eval", "finetune", "retrieval", "ui")
TOP_LEVEL = {
    *PACKAGES,
    *("tests", ".ci", ".gitignore", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "README.md", "docs"),
    *("pyproject.toml", "requirements-cpu.lock", "requirements-gpu.lock"),
}
TORCH_INDEX = "download.pytorch.org"


@cache
def committed() -> tuple[Path, ...]:
    """List the files of the repository: those that git tracks, and new ones that it does not ignore."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout: the files cannot be listed")
    return tuple(ROOT / name for name in listed.splitlines() if (ROOT / name).is_file())


def python_files() -> list[Path]:
    return [path for path in committed() if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in PACKAGES]


def texts() -> list[tuple[Path, str]]:
    found = []
    for path in committed():
        if path.suffix in {".safetensors", ".npz", ".parquet", ".png", ".gz", ".ico"}:
            continue
        try:
            found.append((path, path.read_text(encoding="utf-8")))
        except UnicodeDecodeError:
            continue
    return found


def test_imports_go_one_way() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


def test_only_the_settings_read_the_environment() -> None:
    """`agent/child_guard.py` and `ui/setup_environment.py` run on their own; they do not read it either."""
    readers = []
    for path in python_files():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            named = isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv", "environb", "putenv"}
            imported = isinstance(node, ast.ImportFrom) and any(
                alias.name in {"environ", "getenv", "environb"} for alias in node.names
            )
            if named or imported:
                readers.append(str(path.relative_to(ROOT)))
    assert sorted(set(readers)) in ([], ["ui/settings.py"])


def test_importing_is_quick_and_does_nothing() -> None:
    """Importing the command line loads none of the heavy libraries; each command loads what it needs."""
    heavy = "torch transformers gradio chromadb vllm sentence_transformers langchain langgraph pandas lightgbm implicit"
    program = f"import sys; import ui.cli; print([name for name in {heavy.split()!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_nothing_names_a_machine_or_a_registry() -> None:
    """Lock files hold names and versions; PyTorch's CPU index is the one address that installing needs."""
    hosts = re.compile(r"https?://[\w.-]*(?:pypi|pythonhosted|huggingface|hf-mirror|npmjs|debian|pytorch)[\w.-]*", re.I)
    places = re.compile(r"(?<![\w./-])/(?:root|home/\w+|work|opt/\w+|Users/\w+|mnt/\w+)/[\w.-]+")
    found = []
    for path, text in texts():
        name = str(path.relative_to(ROOT))
        if name == "tests/test_layout.py":
            continue
        addresses = [address for address in hosts.findall(text) if not address.endswith(TORCH_INDEX)]
        found += [f"{name}: {what}" for what in (*addresses, *places.findall(text))]
    assert found == []


def test_locks_hold_names_and_versions_and_agree_where_they_overlap() -> None:
    locks = {}
    for kind in ("cpu", "gpu"):
        rows = (ROOT / f"requirements-{kind}.lock").read_text(encoding="utf-8").splitlines()
        assert rows == sorted(rows)
        assert [row for row in rows if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*==[\w.]+(\+cpu)?", row)] == []
        locks[kind] = dict(row.split("==") for row in rows)
    # Whatever the project itself calls must not differ; what vLLM's two builds bring may.
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = [re.split(r"[<>=]", requirement)[0] for requirement in project["dependencies"]]
    assert [name for name in named if name not in locks["cpu"] or name not in locks["gpu"]] == []
    differing = {name for name in named if locks["cpu"][name] != locks["gpu"][name]}
    assert differing <= {"torch"}
    assert locks["cpu"]["torch"] == locks["gpu"]["torch"] + "+cpu"


def test_the_top_level_is_the_table_of_contents() -> None:
    found = {path.relative_to(ROOT).parts[0] for path in committed()}
    assert found <= TOP_LEVEL, f"new at the top: {sorted(found - TOP_LEVEL)}"


def test_no_file_is_a_drawer() -> None:
    names = {path.stem for path in python_files()}
    assert names & {"utils", "util", "common", "helpers", "helper", "base", "manager", "misc"} == set()


def test_nothing_unpickles_or_runs_what_a_model_brings() -> None:
    forbidden = re.compile(
        r"^\s*(?:import|from) (?:pickle|dill|cloudpickle)\b|pickle\.loads?\(|\bjoblib\.load|torch\.load\(|allow_pickle=True|trust_remote_code=True|\byaml\.load\(",
        re.M,
    )
    found = [
        str(path.relative_to(ROOT)) for path in python_files() if forbidden.search(path.read_text(encoding="utf-8"))
    ]
    assert found == []


def test_every_command_of_the_readme_and_the_makefile_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.M))
    for path in ("README.md", "CONTRIBUTING.md", ".ci/run"):
        # Commands stand at the start of a line or in backquotes; prose may say "make" as it likes.
        asked = set(re.findall(r"(?:^|`|exec )make ([a-z]+)", (ROOT / path).read_text(encoding="utf-8"), re.M))
        assert asked <= targets, path


def test_what_needs_the_one_vllm_runs_in_one_worker() -> None:
    """Two workers would each start a server of their own, and each wait for the other's."""
    from tests.conftest import WITH_MODEL

    asking = re.compile(r"mark\.model\b|\bvllm_server: ")
    others = ("conftest.py", "test_layout.py")
    files = [path for path in (ROOT / "tests").glob("*.py") if path.name not in others]
    assert {path.stem for path in files if asking.search(path.read_text(encoding="utf-8"))} == set(WITH_MODEL)
