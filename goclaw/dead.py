"""Dead letters as programs see them: looked at, run again, given up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import (
        AsyncIterator,
        Awaitable,
        Callable,
        Iterable,
        Iterator,
        Mapping,
        Sequence,
    )


_READ_YOUR_WRITES: Final = "now"
AT_ONCE: Final = 50
"""So many letters are asked for by one request."""


class Dead:
    """Ask for dead letters. What can be asked twice is, where an engine went away meanwhile.

    A letter is named `RUN/TASK`, `~SAGA`, or `PARTITION:NUMBER` of a parked message. Raises
    `LetterNotFound`, and `CommandRefused` with `not_dead`, `run_finished`, `saga_not_ready`...
    where a letter waits no more.
    """

    def __init__(self, ask: Callable[[str, Mapping[str, Any]], Awaitable[Any]]) -> None:
        self._ask = ask

    async def groups(self) -> list[Any]:
        """Return of what the open letters died, and how many of each there are."""
        found: list[Any] = []
        params: dict[str, Any] = {"min_position": _READ_YOUR_WRITES, "cursor": None}
        while True:
            page = await self._ask("dead.groups", params)
            found += page["groups"]
            if page["cursor"] is None:
                return found
            params["cursor"] = page["cursor"]

    async def list(
        self, *, state: str = "open", kind: str | None = None, group: str | None = None
    ) -> list[Any]:
        """Return letters, those first that died first: of a state, a kind, a group."""
        return [letter async for letter in self._all(state, kind, group)]

    async def show(self, letter: str) -> dict[str, Any]:
        """Return a letter with what it was given, and how its attempts failed."""
        params = {"letter": letter, "min_position": _READ_YOUR_WRITES}
        return dict(await self._ask("dead.show", params))

    async def redrive(
        self, letter: str, *, edits: Mapping[str, Any] | None = None, reason: str = ""
    ) -> dict[str, Any]:
        """Have a letter run again, with edited parameters if there are `edits`."""
        found = await self.show(letter)
        return dict(await self._ask("dead.redrive", decision_of([found], reason, edits)))

    async def redrive_all(
        self,
        *,
        kind: str | None = None,
        group: str | None = None,
        edits: Mapping[str, Any] | None = None,
        reason: str = "",
        rate_per_s: float | None = None,
    ) -> dict[str, Any]:
        """Have all open letters of a kind and a group run again, at most so many a second.

        Not parked messages. The rate is kept by the engine, in the lane `/redrive`, as that which
        was given last: they begin by themselves. Letters that die meanwhile are left for the next
        time. Asking again changes nothing for those that wait already. Returns
        `{done, repeated, refused}`; `repeated` are those of `done` that had been asked for before.
        """
        kind = kind_of(kind, edits)
        letters = [letter async for letter in self._all("open", kind, group) if in_bulk(letter)]
        answers = [
            await self._ask("dead.redrive", bulk_of(some, reason, edits, rate_per_s))
            for some in parts_of(letters)
        ]
        return summed(answers)

    async def discard(self, letter: str, *, reason: str = "") -> dict[str, Any]:
        """Give a letter up: a task fails, a saga is resolved, and the reason is recorded."""
        found = await self.show(letter)
        return dict(await self._ask("dead.discard", decision_of([found], reason)))

    async def _all(self, state: str, kind: str | None, group: str | None) -> AsyncIterator[Any]:
        params = listing_of(state, kind, group)
        while True:
            page = await self._ask("dead.list", params)
            for letter in page["letters"]:
                yield letter
            if page["cursor"] is None:
                return
            params["cursor"] = page["cursor"]


class SyncDead:
    """The same as `Dead`, for programs without a loop."""

    def __init__(self, ask: Callable[[str, Mapping[str, Any]], Any]) -> None:
        self._ask = ask

    def groups(self) -> list[Any]:
        """Return of what the open letters died: as `Dead.groups`."""
        found: list[Any] = []
        params: dict[str, Any] = {"min_position": _READ_YOUR_WRITES, "cursor": None}
        while True:
            page = self._ask("dead.groups", params)
            found += page["groups"]
            if page["cursor"] is None:
                return found
            params["cursor"] = page["cursor"]

    def list(
        self, *, state: str = "open", kind: str | None = None, group: str | None = None
    ) -> list[Any]:
        """Return letters: as `Dead.list`."""
        return list(self._all(state, kind, group))

    def show(self, letter: str) -> dict[str, Any]:
        """Return a letter: as `Dead.show`."""
        params = {"letter": letter, "min_position": _READ_YOUR_WRITES}
        return dict(self._ask("dead.show", params))

    def redrive(
        self, letter: str, *, edits: Mapping[str, Any] | None = None, reason: str = ""
    ) -> dict[str, Any]:
        """Have a letter run again: as `Dead.redrive`."""
        found = self.show(letter)
        return dict(self._ask("dead.redrive", decision_of([found], reason, edits)))

    def redrive_all(
        self,
        *,
        kind: str | None = None,
        group: str | None = None,
        edits: Mapping[str, Any] | None = None,
        reason: str = "",
        rate_per_s: float | None = None,
    ) -> dict[str, Any]:
        """Have all open letters of a kind and a group run again: as `Dead.redrive_all`."""
        kind = kind_of(kind, edits)
        letters = [letter for letter in self._all("open", kind, group) if in_bulk(letter)]
        answers = [
            self._ask("dead.redrive", bulk_of(some, reason, edits, rate_per_s))
            for some in parts_of(letters)
        ]
        return summed(answers)

    def discard(self, letter: str, *, reason: str = "") -> dict[str, Any]:
        """Give a letter up: as `Dead.discard`."""
        found = self.show(letter)
        return dict(self._ask("dead.discard", decision_of([found], reason)))

    def _all(self, state: str, kind: str | None, group: str | None) -> Iterator[Any]:
        params = listing_of(state, kind, group)
        while True:
            page = self._ask("dead.list", params)
            yield from page["letters"]
            if page["cursor"] is None:
                return
            params["cursor"] = page["cursor"]


def listing_of(state: str, kind: str | None, group: str | None) -> dict[str, Any]:
    """Return the parameters of `dead.list`."""
    said = {"state": state, "kind": kind, "group": group, "cursor": None}
    return {**said, "min_position": _READ_YOUR_WRITES}


def decision_of(
    letters: Sequence[Mapping[str, Any]], reason: str, edits: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the parameters of `dead.redrive` and `dead.discard`.

    With the generations that died: a letter that died again meanwhile is not meant.
    """
    said: dict[str, Any] = {
        "letters": [letter["letter"] for letter in letters],
        "generations": {
            letter["letter"]: letter["generation"] for letter in letters if letter["kind"] == "task"
        },
        "reason": reason,
    }
    return said if edits is None else {**said, "edits": dict(edits)}


def bulk_of(
    letters: Sequence[Mapping[str, Any]],
    reason: str,
    edits: Mapping[str, Any] | None = None,
    rate_per_s: float | None = None,
) -> dict[str, Any]:
    """Return the parameters for many letters: those that are refused keep no others back."""
    said = {**decision_of(letters, reason, edits), "together": True}
    return said if rate_per_s is None else {**said, "rate_per_s": rate_per_s}


def kind_of(kind: str | None, edits: Mapping[str, Any] | None) -> str | None:
    """Return the kind of letters that are meant: only tasks have parameters to edit."""
    return "task" if kind is None and edits is not None else kind


def in_bulk(letter: Mapping[str, Any]) -> bool:
    """Tell whether a letter is meant where none is named: a bug is looked at one by one."""
    return bool(letter["kind"] != "message")


def parts_of(letters: Sequence[Mapping[str, Any]]) -> Iterator[Sequence[Mapping[str, Any]]]:
    """Yield the letters of each request."""
    for at in range(0, len(letters), AT_ONCE):
        yield letters[at : at + AT_ONCE]


def summed(answers: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what several requests came to, together."""
    found: dict[str, list[Any]] = {"done": [], "repeated": [], "refused": []}
    for answer in answers:
        for name, letters in found.items():
            letters.extend(answer[name])
    return found
