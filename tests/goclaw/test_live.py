"""What is shown while runs go on: boards folded from facts, lines, and trees."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from goclaw.board import RunBoard
from goclaw.engine import Engine
from goclaw.live import LineDisplay, TreeDisplay, open_display
from goclaw.tree import draw
from goclaw_events import facts
from goclaw_events.envelope import Cause, Position
from goclaw_events.loading import load_definition
from goclaw_events.plan import compile_plan
from goclaw_projections.subscription import Recorded

if TYPE_CHECKING:
    from goclaw_events.plan import Plan

FLOW = """
name: shown
on_failure: continue
tasks:
  a: {agent: goclaw.echo}
  b: {agent: goclaw.fail, needs: [a], retry: {attempts: 2, initial: 0s}, with: {retryable: true}}
  c: {agent: goclaw.echo, needs: [a]}
  d: {agent: goclaw.echo, needs: [b, c]}
  e: {wait: 1ms, needs: [c]}
"""
REF: Any = None
SECOND = 10**9


def plan_of(text: str = FLOW) -> Plan:
    """Return a compiled plan."""
    return compile_plan(load_definition(text))


def wide(tasks: int) -> Plan:
    """Return a plan of many tasks after one."""
    lines = [f"  t{n}: {{agent: goclaw.echo, needs: [first]}}" for n in range(tasks)]
    return plan_of("\n".join(["name: wide", "tasks:", "  first: {agent: goclaw.echo}", *lines]))


def told(board: RunBoard, stream: str, *said: Any, at_s: float = 0.0) -> None:
    """Apply facts of a stream of the board's run."""
    kind, _, task = stream.partition("/")
    name = f"{kind}/{board.run_id}" + (f"/{task}" if task else "")
    for fact in said:
        time_ns = board.since_ns + int(at_s * SECOND)
        board.apply(Recorded(Position(0, 1), time_ns, name, 1, "", fact, Cause()))


def drawn(*boards: RunBoard, height: int = 40, notes: list[str] | None = None) -> str:
    """Return what a terminal of this height would show."""
    on = Console(file=io.StringIO(), width=100, height=height, force_terminal=True, no_color=True,
                 color_system=None)  # fmt: skip
    with on.capture() as capture:
        on.print(draw(boards, notes or [], on))
    return capture.get()


def test_a_board_has_the_states_of_the_views() -> None:
    """A task whose child run goes on waits; a run that lost a task, or its time, is failing."""
    board = RunBoard("r", plan_of(), 0)
    told(board, "task/a", facts.TaskScheduled(REF, 0, None, "", 0))
    told(board, "task/a", facts.ChildStarted(1, "c", REF))
    assert board.tasks["a"].status == "waiting"
    told(board, "workflow", facts.TaskEnded("b", 0, "failed", None, None))
    assert board.status == "failing"
    timed = RunBoard("r", plan_of(), 0)
    told(timed, "workflow", facts.RunTimedOut("late"))
    assert timed.status == "failing"


def test_a_board_has_what_was_spawned() -> None:
    """It comes with its first fact, or with what was recorded before; it hangs below its task."""
    board = RunBoard("r", plan_of(), 0)
    told(board, "task/a/k", facts.TaskScheduled(REF, 0, None, "", 0))
    told(board, "task/a/k/deep", facts.TaskScheduled(REF, 0, None, "", 0))
    told(board, "task/a/k", facts.AttemptStarted(1, 5, "n"))
    assert +board.counts == {"running": 1, "scheduled": 1, "pending": 5}
    lines = drawn(board).splitlines()
    (above,) = (at for at, line in enumerate(lines) if " a/k " in line)
    assert "a/k/deep" in lines[above + 1]
    assert lines[above + 1].index("a/k/deep") > lines[above].index("a/k")
    known = {name: (line.status, line.attempt, None, None) for name, line in board.tasks.items()}
    seeded = RunBoard("r", plan_of(), 0)
    seeded.seed("running", known)
    assert seeded.tasks.keys() == board.tasks.keys()
    assert seeded.counts == board.counts


async def test_a_board_ends_as_the_views_do() -> None:
    """Folded live from facts, it has the status and attempts of every task that the view has."""
    definition = load_definition(FLOW)
    async with Engine(":memory:") as engine:
        submitted = await engine.submit(definition)
        plan = compile_plan(definition)
        board = RunBoard(submitted.run_id, plan, 0)
        async for recorded in engine.subscribe(run_id=submitted.run_id):
            board.apply(recorded)
            if board.has_ended:
                break
        result = await engine.result(submitted.run_id)
        assert result.position is not None
        engine.views.runner.wait_for(result.position, 30)
        ids = [task.id for task in plan.tasks]
        views = engine.views.tasks.tasks_of(submitted.run_id, ids, run_ended=True)
        seeded = RunBoard(submitted.run_id, plan, 0)
        seeded.seed(
            result.status,
            {
                task_id: (view.status, view.attempts, view.started_at_ns, view.completed_at_ns)
                for task_id, view in views.items()
            },
        )
    for one in (board, seeded):
        assert one.status == result.status == "failed"
        assert {t: line.status for t, line in one.tasks.items()} == {
            t: view.status for t, view in views.items()
        }
        assert {t: line.attempt for t, line in one.tasks.items()} == {
            t: view.attempts for t, view in views.items()
        }
        assert one.done == len(ids)
        assert +one.counts == {"completed": 3, "failed": 1, "skipped": 1}


def test_a_board_counts_what_its_tasks_are() -> None:
    """Each fact moves one task; what is seen twice counts once; the end leaves nothing open."""
    board = RunBoard("r", plan_of(), 0)
    told(board, "task/a", facts.TaskScheduled(REF, 0, None, "/default", 0))
    assert +board.counts == {"scheduled": 1, "pending": 4}
    told(board, "task/a", facts.AttemptStarted(1, 5, "n"), at_s=1)
    told(board, "task/a", facts.ProgressReported(5, 0.5, "half"))
    assert board.tasks["a"].note == "50% half"
    told(board, "task/a", facts.AttemptFailed(1, 5, "oops", "no", "", False, 9))
    assert (board.tasks["a"].status, board.tasks["a"].note) == ("retrying", "oops: no")
    told(board, "task/a", facts.TaskRequeued(1), facts.AttemptStarted(2, 7, "n"))
    told(board, "task/a", facts.TaskCompleted(2, 7, None), at_s=3)
    told(board, "task/a", facts.AttemptStarted(1, 5, "n"))
    told(board, "task/unknown", facts.TaskCancelled("", False))
    assert (board.tasks["a"].status, board.tasks["a"].took_s) == ("completed", 2.0)
    told(board, "workflow", facts.TasksSkipped(["b"], "condition"))
    told(board, "workflow", facts.RunCancelRequested("", ""))
    assert board.status == "cancelling"
    told(board, "workflow", facts.RunCancelled(""))
    assert +board.counts == {"completed": 1, "skipped": 1, "cancelled": 3}
    assert (board.status, board.done) == ("cancelled", 5)


def test_a_task_that_could_not_begin_failed_and_says_why() -> None:
    """Its run alone tells of it; what a task said itself is not said again."""
    board = RunBoard("r", plan_of(), 0)
    told(board, "workflow", facts.TaskEnded("a", 0, "failed", None, ["invalid_time", "no time"]))
    assert (board.tasks["a"].status, board.tasks["a"].note) == ("failed", "invalid_time: no time")
    assert (board.status, board.done) == ("failing", 1)
    told(board, "task/b", facts.TaskCancelled("enough", False))
    told(board, "workflow", facts.TaskEnded("b", 0, "failed", None, ["x", "y"]))
    assert (board.tasks["b"].status, board.done) == ("cancelled", 2)


def test_a_task_that_was_passed_over_is_skipped() -> None:
    """As one whose deadline says so; one that is to run again is not, whatever it was before."""
    board = RunBoard("r", plan_of(), 0)
    told(board, "task/a", facts.TaskAwaiting(REF, 0, "go", {}, 9))
    told(board, "task/a", facts.TaskDropped("no signal go came"))
    assert (board.tasks["a"].status, board.tasks["a"].note) == ("skipped", "no signal go came")
    told(board, "task/b", facts.TaskDropped("replaced"))
    assert board.tasks["b"].status == "pending"


def test_lines_tell_each_end_of_a_small_run(capsys: pytest.CaptureFixture[str]) -> None:
    """How a task ended, how long it took, why; one line each, whatever the message holds."""
    board, display = RunBoard("r", plan_of(), 0), LineDisplay()
    display.add(board)
    told(board, "task/a", facts.AttemptStarted(2, 5, "n"), at_s=1)
    told(board, "task/a", facts.TaskFailed("oops", "two\nlines \x1b[31m"), at_s=3)
    display.changed(board, "a", board.tasks["a"])
    told(board, "workflow", facts.RunFailed("oops", "", "a"), at_s=4)
    display.ended(board)
    err = capsys.readouterr().err.splitlines()
    assert err == [
        "run r: shown, 5 tasks",
        "  a failed in 2.00s (attempt 2): oops: two lines \\x1b[31m",
        "run r failed after 4.00s: 5/5 tasks done, 1 failed, 4 cancelled",
    ]


def test_lines_count_the_tasks_of_a_large_run(capsys: pytest.CaptureFixture[str]) -> None:
    """A line a second, and one for each failure, up to a limit."""
    board, display = RunBoard("r", wide(500), 0), LineDisplay()
    for n in range(400):
        told(board, f"task/t{n}", facts.AttemptStarted(1, 5, "n"))
        told(board, f"task/t{n}", facts.TaskFailed("oops", str(n)) if n % 2 else
             facts.TaskCompleted(1, 5, None))  # fmt: skip
        display.changed(board, f"t{n}", board.tasks[f"t{n}"])
    err = capsys.readouterr().err.splitlines()
    assert sum(" failed" in line and "oops" in line for line in err) == 20
    assert 21 <= len(err) < 40


def test_a_small_run_is_a_tree() -> None:
    """Each task hangs below the last of its needs; marks, times and notes beside it."""
    board = RunBoard("r", plan_of(), 0)
    told(board, "task/a", facts.AttemptStarted(1, 5, "n"))
    told(board, "task/a", facts.TaskCompleted(1, 5, None), at_s=1.5)
    told(board, "task/b", facts.AttemptStarted(3, 6, "n"))
    told(board, "task/b", facts.ProgressReported(6, 0.25, "[bold]reading"))
    lines = drawn(board, notes=["stopping"]).splitlines()
    assert lines[0].startswith("shown  r  running  1/5")
    assert "✓ a  1.50s" in lines[1]
    b = next(line for line in lines if "● b" in line)
    assert "attempt 3" in b
    assert "25% [bold]reading" in b
    assert b.index("●") > lines[1].index("✓")
    assert any("· d" in line and "+1 needs" in line for line in lines)
    assert lines[-1] == "stopping"


@pytest.mark.parametrize("height", [12, 24, 60])
def test_a_large_run_fits_the_terminal(height: int) -> None:
    """A bar for each step, then what has failed and what is running."""
    board = RunBoard("r", wide(3000), 0)
    told(board, "task/first", facts.AttemptStarted(1, 5, "n"), facts.TaskCompleted(1, 5, None))
    for n in range(100):
        told(board, f"task/t{n}", facts.AttemptStarted(1, 5, "n"))
    told(board, "task/t0", facts.TaskFailed("oops", "no"))
    lines = drawn(board, height=height).splitlines()
    assert len(lines) <= height
    assert any("step   1" in line and "1/1" in line for line in lines)
    assert any("✗ t0" in line for line in lines)
    running = sum("● t" in line for line in lines)
    assert 1 <= running <= 8
    assert any(f"and {99 - running} more" in line for line in lines)


def test_many_runs_are_a_line_each() -> None:
    """Those that go on come first, and the rest is counted."""
    boards = [RunBoard(f"r{n}", plan_of(), 0) for n in range(20)]
    told(boards[0], "workflow", facts.RunCompleted(None))
    lines = drawn(*boards).splitlines()
    assert [line.split()[1] for line in lines[:-1]] == [f"r{n}" for n in range(1, 9)]
    assert lines[-1] == "20 runs, 1 ended"


def test_a_long_chain_stays_a_list() -> None:
    """A step to the right for each task would leave the screen."""
    steps = [f"  t{n}: {{agent: goclaw.echo, needs: [t{n - 1}]}}" for n in range(1, 20)]
    plan = plan_of("\n".join(["name: chain", "tasks:", "  t0: {agent: goclaw.echo}", *steps]))
    lines = drawn(RunBoard("r", plan, 0)).splitlines()
    assert len({line.index("·") for line in lines[1:]}) == 1


def test_a_terminal_gets_a_tree_and_a_pipe_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tree is drawn until it is closed, and the cursor comes back."""
    assert isinstance(open_display(), LineDisplay)
    out = io.StringIO()
    monkeypatch.setattr(
        "goclaw.live.console",
        lambda **_: Console(file=out, force_terminal=True, width=80, height=20),
    )
    monkeypatch.setenv("TERM", "xterm")
    display = open_display()
    assert isinstance(display, TreeDisplay)
    board = RunBoard("r", plan_of(), 0)
    display.add(board)
    told(board, "workflow", facts.RunCompleted(None))
    display.ended(board)
    display.close()
    display.close()
    assert "shown" in out.getvalue()
    assert "completed" in out.getvalue()
    assert out.getvalue().rstrip().endswith("\x1b[?25h")
