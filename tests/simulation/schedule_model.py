"""What each schedule must do, worked out a second time: each time of it by the rules, once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from goclaw_events.ids import OWNERS, is_saga, owner_stream
from tests.simulation.clock import SECOND_NS
from tests.simulation.room_model import turns_of

if TYPE_CHECKING:
    from tests.simulation.history import Entry
    from tests.simulation.world import World

COUNTED_MAX: Final = 1_000
SUBMITTED: Final = ("run.submitted", "saga.submitted")
SAGA_ENDS: Final = {
    "saga.completed": "completed",
    "saga.compensated": "compensated",
    "saga.alarmed": "compensation_failed",
    "saga.resolved": "resolved",
}
MINUTE_NS: Final = 60 * SECOND_NS


class Model:
    """A schedule after its facts, each of which is checked.

    `step` is the distance of its times, `base` one of them; `next` the one that is planned.
    """

    def __init__(self, stream: str) -> None:
        self.name = stream.partition("/")[2]
        self.said: Any = None
        self.active = False
        self.next = 0
        self.step = 0
        self.base = 0
        self.running = ""
        self.waiting: list[tuple[int, int]] = []
        self.runs: set[str] = set()
        self.last_ns = 0

    def turn(self, entries: list[Entry]) -> None:
        """Take in the facts of one turn."""
        first, now_ns = self.next, entries[0].time_ns
        was_running, waited = self.running, {planned_ns for planned_ns, _ in self.waiting}
        types = [entry.fact.type for entry in entries]
        for entry in entries:
            self.fact(entry)
        where = f"{self.name} at {entries[0].number}: {[entry.decoded for entry in entries]}"
        if types[-1] == "schedule.firing_planned" and first and "schedule.set" not in types:
            self.due(entries, first, now_ns, waited, where, goes_on=bool(was_running))

    def fact(self, entry: Entry) -> None:
        """Take in one fact, and check that it was allowed."""
        fact, now_ns = entry.decoded, entry.time_ns
        where = f"{self.name} at {entry.number}: {fact}"
        match entry.fact.type:
            case "schedule.set":
                self.said, self.active, self.next = fact, not fact.paused, 0
                minutes = int(fact.cron.removeprefix("*/").partition(" ")[0]) if fact.cron else 0
                self.step = minutes * MINUTE_NS or fact.every_ns
                self.base = 0 if fact.cron else fact.anchor_ns
                assert fact.offset_ns < max(fact.jitter_ns, 1), where
            case "schedule.firing_planned":
                shown_ns = now_ns - self.said.offset_ns
                assert self.active, where
                assert (fact.planned_ns - self.base) % self.step == 0, where
                assert fact.due_ns == fact.planned_ns + self.said.offset_ns, where
                least_ns = max(shown_ns, self.base)  # an interval begins with its anchor
                assert least_ns < fact.planned_ns <= least_ns + self.step, where
                self.next = fact.planned_ns
            case "schedule.fired":
                self.fired(fact, now_ns, where)
            case "schedule.firing_queued":
                assert self.running, where
                assert len(self.waiting) < self.said.waiting_max, where
                self.waiting.append((fact.planned_ns, fact.trigger))
            case "schedule.firings_skipped" if fact.reason == "replaced":
                self.waiting = [one for one in self.waiting if one[0] != fact.first_ns]
            case "schedule.firings_skipped" if fact.reason == "deleted":
                assert fact.number == len(self.waiting), where
                self.waiting = []
            case "schedule.run_ended":
                assert fact.run_id == self.running, where
                self.running = ""
            case "schedule.paused":
                self.active, self.next = False, 0
            case "schedule.resumed":
                self.active = True
            case "schedule.deleted":
                assert not self.waiting, f"{where}: nothing says what became of {self.waiting}"
                self.active, self.next, self.running, self.waiting = False, 0, "", []

    def fired(self, fact: Any, now_ns: int, where: str) -> None:
        """Check that a run begins alone, at its time or later, and under an id of its own."""
        assert not self.running, f"{where}: {self.running} goes on"
        assert fact.run_id not in self.runs, f"{where}: twice"
        assert fact.fired_ns == now_ns, where
        if self.waiting and fact.trigger == self.waiting[0][1] == 0:
            assert fact.planned_ns == self.waiting[0][0], f"{where}: another one waited longer"
        if (fact.planned_ns, fact.trigger) in self.waiting:
            self.waiting.remove((fact.planned_ns, fact.trigger))
        if fact.trigger == 0:
            assert fact.planned_ns > self.last_ns, f"{where}: after a later one"
            self.last_ns = fact.planned_ns
        self.runs.add(fact.run_id)
        self.running = fact.run_id

    def due(
        self,
        entries: list[Entry],
        first: int,
        now_ns: int,
        waited: set[int],
        where: str,
        *,
        goes_on: bool,
    ) -> None:
        """Check that each time that was due has one end, and the one that the rules want.

        `waited`: what was planned of those that waited before.
        """
        count = (self.next - first) // self.step
        assert count >= 1, where
        skipped = [e.decoded for e in entries if e.fact.type == "schedule.firings_skipped"]
        begun = [
            entry.decoded.planned_ns
            for entry in entries
            if entry.fact.type in ("schedule.fired", "schedule.firing_queued")
        ]
        if any(fact.number < 0 for fact in skipped):
            assert count > COUNTED_MAX, where
        else:
            fresh = [
                fact
                for fact in skipped
                if fact.reason != "replaced" or fact.number > 1 or fact.first_ns not in waited
            ]
            assert all(self._is_of(fact, first) for fact in fresh), where
            ends = len(begun) + sum(fact.number for fact in fresh)
            assert ends == count, f"{where}: {ends} ends of {count}"
        wanted = self._wanted(first, now_ns - self.said.offset_ns, goes_on=goes_on)
        if self.said.overlap == "queue" and len(begun) < len(wanted):
            assert len(self.waiting) >= self.said.waiting_max, f"{where}: there was room"
            wanted = wanted[: len(begun)]
        assert begun == wanted, f"{where}: not {wanted}"

    def _is_of(self, fact: Any, first: int) -> bool:
        """Tell whether firings are of times that are due now, and had not waited before."""
        return bool(fact.first_ns >= first and (fact.first_ns - self.base) % self.step == 0)

    def _wanted(self, first: int, now_ns: int, *, goes_on: bool) -> list[int]:
        """Return the times that are due now for which a run begins, or is to wait."""
        said, last = self.said, self.next - self.step
        latest = list(range(max(first, last - (said.waiting_max - 1) * self.step), self.next,
                            self.step))  # fmt: skip
        on_time = [at for at in latest if at >= now_ns - said.late_ns]
        is_missed = len(on_time) < (self.next - first) // self.step
        if said.missed == "all":
            wanted = latest
        elif said.missed == "one" and is_missed:
            wanted = [last]
        else:
            wanted = on_time
        if said.overlap == "queue":
            return wanted
        return [] if said.overlap == "skip" and goes_on else wanted[-1:]


def check_schedule(world: World, stream: str, entries: list[Entry]) -> None:
    """Check a schedule's facts, turn by turn, and that its runs are what it says."""
    model = Model(stream)
    for turn in turns_of(entries):
        model.turn(turn)
    if world.options.rate("bug"):
        return
    for entry in entries:
        if entry.fact.type == "schedule.run_ended":
            fact = entry.decoded
            assert fact.status in _ends(world, fact.run_id), f"{stream}: {fact}"


def _ends(world: World, run_id: str) -> list[str | None]:
    """Return how a run has ended, or a saga, of which a person may make something else."""
    if not is_saga(run_id):
        return [world.history.ended.get(run_id)]
    own = world.history.streams.get(owner_stream(run_id), [])
    return [SAGA_ENDS.get(entry.fact.type) for entry in own]


def check_all_begun(world: World) -> None:
    """Check that each firing has its run, and that no run of a schedule has none."""
    fired: list[str] = []
    for stream, entries in world.history.of_kind("schedule"):
        for entry in entries:
            if entry.fact.type != "schedule.fired":
                continue
            fired.append(entry.decoded.run_id)
            own = world.history.streams.get(owner_stream(entry.decoded.run_id), [])
            begun = [found for found in own if found.fact.type in SUBMITTED]
            struck = world.options.rate("bug") and not begun
            assert len(begun) == 1 or struck, f"{stream}: {entry.decoded} has {len(begun)} runs"
    submitted = {
        entries[0].fact.stream.partition("/")[2]
        for kind in OWNERS
        for _, entries in world.history.of_kind(kind)
        if entries[0].decoded.submitted_by.startswith("schedule/")
    }
    assert submitted <= set(fired), f"nobody fired {submitted - set(fired)}"
