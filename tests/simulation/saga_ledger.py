"""A service outside of the engine: it takes effects by idempotency key, and undoes them.

It keeps what it is told like a real one would, and breaks the test where it is told what no
engine may tell it: an effect of what was undone already.
"""

from __future__ import annotations


class Ledger:
    """Effects and what undid them, by the action's key; in order of their coming.

    The same key again changes nothing: the service knows it.
    """

    def __init__(self) -> None:
        self.effects: dict[str, int] = {}
        self.undone: dict[str, tuple[str, int]] = {}
        self._clock = 0

    def take(self, key: str) -> None:
        """Take the effect of an action."""
        assert key not in self.undone, f"{key} takes effect after it was undone"
        self._clock += 1
        self.effects.setdefault(key, self._clock)

    def undo(self, key: str, by: str) -> None:
        """Undo what stands under a key, if anything does; `by` is the key of who undoes it."""
        self._clock += 1
        known, _ = self.undone.setdefault(key, (by, self._clock))
        assert known == by, f"{key} is undone under two keys: {known} and {by}"

    def standing(self, prefix: str) -> set[str]:
        """Return the keys whose effects stand."""
        kept = (key for key in self.effects if key.startswith(prefix))
        return {key for key in kept if key not in self.undone}
