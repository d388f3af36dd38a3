"""What is wrong with a definition or an input: every fault, each with its place."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from goclaw_events.errors import EventsError
from goclaw_events.ids import is_plain

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

Where: TypeAlias = tuple[str | int, ...]
"""The keys and indexes that lead to a place in a definition."""

Place: TypeAlias = tuple[int, int]
"""Line and column, both from 1; (0, 0) where the definition did not come from a text."""

NOWHERE: Final[Place] = (0, 0)
FAULTS_SHOWN_MAX: Final = 50
SUGGESTION_COMPARISONS_MAX: Final = 200_000


class Fault(NamedTuple):
    """One thing that is wrong. `path` reads like `tasks.scan.needs[0]`; line 0: not known."""

    code: str
    message: str
    path: str = ""
    line: int = 0
    column: int = 0
    hint: str = ""

    def __str__(self) -> str:
        """Write the fault on one line: its place, its code, what it is and what to do."""
        place = f"{self.line}:{self.column}: " if self.line else ""
        path = f"{self.path}: " if self.path else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{place}{self.code}: {path}{self.message}{hint}"


class Finding(NamedTuple):
    """A fault before its place in the text is looked up; `at_key`: the key itself is wrong."""

    code: str
    message: str
    where: Where
    hint: str = ""
    at_key: bool = False

    def fault(self, places: Places | None = None) -> Fault:
        """Turn the finding into a fault, with line and column if `places` knows them."""
        line, column = places.find(self.where, at_key=self.at_key) if places else NOWHERE
        return Fault(self.code, self.message, path_text(self.where), line, column, self.hint)


@dataclass(slots=True)
class Places:
    """Where in the text each key and each value begins."""

    keys: dict[Where, Place] = field(default_factory=dict)
    values: dict[Where, Place] = field(default_factory=dict)

    def find(self, where: Where, *, at_key: bool = False) -> Place:
        """Return the place of a key or value, or of the nearest thing around it."""
        place = None if at_key else self.values.get(where)
        while place is None and where:
            place = self.keys.get(where) or self.values.get(where)
            where = where[:-1]
        return place or self.values.get((), NOWHERE)


class InvalidDefinition(EventsError):
    """A definition cannot be run: `faults` holds all that is wrong with it."""

    code = "invalid_definition"

    def __init__(self, faults: Sequence[Fault], source: str = "definition") -> None:
        self.faults = list(faults)
        self.source = source
        super().__init__(
            _report(source, self.faults),
            source=source,
            faults=[fault._asdict() for fault in self.faults],
        )


class InvalidInput(EventsError):
    """The input of a run is not what its definition asks for: `faults` holds all of it."""

    code = "invalid_input"

    def __init__(self, faults: Sequence[Fault], name: str) -> None:
        self.faults = list(faults)
        super().__init__(
            _report(f"input of {name}", self.faults),
            definition=name,
            faults=[fault._asdict() for fault in self.faults],
        )


def _report(subject: str, faults: Sequence[Fault]) -> str:
    count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    lines = [f"{subject}: {count}"]
    lines += [f"  {fault}" for fault in faults[:FAULTS_SHOWN_MAX]]
    if len(faults) > FAULTS_SHOWN_MAX:
        lines.append(f"  and {len(faults) - FAULTS_SHOWN_MAX} more")
    return "\n".join(lines)


def path_text(where: Where) -> str:
    """Write a place as people read it: `tasks.scan.needs[0]`, `tasks["a.b"].agent`."""
    text = ""
    for step in where:
        if isinstance(step, int):
            text += f"[{step}]"
        elif is_plain(step):
            text += f".{step}" if text else step
        else:
            text += f"[{json.dumps(step, ensure_ascii=False)}]"
    return text


class Suggester:
    """Name what was probably meant, within a budget of comparisons (the texts are hostile)."""

    def __init__(self, comparisons_max: int = SUGGESTION_COMPARISONS_MAX) -> None:
        self._left = comparisons_max

    def nearest(self, word: str, candidates: Collection[str]) -> str:
        """Return the candidate most like `word`; empty if none is, or the budget is spent."""
        if len(candidates) > self._left:
            return ""
        self._left -= len(candidates)
        matches = get_close_matches(word[:200], candidates, n=1, cutoff=0.6)
        return matches[0] if matches else ""

    def hint(self, word: str, candidates: Collection[str]) -> str:
        """Return `did you mean ...?`, or the candidates if they are few, or nothing."""
        near = self.nearest(word, candidates)
        if near:
            return f"did you mean {near!r}?"
        if 0 < len(candidates) <= 8:  # noqa: PLR2004 - what fits on a line
            return "known: " + ", ".join(sorted(candidates))
        return ""
