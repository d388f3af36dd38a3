"""Lanes as programs see them: what is in one, and changing it while it works."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from goclaw_actors.env import new_id

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

_READ_YOUR_WRITES = "now"


class Lanes:
    """Ask for lanes by name: `digest/io`, or `/io` for one that all definitions share.

    Every change is recorded with who asked: the user that the transport proved, and `claimed`.
    With `if_version` the lane must still have the version that `show` gave (`lane_changed`);
    the same `command_id` again gives the same answer. A change returns `{lane, version, repeated,
    set, position}` once it is durable. Raises `LaneNotFound`, `InvalidRequest` with every fault.
    """

    def __init__(self, ask: Callable[[str, Mapping[str, Any]], Awaitable[Any]]) -> None:
        self._ask = ask

    async def list(self, *, definition: str | None = None, busy: bool = False) -> list[Any]:
        """Return every lane; only those of a definition (`""`: shared ones), only busy ones."""
        lanes: list[Any] = []
        params = _listing(definition, busy=busy)
        while True:
            page = await self._ask("lanes.list", params)
            lanes += page["lanes"]
            if page["cursor"] is None:
                return lanes
            params["cursor"] = page["cursor"]

    async def show(self, lane: str) -> dict[str, Any]:
        """Return a lane: its limits, what is in it, its version."""
        params = {"lane": lane, "min_position": _READ_YOUR_WRITES}
        return dict(await self._ask("lanes.show", params))

    async def set(
        self,
        lane: str,
        limits: Mapping[str, Any] | None = None,
        *,
        reset: bool = False,
        **change: Any,
    ) -> dict[str, Any]:
        """Set limits by the names of a definition, until they are taken back.

        A limit of None, or `reset` for all of them, gives the declared one back. What runs goes
        on; nothing is started before it is within the limits. `change`: `claimed`, `if_version`,
        `command_id`.
        """
        said = {"limits": dict(limits or {}), "reset": reset}
        return dict(await self._ask("lanes.set", _change(lane, change, said)))

    async def pause(self, lane: str, **change: Any) -> dict[str, Any]:
        """Let a lane start nothing more; what runs goes on, and what comes waits."""
        return dict(await self._ask("lanes.pause", _change(lane, change)))

    async def resume(self, lane: str, **change: Any) -> dict[str, Any]:
        """Let a lane go on that was paused or is draining."""
        return dict(await self._ask("lanes.resume", _change(lane, change)))

    async def drain(self, lane: str, **change: Any) -> dict[str, Any]:
        """Let a lane take nobody new in, and work on what it has.

        A task that comes meanwhile fails with `lane_draining`; one that is tried again was let in
        before.
        """
        return dict(await self._ask("lanes.drain", _change(lane, change)))


class SyncLanes:
    """The same as `Lanes`, for programs without a loop."""

    def __init__(self, ask: Callable[[str, Mapping[str, Any]], Any]) -> None:
        self._ask = ask

    def list(self, *, definition: str | None = None, busy: bool = False) -> list[Any]:
        """Return lanes: as `Lanes.list`."""
        lanes: list[Any] = []
        params = _listing(definition, busy=busy)
        while True:
            page = self._ask("lanes.list", params)
            lanes += page["lanes"]
            if page["cursor"] is None:
                return lanes
            params["cursor"] = page["cursor"]

    def show(self, lane: str) -> dict[str, Any]:
        """Return a lane: as `Lanes.show`."""
        return dict(self._ask("lanes.show", {"lane": lane, "min_position": _READ_YOUR_WRITES}))

    def set(
        self,
        lane: str,
        limits: Mapping[str, Any] | None = None,
        *,
        reset: bool = False,
        **change: Any,
    ) -> dict[str, Any]:
        """Set limits: as `Lanes.set`."""
        said = {"limits": dict(limits or {}), "reset": reset}
        return dict(self._ask("lanes.set", _change(lane, change, said)))

    def pause(self, lane: str, **change: Any) -> dict[str, Any]:
        """Pause a lane: as `Lanes.pause`."""
        return dict(self._ask("lanes.pause", _change(lane, change)))

    def resume(self, lane: str, **change: Any) -> dict[str, Any]:
        """Let a lane go on: as `Lanes.resume`."""
        return dict(self._ask("lanes.resume", _change(lane, change)))

    def drain(self, lane: str, **change: Any) -> dict[str, Any]:
        """Drain a lane: as `Lanes.drain`."""
        return dict(self._ask("lanes.drain", _change(lane, change)))


def _listing(definition: str | None, *, busy: bool) -> dict[str, Any]:
    return {"definition": definition, "busy": busy, "min_position": _READ_YOUR_WRITES}


def _change(
    lane: str, change: Mapping[str, Any], said: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the parameters of a change; it has an id, so that it can be asked for twice."""
    return {"lane": lane, "command_id": new_id("cmd", time.time_ns()), **(said or {}), **change}
