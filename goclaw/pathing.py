"""Change the path of a run while it goes on: the same words on `Engine` and `Client`."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from goclaw_actors.env import new_id
from goclaw_events.loading import read_definition_file

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class PathChange:
    """What became of a change: applied, pending (tasks have not answered yet) or possible (dry).

    `version`: that of the plan by it. `waits_for`: tasks that answer first, where it is dry.
    `plan`: what the plan is, or would be.
    """

    change: str
    run_id: str
    state: str
    version: int
    repeated: bool = False
    waits_for: tuple[str, ...] = ()
    plan: Mapping[str, Any] | None = None


class How(TypedDict, total=False):
    """What can be said of each change; see `Pathing`."""

    change_id: str
    sender: str
    reason: str
    if_version: int
    dry_run: bool
    timeout_s: float


class Pathing:
    """Change which tasks a run has, and which of them run.

    Each change is checked whole, recorded as a new version of the run's plan, or refused with all
    that speaks against it. It returns when it is made; what has to answer first has `timeout_s`,
    after which the change is `pending`, and is made, or given up, all the same. `change_id` (a new
    one, unless given) makes a repeat harmless. `if_version`: only if the plan has this version.
    `dry_run` changes nothing. `sender` and `reason` are recorded. Raises `CommandRefused`
    (`path_refused`, `path_busy`, `path_task_begun`, `plan_changed`...), `PathRefused`,
    `InvalidDefinition`.
    """

    async def skip_task(
        self, run_id: str, *tasks: str, result: Any = None, **how: Unpack[How]
    ) -> PathChange:
        """Pass over tasks that have not begun, when their turn comes.

        What needs them goes on, and sees `result`.
        """
        return await self._change(run_id, {"skip": dict.fromkeys(tasks, result)}, how)

    async def choose_branch(
        self, run_id: str, after: str, *take: str, **how: Unpack[How]
    ) -> PathChange:
        """Of the tasks that need `after`, let only `take` run, whatever their conditions say.

        The others are skipped, and what needs nothing else.
        """
        return await self._change(run_id, {"choose": {"after": after, "take": list(take)}}, how)

    async def run_again(self, run_id: str, *tasks: str, **how: Unpack[How]) -> PathChange:
        """Run tasks again, with all that depends on them: what runs of it is stopped first."""
        return await self._change(run_id, {"rerun": list(tasks)}, how)

    async def add_tasks(
        self, run_id: str, fragment: Mapping[str, Any] | Path, **how: Unpack[How]
    ) -> PathChange:
        """Add tasks, and needs to tasks that have not begun.

        A fragment (plain data, or a file) has `tasks` as a definition has, and `needs`: further
        needs by task; `lanes` and `output` may stand in it, too.
        """
        return await self._change(run_id, _said(fragment), how)

    async def replace_rest(
        self, run_id: str, fragment: Mapping[str, Any] | Path, **how: Unpack[How]
    ) -> PathChange:
        """Put a fragment in the place of all that has not begun."""
        return await self._change(run_id, {**_said(fragment), "replace": True}, how)

    async def path_of(self, run_id: str, *, version: int | None = None) -> dict[str, Any]:
        """Return the versions of a run's plan, and one of them (None: the last)."""
        params = {"run": run_id, "version": version, "min_position": "now"}
        return dict(await self._ask_signal("path.show", params))

    async def _change(
        self, run_id: str, wanted: Mapping[str, Any], how: Mapping[str, Any]
    ) -> PathChange:
        params = {"change_id": new_id("chg", time.time_ns()), **wanted, **how, "run_id": run_id}
        answer = await self._ask_signal("path.change", params)
        return PathChange(**{**answer, "waits_for": tuple(answer["waits_for"])})

    async def _ask_signal(self, operation: str, params: Mapping[str, Any]) -> Any:
        """Ask for an operation of signals, which may be asked twice."""
        raise AssertionError(operation, params)


def _said(fragment: Mapping[str, Any] | Path) -> dict[str, Any]:
    if not isinstance(fragment, Path):
        return {"fragment": dict(fragment)}
    data, text_format = read_definition_file(fragment)
    text = data.decode("utf-8", "replace")
    return {"document": {"text": text, "format": text_format, "source": str(fragment)}}
