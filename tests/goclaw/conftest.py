"""What every test of the roof shares: agents and modules that one test brings in stay its own."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from goclaw import modules, parts
from goclaw.agents import REGISTRY
from goclaw_actors.ports import Limits
from tests.actors.shadow import check_node

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SHADOW_EVERY_FACTS = 3


@pytest.fixture(autouse=True)
def _own_agents(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Forget afterwards what was registered, put on `sys.path`, and imported from `tmp_path`."""
    monkeypatch.setattr(REGISTRY, "_agents", dict(REGISTRY._agents))
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setattr(modules, "_MODULES", {})
    monkeypatch.setattr(modules, "_FOLDERS", {})
    yield
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture(autouse=True)
def _shadow_replayer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every engine take snapshots all the time, and compare it with full replay at its end.

    Live actors, snapshots and their tails must be what the facts alone give.
    """
    close = parts.Parts.close

    def limits(**given: Any) -> Limits:
        return Limits(**{**given, "snapshot_every_facts": SHADOW_EVERY_FACTS})

    def checked_close(self: parts.Parts) -> None:
        try:
            if self.node.failure is None and not self.thread._thread.is_alive():
                check_node(self.node, self.journal)
        finally:
            close(self)

    monkeypatch.setattr(parts, "Limits", limits)
    monkeypatch.setattr(parts.Parts, "close", checked_close)
