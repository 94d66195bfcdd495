"""Make the peers' own environment: a virtual environment with the packages of `requirements.txt`, and the data of one."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

from retrieval.records import ShopError

REQUIREMENTS = Path(__file__).resolve().parent / "requirements.txt"
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
STAMP = "requirements.sha256"
RECBOLE = "recbole==1.2.1"
MOVIELENS = "recbole/dataset_example/ml-100k/"

Tell = Callable[[str], None]


def make_environment(folder: Path, *, tell: Tell) -> Path:
    """Bring the environment to the pinned packages; do nothing when it is there.

    Returns:
        Its Python.

    Raises:
        ShopError: when it cannot be made; the message holds pip's own last error.
    """
    folder = folder.resolve()
    python, stamp = folder / "bin" / "python", folder / STAMP
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    if python.exists() and stamp.is_file() and stamp.read_text(encoding="ascii") == wanted:
        return python
    tell(f"installing the peers' libraries into {folder}")
    stamp.unlink(missing_ok=True)
    if not python.exists():
        _run([sys.executable, "-m", "venv", "--without-pip", str(folder)])
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
    install = [*pip, "install", "--quiet", "--no-deps", "--no-input", "--requirement", str(REQUIREMENTS)]
    try:
        _run(install)
    except ShopError:  # as when the project's own environment is made: the CPU build may be on PyTorch's index only
        _run([*install, "--extra-index-url", TORCH_CPU_INDEX])
    stamp.write_text(wanted, encoding="ascii")
    return python


def fetch_movielens(folder: Path, *, tell: Tell) -> Path:
    """Take MovieLens-100K out of RecBole's wheel, which holds it as an example; give the folder with its two files.

    Raises:
        ShopError: when the wheel cannot be fetched or does not hold it.
    """
    out = folder.resolve() / "ml-100k"
    if (out / "ml-100k.inter").is_file() and (out / "ml-100k.item").is_file():
        return out
    tell(f"fetching MovieLens-100K from the wheel of {RECBOLE}")
    wheels = out.parent / "wheels"
    _run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(wheels), RECBOLE])
    out.mkdir(parents=True, exist_ok=True)
    wheel = next(wheels.glob("recbole-*.whl"))
    with zipfile.ZipFile(wheel) as held:
        for name in ("ml-100k.item", "ml-100k.inter"):
            try:
                content = held.read(MOVIELENS + name)
            except KeyError as error:
                raise ShopError(f"{wheel.name} does not hold {MOVIELENS}{name}") from error
            partial = out / f"{name}.partial"
            partial.write_bytes(content)
            partial.replace(out / name)
    return out


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ShopError(f"{' '.join(command[:4])} … failed: {last_error(done.stderr or done.stdout)}")


def last_error(text: str) -> str:
    r"""Give the line of a program's output that says what went wrong, for a report.

    >>> last_error("WARNING: slow\nERROR: No matching distribution found for x==1\nbye\n")
    'ERROR: No matching distribution found for x==1'
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    wrong = [line for line in lines if "error" in line.lower()]
    return (wrong or lines or ["it said nothing"])[-1][:300]
