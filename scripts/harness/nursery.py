"""A nursery of processes to be killed: one that has imported everything forks them.

Starting Python with the engine takes half a second, forking it 5 ms; so a thousand kills take
minutes. The nursery has one thread and opens nothing, so what it forks is as good as new.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Role = Callable[[dict[str, Any], "Talk"], None]

ROOT: Final = Path(__file__).resolve().parent.parent.parent
REQUEST_BYTES_MAX: Final = 128 * 1024
ANSWER_S: Final = 60.0
FAULT: Final = 3
"""The exit code of a child that found something wrong, after it said what."""


class Harm(Exception):
    """Something that must never happen did: the message holds all that is known."""


class Talk:
    """The child's end: words to the parent, as lines of JSON; what was sent outlives the sender."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link

    def say(self, *words: Any) -> None:
        """Send a line; returns once the system has it."""
        self._link.sendall(json.dumps(words).encode() + b"\n")

    def hear(self) -> bytes:
        """Wait for a word of the parent (b"": it is gone)."""
        return self._link.recv(64)


class Child:
    """The parent's end of a child."""

    def __init__(self, nursery: Nursery, pid: int, link: socket.socket) -> None:
        self.pid = pid
        self.born_ns = time.monotonic_ns()
        self.dead_ns = 0
        self._nursery = nursery
        self._link = link
        self._rest = b""
        self._open = True
        self._code = 0

    def lines(self, wait_s: float) -> list[list[Any]]:
        """Return what was said; waits until something is, the child is gone, or time is up."""
        if not self._open or not select.select([self._link], [], [], max(0.0, wait_s))[0]:
            return []
        try:
            data = self._link.recv(1 << 20)
        except ConnectionResetError:
            data = b""
        if not data:
            self._open = False
            self._link.close()
        *whole, self._rest = (self._rest + data).split(b"\n")
        return [json.loads(line) for line in whole]

    @property
    def talking(self) -> bool:
        """Tell whether more may come."""
        return self._open

    def tell(self, word: bytes) -> None:
        """Send a word to the child, if it still listens."""
        with contextlib.suppress(OSError):
            self._link.sendall(word)

    def kill(self) -> list[list[Any]]:
        """Kill it with SIGKILL, wait until it is gone, and return what it said before."""
        if not self.dead_ns:
            os.kill(self.pid, signal.SIGKILL)  # until it is waited for, the id is its own
            self.wait()
        found = []
        while self._open:
            found += self.lines(ANSWER_S)
        return found

    def wait(self) -> int:
        """Wait until it is gone; return its exit code (negative: the signal)."""
        if not self.dead_ns:
            self._code = self._nursery.ask({"wait": self.pid})["code"]
            self.dead_ns = time.monotonic_ns()
        return self._code

    @property
    def was_killed(self) -> bool:
        """Tell whether SIGKILL ended it; waits for its end."""
        return self.wait() == -signal.SIGKILL


class Nursery:
    """The process that forks children; a context manager."""

    def __init__(self) -> None:
        self._link, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._link.settimeout(ANSWER_S)
        # Tracing what will be killed measures nothing, and makes it several times slower.
        environ = {key: text for key, text in os.environ.items() if not key.startswith("COV")}
        command = [sys.executable, "-m", "scripts.harness.nursery", str(theirs.fileno())]
        self._process = subprocess.Popen(  # noqa: S603 - this very module
            command, cwd=ROOT, env=environ, pass_fds=[theirs.fileno()]
        )
        theirs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._link.close()
        self._process.wait(ANSWER_S)

    def start(self, role: str, log: Path, **request: Any) -> Child:
        """Fork a child that plays a role; what it writes to stderr goes to `log`."""
        ours, theirs = socket.socketpair()
        words = {"role": role, "log": str(log), "request": request}
        answer = self.ask(words, theirs.fileno())
        theirs.close()
        return Child(self, answer["pid"], ours)

    def audit(self, role: str, log: Path, within_s: float, **request: Any) -> dict[str, Any]:
        """Have a child look at a world that is over; return what it counted, raise `Harm`."""
        child = self.start(role, log, **request)
        lines: list[list[Any]] = []
        end_s = time.monotonic() + within_s
        while child.talking and time.monotonic() < end_s:
            lines += child.lines(end_s - time.monotonic())
        child.kill()
        wrong = ["\n".join(words[1:]) for words in lines if words[0] in ("wrong", "fault")]
        if wrong or not lines:
            more = f"\n... and {len(wrong) - 20} more" if len(wrong) > 20 else ""  # noqa: PLR2004
            raise Harm("\n".join(wrong[:20]) + more if wrong else "the audit did not end")
        found: dict[str, Any] = lines[-1][1]
        return found

    def ask(self, words: Mapping[str, Any], *fds: int) -> dict[str, Any]:
        """Send a request and return its answer."""
        data = json.dumps(words).encode()
        assert len(data) < REQUEST_BYTES_MAX, "a request stays small"
        if fds:
            socket.send_fds(self._link, [data], list(fds))
        else:
            self._link.send(data)
        answer: dict[str, Any] = json.loads(self._link.recv(1024))
        return answer


def _serve(link: socket.socket, roles: Mapping[str, Role]) -> None:
    while True:
        data, fds, _, _ = socket.recv_fds(link, REQUEST_BYTES_MAX, 1)
        if not data:
            return
        words = json.loads(data)
        if "wait" in words:
            _, status = os.waitpid(words["wait"], 0)
            link.send(json.dumps({"code": os.waitstatus_to_exitcode(status)}).encode())
            continue
        pid = os.fork()
        if not pid:
            link.close()
            _play(roles[words["role"]], words, socket.socket(fileno=fds[0]))
        os.close(fds[0])
        link.send(json.dumps({"pid": pid}).encode())


def _play(role: Role, words: dict[str, Any], link: socket.socket) -> NoReturn:
    log = os.open(words["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 2)
    talk = Talk(link)
    code = 0
    try:
        role(words["request"], talk)
    except BrokenPipeError:
        code = FAULT  # the parent is gone
    except BaseException as error:  # noqa: BLE001 - whatever it was, the parent wants to know
        code = FAULT
        text = "".join(traceback.format_exception(error))
        with contextlib.suppress(OSError):
            talk.say("fault", getattr(error, "code", type(error).__name__), text)
    link.close()
    os._exit(code)


def _main() -> None:
    from scripts.harness import (
        audit,
        engine_child,
        saga_audit,
        saga_child,
        signal_audit,
        signal_child,
        storage_child,
        wait_audit,
        wait_child,
    )

    link = socket.socket(fileno=int(sys.argv[1]))
    roles = {
        "storage": storage_child.play,
        "engine": engine_child.play,
        "audit": audit.play,
        "signals": signal_child.play,
        "signal_audit": signal_audit.play,
        "sagas": saga_child.play,
        "saga_audit": saga_audit.play,
        "waits": wait_child.play,
        "wait_audit": wait_audit.play,
    }
    _serve(link, roles)


if __name__ == "__main__":
    _main()
