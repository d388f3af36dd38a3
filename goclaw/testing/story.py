"""What was recorded, as a test asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from goclaw.errors import UsageInvalid
from goclaw_events.codec import FACTS
from goclaw_events.faults import Suggester
from goclaw_events.ids import kind_of
from goclaw_events.value import BlobRef

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from goclaw_projections.subscription import Recorded

_TYPES: Final = frozenset(name.name for name in FACTS.names.values())
_LACKS: Final = object()
BRIEF_CHARS_MAX: Final = 160


class Story:
    """Facts in the order in which they were recorded; `str()` shows them, a line each.

    Facts are meant by their type (docs/reference/facts.md), the task that they are of, and their
    fields. Raises `AssertionError`, which shows the whole story, where it is another one, and
    `UsageInvalid` for a type or field that no fact has.
    """

    def __init__(self, facts: Sequence[Recorded]) -> None:
        self.facts = tuple(facts)

    def __iter__(self) -> Iterator[Recorded]:
        return iter(self.facts)

    def __len__(self) -> int:
        return len(self.facts)

    @property
    def types(self) -> list[str]:
        """Return the types of all facts."""
        return [one.type for one in self.facts]

    def of(self, kind: str, *, task: str | None = None, **fields: Any) -> list[Recorded]:
        """Return the facts of a type; those of a task, and with these values, only."""
        _check(kind, fields)
        return [
            one
            for one in self.facts
            if one.type == kind
            and (task is None or task_of(one) == task)
            and all(getattr(one.fact, name, _LACKS) == value for name, value in fields.items())
        ]

    def expect(
        self, kind: str, *, task: str | None = None, times: int | None = None, **fields: Any
    ) -> list[Recorded]:
        """Return the facts that are meant: at least one of them, or exactly `times`."""
        found = self.of(kind, task=task, **fields)
        if len(found) == times or (times is None and found):
            return found
        wanted = "at least once" if times is None else f"{times} times"
        said = f"{_named(kind, task, fields)} is there {len(found)} times, not {wanted}"
        raise AssertionError(f"{said}:\n{self}")

    def expect_order(self, *wanted: str | tuple[str, str]) -> None:
        """Check that facts follow each other, whatever is between: types, or (type, task)."""
        left = iter(self.facts)
        for one in wanted:
            kind, task = (one, None) if isinstance(one, str) else one
            _check(kind, {})
            if not any(f.type == kind and task in (None, task_of(f)) for f in left):
                said = f"{_named(kind, task, {})} does not follow what stands before it in {wanted}"
                raise AssertionError(f"{said}:\n{self}")

    def __str__(self) -> str:
        first_ns = self.facts[0].time_ns if self.facts else 0
        return "\n".join(
            f"{(one.time_ns - first_ns) / 1e9:+12.3f}s  {one.stream}: {one.type} {_brief(one.fact)}"
            for one in self.facts
        )


def task_of(recorded: Recorded) -> str | None:
    """Return the task that a fact is of; None: it is of something else."""
    return recorded.stream.split("/", 2)[2] if kind_of(recorded.stream) == "task" else None


def _brief(fact: Any) -> str:
    """Return the fields of a fact that say something, shortened."""
    defaults = type(fact)._field_defaults
    said = [
        f"{name}={value!r}"
        for name, value in fact._asdict().items()
        if not isinstance(value, bytes | BlobRef) and value != defaults.get(name, _LACKS)
    ]
    return ", ".join(said)[:BRIEF_CHARS_MAX]


def _named(kind: str, task: str | None, fields: dict[str, Any]) -> str:
    of = "" if task is None else f" of task {task}"
    return kind + of + "".join(f", {name} {value!r}" for name, value in fields.items())


def _check(kind: str, fields: dict[str, Any]) -> None:
    if kind not in _TYPES:
        hint = Suggester().hint(kind, _TYPES) or "see docs/reference/facts.md"
        raise UsageInvalid(f"there is no fact {kind!r}", hint=hint)
    (cls,) = (cls for cls, of in FACTS.names.items() if of.name == kind)
    known = set(cls.__annotations__)
    for name in fields.keys() - known:
        hint = Suggester().hint(name, known) or f"it has {', '.join(sorted(known))}"
        raise UsageInvalid(f"{kind} has no field {name!r}", hint=hint)
