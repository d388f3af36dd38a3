"""What an attempt in a worker process is told, as plain data on the socket."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from goclaw_actors.work import (
    Full,
    Interrupt,
    Limit,
    Offer,
    Pause,
    Recorded,
    Retract,
    Signal,
    Unrecorded,
    Written,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from goclaw_actors.work import Word


def plain_words(word: Word) -> Iterator[Any]:
    """Yield what to send for a word: signals one at a time, so that each fits into a frame."""
    if isinstance(word, Interrupt):
        yield {"interrupt": word.reason}
    elif isinstance(word, Limit):
        yield {"limit": list(word)}
    elif isinstance(word, Recorded):
        yield {"recorded": word.steps}
    elif isinstance(word, Unrecorded):
        yield {"unrecorded": list(word)}
    elif isinstance(word, Full):
        yield {"full": list(word)}
    elif isinstance(word, Pause):
        yield {"pause": word.is_on}
    elif isinstance(word, Written):
        yield word.size
    elif isinstance(word, Retract):
        yield word.signal
    else:
        for said in word.signals:
            yield list(said)


def word_of(said: Any) -> Word:
    """Return the word that was sent so."""
    if isinstance(said, dict):
        return _by_name(**said)
    if isinstance(said, int):
        return Written(said)
    if isinstance(said, str):
        return Retract(said)
    name, kind, mode, body, sender, redelivered, _ = said
    return Offer((Signal(name, kind, mode, body, sender, redelivered),))


def _by_name(
    *,
    interrupt: str = "",
    limit: Sequence[Any] | None = None,
    recorded: Sequence[Sequence[str]] | None = None,
    unrecorded: Sequence[str] | None = None,
    pause: bool | None = None,
    full: Sequence[str] | None = None,
) -> Word:
    if full is not None:
        return Full(*full)
    if limit is not None:
        return Limit(*limit)
    if pause is not None:
        return Pause(pause)
    if recorded is not None:
        return Recorded(tuple((name, key) for name, key in recorded))
    return Interrupt(interrupt, 0.0) if unrecorded is None else Unrecorded(*unrecorded)
