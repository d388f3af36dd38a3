"""Draw runs for a terminal: a small one as a tree of its tasks, a large one step by step."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from rich.console import Group
from rich.text import Text
from rich.tree import Tree

from goclaw.board import ACTIVE
from goclaw.cli.output import printable
from goclaw_projections.states import TASK_ENDED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console, RenderableType

    from goclaw.board import RunBoard, TaskLine

RUNS_MAX: Final = 8
DEPTH_MAX: Final = 10
STEPS_MAX: Final = 8
ACTIVE_MAX: Final = 8
FAILED_MAX: Final = 4
NOTE_CHARS_MAX: Final = 80
BAR_CELLS: Final = 24
_ROWS_FOR_OTHERS: Final = 6

_STYLES: Final = {
    "pending": "dim", "scheduled": "dim", "running": "bold cyan", "waiting": "yellow",
    "retrying": "yellow", "cancelling": "yellow", "failing": "red", "completed": "green",
    "failed": "bold red", "dead": "bold red", "cancelled": "magenta", "skipped": "dim",
}  # fmt: skip
_MARKS: Final = {
    "pending": "·", "scheduled": "○", "running": "●", "waiting": "◷", "retrying": "↻",
    "cancelling": "◌", "completed": "✓", "failed": "✗", "cancelled": "⊘", "skipped": "»",
    "dead": "✉",
}  # fmt: skip
_PLAIN_MARKS: Final = {
    "pending": ".", "scheduled": "o", "running": "*", "waiting": "~", "retrying": "r",
    "cancelling": "c", "completed": "+", "failed": "x", "cancelled": "-", "skipped": ">",
    "dead": "!",
}  # fmt: skip


def draw(boards: Sequence[RunBoard], notes: Sequence[str], on: Console) -> RenderableType:
    """Return a picture of some runs that is not higher than the terminal."""
    marks = _MARKS if on.encoding.startswith("utf") else _PLAIN_MARKS
    shown = [board for board in boards if not board.has_ended] or list(boards)
    parts: list[RenderableType] = []
    for board in shown[:RUNS_MAX]:
        room = on.height - _ROWS_FOR_OTHERS
        if len(shown) == 1 and len(board.tasks) <= room:
            parts.append(_tree(board, marks))
        else:
            parts.append(_steps(board, marks, room if len(shown) == 1 else 0))
    if len(boards) > len(shown[:RUNS_MAX]):
        ended = sum(board.has_ended for board in boards)
        parts.append(Text(f"{len(boards)} runs, {ended} ended", style="dim"))
    parts += [Text(note, style="yellow") for note in notes]
    return Group(*parts)


def _head(board: RunBoard) -> Text:
    now_ns = board.now_ns if board.has_ended else time.time_ns()
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(board.plan.name, style="bold")
    text.append(f"  {board.run_id}  ", style="dim")
    text.append(board.status, style=_STYLES.get(board.status, ""))
    took_s = max(0.0, (now_ns - board.since_ns) / 1e9)
    text.append(f"  {board.done}/{len(board.tasks)}  {took_s:.1f}s")
    return text


def _tree(board: RunBoard, marks: dict[str, str]) -> Tree:
    """Hang each task below the last of its needs, or who spawned it; a long chain stays a list."""
    root = Tree(_head(board), guide_style="dim")
    nodes: list[Tree] = []
    is_deep = max(board.steps, default=0) >= DEPTH_MAX
    for task in board.plan.tasks:
        line = board.tasks[task.id]
        above = nodes[max(task.needs)] if task.needs and not is_deep else root
        others = f"  +{len(task.needs) - 1} needs" if len(task.needs) > 1 and not is_deep else ""
        nodes.append(above.add(_label(task.id, line, marks, others)))
    by_id = {task.id: node for task, node in zip(board.plan.tasks, nodes, strict=True)}
    for task_id in list(board.tasks)[len(nodes) :]:
        spawner = by_id.get(task_id.rpartition("/")[0])
        others = "  added" if spawner is None else ""
        label = _label(task_id, board.tasks[task_id], marks, others)
        by_id[task_id] = (root if spawner is None else spawner).add(label)
    return root


def _label(task_id: str, line: TaskLine, marks: dict[str, str], others: str = "") -> Text:
    text = Text(no_wrap=True, overflow="ellipsis")
    style = _STYLES.get(line.status, "")
    text.append(f"{marks.get(line.status, '?')} {printable(task_id)}", style=style)
    if line.status in TASK_ENDED and line.took_s is not None:
        text.append(f"  {line.took_s:.2f}s", style="dim")
    elif line.status in ACTIVE and line.started_ns is not None:
        text.append(f"  {max(0.0, (time.time_ns() - line.started_ns) / 1e9):.1f}s", style="dim")
    if line.status in ("waiting", "retrying", "cancelling", "dead", "skipped", "cancelled"):
        text.append(f"  {line.status}", style=style)
    if line.attempt > 1:
        text.append(f"  attempt {line.attempt}", style="yellow")
    if others:
        text.append(others, style="dim")
    if line.note:
        text.append("  " + printable(line.note).replace("\n", " ")[:NOTE_CHARS_MAX], style="dim")
    return text


def _steps(board: RunBoard, marks: dict[str, str], room: int) -> RenderableType:
    """Draw a bar for each step of the run, then what is active and what has failed."""
    rows: list[RenderableType] = [_head(board)]
    if room:
        bars = _bars(board)[: max(1, room // 2)]
        lines = list(board.tasks.items())
        active = [item for item in lines if item[1].status in ACTIVE]
        failed = [item for item in lines if item[1].status == "failed"]
        left = room - len(bars)
        shown = failed[: min(FAILED_MAX, left // 3)]
        left -= len(shown) + 1
        shown += active[: max(1, min(ACTIVE_MAX, left))]
        rows += bars
        rows += [_label(task_id, line, marks) for task_id, line in shown]
        more = len(active) - sum(line.status in ACTIVE for _, line in shown)
        if more > 0:
            rows.append(Text(f"  and {more} more", style="dim"))
    return Group(*rows)


def _bars(board: RunBoard) -> list[RenderableType]:
    steps = board.steps
    count = max(steps, default=0) + 1
    total, done = [0] * count, [0] * count
    for step, line in zip(steps, board.tasks.values(), strict=False):  # added ones have no step
        total[step] += 1
        done[step] += line.status in TASK_ENDED
    first = next((i for i in range(count) if done[i] < total[i]), count)
    start = max(0, min(first - STEPS_MAX // 2, count - STEPS_MAX))
    rows: list[RenderableType] = []
    for step in range(start, min(count, start + STEPS_MAX)):
        filled = BAR_CELLS * done[step] // total[step]
        text = Text(f"  step {step + 1:>3}  ", style="dim")
        text.append("━" * filled, style="green" if filled == BAR_CELLS else "cyan")
        text.append("━" * (BAR_CELLS - filled), style="bright_black")
        text.append(f"  {done[step]}/{total[step]}")
        rows.append(text)
    return rows
