"""What a task says about its request, checked: method, URL, headers, body."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import httpx

from goclaw_actors.executors.errors import BadParams
from goclaw_actors.executors.http.body import ENCODINGS
from goclaw_events.templates import text_of

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMES: Final = ("http", "https")
URL_CHARS_MAX: Final = 16_384
PORT_MAX: Final = 65_535
HEADERS_MAX: Final = 100
HEADER_BYTES_MAX: Final = 32 * 1024

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_OURS: Final = frozenset(
    ("host", "content-length", "transfer-encoding", "connection", "keep-alive", "upgrade", "te",
     "trailer", "expect", "accept-encoding", "proxy-authorization", "proxy-connection")
)  # fmt: skip
"""Headers about the connection: they are the executor's, not the task's."""
_HARMLESS: Final = frozenset(
    ("accept", "accept-language", "content-type", "user-agent", "accept-encoding")
)
"""What another origin is told after a redirect; anything else may be a secret."""


class Call(NamedTuple):
    """A request to be made. `expect` is empty where any 2xx will do.

    A status in `pause_on` holds the lane, if it says for how long.
    """

    method: str
    url: httpx.URL
    headers: dict[str, str]
    body: bytes | None
    expect: frozenset[int]
    pause_on: frozenset[int] = frozenset()

    def request(self, timeouts: dict[str, float | None]) -> httpx.Request:
        """Return it in the form that is sent."""
        return httpx.Request(
            self.method,
            self.url,
            headers=self.headers,
            content=self.body,
            extensions={"timeout": timeouts},
        )

    def expects(self, status: int) -> bool:
        """Tell whether a status is one that the task calls success."""
        return status in self.expect if self.expect else 200 <= status < 300  # noqa: PLR2004

    def redirected(self, status: int, location: str) -> Call:
        """Return what a redirect asks for; another origin gets neither headers nor body.

        Raises `BadParams` for a place that cannot be gone to, or whose body may not go along.
        """
        try:
            url = checked_url(str(self.url.join(location)))
        except httpx.InvalidURL as error:
            msg = f"{shown(self.url)} redirects to {location[:80]!r}: {error}"
            raise BadParams(msg) from error
        method, body = self.method, self.body
        keeps = status in (307, 308) or method in ("GET", "HEAD")
        if not keeps and (status == 303 or method == "POST"):  # noqa: PLR2004 - see other
            method, body = "GET", None
        same = _origin(url) == _origin(self.url)
        if body is not None and not same:
            raise BadParams(
                f"{shown(self.url)} redirects to another origin, {shown(url)}, "
                f"which would be handed the body",
                hint="write the final URL",
            )
        kept = {
            name: value
            for name, value in self.headers.items()
            if (same or name in _HARMLESS) and (body is not None or name != "content-type")
        }
        return Call(method, url, kept, body, self.expect)


def call_of(params: Mapping[str, Any], *, agent: str, idempotency_key: str) -> Call:
    """Return the request that rendered parameters describe; raises `BadParams`.

    A body of text or bytes is sent as it is, any other value as JSON. `agent` is the User-Agent.
    """
    url = checked_url(params.get("url"))
    headers = _headers(params.get("headers") or {})
    body, content_type = _body(params.get("body"))
    if content_type:
        headers.setdefault("content-type", content_type)
    headers.setdefault("accept", "*/*")
    headers.setdefault("user-agent", agent)
    headers.setdefault("idempotency-key", idempotency_key)
    headers["accept-encoding"] = ENCODINGS
    expect = frozenset(params.get("expect") or ())
    pause_on = frozenset(params.get("pause_on") or ())
    return Call(str(params.get("method") or "GET"), url, headers, body, expect, pause_on)


def checked_url(value: object) -> httpx.URL:
    """Return an absolute http(s) URL without credentials; raises `BadParams`."""
    if not isinstance(value, str) or len(value) > URL_CHARS_MAX:
        what = type(value).__name__ if not isinstance(value, str) else "too long"
        msg = f"the url of a request is {what}"
        raise BadParams(msg, hint="it is a text like https://host/path")
    try:
        url = httpx.URL(value.strip())
    except (httpx.InvalidURL, TypeError, ValueError) as error:
        msg = f"{value[:80]!r} is not a URL: {error}"
        raise BadParams(msg) from error
    if url.scheme not in SCHEMES or not url.host:
        msg = f"{value[:80]!r} is not a URL of http or https with a host"
        raise BadParams(msg, hint="write https://host/path")
    if url.port is not None and not 0 < url.port <= PORT_MAX:
        msg = f"the url of {url.host} names port {url.port}"
        raise BadParams(msg, hint=f"ports are 1 to {PORT_MAX}")
    if url.userinfo:
        msg = f"the url of {url.host} holds a name or a password"
        raise BadParams(msg, hint="give an `Authorization` header")
    return url


def shown(url: httpx.URL) -> str:
    """Return a URL for messages: without the query, which may hold a key."""
    return str(url.copy_with(query=None, fragment=None))


def _origin(url: httpx.URL) -> tuple[str, str, int]:
    return url.scheme, url.host, url.port or (443 if url.scheme == "https" else 80)


def _headers(given: object) -> dict[str, str]:
    if not isinstance(given, dict) or len(given) > HEADERS_MAX:
        msg = f"the headers of a request are a mapping of at most {HEADERS_MAX} names"
        raise BadParams(msg)
    headers: dict[str, str] = {}
    size = 0
    for name, value in given.items():
        if _TOKEN.match(name) is None:
            msg = f"{name[:80]!r} is not the name of a header"
            raise BadParams(msg)
        lower = name.lower()
        if lower in _OURS:
            msg = f"the header {name!r} is not for a task to set"
            raise BadParams(msg, hint="remove it")
        text = text_of(value).strip(" \t")
        if any(ord(c) < 32 and c != "\t" for c in text) or not text.isascii() or "\x7f" in text:  # noqa: PLR2004
            msg = f"the header {name!r} holds characters that headers may not hold"
            raise BadParams(msg, hint="printable ASCII only")
        size += len(name) + len(text)
        headers[lower] = text
    if size > HEADER_BYTES_MAX:
        msg = f"the headers have {size} bytes, more than {HEADER_BYTES_MAX}"
        raise BadParams(msg)
    return headers


def _body(value: Any) -> tuple[bytes | None, str]:
    if value is None:
        return None, ""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass"), "text/plain; charset=utf-8"
    if isinstance(value, bytes):
        return value, "application/octet-stream"
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        msg = f"the body cannot be written as JSON: {error}"
        raise BadParams(msg, hint="bytes can only be the whole body") from error
    return text.encode(), "application/json"
