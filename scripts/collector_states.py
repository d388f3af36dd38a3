"""The collector with its states and messages, for docs/reference/states.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from goclaw_actors.collecting import (
    AddMembers,
    AskMembers,
    CancelCollector,
    CloseCollector,
    LeaveMembers,
    MembersReported,
    OpenCollector,
    WatchCollector,
)
from goclaw_actors.collector import Collector, collector_decider
from goclaw_actors.messages import TimerFired
from goclaw_events.facts import CollectorEnded, CollectorOpened, MembersEnded
from scripts.aggregates import NOW_NS, Aggregate, OnePlan

if TYPE_CHECKING:
    from collections.abc import Sequence


def collector() -> Aggregate:
    """Return the collector with its states and messages."""
    given = ("any", 1, None, 1, NOW_NS, [["r", ["a", "b", "c"]]], b"same", "")
    opened = CollectorOpened(*given, NOW_NS)
    failed = MembersEnded([[0, 0, "failed", ""]])
    states: dict[str, Sequence[Any]] = {
        "unknown": (),
        "open": (opened,),
        "open (one has failed)": (opened, failed),
        "open (others may come)": (opened._replace(select={}),),
        "met": (opened, MembersEnded([[0, 0, "completed", ""]]), CollectorEnded("met", "", "")),
        "unmet": (opened, CollectorEnded("unmet", "too_many_failed", "")),
        "partial": (opened, CollectorEnded("partial", "deadline", "")),
        "cancelled": (opened, CollectorEnded("cancelled", "why", "")),
    }
    messages = {
        "OpenCollector": OpenCollector(*given),
        "OpenCollector of another request": OpenCollector(*given)._replace(digest=b"other"),
        "MembersReported b completed": MembersReported("r", [["b", 0, "completed", ""]]),
        "MembersReported b failed": MembersReported("r", [["b", 0, "failed", ""]]),
        "MembersReported of nobody's": MembersReported("r", [["z", 0, "failed", ""]]),
        "AddMembers": AddMembers([["r", ["d"]], ["s", [""]]], is_all=False),
        "AddMembers (known, no others)": AddMembers([["r", ["a"]]], is_all=True),
        "CloseCollector": CloseCollector(),
        "WatchCollector": WatchCollector("task/r/z"),
        "AskMembers": AskMembers(0),
        "LeaveMembers": LeaveMembers(0),
        "CancelCollector": CancelCollector("why"),
        "TimerFired deadline": TimerFired("deadline"),
        "TimerFired ask": TimerFired("ask"),
    }
    about = "Any of `a`, `b` and `c` is wanted, and one failure is put up with."
    decider = collector_decider(OnePlan())
    return Aggregate("Collector", about, decider, "collector/c", states, messages, _status)


def _status(state: Collector) -> str:
    return state.status
