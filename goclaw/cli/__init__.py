"""The command line: the table of commands, each imported when it is called.

`goclaw --help` imports click and nothing else of weight; a test holds it to that.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

import click

from goclaw.cli.frame import Entry, LazyGroup
from goclaw.cli.frame import run as run_framed  # importing goclaw.cli.run takes the other name
from goclaw.cli.version import print_version

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS: Final = {
    "validate": Entry("goclaw.cli.definitions:validate", "Check a workflow file."),
    "plan": Entry("goclaw.cli.definitions:plan", "Show the order in which tasks can run."),
    "schema": Entry("goclaw.cli.definitions:schema", "Print the JSON Schema of definitions."),
    "run": Entry("goclaw.cli.run:run", "Run a workflow file and show it live."),
    "submit": Entry("goclaw.cli.submit:submit", "Begin a run of a registered workflow."),
    "resume": Entry("goclaw.cli.run:resume", "Go on with every run that is not finished."),
    "runs": Entry("goclaw.cli.runs:runs", "List runs; show one, or its result."),
    "sagas": Entry("goclaw.cli.sagas:sagas", "Run sagas; list, undo, retry, resolve them."),
    "dead": Entry("goclaw.cli.dead:dead", "List dead letters; run them again, give them up."),
    "schedules": Entry("goclaw.cli.schedules:schedules", "Begin runs by the clock."),
    "why": Entry("goclaw.cli.why:why", "Say what a run, or a task of it, waits for."),
    "path": Entry("goclaw.cli.path:path", "Change a run while it goes on."),
    "signal": Entry("goclaw.cli.signal:signal", "Talk to work that goes on."),
    "inbox": Entry("goclaw.cli.inbox:inbox", "List what waits for people to decide."),
    "approve": Entry("goclaw.cli.inbox:approve", "Approve what a task asks."),
    "reject": Entry("goclaw.cli.inbox:reject", "Reject what a task asks."),
    "collect": Entry("goclaw.cli.collect:collect", "Gather how tasks and runs end."),
    "collectors": Entry("goclaw.cli.collectors:collectors", "List collectors; close one."),
    "workflows": Entry("goclaw.cli.workflows:workflows", "Register workflows; list them."),
    "engine": Entry("goclaw.cli.engine:engine", "Start an engine to talk to; stop it."),
    "lanes": Entry("goclaw.cli.lanes:lanes", "List lanes; change, pause, drain one."),
    "watch": Entry("goclaw.cli.watch:watch", "Watch runs, lanes or events as they change."),
    "views": Entry("goclaw.cli.views:views", "Ask the views; build them again."),
    "replay": Entry("goclaw.cli.replay:replay", "Show state as it was, or verify the replay."),
    "log": Entry("goclaw.cli.log:log", "Read, verify, export, archive the log."),
    "backup": Entry("goclaw.cli.backup:backup", "Copy a data directory."),
    "restore": Entry("goclaw.cli.backup:restore", "Make a data directory from a backup."),
    "fsck": Entry("goclaw.cli.fsck:fsck", "Check a data directory, and mend it."),
    "demo": Entry("goclaw.cli.demo:demo", "Let a team of agents audit a source tree."),
    "bench": Entry("goclaw.cli.bench:bench", "Measure the log or the engine on this machine."),
    "import": Entry("goclaw.cli.importing:import_", "Turn foreign workflows into definitions."),
    "completion": Entry("goclaw.cli.completion:completion", "Let a shell complete commands."),
    "config": Entry("goclaw.cli.config:config", "Show, check or describe the settings."),
    "doctor": Entry("goclaw.cli.doctor:doctor", "Look for what would keep Goclaw from working."),
    "version": Entry("goclaw.cli.version:version", "Print the version."),
}
"""Every command, in the order in which `goclaw --help` lists them."""


@click.group(
    cls=LazyGroup,
    entries=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 ok, 1 run failed, 2 usage or invalid definition, 3 not found, 4 timeout, "
    "5 unavailable, 6 data damaged, 7 conflict, 130 interrupted.",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=print_version,
    help="Print the version and exit.",
)
def cli() -> None:
    """Run workflows of AI agents on a durable, event-sourced log."""


def main(args: Sequence[str] | None = None) -> int:
    """Run the command that `args` (by default the process's arguments) name.

    Returns the exit code; errors were reported on stderr, and with `--json` on stdout too.
    """
    return run_framed(cli, sys.argv[1:] if args is None else list(args))
