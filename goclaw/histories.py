"""Histories that grow long, as records: what the engine says of them, and the doctor.

Known are those of actors that were live since the engine started: what grows is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from goclaw.problems import problem
from goclaw.why_records import subject_record
from goclaw_events.ids import called, routing_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from goclaw.problems import Finding
    from goclaw_actors.history import Grown
    from goclaw_actors.node import Node

SHOWN_MAX: Final = 100
_NAMED_MAX: Final = 5


def long_histories(node: Node, key: str | None = None) -> list[dict[str, Any]]:
    """Return the histories that are worth a word, those that are nearest to their limit first.

    `key`: of this run or saga and its tasks alone. Any thread.
    """
    known = [
        found for each in node.dispatchers for found in each.turns.histories.long.copy().items()
    ]
    wanted = [found for found in known if key in (None, routing_key(found[0]))]
    ordered = sorted(wanted, key=lambda found: -_share(found[1]))
    return [_record(stream, grown) for stream, grown in ordered[:SHOWN_MAX]]


def _share(grown: Grown) -> float:
    return max(grown.facts / grown.facts_max, grown.bytes / grown.bytes_max)


def _record(stream: str, grown: Grown) -> dict[str, Any]:
    return {
        **subject_record(stream),
        "name": called(stream),
        "facts": grown.facts,
        "facts_max": grown.facts_max,
        "bytes": grown.bytes,
        "bytes_max": grown.bytes_max,
        "full": grown.refusal is not None,
    }


def line_of(record: Mapping[str, Any]) -> str:
    """Return a record as a line for people."""
    facts = f"{record['facts']} of {record['facts_max']} facts"
    how = "is full" if record["full"] else "grows long"
    size = f"{record['bytes']} of {record['bytes_max']} bytes"
    return f"the history of {record['name']} {how}: {facts}, {size}"


def judge_histories(records: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Yield that histories are full, or will be, if any are."""
    for code, is_full in (("history_full", True), ("history_long", False)):
        found = [record for record in records if record["full"] is is_full]
        if found:
            more = f"; and {len(found) - _NAMED_MAX} more" if len(found) > _NAMED_MAX else ""
            says = "; ".join(line_of(record) for record in found[:_NAMED_MAX]) + more
            yield problem(code, "histories", says)
