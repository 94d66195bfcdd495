"""Make `.venv` from a lock file: the first step of every `make` target.

Run by the system's Python, before anything is installed: `python3 -I ui/setup_environment.py`. Standard library only.
Safe to interrupt and to repeat: what is installed stays, what is half installed is found and put right, and nothing
is done when the stamp in `.venv` says that this lock is already installed.
"""

from __future__ import annotations

import argparse
import csv
import ctypes
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = VENV / "shoptalk-environment.json"
LOG = VENV / "shoptalk-install.log"
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
BATCH = 24
GIGABYTES_NEEDED = {"cpu": 6, "gpu": 16}
# Debian packages that hold shared libraries which the wheels expect of the system.
SYSTEM_LIBRARIES = {"libgomp.so.1": "libgomp1", "libnuma.so.1": "libnuma1", "libstdc++.so.6": "libstdc++6"}


class StepFailed(Exception):
    """A step could not be done; the message says which, why and what to do next."""


def main() -> int:
    """Make or complete the environment; return the exit status."""
    parser = argparse.ArgumentParser(description="Make .venv from the lock file that fits this machine.")
    parser.add_argument("--kind", choices=["auto", "cpu", "gpu"], default="auto", help="which lock (default: look)")
    arguments = parser.parse_args()
    try:
        check_python()
        with_lock(lambda: make_environment(choose_kind(arguments.kind)))
    except StepFailed as failed:
        print(f"\nshoptalk: {failed}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nshoptalk: stopped. Run the same command again to go on from here.", file=sys.stderr)
        return 130
    except OSError as error:
        print(f"\nshoptalk: making the environment failed: {error}. Run the same command again.", file=sys.stderr)
        return 1
    return 0


def check_python() -> None:
    """Refuse a Python that the lock files were not made for."""
    if not (3, 11) <= sys.version_info[:2] <= (3, 12):
        found = ".".join(map(str, sys.version_info[:3]))
        raise StepFailed(
            f"Python 3.11 or 3.12 is needed, and this is {found} ({sys.executable}).\n"
            "  Debian 12: sudo apt-get install python3 python3-venv. Elsewhere: make PYTHON=/path/to/python3.11 ..."
        )


def with_lock(work) -> None:  # type: ignore[no-untyped-def]
    """Run `work` while no other process installs into the same checkout."""
    folder = os.open(ROOT, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Another make is installing into this checkout; waiting for it.")
            fcntl.flock(folder, fcntl.LOCK_EX)
        work()
    finally:
        os.close(folder)


def choose_kind(wanted: str) -> str:
    """Say which lock fits: `gpu` where nvidia-smi lists a GPU, else `cpu`."""
    if wanted != "auto":
        return wanted
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "cpu"
    return "gpu" if listed.returncode == 0 and "GPU" in listed.stdout else "cpu"


def read_lock(path: Path) -> list[str]:
    """Read the lines `name==version` of a lock file."""
    if not path.is_file():
        raise StepFailed(f"the lock file {path.name} is missing. Restore it: git checkout -- {path.name}")
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def wanted_stamp(kind: str, lock: list[str]) -> dict[str, object]:
    """Describe the environment that should be there."""
    return {
        "kind": kind,
        "lock": hashlib.sha256("\n".join(lock).encode()).hexdigest(),
        "project": hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest(),
        "python": ".".join(map(str, sys.version_info[:2])),
        "folder": str(VENV),
    }


def read_stamp(path: Path) -> dict[str, object]:
    """Read what is there; empty when nothing is, or when it cannot be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def make_environment(kind: str) -> None:
    """Bring `.venv` to the lock of `kind`; do nothing when it is there."""
    lock = read_lock(ROOT / f"requirements-{kind}.lock")
    wanted, found = wanted_stamp(kind, lock), read_stamp(STAMP)
    started = read_stamp(STAMP.with_suffix(".started"))
    check_system_libraries(kind)
    if found == wanted and (VENV / "bin" / "shoptalk").exists():
        return
    before = found or started or look_at_venv()
    if VENV.exists() and any(before.get(key) != wanted[key] for key in ("kind", "python", "folder")):
        say("Removing .venv: it is of another kind, Python or place, or cannot be used.")
        shutil.rmtree(VENV)
        before, found = {}, {}
    free = shutil.disk_usage(ROOT).free / 1e9
    if not before and free < GIGABYTES_NEEDED[kind]:
        raise StepFailed(
            f"installing needs about {GIGABYTES_NEEDED[kind]} GB free, and {ROOT} has {free:.1f} GB. Free some space."
        )
    say(f"Making the environment for a {kind.upper()} ({len(lock)} packages into .venv; details in {relative(LOG)}).")
    make_venv()
    STAMP.with_suffix(".started").write_text(json.dumps(wanted), encoding="utf-8")
    STAMP.unlink(missing_ok=True)
    if found.get("lock") != wanted["lock"]:
        remove_half_installed()
        install_lock(lock, kind=kind)
        remove_unlisted(lock)
    install_project()
    written = STAMP.with_suffix(".new")
    written.write_text(json.dumps(wanted, indent=2), encoding="utf-8")
    written.replace(STAMP)
    say("The environment is ready.")


def look_at_venv() -> dict[str, object]:
    """Describe a `.venv` that has no stamp; empty when there is none, or none that works."""
    command = [str(VENV / "bin" / "python"), "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    try:
        python = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return {}
    gpu = any(VENV.glob("lib/python*/site-packages/vllm-*.dist-info"))
    return {"kind": "gpu" if gpu else "cpu", "python": python, "folder": str(VENV)}


def check_system_libraries(kind: str) -> None:
    """Look for the shared libraries that wheels expect of the system, and name the packages that hold them."""
    missing = []
    for library, package in SYSTEM_LIBRARIES.items():
        if kind == "gpu" and library == "libnuma.so.1":
            continue
        try:
            ctypes.CDLL(library)
        except OSError:
            missing.append(package)
    if kind == "gpu":  # Triton compiles its launcher when vLLM starts
        if not shutil.which("cc") and not shutil.which("gcc"):
            missing += ["gcc", "libc6-dev"]
        if not (Path(sysconfig.get_path("include")) / "Python.h").is_file():
            missing.append("python3-dev")
    if not missing:
        return
    command = ["apt-get", "install", "-y", "--no-install-recommends", *missing]
    if os.geteuid() == 0 and shutil.which("apt-get"):
        say(f"Installing what the system lacks: {' '.join(missing)}.")
        subprocess.run(["apt-get", "update", "-q"], capture_output=True, check=False)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
        raise StepFailed(f"`{' '.join(command)}` failed: {done.stderr.strip()[-400:]}")
    raise StepFailed(
        f"the system lacks {', '.join(missing)}, which PyTorch and vLLM need.\n"
        f"  Install it once, then run the same command again: sudo apt-get install {' '.join(missing)}"
    )


def make_venv() -> None:
    """Make the virtual environment, also where ensurepip is missing (Debian without python3-venv)."""
    if (VENV / "bin" / "python").exists():
        return
    command = [sys.executable, "-m", "venv"]
    done = subprocess.run([*command, str(VENV)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        shutil.rmtree(VENV, ignore_errors=True)
        done = subprocess.run([*command, "--without-pip", str(VENV)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise StepFailed(
            f"making .venv failed: {(done.stderr or done.stdout).strip()[-400:]}\n"
            "  Debian 12: sudo apt-get install python3-venv python3-pip, then run the same command again."
        )


def pip_command() -> list[str]:
    """Give the pip that installs into `.venv`: its own, or the system's pointed at it."""
    python = str(VENV / "bin" / "python")
    own = subprocess.run([python, "-m", "pip", "--version"], capture_output=True, check=False)
    if own.returncode == 0:
        return [python, "-m", "pip"]
    system = subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True, check=False)
    if system.returncode != 0:
        raise StepFailed(
            "pip is missing. Debian 12: sudo apt-get install python3-pip python3-venv, then run the same command again."
        )
    return [sys.executable, "-m", "pip", "--python", python]


def remove_half_installed() -> None:
    """Remove what an interrupted install left, so that pip installs it again."""
    for metadata in VENV.glob("lib/python*/site-packages/*.dist-info"):
        if is_whole(metadata):
            continue
        say(f"Installing again, it was not whole: {metadata.name.removesuffix('.dist-info')}.")
        shutil.rmtree(metadata)
    for leftover in VENV.glob("lib/python*/site-packages/~*"):
        shutil.rmtree(leftover, ignore_errors=True)


def is_whole(metadata: Path) -> bool:
    """Say whether every file that a package lists is there in its size; pip writes INSTALLER near the end."""
    record = metadata / "RECORD"
    if not (metadata / "INSTALLER").is_file() or not record.is_file():
        return False
    with record.open(newline="", encoding="utf-8") as lines:
        for row in csv.reader(lines):
            if len(row) == 3 and row[2] and not row[0].endswith(".pyc"):
                try:
                    if (metadata.parent / row[0]).stat().st_size != int(row[2]):
                        return False
                except (OSError, ValueError):
                    return False
    return True


def install_lock(lock: list[str], *, kind: str) -> None:
    """Install the lock's lines without resolving, some at a time so that progress shows and is kept."""
    torch = [line for line in lock if line.startswith("torch==")]
    rest = [line for line in lock if line not in torch]
    batches = [rest[start : start + BATCH] for start in range(0, len(rest), BATCH)]
    begun, done = time.monotonic(), 0
    for batch in [torch, *batches] if torch else batches:
        label = f"{done} of {len(lock)} packages"
        problem = pip_install(batch, label=label, begun=begun)
        if problem and batch is torch and kind == "cpu":
            say("The CPU build of PyTorch is not on this machine's package index: taking it from PyTorch's own index.")
            problem = pip_install([*batch, "--extra-index-url", TORCH_CPU_INDEX], label=label, begun=begun)
        if problem:
            raise StepFailed(
                f"installing the packages failed after {label}.\n  {problem}\n"
                f"  Details: {relative(LOG)}. Put it right (network, free space), then run the same command again:\n"
                "  what is installed stays."
            )
        done += len(batch)
    say(f"{done} packages installed in {time.monotonic() - begun:.0f} s.")


def pip_install(what: list[str], *, label: str, begun: float) -> str | None:
    """Run pip install with its output in the log; return why it failed, or None."""
    command = [
        *pip_command(),
        "install",
        "--no-deps",
        "--no-compile",
        "--no-input",
        "--disable-pip-version-check",
        *what,
    ]
    with LOG.open("a", encoding="utf-8") as log:
        log.write(f"$ {' '.join(command)}\n")
        log.flush()
        mark = log.tell()
        child = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT)
        try:
            wait_with_progress(child, mark=mark, label=label, begun=begun)
        except BaseException:
            child.terminate()
            child.wait()
            raise
    if child.returncode == 0:
        return None
    with LOG.open(encoding="utf-8", errors="replace") as log:
        log.seek(mark)
        errors = [line.strip() for line in log if re.match(r"\s*(ERROR|error)\b", line)]
    return " ".join(errors)[-600:] or f"pip ended with status {child.returncode}"


def wait_with_progress(child: subprocess.Popen, *, mark: int, label: str, begun: float) -> None:  # type: ignore[type-arg]
    """Wait for pip, saying now and then how far it is."""
    every = 1.0 if sys.stdout.isatty() else 15.0
    last = time.monotonic() - every + 2
    while True:
        try:
            child.wait(timeout=0.5)
        except subprocess.TimeoutExpired:
            if time.monotonic() - last >= every:
                last = time.monotonic()
                text = f"  {label}, {last - begun:.0f} s: {latest_step(mark)}"
                print(text[:110].ljust(110) if sys.stdout.isatty() else text, end=end_of_line(), flush=True)
        else:
            break
    if sys.stdout.isatty():
        print(" " * 110, end="\r", flush=True)


def end_of_line() -> str:
    """Overwrite the line on a terminal, write a new one in a log."""
    return "\r" if sys.stdout.isatty() else "\n"


def latest_step(mark: int) -> str:
    """Give pip's latest line about a package."""
    with LOG.open(encoding="utf-8", errors="replace") as log:
        log.seek(mark)
        steps = re.findall(r"^\s*((?:Collecting|Downloading|Building|Installing|Processing) .*)$", log.read(), re.M)
    if not steps:
        return "starting"
    verb, _, rest = steps[-1].partition(" ")
    return f"{verb} {rest.split('/')[-1]}" if verb in {"Downloading", "Processing"} else f"{verb} {rest}"[:80]


def remove_unlisted(lock: list[str]) -> None:
    """Remove packages that an earlier lock brought and this one does not have."""
    kept = {normal(line.split("==")[0]) for line in lock} | {"pip", "setuptools", "wheel", "shoptalk"}
    names = {normal(path.name.split("-")[0]) for path in VENV.glob("lib/python*/site-packages/*.dist-info")}
    if extra := sorted(names - kept):
        say(f"Removing what the lock no longer has: {', '.join(extra)}.")
        with LOG.open("a", encoding="utf-8") as log:
            subprocess.run([*pip_command(), "uninstall", "-y", "-q", *extra], stdout=log, stderr=log, check=False)


def normal(name: str) -> str:
    """Spell a package's name in one way (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def install_project() -> None:
    """Install the project itself as an editable package, which makes `.venv/bin/shoptalk`."""
    problem = pip_install(
        ["--no-build-isolation", "--editable", str(ROOT)], label="the project itself", begun=time.monotonic()
    )
    if problem:
        raise StepFailed(f"installing the project itself failed.\n  {problem}\n  Details: {relative(LOG)}.")


def relative(path: Path) -> str:
    """Spell a path as seen from the checkout."""
    return str(path.relative_to(ROOT))


def say(text: str) -> None:
    """Tell the person what happens."""
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
