"""How the log of a data directory is, its views, and what it still has to do; changes nothing."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, cast

from goclaw.agents import REGISTRY
from goclaw.datadir import DataDirectory
from goclaw.histories import judge_histories
from goclaw.letter_health import LETTERS_MAX, letters_for_people
from goclaw.modules import ModuleFailed, load_modules
from goclaw.problems import PROBLEMS, Finding, problem
from goclaw.run_records import time_text
from goclaw.saga_health import NEED_A_PERSON, sagas_for_people, sagas_in_log, sagas_stuck
from goclaw.unfinished import AgentsMissing, require_agents, unfinished_runs
from goclaw.wire.sync_link import SyncLink
from goclaw_events.errors import CodedError
from goclaw_events.tables import u16
from goclaw_projections.checkpoint import Checkpoint, checkpoint_key, reason_to_rebuild
from goclaw_projections.dead_letters import DeadReader
from goclaw_projections.every import all_projections
from goclaw_projections.lanes import LanesReader
from goclaw_projections.rocks_store import RocksViewStore
from goclaw_projections.served import serving_slot, slot_name
from goclaw_projections.status import lag_of, lag_s_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from goclaw.config import Settings
    from goclaw_events.journal import Journal
    from goclaw_projections.projection import Projection
    from goclaw_projections.store import ViewStore

CLOCK_AHEAD_MAX_NS: Final = 2 * 10**9
LANES_MAX: Final = 100_000
ENGINE_S: Final = 2.0
LAG_MAX_S: Final = 5.0
"""An engine whose views are further behind is overloaded, or its disk is slow."""
_SHOWN_MAX: Final = 5


@dataclass(slots=True)
class LogHealth:
    """What was seen of a log and its views: plain JSON data, and findings."""

    log: dict[str, Any] = field(default_factory=dict)
    views: list[dict[str, Any]] = field(default_factory=list)
    runs: dict[str, Any] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)


def look_at_log(data_dir: Path, settings: Settings | None = None) -> LogHealth:
    """Look at a log that no engine holds; where there is none, find nothing.

    Modules that `settings` name are imported, to know which agents are there.
    """
    health = LogHealth()
    directory = DataDirectory(data_dir)
    if not directory.exists:
        return health
    try:
        journal = directory.open_journal(read_only=True)
    except CodedError as error:
        code = error.code if error.code in PROBLEMS else "log_unreadable"
        says = f"{error} [{error.code}]"
        health.findings.append(problem(code, "log", says, path=data_dir))
        return health
    try:
        _look_at_journal(health, journal, list(journal.watermark_faults()), data_dir)
        _look_at_views(health, journal, directory)
        _look_at_runs(health, journal, data_dir, settings)
        health.findings += sagas_in_log(journal, data_dir)
    finally:
        journal.close()
    return health


def ask_engine(data_dir: Path) -> LogHealth | None:
    """Ask the engine that holds a data directory; None where whoever holds it does not listen."""
    health = LogHealth()
    try:
        with SyncLink(data_dir, ENGINE_S) as link:
            engine = link.ask("engine.status", {})
            health.views = link.ask("views.status", {})
            unfinished = link.ask("runs.unfinished", {})
            lanes = link.ask("lanes.list", {"limit": LANES_MAX})["lanes"]
            letters = link.ask("dead.list", {"kind": "task", "limit": LETTERS_MAX})["letters"]
            sagas = [
                saga["saga_id"]
                for status in NEED_A_PERSON
                for saga in link.ask("sagas.list", {"status": status})["sagas"]
            ]
            going = link.ask("sagas.unfinished", {})
    except CodedError:
        return None
    health.log = {"id": engine["log"], "ends": engine["positions"]}
    agents = {name for run in unfinished for name in run["agents"]} - set(engine["agents"])
    health.runs = {"unfinished": len(unfinished), "agents_missing": sorted(agents)}
    says = f"version {engine['version']}, process {engine['pid']}, {engine['state']}"
    health.findings.append(Finding("engine", "ok", says))
    health.findings.append(Finding("log", "ok", f"ends at {', '.join(engine['positions'])}"))
    health.findings.append(_judge_views(health.views))
    health.findings.append(Finding("runs", "ok", f"{len(unfinished)} runs go on"))
    _judge_stuck(health, [run["run_id"] for run in unfinished if run["stuck"]])
    if agents:
        shown = ", ".join(sorted(agents)[:_SHOWN_MAX])
        health.findings.append(problem("agents_missing", "agents", shown))
    health.findings += sagas_for_people(sagas)
    health.findings += letters_for_people([letter["letter"] for letter in letters])
    health.findings += sagas_stuck([saga["run_id"] for saga in going if saga["stuck"]])
    health.findings += judge_histories(engine.get("long_histories", ()))
    poisoned = [lane["lane"] for lane in lanes if lane["poisoned"]]
    if poisoned:
        health.findings.append(problem("lane_poisoned", "lanes", ", ".join(poisoned)))
    return health


def _judge_stuck(health: LogHealth, stuck: list[str]) -> None:
    """Name the runs that nothing will wake."""
    health.runs["stuck"] = len(stuck)
    if stuck:
        shown = ", ".join(stuck[:_SHOWN_MAX])
        more = f" and {len(stuck) - _SHOWN_MAX} more" if len(stuck) > _SHOWN_MAX else ""
        health.findings.append(problem("run_stuck", "runs", shown + more, run=stuck[0]))


def _judge_views(views: list[dict[str, Any]]) -> Finding:
    failed = [view for view in views if view["state"] == "failed"]
    if failed:
        says = "; ".join(f"{view['name']}: {view['error']['message']}" for view in failed)
        return problem("view_failed", "views", says, view=failed[0]["name"])
    lag_s = max(view["lag_s"] for view in views)
    says = f"{len(views)} views, at most {max(view['lag'] for view in views)} facts behind"
    if lag_s > LAG_MAX_S:
        return problem("views_behind", "views", f"{says}, {lag_s:.1f} s")
    return Finding("views", "ok", f"{says} ({lag_s:.3f} s){_lacking(views)}")


def _lacking(views: list[dict[str, Any]]) -> str:
    """Return which views never saw facts that were given up; empty where all did."""
    lacks = [
        f"{view['name']} below {' '.join(view['lacks_below'])}"
        for view in views
        if view["lacks_below"]
    ]
    return f"; they lack what was given up: {', '.join(lacks)}" if lacks else ""


def _look_at_journal(
    health: LogHealth, journal: Journal, faults: list[CodedError], data_dir: Path
) -> None:
    partitions = range(journal.partitions)
    heads = [journal.head(partition) for partition in partitions]
    health.log = {
        "id": journal.log_id.hex(),
        "ends": [f"{p}:{journal.durable(p)}" for p in partitions],
        "eras": [head.era for head in heads],
        "last_fact_at": time_text(max(head.time_ns for head in heads) or None),
        "streams": sum(1 for p in partitions for _ in journal.streams(p)),
    }
    ends = ", ".join(health.log["ends"])
    if faults:
        says = f"it ends at {ends}: {'; '.join(map(str, faults))}"
        health.findings.append(problem("log_behind_watermark", "log", says, path=data_dir))
    else:
        says = f"ends at {ends}, where the watermark says; `goclaw log verify` reads all of it"
        health.findings.append(Finding("log", "ok", says))
    ahead_ns = max(head.time_ns for head in heads) - time.time_ns()
    if ahead_ns > CLOCK_AHEAD_MAX_NS:
        says = f"the last fact is {ahead_ns / 1e9:.0f} s ahead of the clock"
        health.findings.append(problem("clock_behind_log", "clock", says))
    parked = sum(1 for p in partitions for _ in journal.rows("parked", u16(p)))
    health.log["parked"] = parked
    if parked:
        says = f"{parked} messages could not be handled"
        health.findings.append(problem("messages_parked", "messages", says))


def _look_at_views(health: LogHealth, journal: Journal, directory: DataDirectory) -> None:
    if not directory.views.is_dir():
        return
    with _view_store(health, directory) as store:
        if store is None:
            return
        health.views = [_view(journal, store, projection) for projection in all_projections()]
        outdated = [view for view in health.views if view["rebuild_because"]]
        if outdated:
            says = "; ".join(f"{view['name']}: {view['rebuild_because']}" for view in outdated)
            found = problem("views_outdated", "views", says, path=directory.path)
        else:
            lag_s = max(view["lag_s"] for view in health.views)
            facts = max(sum(view["lag"]) for view in health.views)
            says = f"{len(health.views)} views, at most {facts} facts ({lag_s:.3f} s) behind"
            found = Finding("views", "ok", says + _lacking(health.views))
        health.findings.append(found)
        letters = DeadReader(store).list(kind="task", limit=LETTERS_MAX).items
        health.findings += letters_for_people([letter.letter for letter in letters])
        poisoned = [
            lane.lane for lane in LanesReader(store).list(limit=LANES_MAX).items if lane.poisoned
        ]
        if poisoned:
            health.findings.append(problem("lane_poisoned", "lanes", ", ".join(poisoned)))


@contextmanager
def _view_store(health: LogHealth, directory: DataDirectory) -> Iterator[ViewStore | None]:
    try:
        store = RocksViewStore(directory.views, keep=True)
    except CodedError as error:
        found = problem("views_unreadable", "views", f"{error} [{error.code}]", path=directory.path)
        health.findings.append(found)
        yield None
        return
    try:
        yield store
    finally:
        store.close()


def _view(journal: Journal, store: ViewStore, projection: Projection) -> dict[str, Any]:
    slot = serving_slot(store, projection.name)
    data = store.get(checkpoint_key(slot_name(projection.name, slot)))
    found = None if data is None else Checkpoint.read(data)
    begins = [journal.history(partition) for partition in range(journal.partitions)]
    reason = reason_to_rebuild(journal, projection.version, found, begins)
    places = [begin - 1 for begin in begins]
    lacks: tuple[int, ...] = ()
    if found is not None and reason is None:
        places, lacks = [place.number for place in found.places], found.lacks
    other = checkpoint_key(slot_name(projection.name, 1 - slot))
    return {
        "name": projection.name,
        "version": projection.version,
        "positions": [f"{p}:{number}" for p, number in enumerate(places)],
        "lag": list(lag_of(journal, places)),
        "lag_s": lag_s_of(journal, places, begins),
        "lacks_below": [f"{p}:{number}" for p, number in enumerate(lacks) if number],
        "rebuilding": store.get(other) is not None,
        "rebuild_because": reason,
    }


def _look_at_runs(
    health: LogHealth, journal: Journal, data_dir: Path, settings: Settings | None
) -> None:
    runs = unfinished_runs(journal)
    health.runs = {
        "unfinished": len(runs),
        "oldest_submitted_at": time_text(runs[0].submitted_at_ns) if runs else None,
        "agents_missing": {},
    }
    if not runs:
        health.findings.append(Finding("runs", "ok", "every run has ended"))
        return
    since = health.runs["oldest_submitted_at"]
    says = f"{len(runs)} runs have not ended, the oldest since {since}"
    health.findings.append(problem("runs_unfinished", "runs", says, path=data_dir))
    _judge_stuck(health, [run.run_id for run in runs if run.stuck])
    try:
        load_modules(settings.agents.modules if settings else ())
    except ModuleFailed as error:
        health.findings.append(problem("module_failed", "agents", str(error)))
        return
    try:
        require_agents({run.run_id: run.agents for run in runs}, REGISTRY)
    except AgentsMissing as error:
        missing = cast("dict[str, list[str]]", error.details["agents"])
        health.runs["agents_missing"] = {name: len(run_ids) for name, run_ids in missing.items()}
        shown = ", ".join(sorted(missing)[:_SHOWN_MAX])
        more = f" and {len(missing) - _SHOWN_MAX} more" if len(missing) > _SHOWN_MAX else ""
        health.findings.append(problem("agents_missing", "agents", shown + more))
