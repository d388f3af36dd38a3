"""`goclaw demo`: a team of agents audits a source tree."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from goclaw.cli.options import json_option, process_option, settings_options
from goclaw.cli.output import printable, program, say

if TYPE_CHECKING:
    from collections.abc import Mapping

    from goclaw.config import Settings

AGENTS = "goclaw.demo.agents"


@click.command()
@click.argument("path", required=False, type=click.Path(path_type=Path))
@settings_options
@process_option
@json_option
def demo(settings: Settings, path: Path | None, as_json: bool) -> int:
    """Let a team of agents audit the Python source in PATH (by default the standard library).

    They scan, fan out by package, parse and measure, rank and report: some hundred tasks, each a
    real attempt in a lane, each recorded. Interrupt it, and resume it, as you like.
    """
    import warnings

    from goclaw.cli.run import conclude, displayed, resume_line
    from goclaw.demo.workflow import build, packages_of, standard_library
    from goclaw.foreground import Request, run_in_foreground
    from goclaw.submission import Preparer

    root = (path or standard_library()).resolve()
    workflow = build(root, packages_of(root))
    prepared = Preparer().prepare(workflow)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # of the source that is audited
        with displayed(settings) as display:
            ending = run_in_foreground(settings, Request(workflow, prepared, {}), display)
    line = resume_line(settings, [AGENTS], None)
    code = conclude(ending, line, as_json=as_json, show=_print_report)
    if not ending.cut_short:
        _say_what_next(settings, ending.records[0]["run_id"])
    return code


def _print_report(record: Mapping[str, Any]) -> None:
    click.echo(printable(record["result"]["text"]))
    tasks = len(record["tasks"])
    click.echo(f"\nAudited by {tasks} tasks in {record['duration_s']:.1f} s.")


def _say_what_next(settings: Settings, run_id: str) -> None:
    call = shlex.quote(program())
    where = shlex.join(["--data-dir", str(settings.data_dir)])
    say(
        "\nWhat to try next:\n"
        f"  {call} runs show {run_id} {where}   every task of it\n"
        f"  {call} log tail {where}   the last facts of the log\n"
        f"  {call} replay --verify {where}   fold everything again, and compare\n"
        f"  {call} demo . {where}   audit your own code; Ctrl-C, then resume"
    )
