"""What a result votes for: the text by which results are told to agree."""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

from goclaw_events.value import BlobRef, follow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from goclaw_actors.contents import Contents
    from goclaw_events.value import Value

VOTE_CHARS_MAX: Final = 200
"""What is longer is told apart by its hash."""
HASHED: Final = "blake2b:"
"""How the vote then begins."""


def vote_of(result: Value, by: Sequence[str | int] | None, contents: Contents) -> str:
    """Return the vote at a place of a result, as canonical JSON; '' where there is none."""
    if by is None:
        return ""
    whole = contents.value(result) if isinstance(result, BlobRef) else result
    vote = follow(whole, tuple(by))
    if vote is None:
        return ""

    def plain(value: object) -> Any:
        return contents.value(value) if isinstance(value, BlobRef) else repr(value)

    text = json.dumps(vote, sort_keys=True, ensure_ascii=False, default=plain)
    if len(text) <= VOTE_CHARS_MAX:
        return text
    digest = blake2b(text.encode("utf-8", "backslashreplace"), digest_size=16)
    return HASHED + digest.hexdigest()
