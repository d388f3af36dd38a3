"""A task that collects: it waits for the end of a collector before it asks its lane.

The collector is the task's own, opened by it under an id that follows from task and generation, or
one that somebody opened before. What was collected is not kept here: the parameters hold a
reference, which is followed where the task runs.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

from goclaw_actors.collecting import CancelCollector, OpenCollector, WatchCollector
from goclaw_actors.decider import Send
from goclaw_actors.task.limits import after_ns
from goclaw_actors.task.state import COLLECTING
from goclaw_events.ids import collector_stream
from goclaw_events.value import BlobRef

if TYPE_CHECKING:
    from goclaw_actors.contents import Contents
    from goclaw_actors.decider import Moment
    from goclaw_actors.messages import ScheduleTask
    from goclaw_actors.task.state import Task


def ask(task: Task, message: ScheduleTask, contents: Contents, moment: Moment) -> Send:
    """Return what opens the collector of a task, or asks the one that it names for its end."""
    assert message.collect is not None, "the task collects"
    name, is_own = message.collect
    if not is_own:
        return Send(collector_stream(name), WatchCollector(task.stream))
    wish = message.wish
    wish = contents.value(wish) if isinstance(wish, BlobRef) else wish
    rule, wanted, by, failures_max, deadline_s, members, select, live = wish
    digest = blake2b(f"{task.stream}\0{message.generation}".encode(), digest_size=16).digest()
    due_ns = after_ns(moment.now_ns, deadline_s)
    said = (rule, wanted, by, failures_max, due_ns, members, digest, f"task {task.task_id}")
    count = sum(len(tasks) for _, tasks in members)
    opened = OpenCollector(*said, task.stream, select, live, members_count=count)
    return Send(collector_stream(name), opened)


def left(task: Task) -> tuple[Send, ...]:
    """Return what ends the collector of a task that does not wait for it any more."""
    if task.status != COLLECTING or task.collect is None:
        return ()
    name, is_own = task.collect
    why = CancelCollector(f"task {task.task_id} of run {task.run_id} waits for it no more")
    return (Send(collector_stream(name), why),) if is_own else ()
