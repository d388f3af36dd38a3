"""A kit for tests of workflows: an engine in memory and in virtual time, scripts, and stories.

See docs/how-to/test-workflows.md.
"""

from __future__ import annotations

from goclaw.errors import NothingHappens
from goclaw.testing.engine import TestEngine
from goclaw.testing.script import Call, Script
from goclaw.testing.story import Story

__all__ = ["Call", "NothingHappens", "Script", "Story", "TestEngine"]
