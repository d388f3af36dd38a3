"""One request, from what the task says to what the task returns."""

from __future__ import annotations

import asyncio
import contextlib
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

import httpcore

from goclaw_actors.executors.errors import (
    BadParams,
    ConnectionFailed,
    Fail,
    RateLimited,
    ResponseInvalid,
    RetryAfter,
)
from goclaw_actors.executors.http.addresses import AddressPolicy
from goclaw_actors.executors.http.body import parsed, read_body
from goclaw_actors.executors.http.request import Call, call_of, shown
from goclaw_actors.executors.http.transport import PinnedBackend, PinnedTransport, resolve
from goclaw_actors.executors.redaction import CUT

if TYPE_CHECKING:
    import httpx

    from goclaw_actors.executors.context import TaskContext
    from goclaw_actors.executors.http.limits import HttpLimits

HTTP_STATUS: Final = "http_status"
REDIRECTS: Final = frozenset((301, 302, 303, 307, 308))
REDIRECTS_MAX: Final = 3
PARSE_ELSEWHERE_BYTES: Final = 128 * 1024
"""A larger body is parsed in a thread, so that other requests go on."""
SHOWN_CHARS: Final = 300
_TOO_MANY: Final = 429
_SERVER_ERROR: Final = 500


class HttpCaller:
    """Make the requests of tasks. Belongs to one loop."""

    def __init__(self, limits: HttpLimits) -> None:
        self._limits = limits
        policy = AddressPolicy(limits.allow_private, limits.own_ports)
        backend = PinnedBackend(policy, limits.resolver or resolve)
        self._transport = PinnedTransport(backend)

    async def __call__(self, ctx: TaskContext) -> dict[str, Any]:
        """Return status, headers (lower case), body, url and duration_s.

        Raises `BadParams`, `AddressForbidden`, `HostUnresolved`, `ConnectionFailed`,
        `ResponseTooLarge`, `ResponseInvalid`; `Fail` and `RetryAfter` with `http_status`,
        `RateLimited`.
        """
        key = ctx.idempotency_key
        call = call_of(ctx.params, agent=self._limits.agent, idempotency_key=key)
        begun_s = time.monotonic()
        try:
            call, response, data = await self._follow(call)
        except httpcore.LocalProtocolError as error:
            msg = f"{call.method} {shown(call.url)} cannot be sent: {error}"
            raise BadParams(msg) from error
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
            said = str(error) or type(error).__name__
            msg = f"{call.method} {shown(call.url)}: {said}"
            raise ConnectionFailed(msg, hint="it may be tried again") from error
        if not call.expects(response.status_code):
            raise _unexpected(call, response, data)
        return {
            "status": response.status_code,
            "headers": dict(response.headers.items()),
            "body": await _parsed(data, response.headers.get("content-type", "")),
            "url": str(call.url),
            "duration_s": round(time.monotonic() - begun_s, 6),
        }

    async def _follow(self, call: Call) -> tuple[Call, httpx.Response, bytes]:
        """Send a request and what redirects ask for; the last answer is read whole."""
        for _ in range(REDIRECTS_MAX + 1):
            request = call.request({"connect": self._limits.connect_timeout_s})
            response = await self._transport.handle_async_request(request)
            try:
                location = response.headers.get("location", "")
                status = response.status_code
                if status not in REDIRECTS or not location or status in call.expect:
                    return call, response, await self._read(call, response)
            finally:
                await response.aclose()
            call = call.redirected(status, location)
        msg = f"more than {REDIRECTS_MAX} redirects, the last one to {shown(call.url)}"
        raise ResponseInvalid(msg, hint="write the final URL")

    async def _read(self, call: Call, response: httpx.Response) -> bytes:
        if call.method == "HEAD":
            return b""
        encoding = response.headers.get("content-encoding", "")
        return await read_body(response.aiter_raw(), encoding, self._limits.response_bytes_max)

    async def close(self) -> None:
        """Close every connection."""
        await self._transport.aclose()


async def _parsed(data: bytes, content_type: str) -> Any:
    if len(data) <= PARSE_ELSEWHERE_BYTES:
        return parsed(data, content_type)
    return await asyncio.to_thread(parsed, data, content_type)


def _unexpected(call: Call, response: httpx.Response, data: bytes) -> Exception:
    """Return what to raise for a status that the task does not call success.

    A server's error and 429 may be tried again, after `Retry-After` if it came; others not. Where
    the task says so, such a status holds its lane instead.
    """
    status = response.status_code
    is_cut = len(data) > SHOWN_CHARS
    said = data[:SHOWN_CHARS].decode("utf-8", "ignore" if is_cut else "replace").strip()
    said = said + CUT if is_cut else said
    text = f"{call.method} {shown(call.url)} answered {status} {response.reason_phrase}"
    text = f"{text}: {said}" if said else text
    wait_s = retry_after_s(response.headers.get("retry-after", ""), datetime.now(UTC))
    if status in call.pause_on and wait_s is not None:
        return RateLimited(wait_s, text)
    if status != _TOO_MANY and status < _SERVER_ERROR:
        return Fail(text, code=HTTP_STATUS)
    if wait_s is None:
        return Fail(text, code=HTTP_STATUS, retryable=True)
    return RetryAfter(wait_s, text, code=HTTP_STATUS)


def retry_after_s(value: str, now: datetime) -> float | None:
    """Return the seconds that a `Retry-After` asks for (a number or a date), or None."""
    text = value.strip()
    if text.isascii() and text.isdecimal() and len(text) < 10:  # noqa: PLR2004 - beyond a century
        return float(text)
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        then = parsedate_to_datetime(text)
        aware = then if then.tzinfo else then.replace(tzinfo=UTC)
        return max(0.0, (aware - now).total_seconds())
    return None
