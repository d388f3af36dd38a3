"""What every test of the roof shares: agents and modules that one test brings in stay its own."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from goclaw.agents import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _own_agents(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Forget afterwards what was registered, put on `sys.path`, and imported from `tmp_path`."""
    monkeypatch.setattr(REGISTRY, "_agents", dict(REGISTRY._agents))
    monkeypatch.setattr(sys, "path", sys.path[:])
    yield
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]
