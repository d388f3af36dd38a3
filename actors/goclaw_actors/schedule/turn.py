"""What a schedule would be after the facts of the turn being decided, and what follows from them.

A firing begins its run, or its saga, by a message: the id of it follows from the schedule and the
planned time, so that it is begun once, whatever is said twice.
"""

from __future__ import annotations

from collections import deque
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.collecting import UnwatchTasks, WatchTasks
from goclaw_actors.decider import ClearTimer, Decision, Send, SetTimer
from goclaw_actors.messages import CancelRun, SubmitRun
from goclaw_actors.schedule.naming import key_of, planned_text
from goclaw_actors.schedule.state import (
    BY_TIME,
    MISSED,
    OVERLAP,
    QUEUE_FULL,
    REPLACED,
    Firing,
    timetable_of,
)
from goclaw_events.facts import FiringPlanned, FiringQueued, FiringsSkipped, ScheduleFired
from goclaw_events.ids import owner_stream, schedule_stream
from goclaw_events.schedule import due, next_after
from goclaw_events.value import BlobRef

if TYPE_CHECKING:
    from collections.abc import Sequence

    from goclaw_actors.contents import Contents
    from goclaw_actors.decider import Accepted, Moment, Refused
    from goclaw_actors.schedule.state import Schedule
    from goclaw_events.facts import ScheduleSet

FIRE: Final = "fire"
"""The timer of the next firing."""
THE_RUN: Final = [""]


class Turn:
    """The facts, messages and effects of one turn of a schedule that is there."""

    __slots__ = ("contents", "due_ns", "effects", "facts", "moment", "name", "running", "said",
                 "schedule", "sends", "waiting")  # fmt: skip

    def __init__(
        self, schedule: Schedule, said: ScheduleSet, contents: Contents, moment: Moment
    ) -> None:
        self.schedule = schedule
        self.said = said
        self.contents = contents
        self.moment = moment
        self.name = schedule.name
        self.running = schedule.running
        self.waiting = deque(schedule.waiting)
        self.due_ns = schedule.due_ns
        self.facts: list[Any] = []
        self.sends: list[Send] = []
        self.effects: list[Any] = []

    def decision(self, reply: Accepted | Refused | None = None) -> Decision:
        """Return what was decided."""
        return Decision(self.facts, self.sends, self.effects, reply)

    # -- time --------------------------------------------------------------------------------

    def plan(self) -> None:
        """Set out for the next time behind now."""
        said = self.said
        planned_ns = next_after(timetable_of(said), self.moment.now_ns - said.offset_ns)
        due_ns = planned_ns + said.offset_ns if planned_ns else 0
        self.facts.append(FiringPlanned(planned_ns, due_ns))
        self._wake_at(due_ns)

    def stop(self) -> None:
        """Wake up no more."""
        self._wake_at(0)

    def _wake_at(self, due_ns: int) -> None:
        if due_ns == self.due_ns:
            return
        if self.due_ns:
            self.effects.append(ClearTimer(FIRE, self.due_ns))
        if due_ns:
            self.effects.append(SetTimer(FIRE, due_ns))
        self.due_ns = due_ns

    def fire_due(self) -> None:
        """Let firings begin that are due by now, by the rule for those that were missed."""
        said, first_ns = self.said, self.schedule.planned_ns
        now_ns = self.moment.now_ns - said.offset_ns
        found = due(timetable_of(said), first_ns, now_ns, said.waiting_max + 1)
        latest = found.latest[-said.waiting_max :]
        begun = [at_ns for at_ns in latest if at_ns >= now_ns - said.late_ns]
        if len(begun) != found.number and said.missed == "one":
            begun = latest[-1:]
        elif said.missed == "all":
            begun = latest
        self._skip_missed(first_ns, found.latest, found.number, len(begun))
        self.due_ns = 0  # what woke it is gone
        self.begin([Firing(at_ns) for at_ns in begun])

    def _skip_missed(self, first_ns: int, latest: list[int], count: int, begun: int) -> None:
        """Record what of the firings that were due leads to no run: all before the last `begun`."""
        if count == begun:
            return
        left = count - begun if count > 0 else count
        self.facts.append(FiringsSkipped(first_ns, latest[-begun - 1], left, MISSED))

    # -- firings -----------------------------------------------------------------------------

    def begin(self, firings: Sequence[Firing]) -> None:
        """Let firings begin their runs, or wait, or not, by the rule for overlaps.

        Where they do not wait for each other, only the last of those that are due together begins.
        """
        if self.said.overlap != "queue":
            self._skip(firings[:-1], REPLACED if self.said.overlap == "cancel" else OVERLAP)
            firings = firings[-1:]
        for firing in firings:
            why = self.obstacle()
            if why:
                self._skip([firing], why)
            elif not self.running:
                self._start(firing)
            else:
                self._wait(firing)
        if self.running:
            self._listen()

    def has(self, run_id: str) -> bool:
        """Tell whether this run goes on, or waits for the one that does."""
        return run_id == self.running or run_id in map(self.key_of, self.waiting)

    def key_of(self, firing: Firing) -> str:
        """Return the id of the run, or the key of the saga, that a firing begins."""
        said = self.said
        return key_of(self.name, firing.planned_ns, firing.trigger, is_saga=said.is_saga)

    def obstacle(self) -> str:
        """Return why a firing would lead to no run now; '' if it would."""
        if not self.running or self.said.overlap == "cancel":
            return ""
        if self.said.overlap == "skip":
            return OVERLAP
        return QUEUE_FULL if len(self.waiting) >= self.said.waiting_max else ""

    def _wait(self, firing: Firing) -> None:
        if self.said.overlap == "cancel":
            while self.waiting:
                self._skip([self.waiting.popleft()], REPLACED)
            reason = f"schedule {self.name} is due again"
            cancel = CancelRun(reason, schedule_stream(self.name))
            self.sends.append(Send(owner_stream(self.running), cancel))
        self.facts.append(FiringQueued(*firing))
        self.waiting.append(firing)

    def _skip(self, firings: Sequence[Firing], reason: str) -> None:
        if firings:
            first_ns, last_ns = firings[0].planned_ns, firings[-1].planned_ns
            self.facts.append(FiringsSkipped(first_ns, last_ns, len(firings), reason))

    def next_waiting(self) -> None:
        """Let the first of those that wait begin, if no run goes on."""
        if self.waiting and not self.running:
            self._start(self.waiting.popleft())
            self._listen()

    def _start(self, firing: Firing) -> None:
        said, name = self.said, self.name
        run_id = self.key_of(firing)
        planned = planned_text(firing.planned_ns)
        given = said.input
        if said.planned_input:
            whole = self.contents.value(given) if isinstance(given, BlobRef) else given
            given = {**whole, said.planned_input: planned}
        order = SubmitRun(
            said.definition,
            said.name,
            given,
            {**said.labels, "schedule": name, "planned": planned},
            sha256(said.digest + run_id.encode()).digest(),
            f"{name}@{planned}" if firing.trigger <= BY_TIME else None,
            schedule_stream(name),
            children=said.children,
        )
        fired_ns = self.moment.now_ns
        self.facts.append(ScheduleFired(firing.planned_ns, fired_ns, run_id, *firing[1:]))
        self.sends.append(Send(owner_stream(run_id), order))
        self.running = run_id

    def _listen(self) -> None:
        """Have the run tell of its end: once more, too, should that have been lost on its way."""
        watch = WatchTasks(schedule_stream(self.name), THE_RUN, None)
        self.sends.append(Send(owner_stream(self.running), watch))

    def let_go(self) -> None:
        """Want to hear nothing more of the run that goes on."""
        if self.running:
            unwatch = UnwatchTasks(schedule_stream(self.name))
            self.sends.append(Send(owner_stream(self.running), unwatch))
            self.running = ""
