"""Room in a lane that blocks, modelled a second time: who waits for it, what is kept for whom."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from goclaw_events.facts import (
    LaneAdvanced,
    LaneControlled,
    LaneDeclared,
    LaneRedirected,
    LaneRefused,
)
from goclaw_events.facts import LaneRoomChanged as RoomChanged
from goclaw_events.ids import owner_stream
from tests.simulation.live_model import Live

if TYPE_CHECKING:
    from tests.simulation.history import Entry

CAPACITY, WAITERS_MAX = 100_000, 10_000


def turns_of(entries: list[Entry]) -> list[list[Entry]]:
    """Cut what a lane said into its turns."""
    turns: list[list[Entry]] = []
    for entry in entries:
        if turns and turns[-1][0].cause is entry.cause:
            turns[-1].append(entry)
        else:
            turns.append([entry])
    return turns


def check_room(stream: str, entries: list[Entry]) -> None:
    """Check at every turn that nobody overtakes who waits, and that nobody waits beside room."""
    model = _Room(stream)
    for turn in turns_of(entries):
        model.turn([entry.decoded for entry in turn])


class _Room:
    def __init__(self, stream: str) -> None:
        self.stream = stream
        self.live = Live(stream)
        self.capacity, self.overflow, self.target = CAPACITY, "reject", ""
        self.waiters_max = WAITERS_MAX
        self.queue: set[str] = set()
        self.waiters: list[str] = []
        self.kept: Counter[str] = Counter()

    def turn(self, facts: list[object]) -> None:
        """Take in one turn."""
        room = next((fact for fact in facts if isinstance(fact, RoomChanged)), None)
        used = Counter(dict(room.used) if room else {})
        stayed: list[str] = []
        told: list[str] = []
        refused = False
        for fact in facts:
            match fact:
                case LaneDeclared():
                    self.live.apply(fact)
                    _, self.capacity, _ = self.live.in_force()
                    self.overflow = fact.overflow
                    self.target, self.waiters_max = fact.redirect_to, fact.waiters_max
                case LaneControlled():
                    self.live.apply(fact)
                    _, self.capacity, _ = self.live.in_force()
                case LaneAdvanced():
                    stayed += self.advance(fact, Counter(used))
                case LaneRefused(tasks, reason):
                    told += tasks
                    other = reason == "lane_quota_exceeded" or self.live.refuses(reason)
                    refused = refused or not other
                case LaneRedirected(tasks, lane):
                    told += tasks
                    assert self.overflow == "redirect", f"{self.stream} redirects"
                    assert lane == self.target, f"{self.stream} redirects to {lane}"
        once = [*stayed, *told]
        assert len(set(once)) == len(once), f"{self.stream} answers twice: {once}"
        line = [run for run in self.waiters if room is None or run not in room.left]
        kept = sum((self.kept - used).values())
        if refused:
            full = len(self.queue) + kept >= self.capacity
            assert full or len(line) >= self.waiters_max, f"{self.stream} refuses {told} with room"
        if stayed:
            overtaken = line if self.overflow == "block" else []
            assert not overtaken, f"{self.stream} lets {stayed} in before {overtaken}"
            assert len(self.queue) + kept <= self.capacity, f"{self.stream} gives kept room away"
        if room is not None:
            self.change(room)
        if not any(isinstance(fact, LaneDeclared | LaneControlled) for fact in facts):
            self.check_idle()

    def advance(self, fact: LaneAdvanced, used: Counter[str]) -> list[str]:
        """Move the queue on; return who came into it and had no place kept."""
        self.queue -= set(fact.withdrawn)
        stayed = []
        for task, _, at_head, *_ in fact.queued:
            self.queue.add(task)
            run = owner_stream(task.split("/")[1])
            if at_head or task in fact.leased or task in fact.withdrawn:
                continue  # it takes no room, or had it before: it is ranked anew
            if used[run]:
                used[run] -= 1
            else:
                stayed.append(task)
        self.queue -= set(fact.leased)
        return stayed

    def change(self, fact: RoomChanged) -> None:
        """Move the line on."""
        for run, count in fact.used:
            assert 0 < count <= self.kept[run], f"{self.stream}: {run} uses {count} places"
            self.kept[run] -= count
        for run in fact.left:
            self.waiters.remove(run)
        for run in fact.came:
            assert run not in self.waiters, f"{run} waits twice"
            self.waiters.append(run)
        given = [run for run, _ in fact.given]
        assert given == self.waiters[: len(given)], f"{self.stream} gives {given} room first"
        del self.waiters[: len(given)]
        self.kept.update(dict(map(tuple, fact.given)))
        if given:
            taken = len(self.queue) + sum(self.kept.values())
            assert taken <= self.capacity, f"{self.stream} gives room away that it has not"

    def check_idle(self) -> None:
        """Check that nobody waits while a sixteenth of the lane's places is free."""
        free = self.capacity - len(self.queue) - sum(self.kept.values())
        idle = self.waiters and free >= max(1, self.capacity // 16)
        assert not idle, f"{self.stream} lets {self.waiters} wait beside {free} free places"
