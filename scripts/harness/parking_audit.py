"""The last look at what a bug struck: each parked message was seen to once, and counted once."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from goclaw_events.codec import FACTS
from goclaw_events.facts import DefinitionRegistered, MessageFailed, MessageSettled
from goclaw_events.ids import PARTITION_STREAM, catalogue_stream
from goclaw_events.replay import stream_turns
from scripts.harness.audit import facts_of
from scripts.harness.parking import NAME, REDRIVE, verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from goclaw_events.journal import Journal


def parking_faults(
    journal: Journal, seed: str, settled: Sequence[Sequence[str]], counts: Counter[str]
) -> Iterator[str]:
    """Check what became of every message that failed; `settled` was acknowledged: [letter, how]."""
    facts: dict[str, Any] = {}
    for partition in range(journal.partitions):
        for turn in stream_turns(journal, PARTITION_STREAM, partition=partition):
            for place, fact in enumerate(turn.facts):
                decoded = FACTS.decode(fact.type, fact.version, fact.data)
                facts[f"{partition}:{turn.number + place}"] = decoded
    registered = [
        fact.version
        for fact in facts_of(journal, catalogue_stream(NAME))
        if isinstance(fact, DefinitionRegistered)
    ]
    counts["parked"] = sum(isinstance(fact, MessageFailed) for fact in facts.values())
    yield from settled_faults(seed, facts, registered, settled)


def settled_faults(
    seed: str,
    facts: Mapping[str, Any],
    registered: Sequence[str],
    settled: Sequence[Sequence[str]],
) -> Iterator[str]:
    """Check `facts` of partitions, by place, against the versions that were registered."""
    ends: Counter[str] = Counter()
    for place, fact in facts.items():
        if isinstance(fact, MessageSettled):
            ends[f"{place.partition(':')[0]}:{fact.number}"] += 1
    wanted: set[str] = set()
    for place, fact in facts.items():
        if not isinstance(fact, MessageFailed):
            continue
        if ends[place] != 1:
            yield f"what is parked at {place} was seen to {ends[place]} times"
        version = fact.message[0]
        if verdict(seed, version) == REDRIVE:
            wanted.add(version)
    for letter, how in settled:
        if not ends[letter]:
            yield f"{letter} was acknowledged ({how}), and is lost"
    for version in sorted(wanted - set(registered)):
        yield f"version {version} was redriven, and never registered"
    for version, times in Counter(registered).items():
        if version not in wanted or times > 1:
            yield f"version {version} was registered {times} times, and wanted: {version in wanted}"
