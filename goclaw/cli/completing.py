"""What a shell completes with what is there: ids of runs, names of definitions.

It has to be quick: the engine is asked, if one runs, without loading settings or the library.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import click

CANDIDATES_MAX: Final = 50
CONNECT_S: Final = 0.2
LANES_MAX: Final = 1_000
SCHEDULES_MAX: Final = 1_000
_LAST: Final = "@last"


def run_ids(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Return the ids of runs that begin so; of nothing, the newest; none where there is no log."""
    if incomplete.startswith("@"):
        return [_LAST] if _LAST.startswith(incomplete) else []
    data_dir = _data_dir(ctx)
    params = {"prefix": incomplete, "limit": CANDIDATES_MAX}
    found = _ask(data_dir, "runs.ids", params)
    return _ids_kept(data_dir, incomplete) if found is None else list(found)


def saga_ids(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Return the ids of sagas that begin so; of nothing, the newest; none without an engine."""
    if incomplete.startswith("@"):
        return [_LAST] if _LAST.startswith(incomplete) else []
    params = {"prefix": incomplete, "limit": CANDIDATES_MAX}
    return list(_ask(_data_dir(ctx), "sagas.ids", params) or ())


def schedule_names(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of schedules that begin so; none where no engine runs."""
    page = _ask(_data_dir(ctx), "schedules.list", {"limit": SCHEDULES_MAX}) or {"schedules": []}
    names = [found["schedule"] for found in page["schedules"]]
    return [name for name in names if name.startswith(incomplete)][:CANDIDATES_MAX]


def workflow_names(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Return registered names that begin so; behind an `@`, the versions of the name."""
    name, at, _version = incomplete.partition("@")
    data_dir = _data_dir(ctx)
    if not at:
        rows = _ask(data_dir, "workflows.list", {}) or []
        return [row["name"] for row in rows if row["name"].startswith(incomplete)][:CANDIDATES_MAX]
    found = _ask(data_dir, "workflows.show", {"name": name}) or {"versions": []}
    versions = [f"{name}@{row['version']}" for row in found["versions"]]
    return [one for one in versions if one.startswith(incomplete)][-CANDIDATES_MAX:]


def lane_names(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of lanes that begin so; none where no engine runs."""
    definition, slash, _lane = incomplete.partition("/")
    params = {"limit": LANES_MAX, "definition": definition if slash else None}
    page = _ask(_data_dir(ctx), "lanes.list", params) or {"lanes": []}
    names = [lane["lane"] for lane in page["lanes"] if lane["lane"].startswith(incomplete)]
    return names[:CANDIDATES_MAX]


def _ask(data_dir: Path, operation: str, params: dict[str, Any]) -> Any:
    """Return the answer of the engine that runs, or None: an error has no place here."""
    from goclaw.wire.sync_link import SyncLink
    from goclaw_events.errors import CodedError

    try:
        with SyncLink(data_dir, CONNECT_S) as link:
            return link.ask(operation, params)
    except CodedError:
        return None


def _ids_kept(data_dir: Path, prefix: str) -> list[str]:
    """Return ids from the views as the last engine left them."""
    if not (data_dir / "views" / "CURRENT").exists():
        return []
    from goclaw_events.datalock import DataLock
    from goclaw_events.errors import CodedError
    from goclaw_projections.rocks_store import RocksViewStore
    from goclaw_projections.runs import RunsReader

    try:
        with DataLock(data_dir, passing=True):
            store = RocksViewStore(data_dir / "views")
            try:
                runs = RunsReader(store)
                if prefix:
                    return runs.starting_with(prefix, CANDIDATES_MAX)
                return [run.run_id for run in runs.list(limit=CANDIDATES_MAX).runs]
            finally:
                store.close()
    except CodedError:
        return []


def _data_dir(ctx: click.Context) -> Path:
    """Return the data directory that the command would use."""
    given = ctx.params.get("data_dir") or os.environ.get("GOCLAW_DATA_DIR")
    if given:
        return Path(given)
    if ctx.params.get("config") or os.environ.get("GOCLAW_CONFIG"):
        from goclaw.config_load import load_settings

        return load_settings(ctx.params.get("config"), {}).settings.data_dir
    return Path(".goclaw")
