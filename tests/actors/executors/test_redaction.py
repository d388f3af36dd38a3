"""What is secret does not leave an executor, in whatever form it stands."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goclaw_actors.executors.agents import AgentRegistry
from goclaw_actors.executors.outbox import Outbox
from goclaw_actors.executors.outcomes import MESSAGE_BYTES_MAX, failed
from goclaw_actors.executors.redaction import SECRET_CHARS_MIN, Redactor
from goclaw_actors.executors.secrets import SecretMissing, Secrets, SecretUnfit
from goclaw_actors.work import AttemptToken, Outcome, Progress, Report, StartAttempt
from goclaw_events.value import INLINE_BYTES_MAX, BlobRef, SecretText, pack, store, unpack

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = 'pa"ss wörd\n+/-0123456789'
TOKEN = AttemptToken(0, 1, 7)
ATTEMPT = StartAttempt("task/r/t", "r", "t", 0, 1, TOKEN, "a", None, 1.5)
AGENT = AgentRegistry().register("a", lambda ctx: ctx)


def redactor(secret: str = SECRET) -> Redactor:
    """Return a redactor that knows one secret, called KEY."""
    made = Redactor()
    made.learn({"KEY": secret})
    return made


def test_a_secret_is_found_however_deep_it_lies() -> None:
    """As deep as a value can be stored."""
    deep: object = {"key": [SECRET]}
    for _ in range(500):
        deep = [deep]
    (item,) = redactor().items([Outcome("task/r/a", TOKEN, "completed", store(deep, {}))])
    assert isinstance(item, Outcome)
    assert "[secret KEY]" in str(pack(item.result))
    assert SECRET.encode() not in pack(item.result)


def test_a_secret_that_is_no_text_costs_only_who_names_it() -> None:
    """A variable may hold any bytes: the others are known all the same."""
    made = Redactor()
    secrets = Secrets(lambda: {"BYTES": "\udcff" * 8, "KEY": SECRET}, made)
    secrets.require(["KEY"])
    assert made.text(f"<{SECRET}>") == "<[secret KEY]>"
    with pytest.raises(SecretUnfit, match="BYTES is not UTF-8"):
        secrets.require(["BYTES"])


def test_an_outcome_that_cannot_be_redacted_is_said_to_have_failed() -> None:
    """The others of its batch leave as they are; none is lost."""
    told: list[Report] = []
    other = Outcome("task/r/b", AttemptToken(0, 1, 8), "completed", "fine")
    unfit = Outcome("task/r/a", TOKEN, "completed", object())
    Outbox(told.extend, lambda _: None, redactor()).put([unfit, other])
    assert [(item.status, item.code) for item in told if isinstance(item, Outcome)] == [
        ("failed", "value_not_storable"), ("completed", ""),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "form",
    [
        str,
        repr,
        json.dumps,
        lambda text: json.dumps(text, ensure_ascii=False),
        lambda text: quote(text, safe=""),
        lambda text: base64.b64encode(f"user:{text}".encode()).decode(),
        lambda text: base64.b64encode(f"u:{text}:x".encode()).decode(),
        lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
    ],
)
def test_a_secret_is_found_in_every_form(form: Callable[[str], str]) -> None:
    """As it is, quoted, escaped, in a URL, and in base64 at any place of a longer text."""
    text = redactor().text(f"before {form(SECRET)} after")
    assert text.startswith("before ")
    assert text.endswith(" after")
    assert "[secret KEY]" in text
    assert "0123456789" not in text


@given(st.binary(max_size=20), st.text(st.characters(codec="utf-8"), min_size=12), st.binary())
def test_base64_hides_nothing(before: bytes, secret: str, after: bytes) -> None:
    """Wherever a secret of twelve characters or more stands, its base64 is recognised."""
    code = base64.b64encode(before + secret.encode() + after).decode()
    assert "[secret KEY]" in redactor(secret).text(code)


_WORDS = st.text(st.sampled_from("abcx"), min_size=SECRET_CHARS_MIN, max_size=12)


@given(_WORDS, _WORDS, st.text(st.sampled_from("abcx. "), max_size=6), st.data())
@settings(max_examples=200)
def test_a_cut_leaves_no_part_of_a_secret(
    one: str, two: str, around: str, data: st.DataObject
) -> None:
    """Wherever a text is cut, three characters of a secret stay at most, at either end."""
    made = Redactor()
    made.learn({"ONE": one, "TWO": two})
    text = around + one + around + two + around
    at = data.draw(st.integers(0, len(text)))
    begin, rest = text[:at], text[at:]
    first, second = made.cut(begin, end=True), made.cut(rest, start=True)
    for secret in (one, two):
        for length in range(SECRET_CHARS_MIN, len(secret) + 1):
            assert not first.endswith(secret[:length])
            assert not second.startswith(secret[-length:])
    if len(one) >= SECRET_CHARS_MIN + 2:
        assert made.cut(one[1:-1], start=True, end=True) in {"[secret ONE]", "[secret TWO]"}


def test_a_piece_out_of_the_middle_of_a_secret_is_known() -> None:
    """Cut at both ends it is redacted whole; text that was not cut keeps what looks alike."""
    assert redactor().cut(SECRET[5:-5], start=True, end=True) == "[secret KEY]"
    assert redactor().cut("456789", start=True) == "[secret KEY]"
    assert redactor().cut("6789", end=True) == "6789"
    assert redactor().text("456789") == "456789"
    assert redactor("first line\nsecond line").text("  second line") == "  [secret KEY]"


def test_what_was_cut_for_an_outcome_shows_no_part() -> None:
    """Messages end with the mark of a cut, tracebacks begin with it: beside it no part stays."""
    secret = "".join(map(str, range(2000)))
    error = ValueError("x" * (MESSAGE_BYTES_MAX - 100) + secret)
    made = failed(AGENT, ATTEMPT, error)
    assert secret[:50] in made.message
    assert secret[-50:] in made.trace
    (said,) = redactor(secret).items([made])
    assert isinstance(said, Outcome)
    assert said.message.endswith("x[secret KEY]...")
    assert said.trace.startswith("...[secret KEY]\n")


def test_values_are_redacted_at_every_depth() -> None:
    """Keys, bytes and lists too; what holds no secret stays as it is."""
    value = {"a": [SECRET, {SECRET: 1}], "b": SECRET.encode(), "c": None, "d": 5}
    assert redactor().value(value) == {
        "a": ["[secret KEY]", {"[secret KEY]": 1}],
        "b": b"[secret KEY]",
        "c": None,
        "d": 5,
    }


def test_outcomes_and_progress_leave_without_secrets() -> None:
    """Result, message, traceback; a large result is stored again, under another hash."""
    blobs: dict[bytes, bytes] = {}
    ref = store([SECRET, "x" * INLINE_BYTES_MAX], blobs)
    items: list[Report] = [
        Outcome("s", TOKEN, "completed", {"said": SECRET}),
        Outcome("s", TOKEN, "completed", ref, blobs),
        Outcome("s", TOKEN, "failed", message=f"m {SECRET}", trace=f"t {SECRET!r}"),
        Progress("s", TOKEN, 0.5, SECRET),
        Outcome("s", TOKEN, "completed", ["clean"]),
    ]
    small, large, failed, progress, clean = redactor().items(items)
    assert isinstance(small, Outcome)
    assert small.result == {"said": "[secret KEY]"}
    assert isinstance(large, Outcome)
    assert isinstance(large.result, BlobRef)
    assert large.blobs is not None
    assert large.result != ref
    assert unpack(large.blobs[large.result.sha256])[0] == "[secret KEY]"
    assert isinstance(failed, Outcome)
    assert (failed.message, failed.trace) == ("m [secret KEY]", "t '[secret KEY]'")
    assert isinstance(progress, Progress)
    assert progress.message == "[secret KEY]"
    assert clean is items[-1]


def test_a_secret_stays_known_after_its_rotation() -> None:
    """What was read once may still be in memory somewhere: it is redacted as long as we run."""
    held = {"KEY": "first-value"}
    made = Redactor()
    secrets = Secrets(lambda: dict(held), made)
    assert secrets.reveal(SecretText(("", "KEY", "!"))) == "first-value!"
    held["KEY"] = "second-value"
    assert secrets.reveal(SecretText(("", "KEY", ""))) == "second-value"
    assert made.text("first-value second-value") == "[secret KEY] [secret KEY]"


def test_all_that_is_missing_is_named_together() -> None:
    """A secret that is not there, or cannot be told from text, is refused by name."""
    secrets = Secrets(lambda: {"SHORT": "abc", "FIT": "abcd"}, Redactor())
    with pytest.raises(SecretMissing, match="ONE, TWO") as raised:
        secrets.require(["TWO", "FIT", "ONE", "TWO"])
    assert raised.value.details["names"] == ["ONE", "TWO"]
    with pytest.raises(SecretUnfit, match="SHORT"):
        secrets.reveal(SecretText(("", "SHORT", "")))
