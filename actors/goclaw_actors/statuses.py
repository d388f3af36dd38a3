"""What a run, or a saga, knows of a task of it; one byte each."""

from __future__ import annotations

from typing import Final

PENDING: Final = 0
ACTIVE: Final = 1
COMPLETED: Final = 2
FAILED: Final = 3
CANCELLED: Final = 4
SKIPPED: Final = 5
BLOCKED: Final = 6
PASSED: Final = 7
"""Skipped by hand: what needs it goes on as if it had completed."""
STATUS_NAMES: Final = (
    "pending", "active", "completed", "failed", "cancelled", "skipped", "skipped", "skipped",
)  # fmt: skip
ENDED_AS: Final = {
    "completed": COMPLETED, "failed": FAILED, "cancelled": CANCELLED, "skipped": SKIPPED,
}  # fmt: skip
"""By what a task reports."""
DEAD: Final = "dead"
"""What a task reports that has not ended, and will not begin again by itself: a dead letter."""
