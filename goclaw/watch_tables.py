"""What is watched as a table: which operation tells it, and a row for each record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_SECONDS_DIGITS: Final = 19
RUN_HEADERS: Final = ("run", "name", "status", "submitted", "took", "error")
LANE_HEADERS: Final = (
    "lane", "running", "limit", "queued", "oldest", "arrived", "leased", "refused", "mean wait",
)  # fmt: skip


class WatchedTable(NamedTuple):
    """Records that an operation lists under `field`, each known by its `key`."""

    operation: str
    params: Mapping[str, Any]
    field: str
    key: str
    headers: Sequence[str]
    row: Callable[[Mapping[str, Any]], Sequence[str]]


def run_row(run: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the cells of a run."""
    took = "" if run["duration_s"] is None else f"{run['duration_s']:.3f}s"
    error = "" if run["error"] is None else f"{run['error']['message']} [{run['error']['code']}]"
    return run["run_id"], run["name"], run["status"], seconds(run["submitted_at"]), took, error


def lane_row(lane: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the cells of a lane."""
    limit = "-" if lane["concurrency"] is None else str(lane["concurrency"])
    poisoned = f" [{lane['poisoned']}]" if lane["poisoned"] else ""
    mode = "" if lane["mode"] == "open" else f" ({lane['mode']})"
    return (
        lane["lane"] + mode + poisoned,
        str(lane["running"]),
        limit,
        str(lane["queued"]),
        seconds(lane["oldest_queued_at"]),
        str(lane["arrived_total"]),
        str(lane["leased_total"]),
        str(lane["refused_total"]),
        f"{lane['waited_mean_s']:.3f}s",
    )


def seconds(time: str | None) -> str:
    """Cut a time to whole seconds, for a table."""
    return "" if time is None else time[:_SECONDS_DIGITS] + "Z"


def runs_table(limit: int) -> WatchedTable:
    """Watch the newest runs."""
    return WatchedTable("runs.list", {"limit": limit}, "runs", "run_id", RUN_HEADERS, run_row)


def lanes_table(limit: int) -> WatchedTable:
    """Watch lanes."""
    return WatchedTable("lanes.list", {"limit": limit}, "lanes", "lane", LANE_HEADERS, lane_row)
