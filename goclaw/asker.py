"""Who asks, as the way by which they ask has proved it."""

from __future__ import annotations

import os
import pwd
from contextvars import ContextVar
from typing import Final

_PEER: Final[ContextVar[int | None]] = ContextVar("goclaw_peer", default=None)


def asked_by(uid: int) -> None:
    """Say whose the requests are that are served from here on, in this context."""
    _PEER.set(uid)


def asker() -> str:
    """Return who asks: `uid:1000`. Whoever asks in this process is its own user."""
    uid = _PEER.get()
    return f"uid:{os.geteuid() if uid is None else uid}"


def proved() -> list[str]:
    """Return every name that the transport proved for who asks: `uid:1000`, `user:ann`.

    The second from this machine's users; one that is not among them has the first alone.
    """
    uid = _PEER.get()
    uid = os.geteuid() if uid is None else uid
    try:
        return [f"uid:{uid}", f"user:{pwd.getpwuid(uid).pw_name}"]
    except KeyError:
        return [f"uid:{uid}"]


def signed(claimed: str) -> str:
    """Return who says something: `uid:1000`, or `uid:1000/reviewer` for who claims that name.

    What stands before the slash the transport proved; nobody can claim that.
    """
    return f"{asker()}/{claimed}" if claimed else asker()
