"""Templates: values with `${...}` in them. Data only: no code, no attributes, a single pass.

`${input.root}`, `${tasks.fetch.result.url}`, `${tasks["a.b"].result.items[0]}`,
`${tasks.fetch.status}`, `${needs}`, `${run.id}`, `${task.id}`, `${secret.NAME}`; in sagas
`${steps.fetch.result}`, `${saga.id}`, `${action.result.id}`, `${action.key}`; where work is done
for each item of a list `${item}`, `${item.url}`, `${index}`. A string that is one reference yields
the value itself; a reference within text is written out. `$${` is `${`.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from goclaw_events.errors import EventsError
from goclaw_events.faults import path_text
from goclaw_events.ids import is_id
from goclaw_events.value import SecretText

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from goclaw_events.faults import Where

    OnProblem = Callable[[Where, str, str], None]

DEPTH_MAX: Final = 64
STEPS_MAX: Final = 64
STATIC, WHOLE, TEXT, LIST, DICT = range(5)
TASK_FIELDS: Final = ("result", "status")
ACTION_FIELDS: Final = ("result", "key", "in_doubt", "status")
SAGA_FIELDS: Final = ("id", "cause", "reason", "failed_step")

_MARK: Final = re.compile(r"\$\$\{|\$\{")
_ROOT: Final = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_-]*)")
_STEP: Final = re.compile(
    r"""\.([A-Za-z0-9_-]+)|\[(-?[0-9]{1,9})\]|\[(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)')\]"""
)
_END: Final = re.compile(r"\s*\}")
_INT_MIN: Final = -(2**63)
_INT_END: Final = 2**64


class BadTemplate(EventsError):
    """A template cannot be read: the place and the text are in the message."""

    code = "invalid_template"


class TemplateFailed(EventsError):
    """A value cannot be written into text."""

    code = "template_failed"


class Reference(NamedTuple):
    """What a `${...}` reads.

    `input`, `item`: path. `index`: nothing more. `tasks`, `steps`: task, field (`result` or
    `status`), path. `needs`: path, whose first step is a task id. `run`, `task`: field `id`.
    `secret`: field is its name. `action`: one of `ACTION_FIELDS`, and a path into the result.
    `saga`: one of `SAGA_FIELDS`.
    """

    root: str
    task: str
    field: str
    path: tuple[str | int, ...]


class Template(NamedTuple):
    """A compiled value: msgpack writes it as it stands, `template_from` reads it back.

    `body` by `kind`: STATIC the value itself, WHOLE a `Reference`, TEXT a list of strings and
    references, LIST a list of templates, DICT a dict of templates.
    """

    kind: int
    body: Any

    @property
    def is_static(self) -> bool:
        """Tell whether nothing is read: the template renders to its own value."""
        return self.kind == STATIC


NOTHING: Final = Template(STATIC, None)


def compile_template(value: object, on_problem: OnProblem | None = None) -> Template:
    """Compile a value with `${...}` anywhere in it.

    A bad string is handed to `on_problem` (where in the value, message, hint) and stands as
    itself; without `on_problem` the first one raises `BadTemplate`.
    """
    return _compile(value, (), on_problem or _raise)


def _raise(where: Where, message: str, hint: str) -> None:
    msg = f"{path_text(where)}: {message}" if where else message
    raise BadTemplate(msg, hint=hint)


def _compile(value: object, where: Where, on_problem: OnProblem) -> Template:
    if isinstance(value, str):
        return _compile_string(value, where, on_problem)
    if isinstance(value, dict | list | tuple):
        if len(where) < DEPTH_MAX:
            compile_container = _compile_dict if isinstance(value, dict) else _compile_list
            return compile_container(value, where, on_problem)  # type: ignore[arg-type] # by kind
        on_problem(where, f"a value is more than {DEPTH_MAX} levels deep", "")
        return NOTHING
    if _is_plain_leaf(value):
        return Template(STATIC, value)
    message = f"a value of type {type(value).__name__} cannot be stored"
    on_problem(where, message, "use None, bool, int of 64 bits, float, str, bytes, list or dict")
    return NOTHING


def _compile_string(value: str, where: Where, on_problem: OnProblem) -> Template:
    if "${" in value:
        try:
            return _compile_text(value)
        except BadTemplate as error:
            on_problem(where, error.message, error.hint)
    return Template(STATIC, value)


def _compile_list(value: Sequence[Any], where: Where, on_problem: OnProblem) -> Template:
    items = [_compile(item, (*where, at), on_problem) for at, item in enumerate(value)]
    if all(item.kind == STATIC for item in items):
        return Template(STATIC, [item.body for item in items])
    return Template(LIST, items)


def _is_plain_leaf(value: object) -> bool:
    if isinstance(value, int):
        return _INT_MIN <= value < _INT_END
    return value is None or isinstance(value, float | bytes)


def _compile_dict(value: dict[Any, Any], where: Where, on_problem: OnProblem) -> Template:
    fields: dict[str, Template] = {}
    for key, item in value.items():
        if not isinstance(key, str):
            on_problem(where, f"the key {key!r:.60} is not a string", "quote it")
            continue
        if "${" in key:
            on_problem((*where, key), "a key cannot hold a template", "move it to the value")
        fields[key] = _compile(item, (*where, key), on_problem)
    return template_of_fields(fields)


def template_of_fields(fields: Mapping[str, Template]) -> Template:
    """Join templates into the template of a dict."""
    if all(item.kind == STATIC for item in fields.values()):
        return Template(STATIC, {key: item.body for key, item in fields.items()})
    return Template(DICT, dict(fields))


def _compile_text(text: str) -> Template:
    parts: list[str | Reference] = []
    literal = ""
    at = 0
    while (mark := _MARK.search(text, at)) is not None:
        literal += text[at : mark.start()]
        if mark.group() == "$${":
            literal += "${"
            at = mark.end()
            continue
        if literal:
            parts.append(literal)
            literal = ""
        reference, at = read_reference(text, mark.start())
        parts.append(reference)
    literal += text[at:]
    if literal:
        parts.append(literal)
    if len(parts) == 1:
        return Template(STATIC if isinstance(parts[0], str) else WHOLE, parts[0])
    return Template(TEXT, parts)


def read_reference(text: str, at: int) -> tuple[Reference, int]:
    """Read the `${...}` that begins at `at`; return it and the index after it.

    Raises `BadTemplate`.
    """
    start = at
    shown = text[at : at + 60]
    root = _ROOT.match(text, at + 2)
    if root is None:
        msg = f"{shown!r} does not name anything"
        raise BadTemplate(msg, hint="write ${input.NAME} or ${tasks.ID.result}; $${ is a plain ${")
    at = root.end()
    steps: list[str | int] = []
    while (step := _STEP.match(text, at)) is not None:
        steps.append(_step(step))
        at = step.end()
        if len(steps) > STEPS_MAX:
            msg = f"{shown!r} has more than {STEPS_MAX} steps"
            raise BadTemplate(msg)
    end = _END.match(text, at)
    if end is None:
        wrong = "has no closing brace" if at >= len(text) else f"breaks at {text[at : at + 20]!r}"
        msg = f"{shown!r} {wrong}"
        raise BadTemplate(msg, hint='steps are .name, [0] or ["any text"]; there is no code')
    return _reference(root.group(1), steps, text[start : end.end()][:60]), end.end()


def _step(match: re.Match[str]) -> str | int:
    name, index, double, single = match.groups()
    if name is not None:
        return name
    if index is not None:
        return int(index)
    return re.sub(r"\\(.)", r"\1", double if double is not None else single)


def _reference(root: str, steps: list[str | int], shown: str) -> Reference:
    match root:
        case "input" | "needs" | "item":
            return Reference(root, "", "", tuple(steps))
        case "tasks" | "steps":
            return _task_reference(root, steps, shown)
        case "action":
            return _action_reference(steps, shown)
        case "saga":
            if len(steps) != 1 or steps[0] not in SAGA_FIELDS:
                msg = f"{shown!r} cannot be read"
                known = ", ".join(f"saga.{name}" for name in SAGA_FIELDS)
                raise BadTemplate(msg, hint=f"a template reads {known}")
            return Reference(root, "", str(steps[0]), ())
        case "run" | "task" | "index":
            wanted = [] if root == "index" else ["id"]
            if steps != wanted:
                msg = f"{shown!r} cannot be read"
                raise BadTemplate(msg, hint="a template reads ${run.id}, ${task.id} and ${index}")
            return Reference(root, "", "".join(wanted), ())
        case "secret":
            if len(steps) != 1 or not isinstance(steps[0], str):
                msg = f"{shown!r} does not name a secret"
                raise BadTemplate(msg, hint="write ${secret.NAME}")
            return Reference(root, "", steps[0], ())
        case _:
            msg = f"{shown!r} reads {root!r}, which is not there"
            known = "input, tasks, needs, run, task, secret; in a saga steps, saga, action"
            known += "; with foreach item, index"
            raise BadTemplate(msg, hint=f"known: {known}")


def _action_reference(steps: list[str | int], shown: str) -> Reference:
    name = steps[0] if steps else ""
    if name not in ACTION_FIELDS or (name != "result" and len(steps) > 1):
        msg = f"{shown!r} cannot be read"
        known = ", ".join(f"action.{name}" for name in ACTION_FIELDS)
        raise BadTemplate(msg, hint=f"a compensation reads {known}")
    return Reference("action", "", str(name), tuple(steps[1:]))


def _task_reference(root: str, steps: list[str | int], shown: str) -> Reference:
    task = steps[0] if steps else ""
    if not isinstance(task, str) or not is_id(task):
        msg = f"{shown!r} does not name a {root.removesuffix('s')}"
        raise BadTemplate(msg, hint=f"write ${{{root}.ID.result}}")
    name = steps[1] if len(steps) > 1 else ""
    if name not in TASK_FIELDS or (name == "status" and len(steps) > 2):  # noqa: PLR2004
        msg = f"{shown!r} names no result and no status"
        raise BadTemplate(
            msg,
            hint=f"write ${{{root}.ID.result}} or ${{{root}.ID.status}};"
            f' an id with a dot is {root}["a.b"]',
        )
    return Reference(root, task, str(name), tuple(steps[2:]))


def template_from(data: Sequence[Any]) -> Template:
    """Return the template that msgpack read as lists."""
    kind, body = data
    if kind == WHOLE:
        return Template(kind, reference_from(body))
    if kind == TEXT:
        return Template(kind, [p if isinstance(p, str) else reference_from(p) for p in body])
    if kind == LIST:
        return Template(kind, [template_from(item) for item in body])
    if kind == DICT:
        return Template(kind, {key: template_from(item) for key, item in body.items()})
    return Template(kind, body)


def reference_from(data: Sequence[Any]) -> Reference:
    """Return the reference that msgpack read as a list."""
    root, task, field, path = data
    return Reference(root, task, field, tuple(path))


def placed_references(template: Template, where: Where = ()) -> Iterator[tuple[Where, Reference]]:
    """Yield every reference and the place, within the value, of the string that holds it."""
    kind, body = template
    if kind == WHOLE:
        yield where, body
    elif kind == TEXT:
        for part in body:
            if not isinstance(part, str):
                yield where, part
    elif kind == LIST:
        for at, item in enumerate(body):
            yield from placed_references(item, (*where, at))
    elif kind == DICT:
        for key, item in body.items():
            yield from placed_references(item, (*where, key))


def references(template: Template) -> Iterator[Reference]:
    """Yield every reference of a template, in the order of the text."""
    for _, reference in placed_references(template):
        yield reference


def text_of(value: object) -> str:
    """Write a value into text: a string as it is, null as nothing, all else as JSON.

    Raises `TemplateFailed` for what JSON cannot say (bytes).
    """
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        msg = f"a value of type {type(value).__name__} cannot be written into text: {error}"
        raise TemplateFailed(msg, hint="let the whole string be one ${...}") from error


def render(
    template: Template,
    lookup: Callable[[Reference], Any],
    text: Callable[[Any], str] = text_of,
) -> Any:
    """Return the value, with what `lookup` finds in place of each reference.

    What is static is returned as it stands, not copied: nobody may change it. `text` writes
    what stands within text; with a secret in it, it is a `SecretText`. The depth is bounded by
    `compile_template`.
    """
    kind, body = template
    if kind == STATIC:
        return body
    if kind == WHOLE:
        return lookup(body)
    if kind == DICT:
        return {key: render(item, lookup, text) for key, item in body.items()}
    if kind == LIST:
        return [render(item, lookup, text) for item in body]
    if any(not isinstance(part, str) and part.root == "secret" for part in body):
        return _secret_text(body, lookup, text)
    return "".join(part if isinstance(part, str) else text(lookup(part)) for part in body)


def _secret_text(
    body: Sequence[str | Reference],
    lookup: Callable[[Reference], Any],
    text: Callable[[Any], str],
) -> SecretText:
    parts = [""]
    for part in body:
        if isinstance(part, str):
            parts[-1] += part
        elif part.root == "secret":
            parts += (part.field, "")
        else:
            parts[-1] += text(lookup(part))
    return SecretText(tuple(parts))
