"""Run sagas from a terminal: in the engine that runs on the directory, or in one of its own."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from goclaw.client import Client
from goclaw.engine import Engine
from goclaw.errors import EngineNotRunning
from goclaw.forms import SUFFIXES
from goclaw.interrupts import Interrupts
from goclaw.modules import load_modules
from goclaw.operations.desk import EngineDesk
from goclaw.run_input import given_input
from goclaw.submission import Preparer, require_kind
from goclaw.unfinished import require_able
from goclaw_events.plan import unpack_plan

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from goclaw.config import Settings
    from goclaw_events.plan import Plan

TIMEOUT: Final = "timeout"
INTERRUPTED: Final = "interrupted"


class SagaRequest(NamedTuple):
    """A saga to begin: the path of a file, or a registered name."""

    saga: str
    inputs: Mapping[str, str]
    input_file: Path | None
    saga_id: str | None
    idempotency_key: str | None
    labels: Mapping[str, str]


class SagaEnding(NamedTuple):
    """A record of each saga; `cut_short` is '' when all have ended or wait for a person."""

    records: list[dict[str, Any]]
    cut_short: str


def run_saga(
    settings: Settings,
    request: SagaRequest,
    *,
    modules: Sequence[str],
    trusted: Path | None,
    timeout_s: float | None,
    detach: bool,
) -> SagaEnding:
    """Begin a saga and wait for its end, or until `timeout_s` is over, or a signal comes.

    With `detach` it is only begun, by the engine that runs. Raises what `Sagas.submit` raises, and
    `EngineNotRunning` for `detach` without an engine.
    """

    async def main(interrupts: Interrupts) -> SagaEnding:
        async with _client(settings, interrupts, modules, trusted, attach=detach) as client:
            saga = await _saga_of(client, request)
            plan = await _plan_of(client, saga)
            given = given_input(plan, request.inputs, request.input_file)
            begun = await client.sagas.submit(
                saga,
                input=given,
                saga_id=request.saga_id,
                idempotency_key=request.idempotency_key,
                labels=request.labels,
            )
            if detach:
                return SagaEnding([begun], "")
            return await _wait(client, [begun["saga_id"]], interrupts, timeout_s)

    return _run(main)


def resume_sagas(settings: Settings, *, modules: Sequence[str], trusted: Path | None) -> SagaEnding:
    """Go on with every unfinished saga, and wait until they have ended or wait for a person."""
    from goclaw.agents import REGISTRY
    from goclaw.asking import ask, engine_runs

    elsewhere = engine_runs(settings)
    if not elsewhere:
        load_modules([*settings.agents.modules, *modules], trusted)
    # asked before an engine is opened here: some end as soon as it is
    waiting = ask(settings, "sagas.unfinished")
    if not elsewhere:
        require_able(waiting, settings, REGISTRY)

    async def main(interrupts: Interrupts) -> SagaEnding:
        async with _client(settings, interrupts, modules, trusted, attach=False) as client:
            ids = [saga["run_id"] for saga in waiting]
            return await _wait(client, ids, interrupts, None)

    return _run(main)


def _run(main: Callable[[Interrupts], Any]) -> SagaEnding:
    async def guarded() -> SagaEnding:
        with Interrupts(lambda: None, lambda: None) as interrupts:
            ending: SagaEnding = await main(interrupts)
            return ending

    return asyncio.run(guarded())


@asynccontextmanager
async def _client(
    settings: Settings,
    interrupts: Interrupts,
    modules: Sequence[str],
    trusted: Path | None,
    *,
    attach: bool,
) -> AsyncIterator[Client]:
    """Give a client of the engine that runs on the directory, or of one that is opened here."""
    attached = Client(settings.data_dir, reconnect_s=0.0)
    try:
        await attached.__aenter__()
    except EngineNotRunning:
        if attach:
            raise
        load_modules([*settings.agents.modules, *modules], trusted)
        async with Engine(settings=settings, on_stop=interrupts.interrupt) as engine:
            yield Client(desk=EngineDesk(engine))
        return
    try:
        yield attached
    finally:
        await attached.close()


async def _saga_of(client: Client, request: SagaRequest) -> Path | str:
    """Return the file, if there is one of this name, or the name and version that it means.

    A repeat by name means the version of the first request: the engine knows which that was.
    """
    path = Path(request.saga)
    is_file: bool = await asyncio.to_thread(path.is_file)
    if path.suffix in SUFFIXES or is_file:
        return path
    if request.saga_id is not None or request.idempotency_key is not None:
        return request.saga
    found = await client.ask("workflows.plan", name=request.saga)
    return f"{found['name']}@{found['version']}"


async def _plan_of(client: Client, saga: Path | str) -> Plan:
    if isinstance(saga, Path):
        prepared = await asyncio.to_thread(Preparer().prepare, saga)
        require_kind(prepared, "saga")
        return prepared.plan
    return unpack_plan((await client.ask("workflows.plan", name=saga))["plan"])


async def _wait(
    client: Client, saga_ids: Sequence[str], interrupts: Interrupts, timeout_s: float | None
) -> SagaEnding:
    """Wait until sagas have ended, or only a person can go on with them."""
    waits = [asyncio.create_task(_ended(client, saga_id)) for saga_id in saga_ids]
    stopped = asyncio.create_task(interrupts.first.wait())
    everything = asyncio.gather(*waits)
    ends: set[asyncio.Future[Any]] = {everything, stopped}
    try:
        done, _ = await asyncio.wait(ends, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if everything in done:
            everything.result()  # raises what waiting raised
        cut_short = "" if everything in done else INTERRUPTED if stopped in done else TIMEOUT
    finally:
        stopped.cancel()
        everything.cancel()
        await asyncio.gather(*waits, everything, stopped, return_exceptions=True)
    records = [await client.sagas.show(saga_id) for saga_id in saga_ids]
    return SagaEnding(records, cut_short)


async def _ended(client: Client, saga_id: str) -> None:
    await client.sagas.result(saga_id)
