"""How many members ended how, and what follows from that by a rule."""

from __future__ import annotations

from typing import Final, NamedTuple

COMPLETED: Final = "completed"
SKIPPED: Final = "skipped"
ALL: Final = "all"
ANY: Final = "any"
FIRST_N: Final = "first_n"
QUORUM: Final = "quorum"
MAJORITY: Final = "majority"
RULES: Final = (ALL, ANY, FIRST_N, QUORUM, MAJORITY)
MET: Final = "met"
UNMET: Final = "unmet"
HALF: Final = -1
"""More than half of the members are wanted."""


class Verdict(NamedTuple):
    """How a collector ends; see `CollectorEnded`."""

    status: str
    reason: str = ""
    vote: str = ""


class Wish(NamedTuple):
    """What is wanted; as in `CollectorOpened`."""

    rule: str
    wanted: int
    failures_max: int | None


class Tally:
    """The counts of a collector: a skipped member ended, but neither completed nor failed."""

    __slots__ = ("best", "completed", "ended", "failed", "votes")

    def __init__(self) -> None:
        self.ended = 0
        self.completed = 0
        self.failed = 0
        self.votes: dict[str, int] = {}
        self.best = ("", 0)

    def add(self, status: str, vote: str) -> None:
        """Count a member that ended."""
        self.count(status, vote, self.votes.get(vote, 0) + 1)

    def count(self, status: str, vote: str, votes: int) -> None:
        """Count a member that ended; `votes` of them agree with it, itself included."""
        self.ended += 1
        if status == COMPLETED:
            self.completed += 1
            if vote:
                self.votes[vote] = votes
                if votes > self.best[1]:
                    self.best = (vote, votes)
        elif status != SKIPPED:
            self.failed += 1

    def begin(self) -> Tally:
        """Return the same counts, to go on with; the votes of this one are looked up in it."""
        copy = Tally()
        copy.ended, copy.completed, copy.failed = self.ended, self.completed, self.failed
        copy.best = self.best
        return copy

    def verdict(self, wish: Wish, members: int, *, more: bool) -> Verdict:
        """Return how a collector with these counts ends; one without a status goes on.

        `more`: it may get further members.
        """
        rule, wanted, failures_max = wish
        left = members - self.ended
        if failures_max is not None and self.failed > failures_max:
            return Verdict(UNMET, "too_many_failed")
        if (rule == ALL and left) or (more and (rule == ALL or wanted == HALF)):
            return Verdict("")
        wanted = members // 2 + 1 if wanted == HALF else wanted
        reached = self.best[1] if rule == MAJORITY else self.completed
        all_failed = not left and not self.completed and self.failed
        if reached >= wanted and members and not (rule == ALL and all_failed):
            return Verdict(MET, "", self.best[0] if rule == MAJORITY else "")
        if more or (rule != ALL and left and reached + left >= wanted):
            return Verdict("")
        if all_failed or not members:
            return Verdict(UNMET, "all_failed" if members else "no_members")
        return Verdict(UNMET, "no_majority" if rule == MAJORITY else "too_few")
