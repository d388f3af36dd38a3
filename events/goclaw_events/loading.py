"""From a text to a definition, or to every fault of it with line and column."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeAlias, TypeVar

from pydantic import BaseModel, ValidationError

from goclaw_events.checks import check
from goclaw_events.collector import collector_paused
from goclaw_events.definition import (
    CollectDefinition,
    CollectedRuns,
    HttpCall,
    InputDefinition,
    KeyedLane,
    LaneDefinition,
    RateDefinition,
    RetryDefinition,
    TaskDefinition,
    WorkflowDefinition,
)
from goclaw_events.faults import Fault, Finding, InvalidDefinition, Places, Suggester
from goclaw_events.inputs import default_findings
from goclaw_events.json_source import read_json
from goclaw_events.plain_words import kind_of, plain_message
from goclaw_events.waits import ApprovalRequest, WaitForSignal, WaitUntil
from goclaw_events.yaml_source import read_yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pydantic_core import ErrorDetails

    from goclaw_events.faults import Where

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

TEXT_BYTES_MAX: Final = 8 * 1024 * 1024

Format: TypeAlias = Literal["yaml", "json"]

_READERS: Final[dict[str, Callable[[str, Places | None], tuple[Any, list[Fault]]]]] = {
    "yaml": read_yaml,
    "json": read_json,
}

D = TypeVar("D", bound="BaseModel")
Models: TypeAlias = "tuple[tuple[tuple[str, ...], type[BaseModel]], ...]"


@dataclass(frozen=True)
class Form(Generic[D]):
    """What a text may hold: its model, those of its parts by place, and what checks the whole.

    `check` also takes mappings with faults in them; `check_model` only what the model took.
    `shape` says what is expected.
    """

    model: type[D]
    models: Models
    check: Callable[[Mapping[str, Any]], list[Finding]]
    check_model: Callable[[D], list[Finding]]
    shape: str


_MODELS: Final[Models] = (
    ((), WorkflowDefinition),
    (("input", "*"), InputDefinition),
    (("lanes", "*"), LaneDefinition),
    (("lanes", "*", "rate"), RateDefinition),
    (("tasks", "*"), TaskDefinition),
    (("tasks", "*", "retry"), RetryDefinition),
    (("tasks", "*", "http"), HttpCall),
    (("tasks", "*", "wait"), WaitUntil),
    (("tasks", "*", "wait_for"), WaitForSignal),
    (("tasks", "*", "wait_for", "deadline"), WaitUntil),
    (("tasks", "*", "approval"), ApprovalRequest),
    (("tasks", "*", "approval", "deadline"), WaitUntil),
    (("tasks", "*", "collect"), CollectDefinition),
    (("tasks", "*", "collect", "runs"), CollectedRuns),
    (("tasks", "*", "lane"), KeyedLane),
)
WORKFLOW: Final = Form(
    WorkflowDefinition,
    _MODELS,
    lambda raw: check(raw).findings,
    lambda definition: default_findings(definition.input),
    "a definition is a mapping with `name` and `tasks`",
)
_UNREAD: Final = frozenset(("alias", "bad_value"))
_TYPE_ERRORS: Final = frozenset(("none_required", "is_instance_of", "model_type"))


@collector_paused()
def load_definition(
    text: str | bytes,
    format: Format = "yaml",  # noqa: A002 - the word that people look for
    source: str = "definition",
) -> WorkflowDefinition:
    """Return the workflow that a text holds.

    Raises `InvalidDefinition` with every fault, each with its line and column.
    """
    return load(text, format, source, lambda _: WORKFLOW)


def load(
    text: str | bytes,
    text_format: Format,
    source: str,
    form_of: Callable[[object], Form[D]],
) -> D:
    """Return the definition that a text holds, of the form that `form_of` tells by its data.

    Raises `InvalidDefinition` with every fault, each with its line and column.
    """
    return load_as(lambda raw: validate(raw, form_of(raw)), text, text_format, source)


def load_as(
    validate: Callable[[object], tuple[T | None, list[Finding]]],
    text: str | bytes,
    text_format: Format,
    source: str,
) -> T:
    """Return what a text holds, as `validate` makes it of plain mappings.

    Raises `InvalidDefinition` with every fault, each with its line and column.
    """
    decoded, faults = _decode(text)
    if faults:
        raise InvalidDefinition(faults, source)
    raw, faults = _READERS[text_format](decoded, None)
    if not faults:
        made, findings = validate(raw)
        if made is not None and not findings:
            return made
    # Places cost time, so they are only looked up for a text that has faults.
    places = Places()
    raw, faults = _READERS[text_format](decoded, places)
    if raw is not None or not faults:
        # A value that could not be read was replaced: what is wrong with that is no news.
        unread = {fault.path for fault in faults if fault.code in _UNREAD}
        found = [finding.fault(places) for finding in validate(raw)[1]]
        faults += [fault for fault in found if fault.path not in unread]
    faults = sorted(dict.fromkeys(faults), key=lambda fault: (fault.line, fault.column))
    raise InvalidDefinition(faults, source)


def load_definition_file(path: str | Path) -> WorkflowDefinition:
    """Return the definition in a file: JSON if it ends in `.json` or begins with `{`, else YAML.

    Raises `InvalidDefinition`, also for a file that cannot be read (code `unreadable`).
    """
    data, format_ = read_definition_file(path)
    return load_definition(data, format_, str(path))


def read_definition_file(path: str | Path) -> tuple[bytes, Format]:
    """Return the bytes of a file, at most one more than the limit, and what they seem to be."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(TEXT_BYTES_MAX + 1)
    except OSError as error:
        message = f"the file cannot be read: {error.strerror or error}"
        fault = Fault("unreadable", message, hint="check the path and its permissions")
        raise InvalidDefinition([fault], str(path)) from error
    is_json = Path(path).suffix.lower() == ".json" or (
        Path(path).suffix.lower() not in (".yaml", ".yml") and data.lstrip()[:1] == b"{"
    )
    return data, "json" if is_json else "yaml"


def definition_from(raw: Mapping[str, Any], source: str = "definition") -> WorkflowDefinition:
    """Return the definition that plain mappings hold (no text, so no lines).

    Raises `InvalidDefinition` with every fault.
    """
    definition, findings = validate(raw, WORKFLOW)
    if definition is None or findings:
        raise InvalidDefinition([finding.fault() for finding in findings], source)
    return definition


def locate(findings: Iterable[Finding], text: str | bytes, text_format: Format) -> list[Fault]:
    """Give findings about a text that was loaded before their lines and columns."""
    places = Places()
    _READERS[text_format](_decode(text)[0], places)
    return [finding.fault(places) for finding in findings]


def _decode(text: str | bytes) -> tuple[str, list[Fault]]:
    try:
        data = text.encode() if isinstance(text, str) else text
        if len(data) > TEXT_BYTES_MAX:
            message = f"more than {TEXT_BYTES_MAX} bytes"
            return "", [Fault("too_large", message, "", 1, 1, "split the definition")]
        return data.decode("utf-8-sig"), []
    except UnicodeEncodeError as error:
        message, before = "half of a surrogate pair is not text", error.object[: error.start]
        return "", [_fault_after("syntax", message, before)]
    except UnicodeDecodeError as error:
        before = error.object[: error.start].decode("utf-8", "replace")
        return "", [_fault_after("syntax", f"not UTF-8: {error.reason}", before)]


def _fault_after(code: str, message: str, before: str) -> Fault:
    line = before.count("\n") + 1
    return Fault(code, message, "", line, len(before) - before.rfind("\n"))


def validate(raw: object, form: Form[D]) -> tuple[D | None, list[Finding]]:
    """Return the model, if its fields are right, and the findings of fields and of the whole."""
    if not isinstance(raw, dict):
        message = f"{form.shape}, not {kind_of(raw)}"
        return None, [Finding("bad_type", message, ())]
    definition, findings = fields_of(form.model, raw, form.models)
    if definition is not None:
        findings = form.check_model(definition)
    return definition, findings + form.check(raw)


def fields_of(
    model: type[M], raw: dict[Any, Any], models: Models = ()
) -> tuple[M | None, list[Finding]]:
    """Return plain mappings as a model, or what is wrong with their fields.

    `models` are those of its parts by place; none: those of workflows.
    """
    try:
        return model.model_validate(raw), []
    except ValidationError as error:
        suggest = Suggester()
        details = error.errors(include_url=False, include_input=True)
        parts = models or _MODELS
        findings = [_finding(detail, raw, suggest, parts) for detail in details]
        return None, _without_alternatives(findings)


def _without_alternatives(findings: list[Finding]) -> list[Finding]:
    """Make one finding of those of a value that may be of several types, and is of none."""
    by_place: dict[tuple[str, Where], list[Finding]] = {}
    for found in findings:
        by_place.setdefault((found.code, found.where), []).append(found)
    return [
        found[0] if len(found) == 1 or code != "bad_type" else _alternatives(found)
        for (code, _), found in by_place.items()
    ]


def _alternatives(found: list[Finding]) -> Finding:
    name, _, first = found[0].message.partition(" should be ")
    wanted, _, given = first.rpartition(", not ")
    others = [one.message.partition(" should be ")[2].rpartition(", not ")[0] for one in found[1:]]
    kinds = " or ".join(dict.fromkeys([wanted, *others]))
    return found[0]._replace(message=f"{name} should be {kinds}, not {given}", hint="")


def _finding(detail: ErrorDetails, raw: object, suggest: Suggester, models: Models) -> Finding:
    kind, given, context = detail["type"], detail["input"], detail.get("ctx", {})
    where, at_key = _where(detail["loc"], raw, is_missing=kind == "missing")
    name = _name_of(where)
    if kind == "extra_forbidden":
        return _unknown_key(where, suggest, _model_at(where[:-1], models))
    if kind == "missing":
        return Finding("missing_key", f"{name} is missing", where)
    if kind in ("bad_duration", "bad_instant"):
        return Finding(kind, detail["msg"], where, str(context.get("hint", "")))
    if kind == "string_pattern_mismatch":
        hint = "1 to 200 of A-Z a-z 0-9 _ . : - and the first one of A-Z a-z 0-9 _"
        return Finding("bad_id", f"{given!r:.80} is not an id", where, hint, at_key)
    message = plain_message(detail["msg"], name)
    if kind.endswith(("_type", "_parsing")) or kind in _TYPE_ERRORS:
        hint = "put it in quotes" if kind == "string_type" and _is_scalar(given) else ""
        return Finding("bad_type", f"{message}, not {kind_of(given)}", where, hint, at_key)
    return Finding("bad_value", message, where, at_key=at_key)


def _name_of(where: Where) -> str:
    if not where:
        return "the definition"
    last, before = where[-1], where[-2:-1]
    return repr(f"{before[0]}[{last}]" if isinstance(last, int) and before else str(last))


def _where(loc: tuple[str | int, ...], raw: object, *, is_missing: bool) -> tuple[Where, bool]:
    """Follow a location of pydantic through the data, past the names of its own inner steps."""
    at_key = bool(loc) and loc[-1] == "[key]"
    steps = loc[:-1] if at_key else loc
    where: list[str | int] = []
    here = raw
    for at, step in enumerate(steps):
        if (isinstance(here, dict) and step in here) or (
            isinstance(here, list | tuple) and isinstance(step, int) and step < len(here)
        ):
            here = here[step]  # type: ignore[index] # the step was found in it
            where.append(step)
        elif is_missing and at == len(steps) - 1:
            where.append(step)
    return tuple(where), at_key


def _unknown_key(where: Where, suggest: Suggester, model: type[BaseModel] | None) -> Finding:
    key = str(where[-1])
    elsewhere: str | None = getattr(model, "elsewhere", {}).get(key)
    if elsewhere is not None:
        return Finding("unknown_key", f"{key!r} is no key here", where, elsewhere, True)
    hint = suggest.hint(key, [] if model is None else _keys_of(model))
    return Finding("unknown_key", f"{key!r} is not a key", where, hint, True)


def _model_at(where: Where, models: Models) -> type[BaseModel] | None:
    for pattern, model in models:
        if len(pattern) == len(where) and all(
            p in ("*", step) for p, step in zip(pattern, where, strict=True)
        ):
            return model
    return None


def _keys_of(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _is_scalar(value: object) -> bool:
    return isinstance(value, bool | int | float)
