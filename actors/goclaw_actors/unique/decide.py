"""What becomes of a task that wants a key: it has it, is refused, joins, or takes the place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.decider import NOTHING, Decider, Decision, Send
from goclaw_actors.lending import ClaimKey, FreeKey, RefuseWaiting
from goclaw_actors.messages import (
    KeyEnded,
    KeyGranted,
    KeyRefused,
    KeyShared,
    KeyTaken,
)
from goclaw_actors.unique.state import COMPLETED, FORM, Unique, encode, evolve
from goclaw_events.facts import KeyClaimed, KeyFreed, KeyJoined, KeyWanted

if TYPE_CHECKING:
    from goclaw_actors.decider import Moment
    from goclaw_actors.unique.state import Row

KEYS_MAX: Final = 1_000_000
"""Tasks that have keys, joined, or completed within their windows."""
JOINED_MAX: Final = 256
"""As many as can be told in one turn."""
DUPLICATE: Final = "task_duplicate"
REPLACED: Final = "task_replaced"
FULL: Final = "unique_full"


def decide(unique: Unique, message: Any, moment: Moment) -> Decision:
    """Answer a message; see the table in docs/reference/states.md."""
    match message:
        case ClaimKey():
            return _claim(unique, message, moment)
        case FreeKey():
            return _free(unique, message, moment)
        case RefuseWaiting():
            return NOTHING  # it can be read again
        case _:
            msg = f"a unique task does not understand {type(message).__name__}"
            raise TypeError(msg)


def _claim(unique: Unique, message: ClaimKey, moment: Moment) -> Decision:
    key, task, now_ns = message.key, message.task, moment.now_ns
    until_ns = now_ns + message.window_ns if message.window_ns else 0
    holder = unique.holder(key)
    # a task that runs again has done with the key what it did before
    over = holder is not None and (holder.until_ns <= now_ns or holder.task == task)
    if holder is None or (holder.done and over):
        if holder is None and unique.count >= KEYS_MAX:
            return _refuse(task, FULL, f"{KEYS_MAX} keys of it are in use")
        return _grant(KeyClaimed(key, task, until_ns, now_ns))
    if _has_asked(unique, key, task, holder):
        return NOTHING
    match message.on_duplicate:
        case "join":
            return _join(unique, message, holder, moment)
        case "replace":
            return _take_place(unique, KeyWanted(key, task, until_ns, now_ns), holder)
        case _:
            other = holder.task.partition("/")[2]
            return _refuse(task, DUPLICATE, f"{other} has the key {key!r}")


def _take_place(unique: Unique, fact: KeyWanted, holder: Row) -> Decision:
    """Have a task come next: instead of who has the key, if that has not begun."""
    key, task = fact.key, fact.task
    if holder.done:
        return _grant(KeyClaimed(*fact))
    waiting = unique.next(key)
    sends = [Send(holder.task, KeyTaken(task)), Send(task, KeyShared(holder.task))]
    if waiting is not None:
        text = f"{task.partition('/')[2]} came for the key {key!r}"
        sends.append(Send(waiting.task, KeyRefused(REPLACED, text)))
    return Decision((fact,), sends)


def _has_asked(unique: Unique, key: str, task: str, holder: Row) -> bool:
    waiting = unique.next(key)
    is_next = waiting is not None and waiting.task == task
    return holder.task == task or is_next or task in unique.joined(key)


def _join(unique: Unique, message: ClaimKey, holder: Row, moment: Moment) -> Decision:
    key, task = message.key, message.task
    told = Send(task, KeyShared(holder.task))
    if holder.done:
        ended = KeyEnded(COMPLETED, holder.result, None)
        return Decision((), (told, Send(task, ended)))
    if len(unique.joined(key)) >= JOINED_MAX:
        return _refuse(task, FULL, f"{JOINED_MAX} tasks have joined {holder.task} already")
    return Decision((KeyJoined(key, task, moment.now_ns),), (told,))


def _grant(fact: KeyClaimed) -> Decision:
    return Decision((fact,), (Send(fact.task, KeyGranted()),))


def _refuse(task: str, code: str, text: str) -> Decision:
    return Decision((), (Send(task, KeyRefused(code, text)),))


def _free(unique: Unique, message: FreeKey, moment: Moment) -> Decision:
    """Take a key back, tell who joined, and give it to who is next."""
    key, task, now_ns = message.key, message.task, moment.now_ns
    holder, waiting = unique.holder(key), unique.next(key)
    freed = KeyFreed(key, task, message.status, message.result, now_ns)
    if holder is None or holder.task != task or holder.done:
        waits = task in unique.joined(key) or (waiting is not None and waiting.task == task)
        return Decision((freed,)) if waits else NOTHING
    joined = unique.joined(key)
    facts: list[Any] = [freed]
    sends: list[Send] = []
    following: str | None = None
    until_ns = 0
    if message.status != "cancelled":
        ended = KeyEnded(message.status, message.result, message.error)
        sends = [Send(other, ended) for other in joined]
    elif joined:
        # nobody asked for its end: the first of them does the work instead
        following, until_ns = joined[0], holder.until_ns
    if following is None and waiting is not None:
        following, until_ns = waiting.task, waiting.until_ns
    if following is not None:
        facts.append(KeyClaimed(key, following, until_ns, now_ns))
        sends.append(Send(following, KeyGranted()))
    return Decision(facts, sends)


def _is_final(_: Unique) -> bool:
    return False


UNIQUE: Final = Decider(Unique, decide, evolve, _is_final, encode, FORM)
"""The keys of a unique task as a value."""
