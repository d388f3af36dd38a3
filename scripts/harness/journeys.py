"""Random sagas whose outcome is known: what must stand in the ledger is computed on the way.

Each has a fate: it goes well; a step fails by its own word; a step takes effect and hangs until its
timeout, or that of the saga; a thread is given up and takes effect late; a compensation fails for
good until a person has it tried again; a person calls everything back. A step that may have begun
or not is undone if it did, so that the totals are exact.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from goclaw.saga_builder import Saga

if TYPE_CHECKING:
    from goclaw_events.saga.definition import Policy

DEPTH_MAX: Final = 4
WIDTH_MAX: Final = 4
STEPS_MAX: Final = 10
COUNTERS: Final = 5
FATES: Final = ("goes", "goes", "fails", "fails", "hangs", "ghost", "late", "alarms", "recalled")
UNDO: Final = ".compensation"
LANES: Final = {"one": 1, "two": 2}
TIMEOUT_S: Final = 0.1
GHOST_S: Final = 0.25
"""So long a thread runs that is given up; then it takes effect."""
_UNTIL_CALLED_BACK: Final = ("late", "recalled")
"""These stop at any step: which ones began before is not known."""


@dataclass
class Journey:
    """A saga and what must come of it.

    `needs` by step; `undone`: the steps that are undone if they took effect; `sure`: those that
    do. `totals`: what must stand of each counter at the end.
    """

    saga_id: str
    saga: Saga
    fate: str
    needs: dict[str, list[str]] = field(default_factory=dict)
    undone: set[str] = field(default_factory=set)
    sure: set[str] = field(default_factory=set)
    totals: dict[str, int] = field(default_factory=dict)

    @property
    def status(self) -> str:
        """Return how it ends."""
        return "completed" if self.fate == "goes" else "compensated"

    def lanes(self) -> dict[str, int]:
        """Return the slots of the lanes that its tasks go through."""
        own = {f"{self.saga.name}/{lane}": slots for lane, slots in LANES.items()}
        return {**own, "/default": 256}

    def all_before(self, step: str) -> set[str]:
        """Return all that a step needs, and what that needs."""
        found = set(self.needs[step])
        for need in self.needs[step]:
            found |= self.all_before(need)
        return found


def journey(seed: str, number: int) -> Journey:
    """Make the `number`-th saga of a seed; always the same."""
    rng = random.Random(f"journey/{seed}/{number}")  # noqa: S311 - to be repeated
    fate = rng.choice(FATES)
    limit = 0.3 if fate == "late" else None
    made = Journey(f"j{number}", Saga(f"j{number}", timeout=limit), fate)
    for lane, slots in LANES.items():
        made.saga.lane(lane, concurrency=slots)
    _draw_needs(rng, made.needs)
    broken = rng.choice(list(made.needs)) if fate != "goes" else ""
    if fate not in _UNTIL_CALLED_BACK:
        made.sure = made.all_before(broken) if broken else set(made.needs)
    if fate == "alarms" and not made.sure:
        broken = rng.choice([step for step, needs in made.needs.items() if needs] or [broken])
        made.sure = made.all_before(broken)
    alarming = rng.choice(sorted(made.sure)) if fate == "alarms" and made.sure else ""
    for step, needs in made.needs.items():
        _add(rng, made, step, needs, _way(fate, step, broken), alarms=step == alarming)
    return made


def _draw_needs(rng: random.Random, needs: dict[str, list[str]]) -> None:
    before: list[str] = []
    for depth in range(rng.randint(1, DEPTH_MAX)):
        width = min(rng.randint(1, WIDTH_MAX), STEPS_MAX - len(needs))
        layer = [f"s{depth}_{place}" for place in range(width)]
        for step in layer:
            needs[step] = rng.sample(before, min(len(before), rng.choice([1, 1, 2])))
        before = layer or before


def _way(fate: str, step: str, broken: str) -> str:
    if step != broken:
        return ""
    return {"alarms": "fails", "late": "hangs", "recalled": "hangs"}.get(fate, fate)


def _add(
    rng: random.Random, made: Journey, step: str, needs: list[str], way: str, *, alarms: bool
) -> None:
    """Add a step; note what will stand of it."""
    counter, amount = f"c{rng.randrange(COUNTERS)}", rng.randrange(1, 1000)
    stays = step in made.sure and not alarms and not way and rng.random() < 0.2  # noqa: PLR2004
    if not stays:
        made.undone.add(step)
    stands = step in made.sure and (stays or made.fate == "goes")
    made.totals[counter] = made.totals.get(counter, 0) + (amount if stands else 0)
    policy: Policy = rng.choice(["auto", "auto", "auto", "manual"])
    has_undo = not stays or rng.random() < 0.5  # noqa: PLR2004
    if stays and has_undo:
        policy = "skip"
    params = {"counter": counter, "amount": amount, "way": way, **_pace(rng)}
    retry = None
    if not way and rng.random() < 0.2:  # noqa: PLR2004
        params["flakes"] = rng.randint(1, 2)
        retry = {"attempts": 3, "initial": "2ms"}
    kind = "hard" if way == "ghost" else rng.choice(["soft", "hard"])
    own_limit = TIMEOUT_S if way == "ghost" or (way == "hangs" and made.fate == "hangs") else None
    made.saga.step(
        step,
        {"agent": f"journey.act.{kind}", "with": params, **_lane(rng, made, params)},
        undo=_undo(rng, made, alarms=alarms) if has_undo else None,
        needs=needs,
        timeout=own_limit,
        retry=retry,
        policy=policy,
    )


def _undo(rng: random.Random, made: Journey, *, alarms: bool) -> dict[str, Any]:
    """Return what undoes a step; `alarms`: it fails more often than it is tried."""
    params = {"key": "${action.key}", "in_doubt": "${action.in_doubt}", **_pace(rng)}
    attempts = 1 if alarms else 4
    params["flakes"] = rng.randint(2, 3) if alarms else rng.choice([0, 0, 0, 2])
    kind = rng.choice(["soft", "hard"])
    retry = {"attempts": attempts, "initial": "2ms"}
    work = {"agent": f"journey.undo.{kind}", "with": params, "retry": retry}
    return {**work, **_lane(rng, made, params)}


def _pace(rng: random.Random) -> dict[str, Any]:
    return {"pause_ms": rng.choice([0, 0, 2, 5, 20])}


def _lane(rng: random.Random, made: Journey, params: dict[str, Any]) -> dict[str, Any]:
    """Draw a lane; its name is handed to the agent, too, which writes it into the ledger."""
    lane = rng.choice([None, None, *LANES])
    params["lane"] = "/default" if lane is None else f"{made.saga.name}/{lane}"
    return {} if lane is None else {"lane": lane}
