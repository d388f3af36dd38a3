"""The page of definitions: every key of a workflow file, from the model that reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from goclaw_events.definition import WorkflowDefinition

if TYPE_CHECKING:
    from collections.abc import Iterator

HEADINGS: Final = {
    "TaskDefinition": "A task",
    "RetryDefinition": "Retries",
    "LaneDefinition": "A lane",
    "RateDefinition": "A rate",
    "ScaleDefinition": "A scale",
    "KeyedLane": "A lane for each key",
    "InputDefinition": "An input",
    "HttpCall": "A request",
    "ApprovalRequest": "A question to a person",
}
"""What the parts are called, in the order of the page; a part that is new goes to its end."""

TEMPLATES: Final = """\
## Templates

A text may hold `${...}`; it is data, never code. A text that is one template is the value itself, a
template within text is written into it (what is no text as JSON). `$${` is a plain `${`.

| template | what it reads |
|---|---|
| `${input.NAME.a[0]}` | the input of the run, or a part of it |
| `${tasks.ID.result.a}` | the result of a task that is needed, directly or not |
| `${tasks["a.b"].result}` | the same, for an id with a dot |
| `${tasks.ID.status}` | how it ended: `completed`, `failed`, `cancelled`, `skipped` |
| `${needs}` | the results of all that the task needs, by id |
| `${run.id}`, `${task.id}` | the ids |
| `${secret.NAME}` | a [secret](../how-to/secrets.md), put in where the task runs |

## Conditions

`when:` holds a condition: `== != < <= > >= in not in and or not ( )`, numbers, texts in quotes,
`true`, `false`, `null`, lists, and templates. Values of types that cannot be compared fail the
task with `condition_failed`.

## Durations

`200ms`, `30s`, `5m`, `1h30m`, `2d`, or a number of seconds.
"""


def page() -> str:
    """Return the reference of definitions."""
    schema = WorkflowDefinition.model_json_schema(by_alias=True)
    parts: dict[str, Any] = schema["$defs"]
    order = [name for name in (*HEADINGS, *parts) if name in parts]
    sections = "\n\n".join(
        f"## {HEADINGS.get(name, name)}\n\n{_about(parts[name])}\n\n{_table(parts[name])}"
        for name in dict.fromkeys(order)
    )
    return f"""# Definitions

Written by `scripts/reference.py`; do not edit.

A workflow is a YAML or JSON file, or made in Python with `goclaw.Workflow`; one model stands behind
all three. `goclaw validate FILE` reports every fault with its place, `goclaw schema workflow`
prints the JSON Schema for an editor. A key that is not known is a fault.

## A workflow

{_about(schema)}

{_table(schema)}

{sections}

{TEMPLATES}"""


def _about(part: dict[str, Any]) -> str:
    return str(part.get("description", ""))


def _table(part: dict[str, Any]) -> str:
    rows = [
        f"| `{key}`{' (required)' if key in part.get('required', ()) else ''} | {_type(entry)} |"
        f" {_default(entry)} | {_about(entry)} |".replace("  ", " ")
        for key, entry in part["properties"].items()
    ]
    return "\n".join(("| key | type | default | |", "|---|---|---|---|", *rows))


def _default(entry: dict[str, Any]) -> str:
    default = entry.get("default")
    return "" if default in (None, "", [], {}) else f"`{default}`"


def _type(entry: dict[str, Any]) -> str:
    return " or ".join(dict.fromkeys(_types(entry)))


def _types(entry: dict[str, Any]) -> Iterator[str]:
    """Yield what a value may be, without the null of what may be left out."""
    if "200ms" in str(entry.get("description")):
        yield "duration"
    elif "$ref" in entry:
        name = entry["$ref"].rpartition("/")[2]
        heading = HEADINGS.get(name, name)
        yield f"[{heading.lower()}](#{heading.lower().replace(' ', '-')})"
    elif "anyOf" in entry or "oneOf" in entry:
        if any("pattern" in one and "ms)" in one["pattern"] for one in entry.get("anyOf", ())):
            yield "duration"
            return
        for choice in entry.get("anyOf") or entry["oneOf"]:
            yield from (found for found in _types(choice) if found != "null")
    elif "enum" in entry:
        yield from (f"`{value}`" for value in entry["enum"])
    elif entry.get("type") == "array":
        yield f"list of {_type(entry.get('items', {}))}"
    elif entry.get("type") == "object":
        values = entry.get("additionalProperties")
        by_id = list(entry.get("patternProperties", {}).values())
        kept = by_id[0] if by_id else values
        yield (
            f"map of {'id' if by_id else 'text'} to {_type(kept)}"
            if isinstance(kept, dict)
            else "map"
        )
    else:
        yield _plain(entry)


def _plain(entry: dict[str, Any]) -> str:
    kind = {"string": "text", "boolean": "true or false"}.get(entry.get("type", "any"))
    kind = kind or entry.get("type", "any value")
    least, most = entry.get("minimum"), entry.get("maximum")
    return kind if least is None or most is None else f"{kind}, {least} to {most}"
