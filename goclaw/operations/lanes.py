"""Lanes: what is in them, and changing them while they work."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from goclaw.asker import asker
from goclaw.errors import LaneNotFound
from goclaw.live_limits import live_limits
from goclaw.operations.ground import NOW, ground_of
from goclaw.operations.operation import IfVersion, Params, act, read
from goclaw.operations.runs import MinPosition
from goclaw.operations.views import Paged
from goclaw.results import CommandRefused
from goclaw.view_records import lane_record, named_limits
from goclaw_actors.lane.control import DRAINING, OPEN, PAUSED
from goclaw_actors.lending import ControlLane
from goclaw_events.faults import Suggester
from goclaw_events.ids import is_id, lane_stream
from goclaw_projections.errors import ProjectionsError

if TYPE_CHECKING:
    from goclaw.engine import Engine
    from goclaw.operations.ground import Ground

CLAIMED_MAX: Final = 200
NEAR_MAX: Final = 10_000
"""Names among which one that was probably meant is looked for."""


def _lane_name(text: str) -> str:
    definition, slash, lane = text.partition("/")
    if not slash or not is_id(lane) or not (is_id(definition) or not definition):
        msg = "a lane is called DEFINITION/LANE, or /LANE if all definitions share it"
        raise PydanticCustomError("lane_name", msg)
    return text


LaneName = Annotated[str, AfterValidator(_lane_name)]


class ListLanes(Paged):
    """Which lanes."""

    definition: str | None = None
    """Only those of this definition ('': only those that all share)."""
    busy: bool = False
    """Only those with tasks in them."""


class ShowLane(Params):
    """Which lane."""

    lane: LaneName
    """`DEFINITION/LANE`, or `/LANE` for one that all definitions share."""
    min_position: MinPosition = None


class ChangeLane(Params):
    """Which lane is changed, and for whom."""

    lane: LaneName
    """`DEFINITION/LANE`, or `/LANE` for one that all definitions share."""
    claimed: Annotated[str, Field(max_length=CLAIMED_MAX)] = ""
    """Who asks, in their own words: recorded beside who the transport says it is."""
    if_version: IfVersion = None
    """Only if the lane still has this version."""
    command_id: str | None = None
    """The same command again gives the same answer."""


class SetLane(ChangeLane):
    """Which limits."""

    limits: Annotated[dict[str, Any], Field(default_factory=dict)]
    """Limits by the names of a definition; null: what is declared holds again."""
    reset: bool = False
    """Take back everything that was set live before."""


def _list(ground: Ground, asked: ListLanes) -> dict[str, Any]:
    ground.wait_for(asked.min_position)
    page = ground.views.lanes.list(
        definition=asked.definition, busy=asked.busy, limit=asked.limit, cursor=asked.cursor
    )
    now_ns = time.time_ns()
    return {"lanes": [lane_record(lane, now_ns) for lane in page.items], "cursor": page.cursor}


def _show(ground: Ground, asked: ShowLane) -> dict[str, Any]:
    ground.wait_for(asked.min_position)
    found = ground.views.lanes.get(asked.lane)
    if found is None:
        raise _not_found(ground, asked.lane)
    return lane_record(found, time.time_ns())


async def _set(engine: Engine, asked: SetLane) -> dict[str, Any]:
    limits = live_limits(asked.limits)
    return await _change(engine, asked, None, limits, reset=asked.reset)


async def _pause(engine: Engine, asked: ChangeLane) -> dict[str, Any]:
    return await _change(engine, asked, PAUSED)


async def _resume(engine: Engine, asked: ChangeLane) -> dict[str, Any]:
    return await _change(engine, asked, OPEN)


async def _drain(engine: Engine, asked: ChangeLane) -> dict[str, Any]:
    return await _change(engine, asked, DRAINING)


async def _change(
    engine: Engine,
    asked: ChangeLane,
    mode: str | None,
    limits: dict[str, Any] | None = None,
    *,
    reset: bool = False,
) -> dict[str, Any]:
    body = ControlLane(mode, limits or {}, reset, asker(), asked.claimed)
    try:
        accepted, position = await engine.command(
            lane_stream(asked.lane), body, asked.command_id, if_version=asked.if_version
        )
    except CommandRefused as error:
        if error.code == LaneNotFound.code:
            ground = ground_of(engine.parts, None)
            raise await asyncio.to_thread(_not_found, ground, asked.lane) from error
        raise
    return {
        "lane": asked.lane,
        "version": int(accepted.id),
        "repeated": accepted.repeated,
        "set": named_limits(limits or {}),
        "position": None if position is None else str(position),
    }


def _not_found(ground: Ground, lane: str) -> LaneNotFound:
    """Return the error, with the name that was probably meant, if the views know it in time."""
    with suppress(ProjectionsError):
        ground.wait_for(NOW)
    names = [known.lane for known in ground.views.lanes.list(limit=NEAR_MAX).items]
    fallback = "goclaw lanes list; a lane of a definition is there from its first run on"
    hint = Suggester().hint(lane, names) or fallback
    return LaneNotFound(f"there is no lane {lane!r}", hint=hint)


_ANSWER: Final = "`{lane, version, repeated, set, position}`"
OPERATIONS: Final = (
    read("lanes.list", ListLanes, _list, "List lanes: limits, what is in them, totals.",
         "`{lanes: [lane], cursor}`"),
    read("lanes.show", ShowLane, _show, "Show a lane.", "the lane"),
    act("lanes.set", SetLane, _set, "Set limits of a lane, until they are taken back.", _ANSWER,
        idle=True),
    act("lanes.pause", ChangeLane, _pause, "Let a lane start nothing more.", _ANSWER, idle=True),
    act("lanes.resume", ChangeLane, _resume, "Let a lane go on, and take tasks in again.",
        _ANSWER, idle=True),
    act("lanes.drain", ChangeLane, _drain,
        "Let a lane take nobody new in, and work on what it has.", _ANSWER, idle=True),
)  # fmt: skip
