"""The input of a run: what a definition asks for, defaults filled in, every fault reported."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from goclaw_events.faults import Fault, Finding, InvalidInput, Suggester, path_text
from goclaw_events.plain_words import kind_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from goclaw_events.definition import InputDefinition

_TYPES: Final[dict[str, type | tuple[type, ...]]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "object": dict,
    "array": (list, tuple),
}


class PlannedInput(NamedTuple):
    """One input as the plan keeps it. `default` counts only if `has_default`."""

    name: str
    type: str
    is_required: bool
    has_default: bool
    default: Any


def is_of_type(value: object, type_name: str) -> bool:
    """Tell whether a value is of a type that a definition names; a boolean is no number."""
    if type_name == "any":
        return True
    if isinstance(value, bool):
        return type_name == "boolean"
    return isinstance(value, _TYPES[type_name])


def default_findings(inputs: Mapping[str, InputDefinition]) -> list[Finding]:
    """Find defaults that are not of their own type, or stand where a value is required."""
    findings = []
    for name, item in inputs.items():
        if not item.has_default:
            continue
        if item.default is not None and not is_of_type(item.default, item.type):
            message = f"the default of {name!r} is not of type {item.type}"
            findings.append(Finding("bad_value", message, ("input", name, "default")))
        if item.required:
            message = f"{name!r} is required, so its default is never used"
            hint = "remove one of the two"
            findings.append(Finding("bad_value", message, ("input", name, "required"), hint))
    return findings


def checked_input(
    name: str, inputs: tuple[PlannedInput, ...], given: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the input of a run of definition `name`, in the order of its declaration.

    Null stands for any type where the default is null. Raises `InvalidInput` with every fault.
    """
    suggest = Suggester()
    known = [item.name for item in inputs]
    faults = [
        Fault("unknown_input", f"there is no input {key!r}", hint=suggest.hint(str(key), known))
        for key in given
        if key not in known
    ]
    values: dict[str, Any] = {}
    for item in inputs:
        path = path_text(("input", item.name))
        if item.name in given:
            value = given[item.name]
            values[item.name] = value
            null_is_fine = value is None and (item.has_default or not item.is_required)
            if not (null_is_fine and item.default is None) and not is_of_type(value, item.type):
                message = f"{item.name!r} should be of type {item.type}"
                faults.append(Fault("bad_type", f"{message}, is {kind_of(value)}", path))
        elif item.is_required:
            faults.append(Fault("missing_input", f"{item.name!r} is required", path))
        else:
            values[item.name] = item.default
    if faults:
        raise InvalidInput(faults, name)
    return values
