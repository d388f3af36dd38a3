"""Secrets: the log holds their names; their values appear where a task runs, and nowhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from goclaw_actors.errors import ActorsError
from goclaw_actors.executors.redaction import KNOWN, SECRET_CHARS_MIN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from goclaw_actors.executors.redaction import Redactor
    from goclaw_events.value import SecretText

_HINT: Final = "set the variable GOCLAW_SECRET_<NAME>, or add it to the file `secrets.file` names"


class SecretMissing(ActorsError):
    """A task names secrets that this engine does not have; `details["names"]` lists them."""

    code = "secret_missing"


class SecretUnfit(ActorsError):
    """A secret could not be kept out of results and logs: it is too short, or no UTF-8."""

    code = "secret_unfit"


class Secrets:
    """Put secrets into texts, and have the redactor know them first. Any thread.

    `read` returns every secret by name as it is now; it may block.
    """

    def __init__(self, read: Callable[[], Mapping[str, str]], redactor: Redactor = KNOWN) -> None:
        self._read = read
        self._redactor = redactor

    def learn(self) -> Mapping[str, str]:
        """Read the secrets, and let the redactor know every one that can be told from text."""
        found = self._read()
        self._redactor.learn({name: text for name, text in found.items() if not _unfit(text)})
        return found

    def require(self, names: Iterable[str]) -> None:
        """Raise `SecretMissing`, naming every one that is not there, or `SecretUnfit`."""
        found = self.learn()
        wanted = sorted(set(names))
        missing = [name for name in wanted if name not in found]
        if missing:
            shown = ", ".join(missing)
            raise SecretMissing(f"there is no secret {shown}", hint=_HINT, names=missing)
        for name in wanted:
            why = _unfit(found[name])
            if why:
                hint = "it could not be kept out of results: use an input, or write it in base64"
                raise SecretUnfit(f"the secret {name} {why}", hint=hint, name=name)

    def reveal(self, text: SecretText) -> str:
        """Return a text with its secrets in it; raises `SecretMissing`, `SecretUnfit`."""
        literals, names = text.parts[::2], text.parts[1::2]
        self.require(names)
        found = self._read()
        values = [found.get(name, "") for name in names]
        return "".join(part for pair in zip(literals, [*values, ""], strict=True) for part in pair)


def _unfit(text: str) -> str:
    """Return why a text cannot be a secret, '' if it can."""
    if len(text) < SECRET_CHARS_MIN:
        return f"has less than {SECRET_CHARS_MIN} characters"
    try:
        text.encode()
    except UnicodeEncodeError:  # a variable of this process may hold any bytes
        return "is not UTF-8"
    return ""
