"""`goclaw submit`: begin a run of a registered definition."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from goclaw.cli.completing import workflow_names
from goclaw.cli.options import (
    idempotency_option,
    input_options,
    json_option,
    key_values,
    settings_options,
)
from goclaw.cli.output import emit, json_pretty, say
from goclaw.errors import EXIT_FAILED, EXIT_OK

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from goclaw.config import Settings


@click.command()
@click.argument("name", metavar="NAME[@VERSION]", shell_complete=workflow_names)
@input_options
@click.option(
    "--run-id", metavar="ID", help="The run's id; the same request again gives the same run."
)
@idempotency_option
@click.option(
    "--label", "labels", multiple=True, callback=key_values, metavar="KEY=VALUE",
    help="A label of the run. May be repeated.",
)  # fmt: skip
@click.option("--wait", is_flag=True, help="Wait for its end, and print its result.")
@settings_options
@json_option
def submit(
    settings: Settings,
    name: str,
    inputs: Mapping[str, str],
    input_file: Path | None,
    run_id: str | None,
    idempotency_key: str | None,
    labels: Mapping[str, str],
    wait: bool,
    as_json: bool,
) -> int:
    """Begin a run of what is registered as NAME, and print the run's id.

    The engine that runs on the data directory gets it. With --wait exits 1 if the run failed.
    """
    from goclaw.cli.run import tell_submitted
    from goclaw.run_input import given_input
    from goclaw.sync_client import SyncClient
    from goclaw_events.errors import CodedError
    from goclaw_events.plan import unpack_plan

    with SyncClient(settings.data_dir) as client:
        try:
            found = client.ask("workflows.plan", name=name)
        except CodedError as error:
            if error.code == "definition_not_found" and os.path.isfile(name):  # noqa: PTH113 - a name
                error.hint = f"it is a file: goclaw run {name} --detach"
            raise
        given = given_input(unpack_plan(found["plan"]), inputs, input_file)
        # a repeat by name means the version of the first request: the engine knows which that was
        is_fresh = run_id is None and idempotency_key is None
        submitted = client.submit(
            f"{found['name']}@{found['version']}" if is_fresh else name,
            input=given,
            run_id=run_id,
            idempotency_key=idempotency_key,
            labels=labels,
        )
        if not wait:
            tell_submitted(settings, submitted, as_json=as_json)
            return EXIT_OK
        ended = client.ask("result", run_id=submitted.run_id)
    return _conclude(ended, as_json=as_json)


def _conclude(ended: Mapping[str, Any], *, as_json: bool) -> int:
    if as_json:
        emit(dict(ended))
    elif ended["status"] == "completed":
        click.echo(json_pretty(ended["result"]))
    if ended["status"] == "completed":
        return EXIT_OK
    code, message, _ = ended["error"] or ("", "", "")
    say(f"run {ended['run_id']} {ended['status']}" + (f": {message} [{code}]" if code else ""))
    return EXIT_FAILED
