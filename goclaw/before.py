"""How far back something is to go: a position, an age, or what the settings say."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from goclaw.errors import NotFound, UsageInvalid
from goclaw_actors.archiving import number_before
from goclaw_events.durations import BadDuration, parse_duration
from goclaw_events.envelope import InvalidPosition, Position

if TYPE_CHECKING:
    from collections.abc import Iterator

    from goclaw_events.journal import Journal


class Before(NamedTuple):
    """What lies below `position` (of its partition alone), or is older than `age_s`.

    Neither: everything.
    """

    position: Position | None = None
    age_s: float | None = None

    def numbers(self, journal: Journal, now_ns: int) -> Iterator[tuple[int, int]]:
        """Yield (partition, number) for each partition: what lies below the number is meant.

        Raises `NotFound` for a position of a partition that the log does not have.
        """
        if self.position is not None:
            if self.position.partition >= journal.partitions:
                msg = f"the log has no partition {self.position.partition}"
                raise NotFound(msg, hint=f"it has partitions 0 to {journal.partitions - 1}")
            yield self.position.partition, self.position.number
            return
        for partition in range(journal.partitions):
            number = journal.durable(partition) + 1
            if self.age_s is not None:
                time_ns = now_ns - int(self.age_s * 1e9)
                least = journal.history(partition)
                number = number_before(journal, partition, time_ns, least)
            yield partition, number


def parse_before(text: str) -> Before:
    """Read `0:42` or `42` (a position), or `30d`, `12h`, `0s` (an age); raises `UsageInvalid`."""
    try:
        return Before(position=Position.parse(text))
    except InvalidPosition:
        try:
            return Before(age_s=parse_duration(text))
        except BadDuration as error:
            msg = f"{text!r} is neither a position nor an age"
            raise UsageInvalid(msg, hint="write 0:42 or 42, or 30d, 12h, 90m") from error
