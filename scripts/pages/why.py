"""The page docs/reference/why.md: every kind of reason."""

from __future__ import annotations

from goclaw_actors.why.explain import TASKS_MAX
from goclaw_actors.why.reason import KINDS
from goclaw_actors.why.run import DEPTH_MAX, NEEDS_MAX
from goclaw_actors.why.task import HOLDERS_MAX


def page() -> str:
    """Return the reference of explanations."""
    expected = (
        "when it is expected to be over: timers and rates, and medians of how long the tasks took "
        "before; null where something was never seen"
    )
    holders = (
        f"some ({HOLDERS_MAX}) of those who hold what is waited for: `run_id`, `task`, "
        "`definition`, `status`, `since`, `for_s`; `details.holders` counts them all"
    )
    long = (
        "what of it grows [long](limits.md): `run_id` or `saga_id`, `task` or not, `name`, `facts` "
        "of `facts_max`, `bytes` of `bytes_max`, `full`; as far as an engine works on it"
    )
    rows = "\n".join(f"| `{kind}` | {text} |" for kind, text in KINDS.items())
    return f"""# Reasons for waiting

Written by `scripts/reference.py`; do not edit.

What `goclaw why RUN [TASK] --json`, `Engine.why`, `Client.why`, `SyncClient.why` and the operation
`why` of the [socket](socket.md) answer; [how to use it](../how-to/why-it-waits.md).

The dispatchers are asked between two batches, so an answer is of one moment, and it is given once
what it says is durable. Every claim is looked up: a timer where timers stand, an attempt where it
runs, a message in the inboxes. Where no engine runs the log is read instead.

| field | |
|---|---|
| `run_id`, `name`, `task` | what was asked for; `task` is null for the whole run |
| `asked_at` | the moment |
| `engine` | whether an engine works on it; if not, nothing goes on |
| `stuck` | whether there is a place where nothing will wake what waits |
| `reason` | why it waits |
| `long_histories` | {long} |

A reason:

| field | |
|---|---|
| `kind` | one of those below |
| `subject` | who waits: `{{run_id}}`, `{{run_id, task}}` or `{{lane}}` |
| `says` | the reason on a line |
| `since`, `for_s` | since when; null where that is not known |
| `until` | when what wakes it comes, if that is a time; the deadline of a run, or of what runs |
| `expected_at`, `expected_in_s` | {expected} |
| `details` | plain data, by kind |
| `holders` | {holders} |
| `because` | why that goes on: reasons |

Of a run {TASKS_MAX} active tasks are explained, of what a task needs {NEEDS_MAX}, and {DEPTH_MAX}
needs of needs; below that the tasks that hold all of it up are named at once (`details.through`
counts those between). A need that stands above is not repeated (`details.above`).

| kind | |
|---|---|
{rows}
"""
