"""Keep a server from outliving whoever started it, however that one ends.

Run as `python -I child_guard.py COMMAND …` with a pipe on standard input, in a process group of its own. The command
runs in the same group. When the pipe closes (the starter stopped it, ended, or was killed) or the command ends, the
whole group is stopped: first asked, then killed. When the guard itself is killed, the kernel kills the command.
Standard library only; nothing else of the project is imported here.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

GRACE_SECONDS = 8.0
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def main(command: list[str]) -> int:
    """Run the command until it ends or standard input closes; return its exit status."""
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _ask_to_stop)
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        preexec_fn=lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0),
    )
    try:
        while child.poll() is None:
            readable, _, _ = select.select([sys.stdin.fileno()], [], [], 0.2)
            if readable and not os.read(sys.stdin.fileno(), 1024):
                break
    except _StopAsked:
        pass
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _stop_group(child)
    return child.returncode if child.returncode is not None else 1


class _StopAsked(Exception):
    pass


def _ask_to_stop(number: int, frame: object) -> None:
    raise _StopAsked


def _stop_group(child: subprocess.Popen[bytes]) -> None:
    """Ask the group to stop, reap what ends, and kill what is left; that last kill ends the guard too."""
    os.killpg(os.getpgrp(), signal.SIGTERM)
    deadline = time.monotonic() + GRACE_SECONDS
    while time.monotonic() < deadline:
        child.poll()
        _reap(child)
        if not _others_in_group():
            return
        time.sleep(0.05)
    os.killpg(os.getpgrp(), signal.SIGKILL)


def _reap(child: subprocess.Popen[bytes]) -> None:
    """Collect orphans that the kernel handed to the guard; the child itself is collected by its own handle."""
    while child.returncode is not None:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                return
        except ChildProcessError:
            return


def _others_in_group() -> bool:
    group = os.getpgrp()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            fields = (entry / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        if len(fields) > 2 and int(fields[2]) == group and fields[0] != "Z":
            return True
    return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
