"""What failures have in common: the same text with other numbers and ids is the same failure."""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Final

TEXT_CHARS_MAX: Final = 500
"""So much of a message tells one failure from another."""
GROUP_BYTES: Final = 6
_UUID: Final = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_HEX: Final = r"0x[0-9a-fA-F]+|\b(?=[0-9a-fA-F]*[0-9])[0-9a-fA-F]{8,}\b"
_NUMBER: Final = r"\d+(?:[.,:]\d+)*"
_VARIES: Final = re.compile(f"{_UUID}|{_HEX}|{_NUMBER}")
_SPACE: Final = re.compile(r"\s+")


def normalised(message: str) -> str:
    """Return a message with `#` for what differs from one failure to the next of its kind.

    These are numbers, times, UUIDs, and hexadecimal texts of eight digits and more.
    """
    text = _SPACE.sub(" ", _VARIES.sub("#", message)).strip()
    return text[:TEXT_CHARS_MAX]


def fingerprint(code: str, message: str) -> str:
    """Return the group of a failure: 12 hexadecimal digits, the same on every machine."""
    said = f"{code}\0{normalised(message)}"
    return blake2b(said.encode("utf-8", "replace"), digest_size=GROUP_BYTES).hexdigest()
