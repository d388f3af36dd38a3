"""Kill an engine that works on sagas, again and again: what stands outside is what must."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from scripts.harness.journeys import journey
from scripts.harness.killed_world import DEADLINE_S, KillCounts
from scripts.harness.numbered_world import NumberedWorld
from scripts.harness.nursery import Harm


@dataclass
class SagaCounts(KillCounts):
    """What happened to the engines, and to the sagas."""

    sagas: int = 0
    effects: int = 0
    """Different actions that took effect."""
    repeated: int = 0
    """Effects of attempts whose outcome was lost: the same key again."""
    undone: int = 0
    """Compensations that had their effect, as often as they had."""
    in_doubt: int = 0
    """Those of them that did not know whether there was something to undo."""
    alarms: int = 0
    """Sagas whose compensation failed until a person had it tried again."""


class SagaWorld(NumberedWorld):
    """A world of sagas."""

    role = "sagas"
    counts: SagaCounts

    def check_end(self, number: int, end: list[Any]) -> None:
        """See that a saga ended as its fate says."""
        expected = journey(self.seed, number)
        if end != [expected.status]:
            raise Harm(f"{expected.saga_id} ({expected.fate}) ended {end}")

    def audit(self) -> None:
        """Compare log and ledger with what the sagas expect."""
        found = self.nursery.audit(
            "saga_audit", self.home / "stderr", DEADLINE_S, home=str(self.home), seed=self.seed,
            boots=[[child.born_ns, child.dead_ns] for child in self.boots],
            sagas=sorted(self.acknowledged),
        )  # fmt: skip
        counts = self.counts
        counts.sagas += len(self.acknowledged)
        counts.effects += found["effects"]
        counts.repeated += found["repeated"]
        counts.undone += found.get("undo", 0)
        counts.in_doubt += found.get("undone in doubt", 0)
        counts.alarms += found.get("alarms", 0)
        counts.facts += found["facts"]
