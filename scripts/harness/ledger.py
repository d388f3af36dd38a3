"""The external ledger: what agents did to the world, in a file that no engine knows of.

Lines of JSON, appended with one write each, so they outlive the process (the machine is not lost
here, hence no fsync): `begin` and `end` of an attempt, `flake` (it is about to fail on purpose) and
`effect` (a counter gets an amount, a list gets an item), each with its idempotency key.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from scripts.harness.programs import Effect

FOREVER: Final = 1 << 63


class Entry(NamedTuple):
    """One line. `what` of an effect is [counter, amount, item]; of a begin, the lane."""

    kind: str
    boot: int
    at_ns: int
    key: str
    attempt: int
    what: Any


class Ledger:
    """Append to the ledger, as the `boot`-th process that does. Any thread may write."""

    def __init__(self, path: Path, boot: int) -> None:
        self._boot = boot
        self._flakes: dict[str, int] = defaultdict(int)
        self._lock = threading.Lock()
        for entry in read(path):
            if entry.kind == "flake":
                self._flakes[entry.key] += 1
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, kind: str, key: str, attempt: int, what: Any = None) -> None:
        """Append a line."""
        line = json.dumps([kind, self._boot, time.monotonic_ns(), key, attempt, what])
        os.write(self._fd, line.encode() + b"\n")

    def flakes(self, key: str, attempt: int, times: int) -> bool:
        """Tell whether an attempt is one of the first `times` that fail, and write it down."""
        with self._lock:
            if self._flakes[key] >= times:
                return False
            self._flakes[key] += 1
        self.write("flake", key, attempt)
        return True


def read(path: Path) -> list[Entry]:
    """Return the lines written so far."""
    if not path.exists():
        return []
    return [Entry(*json.loads(line)) for line in path.read_text().splitlines()]


class _Attempt(NamedTuple):
    key: str
    attempt: int
    boot: int
    begin_ns: int
    end_ns: int
    lane: str


def faults_of(
    entries: Sequence[Entry], boots: Sequence[tuple[int, int]], lanes: Mapping[str, int]
) -> list[str]:
    """Return what is wrong with the ledger by itself.

    `boots` are birth and death (monotonic ns) of each process, `lanes` the slots of each lane.
    """
    faults = []
    for entry in entries:
        born, dead = boots[entry.boot]
        if not born <= entry.at_ns <= dead:
            faults.append(f"{entry} was written outside the life of its process")
    attempts = _attempts(entries, boots, faults)
    by_key: dict[str, list[_Attempt]] = defaultdict(list)
    by_lane: dict[tuple[str, int], list[_Attempt]] = defaultdict(list)
    for attempt in attempts:
        by_key[attempt.key].append(attempt)
        by_lane[attempt.lane, attempt.boot].append(attempt)
    faults += [f"attempts overlap: {found}" for found in by_key.values() if _most(found) > 1]
    for (lane, boot), found in by_lane.items():
        if _most(found) > lanes[lane]:
            faults.append(f"lane {lane} held {_most(found)} of {lanes[lane]} slots in boot {boot}")
    return faults


def _attempts(
    entries: Sequence[Entry], boots: Sequence[tuple[int, int]], faults: list[str]
) -> list[_Attempt]:
    """Return the attempts as intervals; one without an end lasted until its process was dead."""
    begun: dict[tuple[str, int], Entry] = {}
    ends: dict[tuple[str, int], int] = {}
    for entry in entries:
        name = (entry.key, entry.attempt)
        if entry.kind == "begin":
            if name in begun:
                faults.append(f"attempt {entry.attempt} of {entry.key} began twice")
            begun[name] = entry
        elif entry.kind == "end":
            ends[name] = entry.at_ns
    return [
        _Attempt(*name, entry.boot, entry.at_ns, ends.get(name, boots[entry.boot][1]), entry.what)
        for name, entry in begun.items()
    ]


def _most(attempts: Iterable[_Attempt]) -> int:
    """Return how many ran at the same time, at most."""
    steps = [(a.begin_ns, 1) for a in attempts] + [(a.end_ns, -1) for a in attempts]
    now = most = 0
    for _, step in sorted(steps):
        now += step
        most = max(most, now)
    return most


def is_of_step(key: str) -> bool:
    """Tell whether an idempotency key is that of a durable step: it stands below its task's."""
    return key.count("/") > 2  # noqa: PLR2004 - run/task/generation/name/key


def effects_of(entries: Iterable[Entry]) -> tuple[dict[str, Effect], list[str]]:
    """Return the effect of each idempotency key, once, and the keys whose attempts disagree."""
    from scripts.harness.programs import Effect

    found: dict[str, Effect] = {}
    faults = []
    for entry in entries:
        if entry.kind == "effect":
            effect = Effect(*entry.what)
            if found.setdefault(entry.key, effect) != effect:
                faults.append(f"{entry.key} had the effect {found[entry.key]}, then {effect}")
    return found, faults


def totals(effects: Iterable[Effect]) -> tuple[dict[str, int], list[str]]:
    """Return the sum of each counter and all items in order."""
    counters: dict[str, int] = defaultdict(int)
    items = []
    for effect in effects:
        counters[effect.counter] += effect.amount
        items.append(effect.item)
    return dict(counters), sorted(items)
