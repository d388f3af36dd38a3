"""What is wrong with the lanes of a definition, and with what its tasks ask of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from goclaw_events import dag
from goclaw_events.faults import Finding, Suggester, Where

if TYPE_CHECKING:
    from collections.abc import Mapping


class LaneChecker:
    """Gather findings over the lanes of a draft; every method adds to `findings`."""

    def __init__(
        self, lanes: Mapping[str, Any], suggest: Suggester, findings: list[Finding]
    ) -> None:
        self._lanes = lanes
        self._suggest = suggest
        self._findings = findings

    def check(self) -> None:
        """Check what each lane says of itself, and where full lanes redirect to."""
        for lane_id, lane in self._lanes.items():
            self._check_overflow(str(lane_id), mapping(lane))
        self._check_redirect_cycles()

    def check_known(self, lane: object, where: Where) -> None:
        """Check that a lane that is named exists; one of another run cannot be known."""
        if isinstance(lane, str) and not lane.startswith("/") and lane not in self._lanes:
            hint = self._suggest.hint(lane, self._lanes)
            hint = hint or f"declare it under `lanes`, or write /{lane} for a shared one"
            self._add("unknown_lane", f"there is no lane {lane!r}", where, hint)

    def check_units(self, task_id: str, task: Mapping[str, Any], lane: object) -> None:
        """Check that a task asks for no more units than its lane, or where it leads to, has."""
        units = mapping(task.get("units"))
        if not units or (isinstance(lane, str) and lane.startswith("/")):
            return  # what a shared lane has is told when the task comes
        for name in self._redirects(lane if isinstance(lane, str) else "default"):
            resources = mapping(mapping(self._lanes.get(name)).get("resources"))
            for unit, count in units.items():
                most = resources.get(unit, 0)
                if isinstance(count, int) and isinstance(most, int) and count > most:
                    message = f"{count} of {unit!r} are more than the {most} of lane {name!r}"
                    where: Where = ("tasks", task_id, "units", unit)
                    hint = "ask for less, or declare more"
                    self._add("lane_quota_exceeded", message, where, hint)

    def _redirects(self, lane: str) -> list[str]:
        """Return a lane of the definition, and those that it redirects to, one after the other."""
        found = [lane]
        while (lane := mapping(self._lanes.get(lane)).get("redirect_to", "")) in self._lanes:
            if lane in found:
                break
            found.append(lane)
        return found

    def _check_overflow(self, lane_id: str, lane: Mapping[str, Any]) -> None:
        where: Where = ("lanes", lane_id, "redirect_to")
        target, redirects = lane.get("redirect_to"), lane.get("overflow") == "redirect"
        if redirects and target is None:
            message = "overflow: redirect does not say where to"
            self._add("missing_key", message, ("lanes", lane_id, "overflow"), "give redirect_to")
        elif target is not None and not redirects:
            message = "redirect_to has no meaning without overflow: redirect"
            self._add_at_key("not_applicable", message, where)
        else:
            self.check_known(target, where)
        if lane.get("waiters_max") is not None and lane.get("overflow") != "block":
            message = "waiters_max has no meaning without overflow: block"
            self._add_at_key("not_applicable", message, ("lanes", lane_id, "waiters_max"))

    def _check_redirect_cycles(self) -> None:
        names = [str(name) for name in self._lanes]
        index = {name: i for i, name in enumerate(names)}
        targets = [mapping(lane).get("redirect_to") for lane in self._lanes.values()]
        graph = [[index[t]] if isinstance(t, str) and t in index else [] for t in targets]
        for cycle in dag.find_cycles(graph):
            shown = " -> ".join(names[node] for node in cycle)
            where: Where = ("lanes", names[cycle[0]], "redirect_to")
            self._add("cycle", f"full lanes redirect in a circle: {shown}", where, "")

    def _add(self, code: str, message: str, where: Where, hint: str) -> None:
        self._findings.append(Finding(code, message, where, hint))

    def _add_at_key(self, code: str, message: str, where: Where) -> None:
        self._findings.append(Finding(code, message, where, "remove it", at_key=True))


def mapping(value: object) -> Mapping[str, Any]:
    """Return `value` if it is a mapping, else an empty one: the model reports a wrong type."""
    return value if isinstance(value, dict) else {}
