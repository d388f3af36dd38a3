"""`goclaw completion`: let a shell complete commands, options and ids."""

from __future__ import annotations

from typing import Final

import click

from goclaw.cli.frame import PROGRAM
from goclaw.cli.options import json_option
from goclaw.cli.output import emit

VARIABLE: Final = "_GOCLAW_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@json_option
def completion(shell: str, as_json: bool) -> None:
    r"""Print the script that makes SHELL complete commands, options, run ids and workflow names.

    \b
    bash:  eval "$(goclaw completion bash)"        in ~/.bashrc
    zsh:   eval "$(goclaw completion zsh)"         in ~/.zshrc, behind compinit
    fish:  goclaw completion fish > ~/.config/fish/completions/goclaw.fish
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None, "click knows the shells of the choice"
    group = click.get_current_context().find_root().command
    # click's class for bash asks which bash is there; its script is the same for all it can serve
    script = found.source_template % found(group, {}, PROGRAM, VARIABLE).source_vars()
    if as_json:
        emit({"shell": shell, "script": script})
    else:
        click.echo(script)
