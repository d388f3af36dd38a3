"""What requests may take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import TypeAlias

    Resolve: TypeAlias = Callable[[str, int], Awaitable[list[str]]]
    """Return the addresses of a host, as text. Raises `OSError`."""


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """The limits of requests, and what they may reach.

    `timeout_s` is for tasks that give none. `allow_private`: see `addresses.AddressPolicy`;
    `own_ports`: TCP ports that this process listens on. `agent`: the User-Agent. `resolver`: who
    is asked for addresses; None: the system.
    """

    response_bytes_max: int = 10 * 1024 * 1024
    timeout_s: float = 60.0
    connect_timeout_s: float = 10.0
    allow_private: tuple[str, ...] = ()
    own_ports: tuple[int, ...] = ()
    agent: str = "goclaw"
    resolver: Resolve | None = None
