"""Goclaw as a process of its own: started, watched until something happens, signalled."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from typing import IO, TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pathlib import Path

DEADLINE_S: Final = 60.0

WORK: Final = '''
import threading
import time
from pathlib import Path

import goclaw


def note(ctx, here):
    """Write down that an attempt ran; the first one of a blocking task tells who waits for it."""
    with Path(here, "ledger").open("a") as file:
        file.write(f"{ctx.task_id} {ctx.attempt}\\n")


@goclaw.agent("work.step")
async def step(ctx, here):
    note(ctx, here)
    return ctx.task_id


@goclaw.agent("work.block")
def block(ctx, here, deaf=False):
    note(ctx, here)
    if ctx.attempt == 1:
        with Path(here, "started").open("w") as fifo:
            fifo.write("started")
        if deaf:
            threading.Event().wait()
        while True:
            ctx.sleep(1)  # one of more than 5 s would end the attempt
    return "done at last"
'''

FLOW: Final = """
name: blocked
input: {here: {type: string}, deaf: {type: boolean, default: false}}
tasks:
  first: {agent: work.step, with: {here: "${input.here}"}}
  second:
    agent: work.block
    needs: [first]
    with: {here: "${input.here}", deaf: "${input.deaf}"}
  third: {agent: work.step, needs: [second], with: {here: "${input.here}"}}
output: ["${tasks.first.result}", "${tasks.second.result}", "${tasks.third.result}"]
"""


def prepare(here: Path) -> None:
    """Put a workflow, its agents and the fifo that they tell their start through into a folder."""
    (here / "work.py").write_text(WORK)
    (here / "flow.yaml").write_text(FLOW)
    os.mkfifo(here / "started")


def start(here: Path, *args: str) -> subprocess.Popen[bytes]:
    """Start `goclaw ARGS` in a folder."""
    return subprocess.Popen(
        [sys.executable, "-m", "goclaw", *args],
        cwd=here,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def start_blocked(here: Path, *args: str) -> subprocess.Popen[bytes]:
    """Run the workflow of `prepare`; return once its second task runs, and blocks."""
    fifo = os.open(here / "started", os.O_RDONLY | os.O_NONBLOCK)
    given = ("run", "flow.yaml", "--input", f"here={here}", "--module", "work", *args)
    process = start(here, *given)
    try:
        assert select.select([fifo], [], [], DEADLINE_S)[0], "the task did not start"
        assert os.read(fifo, 100) == b"started"
    except BaseException:
        process.kill()
        raise
    finally:
        os.close(fifo)
    return process


def read_until(stream: IO[bytes], text: bytes) -> bytes:
    """Read a pipe until `text` has come."""
    found, deadline = b"", time.monotonic() + DEADLINE_S
    while text not in found:
        assert select.select([stream], [], [], deadline - time.monotonic())[0], found
        more = os.read(stream.fileno(), 65536)
        assert more, f"the pipe ended before {text!r}: {found!r}"
        found += more
    return found


def last_json(out: bytes | str) -> Any:
    """Return the JSON value on the last line."""
    return json.loads(out.splitlines()[-1])


def ledger(here: Path) -> list[str]:
    """Return which attempts ran, in order."""
    return (here / "ledger").read_text().splitlines()
