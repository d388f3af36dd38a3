"""Which process groups were started, written down, so that none outlives its engine.

A group is known by the boot of the machine, the pid of its leader, the moment at which that was
started, and a token in its environment: a pid that was given to somebody else is never killed.
Reads `/proc`; where there is none, nothing is found and nothing is killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import Final, NamedTuple

TOKEN_VARIABLE: Final = "GOCLAW_PROCESS"  # noqa: S105 - the name of a variable, no secret
WAIT_S: Final = 5.0
_PAUSE_S: Final = 0.005
_PROC: Final = Path("/proc")
_FIELDS_MIN: Final = 4


class Group(NamedTuple):
    """A process group as it was written down; `started` counts ticks since the boot."""

    pid: int
    boot: str
    started: str
    token: str


class _Process(NamedTuple):
    pid: int
    state: str
    group: int
    started: str


def boot_id() -> str:
    """Return what names this boot of the machine, or '' where nothing does."""
    with contextlib.suppress(OSError):
        return (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return ""


def write_group(folder: str, pid: int, boot: str, token: str) -> str:
    """Write down a group whose leader waits to be let go; return the path of the file.

    No flush: the file matters only while the machine that wrote it is up.
    """
    process = _process(pid)
    started = process.started if process else ""
    path = f"{folder}/{pid}"
    data = f"{pid} {boot or '-'} {started or '-'} {token}\n".encode("ascii")
    made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(made, data)
    finally:
        os.close(made)
    return path


def read_groups(folder: Path) -> list[Group]:
    """Return the groups that were written down and not crossed out; a torn file is none."""
    groups = []
    with contextlib.suppress(FileNotFoundError):
        for path in sorted(folder.iterdir()):
            words = path.read_text(encoding="ascii", errors="replace").split()
            if len(words) == _FIELDS_MIN and words[0].isdigit():
                groups.append(Group(int(words[0]), *words[1:]))
    return groups


def kill_leftovers(folder: Path, wait_s: float = WAIT_S) -> tuple[int, int]:
    """Kill what still lives of the groups in `folder`, wait for its end, cross the groups out.

    Returns how many processes were killed, and how many did not end within `wait_s`.
    """
    boot = boot_id()
    groups = [group for group in read_groups(folder) if group.boot == boot]
    killed: set[tuple[int, str]] = set()
    until_s = time.monotonic() + wait_s
    left: list[_Process] = []
    while groups:
        left = [process for process in _members(groups) if _kill(process)]
        killed.update((process.pid, process.started) for process in left)
        if not left or time.monotonic() > until_s:
            break
        time.sleep(_PAUSE_S)
    with contextlib.suppress(FileNotFoundError):
        for path in folder.iterdir():
            path.unlink(missing_ok=True)
    return len(killed), len(left)


def token_of(pid: int) -> str:
    """Return the token with which a process was started; '' if there is none, or it has ended."""
    prefix = f"{TOKEN_VARIABLE}=".encode()
    found = (entry for entry in _environment(pid) if entry.startswith(prefix))
    return next(found, prefix)[len(prefix) :].decode("ascii", "replace")


def _members(groups: list[Group]) -> list[_Process]:
    """Return the living processes of groups: of the leader's group, or with the token."""
    by_pid = {group.pid: group for group in groups}
    tokens = {f"{TOKEN_VARIABLE}={group.token}".encode() for group in groups}
    processes = {process.pid: process for process in _processes()}
    whole = {
        pid
        for pid, group in by_pid.items()
        if pid in processes and processes[pid].started == group.started
    }
    return [
        process
        for process in processes.values()
        if process.state not in "ZX"
        and process.pid != os.getpid()
        and (process.group in whole or not tokens.isdisjoint(_environment(process.pid)))
    ]


def _kill(process: _Process) -> bool:
    """Kill a process that was seen a moment ago, and no other; tell whether it was there."""
    try:
        held = os.pidfd_open(process.pid)
    except OSError:
        return False
    try:
        now = _process(process.pid)
        if now is None or now.started != process.started or now.state in "ZX":
            return False
        signal.pidfd_send_signal(held, signal.SIGKILL)
    except OSError:
        return False
    finally:
        os.close(held)
    return True


def _processes() -> list[_Process]:
    try:
        names = [path.name for path in _PROC.iterdir()]
    except OSError:
        return []
    found = (_process(int(name)) for name in names if name.isdigit())
    return [process for process in found if process is not None]


def _process(pid: int) -> _Process | None:
    try:
        data = (_PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return None
    # the name in brackets may hold anything, so what stands behind the last bracket counts
    words = data.rpartition(b")")[2].split()
    return _Process(pid, words[0].decode(), int(words[2]), words[19].decode())


def _environment(pid: int) -> set[bytes]:
    try:
        return set((_PROC / str(pid) / "environ").read_bytes().split(b"\0"))
    except OSError:
        return set()
