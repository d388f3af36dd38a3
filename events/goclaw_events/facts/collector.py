"""What became of a collection of results. Stream `collector/<id>`.

Only how members ended is kept here: what they came to, or why they failed, stands in the streams
of the members themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from goclaw_events.value import Value


class CollectorOpened(NamedTuple):
    """Somebody wants the outcomes of some tasks and runs.

    `rule`: `all`, `any`, `first_n`, `quorum` or `majority`; `wanted`: how many have to complete (of
    `majority`: to agree), 0: none has to, -1: more than half of the members. `by`: where in a
    result the vote of `majority` stands. `failures_max`: with more failures it ends; None: whatever
    fails. `deadline_ns`: when it ends with what there is; 0: never. `members`: [[run, [task, ...]],
    ...], in order; the task '' is the run itself. `ask_ns`: when members that have not ended are
    asked again. `task`: the stream of a task that waits for its end, '': none does.
    `select`: by what further members are found, which `MembersAdded` brings; None: there are none.
    `live`: members are added until it is closed. `run`: which makes a result of it, '': none does.
    `members_count`: how many members there are at first.
    """

    rule: str
    wanted: int
    by: list[str | int] | None
    failures_max: int | None
    deadline_ns: int
    members: Value
    digest: bytes
    opened_by: str
    ask_ns: int
    task: str = ""
    select: Value = None
    live: bool = False
    run: str = ""
    members_count: int = 0


class MembersAdded(NamedTuple):
    """Further members were found: [[run, [task, ...]], ...]. `is_all`: no others will come."""

    members: list[list[Any]]
    is_all: bool


class CollectorWatched(NamedTuple):
    """A further task waits for the end, by its stream."""

    task: str


class MembersEnded(NamedTuple):
    """Members ended, in this order: [place among the members, generation, status, vote].

    `status`: completed, failed, cancelled, skipped, or unknown (there is no such member, or
    nothing is kept of it). What ended first counts: a later generation does not change it.
    """

    ended: list[list[int | str]]


class MembersAsked(NamedTuple):
    """The members that have not ended are asked again, for the `asked`th time.

    `ask_ns`: when they will be the next time.
    """

    ask_ns: int
    asked: int


class CollectorEnded(NamedTuple):
    """Nothing more is collected.

    `status`: `met` (what was wanted is there), `unmet` (it cannot come any more), `partial` (the
    deadline came first), `cancelled`. `reason` says why: `all_failed`, `too_few`, `no_majority`,
    `too_many_failed`, `no_members`, `deadline`, or what the one who cancelled it said. `vote`: of
    the majority.
    """

    status: str
    reason: str
    vote: str


CollectorFact: TypeAlias = (
    CollectorOpened | MembersAdded | CollectorWatched | MembersEnded | MembersAsked | CollectorEnded
)
"""What happened to a collector."""
