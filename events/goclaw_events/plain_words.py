"""What is wrong with a value, in the words of whoever wrote it instead of the validator's."""

from __future__ import annotations

import re
from typing import Final

_SUBJECT: Final = re.compile(
    r"^(?:Input|Tuple|List|Set|Frozenset|Dictionary|String|Bytes|Data|Value)(?= should )"
)
_KINDS: Final = {
    "tuple": "a list",
    "list": "a list",
    "set": "a list",
    "frozenset": "a list",
    "dictionary": "a mapping",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
}
_MODEL: Final = re.compile(r" or (?:an )?instance of \w+")
_KIND: Final = re.compile(rf"should be an? valid ({'|'.join(_KINDS)})\b")


def plain_message(message: str, name: str = "") -> str:
    """Return what pydantic says of a value; `name` is that of the value, '' keeps `Input`."""
    said = message.removeprefix("Value error, ").replace(" after validation", "")
    said = _MODEL.sub("", said)
    said = _KIND.sub(lambda found: f"should be {_KINDS[found[1]]}", said)
    return _SUBJECT.sub(name.replace("\\", r"\\") or "Input", said)


def kind_of(value: object) -> str:
    """Return what a value is, with its article, as a sentence has it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    names = {str: "text", int: "a number", float: "a number", list: "a list", dict: "a mapping"}
    return names.get(type(value), f"a {type(value).__name__}")
