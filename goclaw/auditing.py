"""The auditor at work in an engine: on a thread of its own, with little of the processor."""

from __future__ import annotations

import threading
import time
from logging import getLogger
from typing import TYPE_CHECKING, Final

from goclaw_actors.auditor import Auditor
from goclaw_actors.contents import StoredContents
from goclaw_actors.directory import deciders
from goclaw_actors.errors import Stopping
from goclaw_actors.message import Message
from goclaw_actors.messages import JudgeRun
from goclaw_events.errors import CodedError
from goclaw_events.ids import is_saga, owner_stream, partition_of, plain_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from goclaw.config import AuditSettings
    from goclaw.explaining import Live
    from goclaw_actors.node import Node
    from goclaw_actors.why import Sight
    from goclaw_actors.why.passive import Passive
    from goclaw_events.journal import Journal

log = getLogger(__name__)
CONFIRM_S: Final = 1.0
"""What seems stuck is looked at again so much later: what was on its way has come by then."""
STOP_S: Final = 30.0


class Auditing:
    """Keep to the settings of `audit`. Made, started and stopped by the engine.

    What fails is logged and tried again in the next round; the engine goes on.
    """

    def __init__(
        self,
        journal: Journal,
        node: Node,
        live: Live,
        send: Callable[[Message], None],
        settings: AuditSettings,
    ) -> None:
        kinds = deciders(StoredContents(journal))  # of its own: this is another thread

        def is_live(stream: str) -> bool:
            dispatcher = node.dispatchers[partition_of(stream, journal.partitions)]
            return stream in dispatcher.turns.directory.live

        def look(at: Callable[[Sight], object], passive: Passive) -> object:
            return live.look(at, passive, brief=True)

        def judge(run_id: str, evidence: list[list[str]]) -> None:
            _tell(run_id, evidence)
            send(Message(owner_stream(run_id), JudgeRun(evidence)))

        self.auditor = Auditor(journal, kinds, look, judge, is_live)  # type: ignore[arg-type]
        self._settings = settings
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="goclaw-audit", daemon=True)

    def start(self) -> None:
        """Look at what is unfinished, from now on; does nothing where that is off."""
        if self._settings.every_s is not None:
            self._thread.start()

    def stop(self) -> None:
        """End after the slice that is being taken. Idempotent."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(STOP_S)

    def _run(self) -> None:
        every_s = self._settings.every_s or CONFIRM_S
        while not self._stopping.wait(every_s):
            try:
                self._round()
            except Stopping:
                return
            except CodedError as error:
                extra = {"action": "audit_failed", "code": error.code}
                log.warning("unfinished runs could not be looked at: %s", error, extra=extra)
            except Exception:  # a bug in looking is no reason to look no more
                extra = {"action": "audit_failed", "code": CodedError.code}
                log.exception("unfinished runs could not be looked at", extra=extra)

    def _round(self) -> None:
        """Look at every unfinished run once; the pauses keep to the share of the processor."""
        count = self._settings.slice_runs
        while not self._stopping.is_set():
            began_s = time.thread_time()
            found = self.auditor.look_at(count)
            spent_s = time.thread_time() - began_s
            if self.auditor.suspects and not self._stopping.wait(CONFIRM_S):
                self.auditor.confirm()
            if found < count:
                return
            # what the dispatchers do for a slice is a fraction of what is done here
            self._stopping.wait(spent_s / self._settings.cpu_share)


def _tell(key: str, evidence: list[list[str]]) -> None:
    """Write into the log of the process what was found of a run, or of a saga, by its key."""
    kind, name = ("saga" if is_saga(key) else "run"), plain_id(key)
    extra = {"action": f"{kind}_stuck" if evidence else f"{kind}_unstuck", f"{kind}_id": name}
    if evidence:
        what = "; ".join(f"{stream}: {missing}" for stream, missing in evidence)
        log.error("%s %s is stuck: %s", kind, name, what, extra=extra)
    else:
        log.warning("%s %s goes on, and was stuck before", kind, name, extra=extra)
