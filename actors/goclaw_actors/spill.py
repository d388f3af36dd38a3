"""Move large values out of a fact: no inline value of the log exceeds 64 KiB."""

from __future__ import annotations

from typing import Any, Final

from goclaw_events.value import INLINE_BYTES_MAX, BlobRef, blob_of, pack

_FIELDS: Final[dict[type, tuple[str, ...]]] = {}


def _value_fields(cls: type) -> tuple[str, ...]:
    """Return the fields that hold values of users: those annotated as `Value`."""
    fields = _FIELDS.get(cls)
    if fields is None:
        # A NamedTuple turns the text of an annotation into a ForwardRef.
        annotations = cls.__annotations__.items()
        fields = tuple(
            name for name, kind in annotations if getattr(kind, "__forward_arg__", kind) == "Value"
        )
        _FIELDS[cls] = fields
    return fields


def spill(fact: Any, blobs: dict[bytes, bytes], bytes_max: int = INLINE_BYTES_MAX) -> Any:
    """Return the fact (or message) with each `Value` field over `bytes_max` as a `BlobRef`.

    The packed bytes go to `blobs`, to be stored with the frame. Raises `ValueTooLarge`.
    """
    changed: dict[str, BlobRef] = {}
    for name in _value_fields(type(fact)):
        value = getattr(fact, name)
        if value is None or isinstance(value, BlobRef):
            continue
        data = pack(value)
        if len(data) > bytes_max:
            ref = changed[name] = blob_of(data)
            blobs[ref.sha256] = data
    return fact._replace(**changed) if changed else fact
