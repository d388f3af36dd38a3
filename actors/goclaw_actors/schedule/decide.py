"""What a schedule decides. The table of states and messages stands in docs/reference/states.md.

It has one timer, for its next time. When that fires it begins runs for whatever is due by then,
and sets out for the next; how the runs end it hears as a collector does.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.collecting import MembersReported
from goclaw_actors.decider import NOTHING, Accepted, Decider, Decision, Moment, Refused
from goclaw_actors.messages import TimerFired
from goclaw_actors.schedule.naming import planned_text
from goclaw_actors.schedule.state import (
    ACTIVE,
    BY_HAND,
    DELETED,
    FORM,
    IS_THERE,
    PAUSED,
    Firing,
    Schedule,
    encode,
    evolve,
    timetable_of,
)
from goclaw_actors.schedule.turn import Turn
from goclaw_actors.scheduling import (
    DeleteSchedule,
    PauseSchedule,
    ResumeSchedule,
    SetSchedule,
    TriggerSchedule,
)
from goclaw_events.facts import (
    FiredRunEnded,
    FiringsSkipped,
    ScheduleDeleted,
    SchedulePaused,
    ScheduleResumed,
    ScheduleSet,
)
from goclaw_events.ids import plain_id
from goclaw_events.schedule import next_after

if TYPE_CHECKING:
    from collections.abc import Callable

    from goclaw_actors.contents import Contents

_SECOND_NS: Final = 1_000_000_000


class _Decide:
    """The decisions of a schedule, given the contents that it may refer to."""

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self._by_type: dict[type, Callable[[Schedule, Any, Moment], Decision]] = {
            SetSchedule: self._set,
            PauseSchedule: self._pause,
            ResumeSchedule: self._resume,
            TriggerSchedule: self._trigger,
            DeleteSchedule: self._delete,
            MembersReported: self._reported,
            TimerFired: self._fire,
        }

    def __call__(self, schedule: Schedule, message: Any, moment: Moment) -> Decision:
        return self._by_type[type(message)](schedule, message, moment)

    def _turn(self, schedule: Schedule, moment: Moment, said: ScheduleSet | None = None) -> Turn:
        said = said or schedule.said
        assert said is not None, "it was set"
        return Turn(schedule, said, self._contents, moment)

    def _set(self, schedule: Schedule, message: SetSchedule, moment: Moment) -> Decision:
        """Make a schedule: a new one, the same one again, or another one in its place."""
        is_there, known = schedule.status in IS_THERE, schedule.said
        if is_there and known is not None and known.digest == message.digest:
            return Decision(reply=Accepted(schedule.name, repeated=True))
        if is_there and not message.replace:
            text = f"there is a schedule {schedule.name} already, and it is another one"
            return Decision(
                reply=Refused(
                    "schedule_exists", text, "replace it (--replace), or choose another name"
                )
            )
        paused = message.paused or schedule.status == PAUSED
        anchor_ns = -(-moment.now_ns // _SECOND_NS) * _SECOND_NS if message.every_ns else 0
        offset_ns = _offset_ns(schedule.name, message.jitter_ns)
        said = ScheduleSet(
            *message[:9], anchor_ns, message.jitter_ns, offset_ns, *message[10:15], paused,
            message.set_by, message.is_saga,
        )  # fmt: skip
        turn = self._turn(schedule, moment, said)
        turn.facts.append(said)
        if paused:
            turn.stop()
        else:
            turn.plan()
        return turn.decision(Accepted(schedule.name))

    def _fire(self, schedule: Schedule, _message: TimerFired, moment: Moment) -> Decision:
        if schedule.status != ACTIVE or not 0 < schedule.due_ns <= moment.now_ns:
            return NOTHING
        turn = self._turn(schedule, moment)
        turn.fire_due()
        turn.plan()
        return turn.decision()

    def _trigger(self, schedule: Schedule, message: TriggerSchedule, moment: Moment) -> Decision:
        """Fire by hand, paused or not; the rule for overlaps holds."""
        if schedule.status not in IS_THERE:
            return Decision(reply=_not_found(schedule))
        turn = self._turn(schedule, moment)
        at_ns = message.planned_ns
        if at_ns and not _is_past_time(turn.said, at_ns, moment):
            text = f"{planned_text(at_ns)} is no time of schedule {schedule.name} that is over"
            return Decision(reply=Refused("schedule_time_invalid", text, "goclaw schedules show"))
        trigger = BY_HAND if at_ns else schedule.triggers + 1
        firing = Firing(at_ns or moment.now_ns, trigger, message.by)
        run_id = turn.key_of(firing)
        if turn.has(run_id):
            return Decision(reply=Accepted(run_id, repeated=True))
        if turn.obstacle():
            text = f"schedule {schedule.name} has a run that goes on: {plain_id(schedule.running)}"
            return Decision(reply=Refused("schedule_busy", text, "wait for it, or cancel it"))
        turn.begin([firing])
        return turn.decision(Accepted(run_id))

    def _pause(self, schedule: Schedule, message: PauseSchedule, moment: Moment) -> Decision:
        if schedule.status not in IS_THERE:
            return Decision(reply=_not_found(schedule))
        if schedule.status == PAUSED:
            return Decision(reply=Accepted(schedule.name, repeated=True))
        turn = self._turn(schedule, moment)
        turn.facts.append(SchedulePaused(message.reason, message.by))
        turn.stop()
        return turn.decision(Accepted(schedule.name))

    def _resume(self, schedule: Schedule, message: ResumeSchedule, moment: Moment) -> Decision:
        """Go on: what waited begins, what would have been due meanwhile does not."""
        if schedule.status not in IS_THERE:
            return Decision(reply=_not_found(schedule))
        if schedule.status == ACTIVE:
            return Decision(reply=Accepted(schedule.name, repeated=True))
        turn = self._turn(schedule, moment)
        turn.facts.append(ScheduleResumed(message.by))
        turn.plan()
        turn.next_waiting()
        return turn.decision(Accepted(schedule.name))

    def _delete(self, schedule: Schedule, message: DeleteSchedule, moment: Moment) -> Decision:
        if schedule.status == DELETED:
            return Decision(reply=Accepted(schedule.name, repeated=True))
        if schedule.status not in IS_THERE:
            return Decision(reply=_not_found(schedule))
        turn = self._turn(schedule, moment)
        if turn.waiting:
            first, last, count = turn.waiting[0], turn.waiting[-1], len(turn.waiting)
            turn.facts.append(FiringsSkipped(first.planned_ns, last.planned_ns, count, DELETED))
        turn.facts.append(ScheduleDeleted(message.by))
        turn.stop()
        turn.let_go()
        return turn.decision(Accepted(schedule.name))

    def _reported(self, schedule: Schedule, message: MembersReported, moment: Moment) -> Decision:
        """Hear that the run ended; the next one that waits for that begins."""
        if not schedule.running or message.run_id != schedule.running:
            return NOTHING
        turn = self._turn(schedule, moment)
        turn.facts.append(FiredRunEnded(message.run_id, str(message.ended[0][2])))
        turn.running = ""
        if schedule.status == ACTIVE:
            turn.next_waiting()
        return turn.decision()


def _offset_ns(name: str, jitter_ns: int) -> int:
    """Return by how much a schedule is late on purpose: always the same, below its jitter."""
    if not jitter_ns:
        return 0
    return int.from_bytes(sha256(name.encode()).digest()[:8], "big") % jitter_ns


def _is_past_time(said: ScheduleSet, at_ns: int, moment: Moment) -> bool:
    return at_ns <= moment.now_ns and next_after(timetable_of(said), at_ns - 1) == at_ns


def _not_found(schedule: Schedule) -> Refused:
    text = f"there is no schedule {schedule.name}"
    return Refused("schedule_not_found", text, "goclaw schedules list")


def _is_final(_: Schedule) -> bool:
    return False


def _version(schedule: Schedule) -> int:
    return schedule.version if schedule.status in IS_THERE else 0


def schedule_decider(contents: Contents) -> Decider[Schedule]:
    """Return the schedule as a value."""
    decide = _Decide(contents)
    return Decider(Schedule, decide, evolve, _is_final, encode, FORM, version=_version)
