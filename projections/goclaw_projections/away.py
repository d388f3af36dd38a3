"""Folding handed to a process of its own while there is much to fold: the engine's end of it."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

from goclaw_projections.link import FOLD, FOLDED, GET, READY, Link, LinkLost, shared_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from goclaw_projections.member import Member
    from goclaw_projections.store import Change, ViewStore

MODULE: Final = "goclaw_projections.folding"
START_SHARE: Final = 3
"""A process is started once large groups in a row hold so many times the facts of a large one."""
ANSWER_S: Final = 10.0
"""A process that has not answered by then is given up."""
RESTART_S: Final = 60.0
"""After one was lost, so long all is folded here."""
IDLE_S: Final = 60.0
"""After no group was large for so long, the process is ended."""
_END_S: Final = 5.0
_ENVIRONMENT: Final = ("PATH", "LANG", "LD_LIBRARY_PATH", "PYTHONHOME")
_log = logging.getLogger(__name__)


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on every system
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class FoldingProcess:
    """Fold groups in a process that is started when groups of `facts_min` facts and more come.

    It is not where `facts_min` is 0, nor on a single core, where it would cost and gain nothing.

    Used by the runner's thread, which answers what the process asks while it waits for it. Whatever
    goes wrong there means that the group is folded here.
    """

    def __init__(self, store: ViewStore, facts_min: int) -> None:
        self._store = store
        self._facts_min = facts_min
        self._cores = cores()
        self._large = 0
        self._large_s = 0.0
        self._not_before_s = 0.0
        self._process: subprocess.Popen[bytes] | None = None
        self._link: Link | None = None
        self._ready = False
        self._known: set[Member] = set()
        self._asked = False

    @property
    def pid(self) -> int | None:
        """Return the id of the process; None while there is none that is ready. Any thread."""
        process = self._process
        return process.pid if process is not None and self._ready else None

    def is_for(self, facts_count: int) -> bool:
        """Tell whether a group is to be folded there; starts the process once that is worth it."""
        now_s = time.monotonic()
        if self._facts_min and self._cores > 1 and facts_count >= self._facts_min:
            self._large, self._large_s = self._large + facts_count, now_s
        elif self._link is None:
            self._large = 0
        elif now_s - self._large_s >= IDLE_S:
            self.close()
        worth_it = self._large >= START_SHARE * self._facts_min > 0
        if self._link is None and worth_it and now_s >= self._not_before_s:
            self._start()
        return self._link is not None and self._is_ready(self._link)

    def send(self, frames: Sequence[bytes], members: Sequence[Member]) -> bool:
        """Hand a group over; `receive` it before the next one. False: fold it here.

        What was received before has to be stored before that, as the process may ask for it.
        """
        link = self._link
        if link is None:
            return False
        orders = [self._order(member) for member in members]
        try:
            link.send([FOLD, list(frames), orders])
        except LinkLost as lost:
            self._lost(str(lost))
            return False
        self._asked = True
        return True

    def receive(self, members: Sequence[Member]) -> list[tuple[Member, list[Change]]] | None:
        """Wait for the changes of each member in the group handed over; None: fold it here."""
        link = self._link
        assert link is not None, "nothing was handed over"
        try:
            kind, *answer = self._answer(link)
        except LinkLost as lost:
            self._lost(str(lost))
            return None
        except Exception:  # a row could not be read: the process waits for it in vain
            self._end()
            raise
        self._asked = False
        if kind != FOLDED:
            self._known.clear()
            _log.info("a group could not be folded away: %s", answer)
            return None
        self._known.update(members)
        return [
            (member, list(zip(flat[::2], flat[1::2], strict=True)))
            for member, flat in zip(members, answer[0], strict=True)
        ]

    def forget(self) -> None:
        """Say that what it made of groups is not stored: members begin anew."""
        self._known.clear()
        if self._asked:
            self._end()

    def _order(self, member: Member) -> list[Any]:
        if member in self._known:
            self._known.remove(member)
            return [member.projection.name, member.slot_name, None]
        begin = member.rows.held()
        member.rows.discard()
        return [member.projection.name, member.slot_name, begin]

    def _answer(self, link: Link) -> list[Any]:
        while (message := link.receive())[0] == GET:
            link.send([self._store.get(key) for key in message[1:]])
        return message

    def _is_ready(self, link: Link) -> bool:
        if not self._ready and link.has_something:
            try:
                self._ready = link.receive() == [READY]
            except LinkLost as lost:
                self._lost(str(lost))
        return self._ready

    def _start(self) -> None:
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        try:
            with ExitStack() as undo:
                ours, theirs = socket.socketpair()
                undo.callback(ours.close)
                with theirs:
                    orders, answers = shared_file(undo), shared_file(undo)
                    given = [theirs.fileno(), answers, orders]
                    # no Python code runs between fork and exec: threads here do not matter
                    self._process = subprocess.Popen(  # noqa: S603 - our interpreter and module
                        [sys.executable, "-P", "-m", MODULE, *map(str, given)],
                        pass_fds=given,
                        stdin=subprocess.DEVNULL,
                        stdout=subprocess.DEVNULL,
                        env=environment,
                    )
                undo.pop_all()
        except OSError as error:
            self._lost(str(error))
        else:
            ours.settimeout(ANSWER_S)
            self._link = Link(ours, orders, answers)

    def _lost(self, why: str) -> None:
        _log.warning("the process that folds views was lost, and they are folded here: %s", why)
        self._not_before_s = time.monotonic() + RESTART_S
        self._end()

    def _end(self) -> None:
        """End the process whatever it does."""
        if self._process is not None:
            self._process.kill()
        self.close()

    def close(self) -> None:
        """End the process. Idempotent."""
        link, self._link = self._link, None
        process, self._process = self._process, None
        self._ready = self._asked = False
        self._large = 0
        self._known.clear()
        if link is not None:
            link.close()
        if process is not None:
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
