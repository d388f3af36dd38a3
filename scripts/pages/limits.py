"""The page docs/reference/limits.md: every limit of what a user defines, says and runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from goclaw.config import Settings
from goclaw_actors.catalogue import VERSIONS_MAX
from goclaw_actors.collector.decide import WATCHERS_MAX
from goclaw_actors.executors.http.call import REDIRECTS_MAX
from goclaw_actors.executors.outcomes import MESSAGE_BYTES_MAX, TRACE_BYTES_MAX
from goclaw_actors.executors.progress import PROGRESS_MESSAGE_BYTES_MAX
from goclaw_actors.executors.resolve import RESOLVED_BYTES_MAX
from goclaw_actors.executors.sleeping import SLEEP_S_MAX
from goclaw_actors.executors.spawning import SPAWN_DEPTH_MAX, SPAWNED_MAX
from goclaw_actors.executors.steps import NAME_CHARS_MAX, STEPS_MAX
from goclaw_actors.executors.window import OUTPUT_BYTES_MAX, UNWRITTEN_BYTES_MAX
from goclaw_actors.history import TASK_BYTES, TASK_FACTS, WARN_PART
from goclaw_actors.lane.draft import HOPS_MAX
from goclaw_actors.orders import DEPTH_MAX, KEY_BYTES_MAX
from goclaw_actors.replies import REPLIES_MAX
from goclaw_actors.task.dying import KILLS_MAX
from goclaw_actors.task.hearing import BODY_BYTES_MAX, HELD_MAX
from goclaw_actors.task.limits import LIMITED_MAX
from goclaw_actors.turns import TURN_BYTES_MAX
from goclaw_actors.unique.decide import JOINED_MAX, KEYS_MAX
from goclaw_actors.workflow.changing import CHANGES_MAX
from goclaw_actors.workflow.letters import EDITS_BYTES_MAX
from goclaw_actors.workflow.mail import KEPT_BYTES_MAX
from goclaw_actors.workflow.telling import COLLECTORS_MAX
from goclaw_events import conditions, yaml_source
from goclaw_events.collect_checks import MEMBERS_MAX
from goclaw_events.definition import ATTEMPTS_MAX, EDGES_MAX, TASKS_MAX
from goclaw_events.ids import ID_LENGTH_MAX
from goclaw_events.items import ITEMS_MAX
from goclaw_events.output import CHUNK_BYTES_MAX
from goclaw_events.saga.definition import STEPS_MAX as SAGA_STEPS_MAX
from goclaw_events.shape import DEPTH_MAX as SHAPE_DEPTH_MAX
from goclaw_events.value import INLINE_BYTES_MAX, VALUE_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Sequence

_KIB: Final = 1024
_MIB: Final = 1024 * 1024


class Row(NamedTuple):
    """A limit: `most` is a figure, or the key of the setting that holds it.

    `code` is that of the error which says that it is reached; '': none comes, and `then` says what
    happens. `then` is what to do about it.
    """

    what: str
    most: int | str
    code: str
    then: str
    is_bytes: bool = False


DEPTH: Final = (
    Row("Runs and sagas within each other (`workflow:`, `saga:`, `foreach:`)", DEPTH_MAX,
        "child_too_deep", "end the recursion, or pass the rest on to a run of its own"),
    Row("Tasks spawned by spawned tasks", SPAWN_DEPTH_MAX, "child_too_deep", "end the recursion"),
    Row("Lanes that a full lane sends a task on through", HOPS_MAX, "lane_full",
        "give one of them more capacity"),
    Row("Levels of a definition's file", yaml_source.DEPTH_MAX, "invalid_definition",
        "write it flatter"),
    Row("Levels of a condition", conditions.DEPTH_MAX, "invalid_definition",
        "decide in a task, and ask for its result"),
    Row("Levels of a signal's schema", SHAPE_DEPTH_MAX, "invalid_definition", "write it flatter"),
)  # fmt: skip
FAN_OUT: Final = (
    Row("Tasks of a definition, and of a run with what was added to it", TASKS_MAX,
        "invalid_definition", "work on a list with `foreach:`, or in child runs"),
    Row("Needs of a definition, of all tasks together", EDGES_MAX, "invalid_definition",
        "put a task between that all the others need"),
    Row("Steps of a saga", SAGA_STEPS_MAX, "invalid_definition", "let a step begin a saga"),
    Row("Items of a list (`foreach:`)", ITEMS_MAX, "fan_out_too_large",
        "a list of lists, and a `workflow:` for each"),
    Row("Tasks that one task spawns", SPAWNED_MAX, "fan_out_too_large",
        "let each spawn a part of them, or use `foreach:`"),
    Row("Members of a collector", MEMBERS_MAX, "collect_invalid", "several collectors"),
    Row("Collectors that wait for one run", COLLECTORS_MAX, "",
        "for a further one its tasks are `unknown`: let one collect for several"),
    Row("Tasks that wait for one collector", WATCHERS_MAX, "",
        "for a further one the collector is `unknown`"),
)  # fmt: skip
HISTORY: Final = (
    Row("Facts of a task, a run or a saga", "engine.history_facts_max", "history_full",
        "go on in a new run; [how](../how-to/go-on-in-a-new-run.md)"),
    Row("Bytes of these facts", "engine.history_bytes_max", "history_full",
        "as above; keep large values in files, or over 64 KiB: those are kept apart"),
    Row("Durable steps of a task", STEPS_MAX, "step_invalid",
        "do more in a step, or spawn tasks"),
    Row("Changes of a run's path", CHANGES_MAX, "path_limit", "submit a new run"),
    Row("Attempts of a task (`retry.attempts`)", ATTEMPTS_MAX, "invalid_definition",
        "`on_exhausted: dead_letter`, and redrive it"),
    Row("Attempts lost with their process, of one task", "engine.lost_max", "lost_too_often",
        "it is a dead letter: `goclaw dead list`"),
    Row("Workers in a row that end with an attempt of one task", KILLS_MAX, "worker_died",
        "it is a dead letter: `goclaw dead list`"),
    Row("Attempts that do not count because of a rate limit", LIMITED_MAX, "rate_limited",
        "further ones count as failed: limit the rate of the lane"),
    Row("Versions of a registered workflow", VERSIONS_MAX, "catalogue_full", "another name"),
    Row("Answers to commands that a stream remembers, for 24 h", REPLIES_MAX, "",
        "an older command that is sent again is a new one"),
)  # fmt: skip
WAITING: Final = (
    Row("Commands that wait for the engine", "engine.commands_max", "busy",
        "try again in a moment"),
    Row("Tasks that wait in a lane", "lanes.ID.capacity", "lane_full",
        "`overflow: block`, or a larger capacity"),
    Row("Runs that wait for room in a lane that blocks", "lanes.ID.waiters_max", "lane_full",
        "submit later"),
    Row("Sagas that wait for their turn", "sagas.waiting_max", "lane_full", "submit later"),
    Row("Messages that wait for one task, or of one name for a run", "signals.waiting_max",
        "signals_full", "wait until some are taken"),
    Row("Messages that a task took and has not saved its state after", HELD_MAX, "signals_full",
        "call `ctx.save` in the agent"),
    Row("Named signals that wait for one run", KEPT_BYTES_MAX, "signals_full",
        "wait until some are taken", is_bytes=True),
    Row("Keys of a `unique:` in use", KEYS_MAX, "unique_full", "a shorter window"),
    Row("Tasks that join one other", JOINED_MAX, "unique_full", "wait for its end"),
)  # fmt: skip
WORK: Final = (
    Row("Attempts at once", "executors.attempts_max", "", "the others wait, with their slots"),
    Row("Tasks of a lane at once", "lanes.ID.concurrency", "", "the others wait in the lane"),
    Row("Sagas at once", "sagas.concurrent_max", "", "the others wait"),
    Row("Synchronous agents at once", "executors.threads_max", "", "the others wait"),
    Row("Worker processes", "executors.process.workers_max", "", "the others wait"),
    Row("Programs at once", "executors.exec.programs_max", "", "the others wait"),
    Row("Abandoned work whose grace is over", "executors.abandoned_max", "executor_exhausted",
        "start the engine again; run what cannot be stopped in processes"),
    Row("A sleep, in seconds", int(SLEEP_S_MAX), "step_invalid", "a schedule"),
    Row("Redirects of a request", REDIRECTS_MAX, "response_invalid", "ask the last address"),
)  # fmt: skip
SIZES: Final = (
    Row("A value: an input, a result, a state", VALUE_BYTES_MAX, "value_too_large",
        "write a file, and hand over its name", is_bytes=True),
    Row("All that a task is given, references looked up", RESOLVED_BYTES_MAX, "value_too_large",
        "as above", is_bytes=True),
    Row("A value that stands in a fact itself", INLINE_BYTES_MAX, "",
        "a larger one is kept apart, and referred to", is_bytes=True),
    Row("The facts that follow from one message", TURN_BYTES_MAX, "turn_too_large",
        "say less at once", is_bytes=True),
    Row("A message to a task, all its patches together, a named signal", BODY_BYTES_MAX,
        "value_too_large", "hand over the name of a file", is_bytes=True),
    Row("The edits of a dead letter", EDITS_BYTES_MAX, "value_too_large", "as above",
        is_bytes=True),
    Row("A chunk of output", CHUNK_BYTES_MAX, "value_too_large", "several chunks", is_bytes=True),
    Row("The output of an attempt", OUTPUT_BYTES_MAX, "output_full", "write to a file",
        is_bytes=True),
    Row("Output of an attempt that is not written yet", 2 * UNWRITTEN_BYTES_MAX, "output_full",
        "`await ctx.emit(...)`, which waits from half of it on", is_bytes=True),
    Row("What is kept of stdout and of stderr", "executors.exec.output_bytes_max", "",
        "the rest is dropped, and flagged"),
    Row("The answer to a request", "executors.http.response_bytes_max", "response_too_large",
        "ask for a part of it"),
    Row("The text of a failure", MESSAGE_BYTES_MAX, "", "the rest is cut off", is_bytes=True),
    Row("The traceback of a failure", TRACE_BYTES_MAX, "", "its end is kept", is_bytes=True),
    Row("The text of a progress report", PROGRESS_MESSAGE_BYTES_MAX, "", "the rest is cut off",
        is_bytes=True),
    Row("Characters of an id", ID_LENGTH_MAX, "invalid_id", "a shorter one"),
    Row("Characters of the name or key of a step", NAME_CHARS_MAX, "step_invalid",
        "a shorter one"),
    Row("The key of a task in its lane", KEY_BYTES_MAX, "lane_key_invalid", "a shorter one",
        is_bytes=True),
    Row("Characters of a condition", conditions.TEXT_LENGTH_MAX, "invalid_definition",
        "decide in a task, and ask for its result"),
)  # fmt: skip
LIMITS: Final = {
    "Depth": DEPTH,
    "Fan-out": FAN_OUT,
    "History": HISTORY,
    "What waits": WAITING,
    "What runs": WORK,
    "Sizes": SIZES,
}
"""Every limit, by what it is of."""


def default_of(key: str) -> int:
    """Return the default of a setting; raises `KeyError` where there is none of this name."""
    schema = Settings.model_json_schema()
    part, found = schema, schema
    for name in key.split("."):
        if name != "ID":
            found = part["properties"][name]
        reference = found.get("$ref") or found.get("additionalProperties", {}).get("$ref")
        part = schema["$defs"][reference.rpartition("/")[2]] if reference else part
    default = found["default"]
    assert isinstance(default, int), f"{key} is no limit"
    return default


def page() -> str:
    """Return the reference of limits."""
    tables = "\n\n".join(f"## {title}\n\n{_table(rows)}" for title, rows in LIMITS.items())
    own = f"{TASK_FACTS} facts and {_size(TASK_BYTES)}"
    return f"""# Limits

Written by `scripts/reference.py`; do not edit.

What can be defined, said and run has an end that is said here, so that no mistake takes the engine
with it. Behind a [setting](configuration.md) stands its default. What reaches a limit gets the
[error](errors.md) that is named, and loses nothing.

{tables}

## What a history is, and what fills it

Every fact that was recorded of a task is its history, and so of a run and of a saga: whoever
rebuilds it after a crash or an upgrade reads it. What is said to a task, what it saves, its steps
and its attempts make its history longer; pauses, signals by name, redriven tasks and changes of
the path that of a run; compensations that are tried again that of a saga. A run or a saga may have
{own} more for each of its tasks, so that its own work does not fill it.
Values over {_size(INLINE_BYTES_MAX)} are kept apart, and count as references; output is no fact.

From one part in {WARN_PART} of a limit on the log says so once (`history_long`), and
`goclaw doctor` and `goclaw why` do as long as it goes on.

A history that is full takes nothing more from outside: signals, changes and pauses are refused with
`history_full`. It still records how what runs ends, what was lost, that it is resumed, cancelled or
undone, and a named signal that a task waits for.
An agent gets `goclaw.HistoryFull` from `ctx.save` and from its next new step; progress is no longer
recorded. An attempt that fails is the last one: the task fails with `history_full`, and the
failure says how the attempt failed.

Lanes, schedules, collectors and catalogues go on for as long as they are used, and have no such
limit: snapshots keep them short to read, and [archiving](../how-to/keep-the-log-small.md) small.
"""


def _table(rows: Sequence[Row]) -> str:
    lines = [f"| {row.what} | {_most(row)} | {_code(row.code)} | {row.then} |" for row in rows]
    return "\n".join(("| what | at most | error | what to do |", "|---|---|---|---|", *lines))


def _most(row: Row) -> str:
    if isinstance(row.most, int):
        return _size(row.most) if row.is_bytes else f"{row.most:,}"
    default = default_of(row.most)
    return f"`{row.most}`: {_size(default) if 'bytes' in row.most else f'{default:,}'}"


def _code(code: str) -> str:
    return f"`{code}`" if code else ""


def _size(count: int) -> str:
    if count % _MIB == 0:
        return f"{count // _MIB} MiB"
    return f"{count // _KIB} KiB" if count % _KIB == 0 else f"{count} bytes"
