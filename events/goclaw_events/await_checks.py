"""What a task that waits for an answer says: its terms as its plan holds them, and what is wrong.

An answer is a signal (`wait_for`), or the word of a person (`approval`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from goclaw_events.durations import BadDuration, parse_duration
from goclaw_events.faults import Finding
from goclaw_events.shape import shape_findings
from goclaw_events.templates import STATIC, Template, template_of_fields

if TYPE_CHECKING:
    from collections.abc import Mapping

    from goclaw_events.faults import Where

_NUMBER: Final = re.compile(r"[0-9]{1,10}")


def awaited(
    said: Mapping[str, Any], signal: Template, where: Where, *, is_item: bool
) -> tuple[Template, list[Finding]]:
    """Return the terms of `wait_for`, and the faults of its schema and of its name."""
    schema = said.get("schema")
    findings = [] if schema is None else list(shape_findings(schema, (*where, "schema")))
    if not (signal.is_static or is_item):
        message = "the name of a signal is known before the run begins"
        hint = "write it out; only with `foreach` each item has its own"
        findings.append(Finding("bad_template", message, (*where, "signal"), hint))
    if signal.is_static and "${" in str(signal.body):
        message = f"{signal.body!r} is no name of a signal"
        findings.append(Finding("bad_value", message, (*where, "signal"), "write an id"))
    terms = {
        "schema": schema,
        "deadline": deadline_s(said.get("deadline")),
        "on_deadline": said.get("on_deadline", "fail"),
    }
    fields = {name: Template(STATIC, value) for name, value in terms.items()}
    return template_of_fields({"signal": signal, **fields}), findings


def approval_terms(said: Mapping[str, Any], where: Where) -> tuple[dict[str, Any], list[Finding]]:
    """Return the terms of `approval` that hold no templates, and what is wrong with it.

    A name that has to be proved and that nobody can have would let nobody decide.
    """
    schema = said.get("schema")
    findings = [] if schema is None else list(shape_findings(schema, (*where, "schema")))
    who = said.get("who")
    for at, name in enumerate(who if isinstance(who, list | tuple) else ()):
        if isinstance(name, str) and (why := unprovable(name)):
            findings.append(Finding("bad_value", f"{name!r} is nobody", (*where, "who", at), why))
    terms = {
        "schema": schema,
        "deadline": deadline_s(said.get("deadline")),
        "on_deadline": said.get("on_deadline", "fail"),
        "on_reject": said.get("on_reject", "fail"),
    }
    return terms, findings


def is_later(deadline: object) -> bool:
    """Tell whether a deadline is known only when the task begins: a time, or a template."""
    return isinstance(deadline, dict) or (isinstance(deadline, str) and "${" in deadline)


def unprovable(name: str) -> str:
    """Return why nobody can prove to have this name; '' where somebody may, or it is claimed."""
    if name.startswith("uid:") and not (_NUMBER.fullmatch(name[4:]) or "${" in name):
        return "write the number of a user, such as uid:1000"
    return "write the name of a user, such as user:ann" if name == "user:" else ""


def deadline_s(said: object) -> float | None:
    """Return seconds; None where there is none, none that can be read, or one that `is_later`."""
    try:
        return None if said is None or is_later(said) else parse_duration(said)
    except BadDuration:
        return None  # the model reports it
