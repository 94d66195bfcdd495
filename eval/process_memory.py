"""Measure the memory of a process and everything it started (Linux)."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(slots=True)
class Peak:
    """The most that a process tree held at once, in bytes; PSS shares common pages out, RSS counts them anew."""

    rss: int = 0
    pss: int = 0
    samples: int = 0

    def add(self, rss: int, pss: int) -> None:
        """Take one sample in."""
        self.rss, self.pss, self.samples = max(self.rss, rss), max(self.pss, pss), self.samples + 1


def tree(pid: int) -> list[int]:
    """List a process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError, IndexError, ValueError):
            # The name in parentheses may hold anything; the parent's id is the second field after it.
            parent = int((entry / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.name))
    found, waiting = [], [pid]
    while waiting:
        one = waiting.pop()
        found.append(one)
        waiting += children.get(one, [])
    return found


def held(pid: int) -> tuple[int, int]:
    """Give RSS and PSS of a process tree in bytes; a process that is gone counts nothing."""
    rss = pss = 0
    for one in tree(pid):
        with contextlib.suppress(OSError):
            for line in (PROC / str(one) / "smaps_rollup").read_text(encoding="utf-8").splitlines():
                name, _, rest = line.partition(":")
                if name == "Rss":
                    rss += int(rest.split()[0]) * 1024
                elif name == "Pss":
                    pss += int(rest.split()[0]) * 1024
    return rss, pss


@contextlib.contextmanager
def watched(pid: int, *, every_s: float = 0.5) -> Iterator[Peak]:
    """Sample a process tree while the block runs; the peak is complete when it ends."""
    peak = Peak()
    stop = threading.Event()

    def sample() -> None:
        while not stop.wait(every_s):
            peak.add(*held(pid))

    peak.add(*held(pid))
    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        stop.set()
        thread.join()
        peak.add(*held(pid))
