"""Who may decide what a person is asked, and what their word comes to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.errors import ApprovalInvalid
from goclaw_events.shape import misfit
from goclaw_events.value import pack

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

ASKED_BYTES_MAX: Final = 60 * 1024
"""What a person is asked, and what they answer, take at most so much each: they stay inline."""
ANYONE: Final = "anyone"
PROVED: Final = ("uid:", "user:")
"""How names begin that a claim is not enough for."""


def check_asked(task_id: str, asked: Mapping[str, Any]) -> None:
    """Raise `ApprovalInvalid` where what a template came to cannot be asked."""
    who = asked.get("who", ())
    if not all(isinstance(name, str) and name for name in who):
        msg = f"whom {task_id} asks is not a list of names"
        raise ApprovalInvalid(msg, hint="let each template yield a text", task=task_id)
    size = len(pack(asked))
    if size > ASKED_BYTES_MAX:
        msg = f"what {task_id} asks takes {size} bytes, of {ASKED_BYTES_MAX}"
        raise ApprovalInvalid(msg, hint="ask about the name of a file", task=task_id)


def may_decide(who: Collection[str], proved: Collection[str], claimed: str) -> bool:
    """Tell whether somebody may decide; a name that has to be proved cannot be claimed."""
    claims = {claimed} if claimed and not claimed.startswith(PROVED) else set()
    return not {ANYONE, *proved, *claims}.isdisjoint(who)


def unfit(asked: Mapping[str, Any], arguments: Any) -> str | None:
    """Return why arguments cannot be approved; None: they can."""
    size = len(pack(arguments))
    if size > ASKED_BYTES_MAX:
        return f"they take {size} bytes, of {ASKED_BYTES_MAX}"
    return None if asked["schema"] is None else misfit(arguments, asked["schema"])
