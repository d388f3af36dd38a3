"""Show runs while they go on: a tree that is redrawn on a terminal, lines anywhere else."""

from __future__ import annotations

import io
import sys
import time
from typing import TYPE_CHECKING, Final, Protocol, Self

from goclaw.cli.output import console, printable, say
from goclaw.tree import draw

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

    from goclaw.board import RunBoard, TaskLine

FRAMES_PER_SECOND: Final = 8
FRAMES_PER_SECOND_LARGE: Final = 2
LARGE_TASKS: Final = 5000
LINE_TASKS_MAX: Final = 60
"""A run of more tasks than this has no line for each, where lines are shown."""
COUNT_EVERY_S: Final = 1.0
FAILED_LINES_MAX: Final = 20


class Display(Protocol):
    """Show boards to a person. Everything is called on one thread."""

    def add(self, board: RunBoard) -> None:
        """Show one more run."""
        ...

    def changed(self, board: RunBoard, task_id: str, line: TaskLine) -> None:
        """Take note of a task that a fact has changed."""
        ...

    def ended(self, board: RunBoard) -> None:
        """Take note of a run that is over."""
        ...

    def note(self, text: str) -> None:
        """Say something about all of it."""
        ...

    def close(self) -> None:
        """Draw for the last time and leave the terminal as it was. Idempotent."""
        ...


class CurrentStderr(io.TextIOBase):
    """Write to what stderr is at the moment: while a tree is drawn, that is above the tree."""

    def write(self, text: str) -> int:
        """Write through."""
        return sys.stderr.write(text)

    def flush(self) -> None:
        """Flush through."""
        sys.stderr.flush()

    def isatty(self) -> bool:
        """Tell whether people read it."""
        return sys.stderr.isatty()


def open_display() -> Display:
    """Return the display that fits what stderr is."""
    on_stderr = console(stderr=True)
    if on_stderr.is_terminal and not on_stderr.is_dumb_terminal:
        return TreeDisplay(on_stderr)
    return LineDisplay()


class LineDisplay:
    """Say what happens a line at a time: each end of a task, or, where they are many, counts."""

    def __init__(self) -> None:
        self._counted_s = 0.0
        self._failed = 0

    def add(self, board: RunBoard) -> None:
        """Say that a run is watched."""
        done = f", {board.done} of them done" if board.done else ""
        say(f"run {board.run_id}: {board.plan.name}, {len(board.tasks)} tasks{done}")

    def changed(self, board: RunBoard, task_id: str, line: TaskLine) -> None:
        """Say how a task ended or that it is tried again; of many tasks only how many."""
        many = len(board.tasks) > LINE_TASKS_MAX
        if many and time.monotonic() - self._counted_s > COUNT_EVERY_S:
            self._counted_s = time.monotonic()
            say(f"  {_counts(board)}")
        if line.status == "failed":
            self._failed += 1
            if many and self._failed > FAILED_LINES_MAX:
                return
        elif many or line.status not in ("completed", "cancelled", "retrying", "dead"):
            return
        took = "" if line.took_s is None else f" in {line.took_s:.2f}s"
        tries = f" (attempt {line.attempt})" if line.attempt > 1 else ""
        note = f": {line.note}" if line.note else ""
        say(f"  {task_id} {line.status}{took}{tries}{note}".replace("\n", " "))
        if line.status == "dead":
            say(f"  hint: the run waits for you: goclaw dead show {board.run_id}/{task_id}")

    def ended(self, board: RunBoard) -> None:
        """Say how a run ended."""
        took_s = (board.now_ns - board.since_ns) / 1e9
        say(f"run {board.run_id} {board.status} after {took_s:.2f}s: {_counts(board)}")

    def note(self, text: str) -> None:
        """Say it on a line."""
        say(text)

    def close(self) -> None:
        """Do nothing: what was said stays."""


class TreeDisplay:
    """Redraw the runs below the cursor, a few times a second, on a thread of rich."""

    def __init__(self, on: Console) -> None:
        self._console = on
        self._boards: list[RunBoard] = []
        self._notes: list[str] = []
        self._live: Live | None = None

    def __rich__(self) -> RenderableType:
        """Return the picture of this moment."""
        return draw(list(self._boards), list(self._notes), self._console)

    def add(self, board: RunBoard) -> None:
        """Show one more run; the first one starts the drawing."""
        self._boards.append(board)
        if self._live is None:
            from rich.live import Live

            self._live = Live(
                self,
                console=self._console,
                refresh_per_second=_frames_per_second(board),
                # what agents print must not tear the picture; into a pipe it may go as it is
                redirect_stdout=sys.stdout.isatty(),
            )
            self._live.start()

    def changed(self, board: RunBoard, task_id: str, line: TaskLine) -> None:
        """Do nothing: the next picture shows it."""

    def ended(self, board: RunBoard) -> None:
        """Do nothing: the next picture shows it."""

    def note(self, text: str) -> None:
        """Keep a line below the runs."""
        self._notes.append(printable(text))
        if self._live is None:
            say(text)

    def close(self) -> None:
        """Draw the end and show the cursor again."""
        live, self._live = self._live, None
        if live is not None:
            live.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _frames_per_second(board: RunBoard) -> int:
    return FRAMES_PER_SECOND if len(board.tasks) < LARGE_TASKS else FRAMES_PER_SECOND_LARGE


def _counts(board: RunBoard) -> str:
    parts = [f"{board.done}/{len(board.tasks)} tasks done"]
    parts += [
        f"{board.counts[status]} {status}"
        for status in ("running", "retrying", "dead", "failed", "skipped", "cancelled")
        if board.counts[status]
    ]
    return ", ".join(parts)
