"""An agent that takes its worker process with it. A module of little, for workers import it."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from goclaw_actors.executors.context import TaskContext


def deadly(ctx: TaskContext, mended_in: int, amount: int) -> dict[str, int]:
    """Kill the process that this runs in, until the task is in the generation that is mended."""
    if int(ctx.idempotency_key.rpartition("/")[2]) < mended_in:
        os.kill(os.getpid(), signal.SIGKILL)
    return {"total": amount}
