"""The launcher's own process: starts children, ends their groups, reports how they ended.

It has one thread, so that forking is safe, and imports little, so that it is small. The engine
speaks to it over a socket; when that closes, however the engine ended, every child is killed.
Started as `python -m goclaw_actors.executors.children.launching SOCKET FOLDER`.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import errno
import fcntl
import os
import resource
import select
import signal
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from goclaw_actors.executors.children.groups import TOKEN_VARIABLE, boot_id, token_of, write_group
from goclaw_actors.executors.children.wire import READ_BYTES, Frames, framed

if TYPE_CHECKING:
    from collections.abc import Iterable

SPAWN: Final = "spawn"
KILL: Final = "kill"
SPAWNED: Final = "spawned"
REFUSED: Final = "refused"
EXITED: Final = "exited"
LIMITS: Final = {
    "cpu_s": resource.RLIMIT_CPU,
    "memory_bytes": resource.RLIMIT_AS,
    "file_bytes": resource.RLIMIT_FSIZE,
    "processes": resource.RLIMIT_NPROC,
    "open_files": resource.RLIMIT_NOFILE,
    "core_bytes": resource.RLIMIT_CORE,
}
FDS_MAX: Final = 16
END_S: Final = 5.0
START_S: Final = 10.0
"""A child that is not on its way by then hangs (in a directory of a dead server), and is killed."""
_HIGH: Final = 64
_CLOSED_BY_EXEC: Final = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36


class _Child(NamedTuple):
    number: int
    token: str
    record: str


class Launching:
    """Serve one engine until its socket closes."""

    def __init__(self, engine: socket.socket, folder: str) -> None:
        self._engine = engine
        self._folder = folder
        self._boot = boot_id()
        self._children: dict[int, _Child] = {}
        self._pids: dict[int, int] = {}
        self._frames = Frames()
        self._fds: list[int] = []
        self._oom_kills = _oom_kills()
        self._prctl = _prctl()
        self._prctl(_PR_SET_CHILD_SUBREAPER, 1)
        self._woken, waker = os.pipe()
        for end in (self._woken, waker):
            os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # it ends when its engine does, not before

    def serve(self) -> None:
        """Take orders and report exits until the engine is gone; then end everything."""
        try:
            while True:
                ready, _, _ = select.select([self._engine.fileno(), self._woken], [], [])
                if self._woken in ready:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self._woken, READ_BYTES)
                    self._reap()
                if self._engine.fileno() in ready and not self._take():
                    return
        except OSError:
            return  # nobody hears us any more
        finally:
            self._end_all()

    def _take(self) -> bool:
        """Carry out what the engine says; False at its end."""
        room = socket.CMSG_SPACE(FDS_MAX * array.array("i").itemsize)
        data, ancillary, _, _ = self._engine.recvmsg(READ_BYTES, room, _CLOSED_BY_EXEC)
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds = array.array("i")
                fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
                self._fds += fds
        for order in self._frames.feed(data):
            if order[0] == SPAWN:
                self._spawn(*order[1:])
            elif order[0] == KILL and (pid := self._pids.get(order[1])) is not None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(pid, order[2])
        return bool(data)

    def _spawn(self, number: int, token: str, what: list[Any], fds_count: int) -> None:
        fds, self._fds = self._fds[:fds_count], self._fds[fds_count:]
        try:
            self._send(self._started(number, token, what, fds))
        finally:
            _close(fds)

    def _started(self, number: int, token: str, what: list[Any], fds: list[int]) -> list[Any]:
        """Start a child; it runs nothing of its own before its group is written down."""
        ends: list[int] = []
        try:
            ends += os.pipe()
            ends += os.pipe()
            pid = os.fork()
        except OSError as error:
            _close(ends)
            return [REFUSED, number, "fork", error.errno]
        go, let_go, failure, fail = ends
        if pid == 0:
            _close((let_go, failure))
            self._become(what, token, fds, go, fail)
        _close((go, fail))
        try:
            record = write_group(self._folder, pid, self._boot, token)
            os.write(let_go, b"g")
            ready, _, _ = select.select([failure], [], [], START_S)
            said = os.read(failure, 64) if ready else f"start {errno.ETIMEDOUT}".encode()
        except OSError as error:
            record, said = "", f"record {error.errno}".encode()
        finally:
            _close((let_go, failure))
        if not said:
            self._children[pid] = _Child(number, token, record)
            self._pids[number] = pid
            return [SPAWNED, number, pid]
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        _forget(record or f"{self._folder}/{pid}")
        stage, _, code = said.decode().partition(" ")
        return [REFUSED, number, stage, int(code)]

    def _become(self, what: list[Any], token: str, fds: list[int], go: int, fail: int) -> None:
        """Turn the forked process into the child. Never returns."""
        stage = "session"
        try:
            fail = fcntl.fcntl(fail, fcntl.F_DUPFD_CLOEXEC, _HIGH)
            os.setsid()
            self._prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.read(go, 1) != b"g":
                os._exit(127)  # the launcher is gone
            path, argv, environment, folder, limits = what
            stage = "folder"
            if folder:
                os.chdir(folder)
            stage = "signals"
            signal.set_wakeup_fd(-1)
            for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
                with contextlib.suppress(OSError):
                    signal.signal(number, signal.SIG_DFL)
            stage = "files"
            high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _HIGH) for fd in fds]
            for target, fd in enumerate(high):
                os.dup2(fd, target)
            stage = "limits"
            for name, value in limits.items():
                hard = resource.getrlimit(LIMITS[name])[1]
                least = value if hard == resource.RLIM_INFINITY else min(value, hard)
                # a second between SIGXCPU, which says what it is, and SIGKILL, which does not
                more = least + 1 if name == "cpu_s" and least != hard else least
                resource.setrlimit(LIMITS[name], (least, more))
            stage = "program"
            environment[TOKEN_VARIABLE.encode()] = token.encode()
            os.execve(path, argv, environment)  # noqa: S606 - argv, no shell: what it is for
        except OSError as error:
            os.write(fail, f"{stage} {error.errno}".encode())
        except BaseException:  # noqa: BLE001 - whatever it is, two launchers must not go on
            os.write(fail, f"{stage} 0".encode())
        finally:
            os._exit(127)

    def _reap(self) -> None:
        """Report children that ended, after killing what is left of their groups."""
        while (pid := _ended()) > 0:
            child = self._children.pop(pid, None)
            if child is not None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(pid, signal.SIGKILL)  # its pid is held until it is waited for
            _, status, usage = os.wait4(pid, 0)
            if child is None:  # a child of a child, which came to us when its parent ended
                self._kill_strays()  # and so have its own children now
                continue
            del self._pids[child.number]
            self._kill_strays()
            _forget(child.record)
            self._send(self._exited(child, status, usage))

    def _exited(self, child: _Child, status: int, usage: resource.struct_rusage) -> list[Any]:
        code = os.waitstatus_to_exitcode(status)
        oom = False
        if code == -signal.SIGKILL:
            kills = _oom_kills()
            oom, self._oom_kills = kills > self._oom_kills, kills
        cpu_s = usage.ru_utime + usage.ru_stime
        return [EXITED, child.number, max(0, code), max(0, -code), cpu_s, usage.ru_maxrss, oom]

    def _kill_strays(self) -> None:
        """Kill what left the group of a child that has ended, and is ours with its parent gone."""
        kept = {child.token for child in self._children.values()} | {""}
        for pid in _own_children():
            if pid not in self._children and token_of(pid) not in kept:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)

    def _end_all(self) -> None:
        """Kill every group, then whatever comes up to us, until nothing is left."""
        signal.set_wakeup_fd(-1)
        until_s = time.monotonic() + END_S
        for pid in self._children:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
        while time.monotonic() < until_s:
            for pid in _own_children():
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                time.sleep(0.002)
            elif (child := self._children.pop(pid, None)) is not None:
                _forget(child.record)

    def _send(self, message: list[Any]) -> None:
        self._engine.sendall(framed(message))


def _ended() -> int:
    """Return the pid of a child that has ended and was not waited for, 0 if there is none."""
    try:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return 0
    return 0 if found is None else found.si_pid


def _close(fds: Iterable[int]) -> None:
    for fd in fds:
        os.close(fd)


def _forget(record: str) -> None:
    if record:
        with contextlib.suppress(OSError):
            Path(record).unlink()


def _own_children() -> list[int]:
    """Return our children of now; empty where the kernel does not tell."""
    pid = os.getpid()
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
        return [int(word) for word in text.split()]
    except OSError:
        return []


def _oom_kills() -> int:
    """Return how often this machine's kernel has killed for lack of memory."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/vmstat").read_text(encoding="ascii").splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def _prctl() -> Any:
    """Return `prctl` of the C library, or what does nothing where there is none."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            return ctypes.CDLL(None, use_errno=True).prctl
    return lambda *_: 0


def main(socket_fd: int, folder: str) -> None:
    """Serve the engine at the other end of an inherited socket."""
    engine = socket.socket(fileno=socket_fd)
    engine.set_inheritable(False)
    Launching(engine, folder).serve()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
