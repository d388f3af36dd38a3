"""Draw docs/reference/states.md: what each aggregate answers in each of its states.

Nothing here says what the answers are: each state is reached by facts, each message is put to
`decide`, and what comes back is written down.

Usage: state_tables.py [--check] (with --check: write nothing, and fail if something would change).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from goclaw_actors.decider import Decision
    from scripts.aggregates import Aggregate

sys.path.insert(0, str(Path(__file__).parent.parent))

from scripts.aggregates import MOMENT
from scripts.catalogue_states import catalogue
from scripts.collector_states import collector
from scripts.lane_states import lane
from scripts.run_states import run
from scripts.saga_states import saga
from scripts.schedule_states import schedule
from scripts.task_states import task
from scripts.unique_states import unique

PATH: Final = Path(__file__).parent.parent / "docs" / "reference" / "states.md"
HEAD: Final = """# States

Drawn by `scripts/state_tables.py` from the code; do not edit.

Each state is reached by facts, each message put to `decide`. A row says which facts
follow, the state after them if it changes, and what leaves once they are durable.
"""


class Answer(NamedTuple):
    """One cell: the decision, and the state after it."""

    message: str
    decision: Decision
    state_after: str


def _base(state: str) -> str:
    return state.partition(" (")[0]


def answers(aggregate: Aggregate, state: str) -> Iterable[Answer]:
    """Put every message to the aggregate in a state."""
    decider = aggregate.decider
    for name, message in aggregate.messages.items():
        subject = decider.initial(aggregate.stream)
        for fact in aggregate.states[state]:
            decider.evolve(subject, fact)
        reached = aggregate.name_of(subject)
        assert reached == _base(state), f"the facts of {state!r} lead to {reached!r}"
        decision = decider.decide(subject, message, MOMENT)
        for fact in decision.facts:
            decider.evolve(subject, fact)
        yield Answer(name, decision, aggregate.name_of(subject))


def _names(items: Iterable[Any]) -> str:
    return ", ".join(f"`{type(item).__name__}`" for item in items)


def _follows(decision: Decision) -> str:
    sends = [f"`{type(send.body).__name__}` to {_who(send.target)}" for send in decision.sends]
    effects = [f"`{type(effect).__name__}`" for effect in decision.effects]
    reply = decision.reply
    if reply is not None:
        said = getattr(reply, "code", "repeated" if getattr(reply, "repeated", False) else "")
        effects.append(f"answer `{type(reply).__name__}`" + (f" ({said})" if said else ""))
    return ", ".join([*sends, *effects])


def _who(stream: str) -> str:
    kind, _, rest = stream.partition("/")
    if kind in ("lane", "collector", "saga", "schedule"):
        return f"the {kind}"
    return "the run" if kind == "workflow" else f"task {rest.rpartition('/')[2]}"


def _section(aggregate: Aggregate, state: str) -> str:
    rows, ignored = [], []
    for message, decision, after in answers(aggregate, state):
        if not (decision.facts or decision.sends or decision.effects or decision.reply):
            ignored.append(message)
            continue
        then = f"**{after}**" if after != _base(state) else ""
        rows.append(f"| {message} | {_names(decision.facts)} | {then} | {_follows(decision)} |")
    lines = [f"### {aggregate.title}: {state}", ""]
    if rows:
        lines += ["| message | facts | then | and |", "|---|---|---|---|", *rows, ""]
    if ignored:
        lines += [f"Nothing follows from: {'; '.join(ignored)}.", ""]
    return "\n".join(lines)


def _diagram(aggregate: Aggregate) -> str:
    edges: dict[tuple[str, str], list[str]] = {}
    for state in aggregate.states:
        for message, _, after in answers(aggregate, state):
            if after != _base(state):
                edges.setdefault((_base(state), after), []).append(message)
    lines = ["```mermaid", "stateDiagram-v2"]
    for (state, after), names in edges.items():
        lines.append(f"  {state} --> {after}: {', '.join(dict.fromkeys(names))}")
    return "\n".join([*lines, "```", ""])


def draw() -> str:
    """Return the document."""
    parts = [HEAD]
    every = (run(), task(), saga(), lane(), unique(), catalogue(), collector(), schedule())
    for aggregate in every:
        parts.append(f"## {aggregate.title}\n\n{aggregate.about}\n")
        parts.append(_diagram(aggregate))
        parts += [_section(aggregate, state) for state in aggregate.states]
    return "\n".join(parts).rstrip() + "\n"


def main(*, check: bool) -> int:
    """Write the document, or compare it; return 1 when it is out of date."""
    text = draw()
    stale = not PATH.exists() or PATH.read_text(encoding="utf-8") != text
    if stale and not check:
        PATH.write_text(text, encoding="utf-8")
    verb = "out of date" if check else "written"
    print(f"docs/reference/states.md: {verb if stale else 'as the code says'}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main(check="--check" in sys.argv[1:]))
