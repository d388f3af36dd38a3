"""Tasks that wait for a person because no attempt is left: what the doctor says of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from goclaw.problems import problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from goclaw.problems import Finding

LETTERS_MAX: Final = 1_000
"""So many are counted."""
_SHOWN_MAX: Final = 5


def letters_for_people(letters: Sequence[str]) -> Iterator[Finding]:
    """Yield that tasks are dead letters, if any are (their names; at most `LETTERS_MAX`)."""
    if letters:
        count = f"{LETTERS_MAX} or more" if len(letters) >= LETTERS_MAX else f"{len(letters)}"
        shown = ", ".join(letters[:_SHOWN_MAX])
        says = f"{count} tasks are dead letters: {shown}"
        yield problem("letters_wait", "letters", says)
