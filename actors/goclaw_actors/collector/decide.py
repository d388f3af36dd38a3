"""What a collector decides. The table of states and messages stands in docs/reference/states.md.

It subscribes to the runs of its members by message, and asks those that have not ended again, ever
more seldom: what was said to another partition may have been lost with a history that was cut.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.collecting import (
    AddMembers,
    AskMembers,
    CancelCollector,
    CloseCollector,
    CollectorDone,
    LeaveMembers,
    MembersReported,
    OpenCollector,
    UnwatchTasks,
    WatchCollector,
    WatchTasks,
)
from goclaw_actors.collector.state import (
    FINAL,
    OPEN,
    UNKNOWN,
    Collector,
    Evolve,
    encode,
    snapshot_form,
)
from goclaw_actors.collector.tally import MET, Tally, Verdict
from goclaw_actors.decider import (
    NOTHING,
    Accepted,
    ClearOpen,
    ClearTimer,
    Decider,
    Decision,
    Moment,
    Pool,
    Refused,
    SelectMembers,
    Send,
    SetOpen,
    SetTimer,
)
from goclaw_actors.messages import TimerFired
from goclaw_events.collect_checks import MEMBERS_MAX
from goclaw_events.facts import (
    CollectorEnded,
    CollectorOpened,
    CollectorWatched,
    MembersAdded,
    MembersAsked,
    MembersEnded,
)
from goclaw_events.ids import workflow_stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from goclaw_actors.contents import Contents

DEADLINE: Final = "deadline"
ASK: Final = "ask"
ASK_NS: Final = 60_000_000_000
"""Who has not ended is asked again after so long, then after twice as long, and so on."""
ASK_NS_MAX: Final = 3_600_000_000_000
DOUBLED_MAX: Final = 6
RUNS_A_TURN_MAX: Final = 128
TASKS_A_MESSAGE_MAX: Final = 1_000
REPORTS_PER_TURN_MAX: Final = 256
WATCHERS_MAX: Final = 1_000
"""So many tasks wait for one collector; for a further one it is `unknown`."""


class _Decide:
    """The decisions of a collector."""

    def __init__(self) -> None:
        self._by_type: dict[type, Callable[[Collector, Any, Moment], Decision]] = {
            OpenCollector: _open,
            MembersReported: _reported,
            AddMembers: _add,
            CloseCollector: _close,
            WatchCollector: _watch,
            AskMembers: _ask,
            LeaveMembers: _leave,
            CancelCollector: _cancel,
            TimerFired: _timer,
        }

    def __call__(self, collector: Collector, message: Any, moment: Moment) -> Decision:
        return self._by_type[type(message)](collector, message, moment)


def _open(collector: Collector, message: OpenCollector, moment: Moment) -> Decision:
    if collector.status != UNKNOWN:
        if collector.digest == message.digest:
            return Decision(reply=Accepted(collector.collector_id, repeated=True))
        text = f"collector {collector.collector_id} was opened before with another request"
        return Decision(reply=Refused("command_conflict", text, "choose another id"))
    ask_ns = moment.now_ns + ASK_NS
    opened = CollectorOpened(*message[:8], ask_ns, *message[8:])
    effects: list[object] = [SetOpen("collector", ""), SetTimer(ASK, ask_ns)]
    if opened.select is not None:
        effects.append(SelectMembers(collector.collector_id))
    if opened.deadline_ns:
        effects.append(SetTimer(DEADLINE, opened.deadline_ns))
    asks = Send(collector.stream, AskMembers(0))
    return Decision((opened,), (asks,), effects, Accepted(collector.collector_id))


def _ask(collector: Collector, message: AskMembers, _moment: Moment) -> Decision:
    """Subscribe to runs of members that have not ended, so many a turn."""
    if collector.status != OPEN:
        return NOTHING
    if not collector.members and not collector.more:
        return _end(collector, _verdict(collector, collector.tally))
    stop = message.start + RUNS_A_TURN_MAX
    sends = [
        Send(workflow_stream(run_id), WatchTasks(collector.stream, tasks, collector.by))
        for run_id, left in _left(collector, message.start, stop)
        for tasks in _parts(left)
    ]
    if stop < len(collector.runs):
        sends.append(Send(collector.stream, AskMembers(stop)))
    return Decision((), sends)


def _add(collector: Collector, message: AddMembers, moment: Moment) -> Decision:
    """Take in further members; those that are there are not counted again."""
    accepted = Accepted(collector.collector_id, repeated=collector.status != OPEN)
    if collector.status == UNKNOWN:
        return Decision(reply=_not_found(collector))
    if collector.status != OPEN or not collector.more:
        return Decision(reply=accepted)
    added: list[list[Any]] = []
    room, known = MEMBERS_MAX - len(collector.members), set[tuple[str, str]]()
    for run_id, tasks in message.members:
        fresh: list[str] = []
        for task in tasks:
            member = (str(run_id), str(task))
            if member not in collector.places and member not in known and len(known) < room:
                known.add(member)
                fresh.append(member[1])
        if fresh:
            added.append([str(run_id), fresh])
    is_all = message.is_all or len(known) == room
    if not added and not is_all:
        return Decision(reply=accepted)
    return _added(collector, MembersAdded(added, is_all), moment)._replace(reply=accepted)


def _added(collector: Collector, fact: MembersAdded, _moment: Moment) -> Decision:
    count = len(collector.members) + sum(len(tasks) for _, tasks in fact.members)
    verdict = collector.tally.verdict(collector.wish, count, more=not fact.is_all)
    if verdict.status:
        return _end(collector, verdict, fact)
    asks = Send(collector.stream, AskMembers(len(collector.runs)))
    return Decision((fact,), (asks,) if fact.members else ())


def _close(collector: Collector, _message: CloseCollector, moment: Moment) -> Decision:
    """Take no further members."""
    name = collector.collector_id
    if collector.status == UNKNOWN:
        return Decision(reply=_not_found(collector))
    if collector.status != OPEN or not collector.more:
        return Decision(reply=Accepted(name, repeated=True))
    return _added(collector, MembersAdded([], is_all=True), moment)._replace(reply=Accepted(name))


def _watch(collector: Collector, message: WatchCollector, _moment: Moment) -> Decision:
    """Tell a task of the end: now, or when it comes."""
    if collector.status != OPEN or len(collector.watchers) >= WATCHERS_MAX:
        status = UNKNOWN if collector.status == OPEN else collector.status
        done = CollectorDone(collector.collector_id, status)
        return Decision((), (Send(message.task, done),))
    if message.task in collector.watchers:
        return NOTHING
    return Decision((CollectorWatched(message.task),))


def _not_found(collector: Collector) -> Refused:
    return Refused("collector_not_found", f"there is no collector {collector.collector_id}")


def _left(collector: Collector, start: int, stop: int) -> Iterator[tuple[str, list[str]]]:
    """Yield the runs between two places that have members which have not ended, with these."""
    places, has_ended = collector.places, collector.has_ended
    for run_id, tasks in collector.runs[start:stop]:
        left = [task for task in tasks if not has_ended[places[run_id, task]]]
        if left:
            yield run_id, left


def _parts(tasks: list[str]) -> Iterator[list[str]]:
    for at in range(0, len(tasks), TASKS_A_MESSAGE_MAX):
        yield tasks[at : at + TASKS_A_MESSAGE_MAX]


def _leave(collector: Collector, message: LeaveMembers, _moment: Moment) -> Decision:
    """Let go of the runs that would still tell how members end, so many a turn."""
    if collector.status not in FINAL:
        return NOTHING
    stop = message.start + RUNS_A_TURN_MAX
    sends = [
        Send(workflow_stream(run_id), UnwatchTasks(collector.stream))
        for run_id, _ in _left(collector, message.start, stop)
    ]
    if stop < len(collector.runs):
        sends.append(Send(collector.stream, LeaveMembers(stop)))
    return Decision((), sends)


def _reported(collector: Collector, message: MembersReported, moment: Moment) -> Decision:
    return reported(collector, (message,), moment)


def reported(
    collector: Collector, messages: Sequence[MembersReported], _moment: Moment
) -> Decision:
    """Take in how members ended, one after the other, as far as the rule wants them."""
    if collector.status != OPEN:
        return NOTHING
    tally, known = collector.tally.begin(), collector.tally.votes
    found: dict[int, list[int | str]] = {}
    verdict = Verdict("")
    for run_id, ended in messages:
        for task, generation, status, vote in ended:
            place = collector.places.get((run_id, str(task)))
            if place is None or collector.has_ended[place] or place in found or verdict.status:
                continue
            found[place] = [place, generation, status, vote]
            votes = tally.votes.get(str(vote), known.get(str(vote), 0)) + 1
            tally.count(str(status), str(vote), votes)
            verdict = _verdict(collector, tally)
    if not found:
        return NOTHING
    fact = MembersEnded(list(found.values()))
    return _end(collector, verdict, fact) if verdict.status else Decision((fact,))


def _verdict(collector: Collector, tally: Tally) -> Verdict:
    return tally.verdict(collector.wish, len(collector.members), more=collector.more)


def _end(collector: Collector, verdict: Verdict, *before: MembersEnded | MembersAdded) -> Decision:
    """Collect no more, and tell the tasks that wait for it."""
    cleared = [ClearTimer(ASK, collector.ask_ns)]
    if collector.deadline_ns:
        cleared.append(ClearTimer(DEADLINE, collector.deadline_ns))
    done = CollectorDone(collector.collector_id, verdict.status)
    sends = [Send(collector.stream, LeaveMembers(0))]
    sends += (Send(task, done) for task in collector.watchers)
    return Decision((*before, CollectorEnded(*verdict)), sends, (*cleared, ClearOpen()))


def _cancel(collector: Collector, message: CancelCollector, _moment: Moment) -> Decision:
    name = collector.collector_id
    if collector.status == UNKNOWN:
        return Decision(reply=_not_found(collector))
    if collector.status == "cancelled":
        return Decision(reply=Accepted(name, repeated=True))
    if collector.status in FINAL:
        text = f"collector {name} is {collector.status} already"
        return Decision(reply=Refused("collector_ended", text))
    decision = _end(collector, Verdict("cancelled", message.reason))
    return decision._replace(reply=Accepted(name))


def _timer(collector: Collector, message: TimerFired, moment: Moment) -> Decision:
    if collector.status != OPEN:
        return NOTHING
    if message.id == DEADLINE:
        return _end(collector, _at_deadline(collector))
    asked = collector.asked + 1
    ask_ns = moment.now_ns + min(ASK_NS << min(asked, DOUBLED_MAX), ASK_NS_MAX)
    asks = Send(collector.stream, AskMembers(0))
    return Decision((MembersAsked(ask_ns, asked),), (asks,), (SetTimer(ASK, ask_ns),))


def _at_deadline(collector: Collector) -> Verdict:
    """Return how a collector ends by then: one that took new members until then may be met."""
    verdict = collector.tally.verdict(collector.wish, len(collector.members), more=False)
    return verdict if verdict.status == MET else Verdict("partial", DEADLINE)


def _is_final(collector: Collector) -> bool:
    return collector.status in FINAL


def collector_decider(contents: Contents) -> Decider[Collector]:
    """Return the collector as a value."""
    form, pool = snapshot_form(contents), frozenset({MembersReported})
    pooled = Pool(pool, reported, REPORTS_PER_TURN_MAX)
    return Decider(Collector, _Decide(), Evolve(contents), _is_final, encode, form, pooled)
