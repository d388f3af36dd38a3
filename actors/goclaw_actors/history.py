"""How long the histories of a partition's actors grow, and what is refused to one that is full.

What counts, and why, says ADR 0032. The shell counts: facts by their seq, bytes by the turns that
frames hold, so that whoever rebuilds an actor comes to the same.
"""

from __future__ import annotations

from logging import getLogger
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from goclaw_actors.decider import Refused
from goclaw_actors.errors import HistoryFull
from goclaw_events.ids import called

if TYPE_CHECKING:
    from goclaw_actors.actor import Entity
    from goclaw_actors.message import Message
    from goclaw_actors.ports import Limits

WARN_PART: Final = 5
"""It is warned of a history that is so many times shorter than it may be."""
TASK_FACTS: Final = 8
"""So many facts more may be recorded for each task that a run or a saga sees to."""
TASK_BYTES: Final = 64 * 1024
"""So many bytes more: what the result of a task takes at most, which its run may hold."""
LONG_MAX: Final = 1_000
"""So many long histories are known by name at once."""
HISTORY_LONG: Final = "history_long"

log = getLogger(__name__)


class Grown(NamedTuple):
    """The length of a history that is worth a word; `refusal`: it is full, and this says so."""

    facts: int
    bytes: int
    facts_max: int
    bytes_max: int
    refusal: Refused | None


class Histories:
    """Watch one partition's actors; for the dispatcher's thread, but `long` may be copied by any.

    No actor need be looked at that has less than `facts_mark` facts and `bytes_mark` bytes. `long`
    are the histories that are worth a word and go on, as far as their actors were live here.
    """

    def __init__(self, limits: Limits) -> None:
        self._facts_max, self._bytes_max = limits.history_facts_max, limits.history_bytes_max
        self.facts_mark = self._facts_max // WARN_PART
        self.bytes_mark = self._bytes_max // WARN_PART
        self.long: dict[str, Grown] = {}

    def look(self, entity: Entity, *, is_rebuilt: bool = False) -> None:
        """Note how long the history of an actor is; warn once of what it has recorded just now."""
        bound, stream = entity.decider.bound, entity.stream
        if bound is None:
            return
        before, tasks = entity.grown, bound.tasks(entity.state)
        facts, size = entity.seq - TASK_FACTS * tasks, entity.size - TASK_BYTES * tasks
        if facts < self.facts_mark and size < self.bytes_mark:
            return
        if entity.decider.is_final(entity.state):
            self.long.pop(stream, None)
            return
        grown = Grown(
            entity.seq,
            entity.size,
            self._facts_max + TASK_FACTS * tasks,
            self._bytes_max + TASK_BYTES * tasks,
            None,
        )
        if facts >= self._facts_max or size >= self._bytes_max:
            grown = grown._replace(refusal=refusal_of(stream, grown))
        entity.grown = grown
        self.long[stream] = grown
        if len(self.long) > LONG_MAX:
            del self.long[next(iter(self.long))]
        is_news = before is None or (before.refusal is None and grown.refusal is not None)
        if is_news and not is_rebuilt:
            _warn(stream, grown)


def _warn(stream: str, grown: Grown) -> None:
    if grown.refusal is not None:
        refusal = grown.refusal
        log.warning("%s (%s)", refusal.message, refusal.hint, extra={"code": HistoryFull.code})
        return
    log.warning(
        "the history of %s grows long: %d facts and %d bytes, of %d and %d; then it can only end",
        *(called(stream), grown.facts, grown.bytes, grown.facts_max, grown.bytes_max),
        extra={"code": HISTORY_LONG},
    )


def refusal_of(stream: str, grown: Grown) -> Refused:
    """Return what is said of an actor whose history is full."""
    text = (
        f"the history of {called(stream)} is full: {grown.facts} facts and {grown.bytes} bytes, "
        f"of {grown.facts_max} and {grown.bytes_max}"
    )
    hint = "let it end, and go on in a new one; or raise engine.history_facts_max or _bytes_max"
    return Refused(HistoryFull.code, text, hint)


def refused(entity: Entity, message: Message) -> Refused | None:
    """Return why a message is not decided: somebody outside asks for more than there is room for.

    What has ended says so itself. What actors, executors and timers say is always decided.
    """
    grown, bound = entity.grown, entity.decider.bound
    is_asked = message.reply_to is not None or message.command_id is not None
    if grown is None or grown.refusal is None or bound is None or not is_asked:
        return None
    state: Any = entity.state
    if not bound.grows(message.body) or entity.decider.is_final(state):
        return None
    return grown.refusal
