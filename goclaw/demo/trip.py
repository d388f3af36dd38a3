"""Trips, shown: sagas against an agency that fails at random, and what its own ledger says."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from goclaw.demo.agency import KINDS, PRICE, Agency
from goclaw.demo.library import DOCUMENTS
from goclaw.demo.service import allowed
from goclaw.engine import Engine
from goclaw_actors.env import new_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from goclaw.config import Settings
    from goclaw.results import RunResult
    from goclaw.submission import Prepared

FILE: Final = DOCUMENTS / "trip.yaml"
WHO: Final = (
    "Ada", "Barbara", "Claude", "Donald", "Edsger", "Frances", "Grace", "Hedy", "Ida", "John",
    "Katherine", "Leslie",
)  # fmt: skip
WAIT_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class Booked:
    """What came of it: how each trip ended, and what the agency's ledger holds.

    `faults`: where the two differ; `charged_twice`: who paid more than once. `money`: what the
    agency has kept.
    """

    trips: dict[str, dict[str, Any]]
    ledger: dict[str, dict[str, int]]
    asked: int
    failed: int
    money: int
    charged_twice: list[str]
    faults: list[str]


async def show(settings: Settings, say: Callable[[str], None], seed: int | None = None) -> Booked:
    """Book a trip for everybody at once; `say` gets each line. Raises `EngineRunning`, `TimedOut`.

    A trip that even its compensations could not undo waits for a person: that is this function,
    which has them tried again.
    """
    with Agency(seed) as agency:
        settings = allowed(settings, agency.port)
        async with Engine(settings.data_dir, settings=settings) as engine:
            trip = engine.prepare(FILE)
            say(f"{len(WHO)} trips at once; the agency is busy, sold out, or hangs up")
            ended = await asyncio.gather(*(_book(engine, trip, agency.url, who) for who in WHO))
        trips = {}
        for who, outcome in zip(WHO, ended, strict=True):
            say(f"{who:10} {_told(outcome)}")
            error = None if outcome.error is None else outcome.error.task
            found = {"saga_id": outcome.run_id, "status": outcome.status, "failed_step": error}
            trips[who] = {**found, "has": agency.standing(who)}
        counts = agency.counts()
        return Booked(
            trips, counts, agency.asked, agency.failed, PRICE * counts["payment"]["stands"],
            agency.charged_twice(), faults_of(trips),
        )  # fmt: skip


async def _book(engine: Engine, trip: Prepared, url: str, who: str) -> RunResult:
    saga_id = new_id(f"trip-{who.lower()}", time.time_ns())
    given = {"agency": url, "who": who}
    ended = await engine.run_saga(trip, input=given, saga_id=saga_id, timeout_s=WAIT_S)
    while ended.status == "compensation_failed":
        await engine.sagas.retry(saga_id)
        ended = await engine.saga_result(saga_id, timeout_s=WAIT_S)
    return ended


def _told(outcome: RunResult) -> str:
    if outcome.error is None:
        return "completed"
    return f"{outcome.status}: no {outcome.error.task or 'time'} to be had"


def faults_of(trips: dict[str, dict[str, Any]]) -> list[str]:
    """Return whose trip the ledger tells otherwise: all of it stands, or nothing."""
    whole: dict[str, list[str]] = {"completed": sorted(KINDS), "compensated": []}
    return [
        f"{who}: {trip['status']}, and has {trip['has']}"
        for who, trip in trips.items()
        if sorted(trip["has"]) != whole.get(trip["status"])
    ]
