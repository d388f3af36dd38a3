"""The last look at what tasks emitted, and at who collected how they ended."""

from __future__ import annotations

import json
from itertools import groupby
from typing import TYPE_CHECKING, Any

from goclaw_events.facts import TaskCancelled, TaskCompleted, TaskFailed
from goclaw_events.ids import partition_of, task_stream
from goclaw_events.output import read_output
from scripts.harness.audit import facts_of
from scripts.harness.talk import RUNS, SUM, gatherings, members_of, tasks_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from goclaw_events.journal import Journal

_STATUSES = {TaskCompleted: "completed", TaskFailed: "failed", TaskCancelled: "cancelled"}


class Told:
    """What readers were given over all boots, beside what the log holds."""

    def __init__(self, journal: Journal, home: Path) -> None:
        found = json.loads((home / "told").read_text())
        self._journal = journal
        self._read: dict[str, list[list[Any]]] = found["read"]
        self._collected: dict[str, list[Any]] = found["collected"]
        self.chunks = 0
        self._ends = {
            f"s{run}/{task}": self._end_of(run, task)
            for run in range(RUNS)
            for task in (*tasks_of(run), SUM)
        }

    def faults(self) -> Iterator[str]:
        """Yield what is wrong."""
        for run in range(RUNS):
            for task in tasks_of(run):
                yield from self._output(run, task)
            yield from self._sum(run)
        for gathering in gatherings():
            yield from self._gathered(gathering.id, gathering.members, **gathering.more)

    def _end_of(self, run: int, task: str) -> tuple[str, Any]:
        for fact in facts_of(self._journal, task_stream(f"s{run}", task)):
            if type(fact) in _STATUSES:
                result = fact.result if isinstance(fact, TaskCompleted) else None
                return _STATUSES[type(fact)], result
        return "none", None

    def _output(self, run: int, task: str) -> Iterator[str]:
        """Each attempt without a gap, as it emitted; and read once, in order, to the end."""
        name, partition = f"s{run}/{task}", partition_of(
            task_stream(f"s{run}", task), self._journal.partitions
        )  # fmt: skip
        stored = list(read_output(self._journal, partition, f"s{run}", task))
        self.chunks += len(stored)
        told = 0
        for attempt, chunks in groupby(stored, lambda chunk: chunk.place.attempt):
            said = [chunk.value[:2] for chunk in chunks]
            told = len(said)
            if said != [[attempt, number] for number in range(1, told + 1)]:
                yield f"{name}: attempt {attempt} emitted {said}"
        status, result = self._ends[name]
        if status == "completed":
            last = stored[-1].place.attempt if stored else 0
            told = told if last == result["attempt"] else 0
            if told != result["told"]:
                yield f"{name}: {told} chunks of the attempt that completed, which says {result}"
        read = [tuple(each) for each in self._read.get(f"{run}/{task}", [])]
        if read != [(str(chunk.place), chunk.value) for chunk in stored]:
            yield f"{name}: {len(read)} chunks were read, {len(stored)} others are stored"

    def _sum(self, run: int) -> Iterator[str]:
        """See that the task that collects has the results of those that completed."""
        wanted = {
            member: self._ends[member][1]
            for member in members_of(run)
            if self._ends[member][0] == "completed"
        }
        found = self._ends[f"s{run}/{SUM}"]
        if found != ("completed", wanted):
            yield f"s{run}/{SUM} is {found}, and should have {wanted}"

    def _gathered(
        self, name: str, members: list[str], *, rule: str, count: int = 0
    ) -> Iterator[str]:
        """Each member once, as it ended, to readers of several boots as to one of the last."""
        status, gathered = self._collected.get(name, ["none", []])
        read = [value for _, value in self._read.get(name, [])]
        if [one[:2] for one in read] != gathered:
            yield f"{name}: readers were told {read}, it has {gathered}"
        for member, ended, result in read:
            if (ended, result) != self._ends[member]:
                yield f"{name}: {member} is {self._ends[member]}, it was told as {ended} {result}"
        names = [member for member, _ in gathered]
        if len(set(names)) < len(names) or not set(names) <= set(members):
            yield f"{name}: {names} are told"
        completed = sum(self._ends[member][0] == "completed" for member in members)
        if rule == "all":
            wanted = "met" if completed else "unmet"
            is_whole = len(names) == len(members)
        else:
            wanted = "met" if completed >= count else "unmet"
            is_whole = wanted == "unmet" or sum(s == "completed" for _, s in gathered) == count
        if status != wanted or not is_whole:
            yield f"{name} is {status} with {gathered}, and should be {wanted}"
