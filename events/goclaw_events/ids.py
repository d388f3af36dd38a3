"""Ids, stream names and the partition that owns a routing key."""

from __future__ import annotations

import re
from typing import Final

from goclaw_events.errors import InvalidId

ID_LENGTH_MAX: Final = 200
_ID: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,199}\Z")
_SAGA: Final = "~"
_PLAIN: Final = re.compile(r"[A-Za-z0-9_-]+\Z")

OWNERS: Final = ("workflow", "saga")
"""Kinds of streams that have tasks."""
OF_RUNS: Final = (*OWNERS, "task")
PARTITION_STREAM: Final = "$partition"


def is_id(text: str) -> bool:
    """Tell whether `text` may be an id (a run, a task, a lane, a definition)."""
    return _ID.match(text) is not None


def is_plain(text: str) -> bool:
    """Tell whether an id can be written in a template without quotes."""
    return _PLAIN.match(text) is not None


def check_id(text: str, what: str) -> str:
    """Return `text`, or raise `InvalidId` naming `what` it was meant to be."""
    if _ID.match(text) is None:
        msg = f"{what} {text[:60]!r} is not an id"
        raise InvalidId(
            msg,
            hint="1 to 200 of A-Z a-z 0-9 _ . : - and the first one of A-Z a-z 0-9 _",
            value=text[:ID_LENGTH_MAX],
        )
    return text


def workflow_stream(run_id: str) -> str:
    """Name the stream of a run."""
    return "workflow/" + run_id


def saga_key(saga_id: str) -> str:
    """Return what names a saga where otherwise the id of a run stands: no run has such an id."""
    return _SAGA + saga_id


def is_saga(key: str) -> bool:
    """Tell whether what stands where the id of a run may stand names a saga."""
    return key.startswith(_SAGA)


def plain_id(key: str) -> str:
    """Return the id of a saga, or of a run, as people know it."""
    return key.removeprefix(_SAGA)


def saga_stream(saga_id: str) -> str:
    """Name the stream of a saga."""
    return "saga/" + saga_key(saga_id)


def owner_stream(key: str) -> str:
    """Name the stream of the run, or of the saga, that tasks belong to."""
    return ("saga/" if is_saga(key) else "workflow/") + key


def task_stream(run_id: str, task_id: str) -> str:
    """Name the stream of a task of a run (or of a saga, by its key)."""
    return f"task/{run_id}/{task_id}"


def is_spawned(task_id: str) -> bool:
    """Tell whether a task is one that another spawned: `site/page-0`, by its key behind the id."""
    return "/" in task_id


def lane_stream(lane_id: str) -> str:
    """Name the stream of a lane: `digest/io`, or `/io` for one that all definitions share."""
    return "lane/" + lane_id


def kept_slot(stream: str, token: int) -> str:
    """Name the slot that an abandoned attempt of a task keeps."""
    return f"{stream}#{token}"


def keeper_of(slot: str) -> tuple[str, int]:
    """Return whose slot a lane lends: the task's stream, and the attempt if it is kept, or 0."""
    stream, _, token = slot.partition("#")
    return stream, int(token or 0)


def catalogue_stream(name: str) -> str:
    """Name the stream of what is registered under the name of a definition."""
    return "catalogue/" + name


def unique_stream(definition: str, task_id: str) -> str:
    """Name the stream of the keys of a task that is unique, over all runs of its definition."""
    return f"unique/{definition}/{task_id}"


def collector_stream(collector_id: str) -> str:
    """Name the stream of a collector."""
    return "collector/" + collector_id


def schedule_stream(name: str) -> str:
    """Name the stream of a schedule."""
    return "schedule/" + name


def kind_of(stream: str) -> str:
    """Name the aggregate that a stream belongs to: `workflow`, `task`, `lane`..."""
    return stream.partition("/")[0]


def routing_key(stream: str) -> str:
    """Return the id that decides the partition: the run's for its tasks, the lane's for a lane.

    For a saga and its tasks it is the saga's key.
    """
    kind, _, rest = stream.partition("/")
    return rest.partition("/")[0] if kind == "task" else rest


def called(stream: str) -> str:
    """Call what a stream is of as people do: `task a of run r`."""
    kind, _, rest = stream.partition("/")
    if kind == "task":
        key, _, task = rest.partition("/")
        return f"task {task} of {called(owner_stream(key))}"
    if kind == "saga":
        return f"saga {plain_id(rest)}"
    return f"{'run' if kind == 'workflow' else kind} {rest}"


def fnv1a32(data: bytes) -> int:
    """Hash `data` with 32-bit FNV-1a (as NATS subject mapping does: `partition()`)."""
    value = 0x811C9DC5
    for byte in data:
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return value


def partition_of(stream: str, partitions: int) -> int:
    """Return the partition that owns a stream."""
    if partitions == 1:
        return 0
    return fnv1a32(routing_key(stream).encode()) % partitions
