"""How an engine is, in a few plain figures."""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING, Any

from goclaw.cli.version import goclaw_version
from goclaw.histories import long_histories
from goclaw.run_records import time_text

if TYPE_CHECKING:
    from goclaw.engine_life import EngineLife
    from goclaw.parts import Parts


def status_of(engine: EngineLife, parts: Parts, started_ns: int) -> dict[str, Any]:
    """Return `state` (running, stopping or failed), what it works on, and how far it is.

    `attempts_waiting` are beyond the number that may run at once (`executors.attempts_max`).
    `behind` is by how many facts the slowest view lags; `positions` are the last durable ones;
    `folding_pid` is the process that folds the views under load (null: there is none).
    `long_histories`: `run_id` or `saga_id`, `task` or not, `facts`, `bytes`, what it may have of
    both, and whether it is `full`.
    """
    listener = engine.listener
    statuses = parts.views.runner.status()
    partitions = range(parts.journal.partitions)
    return {
        "pid": os.getpid(),
        "version": goclaw_version(),
        "state": engine.state,
        "data_dir": None if parts.data_dir is None else str(parts.data_dir.resolve()),
        "log": parts.journal.log_id.hex(),
        "started_at": time_text(started_ns),
        "uptime_s": round((time.time_ns() - started_ns) / 1e9, 3),
        "positions": [f"{p}:{parts.journal.durable(p)}" for p in partitions],
        "behind": max((sum(status.lag) for status in statuses), default=0),
        "folding_pid": parts.views.runner.folding_pid,
        "agents": sorted(parts.agents.names()),
        "log_level": logging.getLevelName(logging.getLogger().level).lower(),
        "attempts_waiting": parts.executor.running().waiting_for_room,
        "long_histories": long_histories(parts.node),
        "connections": 0 if listener is None else listener.connections,
    }
