"""Requests as the engine sees them: against a real server, on real connections."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from typing import TYPE_CHECKING, Any

import pytest

from goclaw_actors.executors.http.executor import HttpExecutor
from goclaw_actors.executors.http.limits import HttpLimits
from goclaw_actors.executors.http.transport import tls_context
from tests.actors.executors.web import Resolver, Web

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from goclaw_actors.work import Outcome
    from tests.actors.executors.conftest import Bench


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    """Run a server for the module."""
    with Web() as server:
        yield server


class Caller:
    """Make requests through an executor that may reach the loopback."""

    def __init__(self, make_bench: Callable[..., Bench], **limits: Any) -> None:
        limits = {"allow_private": ("127.0.0.0/8",), **limits}
        self.bench = make_bench({"http": lambda s: HttpExecutor(s, HttpLimits(**limits))})

    def __call__(self, url: str, *, timeout_s: float | None = None, **params: Any) -> Outcome:
        """Make one request and wait for its outcome."""
        given = {"url": url, **params}
        token = self.bench.start("", given, timeout_s=timeout_s, kind="http")
        return self.bench.outcome(token)


@pytest.fixture
def call(make_bench: Callable[..., Bench]) -> Caller:
    """Return a caller with the default limits."""
    return Caller(make_bench)


def test_json_comes_and_goes_as_values(web: Web, call: Caller) -> None:
    """Structures are sent as JSON; an answer in JSON is a value; headers are in lower case."""
    url = web.json("/json", {"n": [1, None]}, 201, {"X-Two": "2"})
    outcome = call(url + "?q=1", method="POST", headers={"X-One": 1}, body={"a": "ü"})
    assert outcome.status == "completed", outcome
    result: Any = outcome.result
    assert (result["status"], result["body"], result["url"]) == (
        201,
        {"n": [1, None]},
        url + "?q=1",
    )
    assert result["headers"]["x-two"] == "2"
    assert 0 <= result["duration_s"] < 20
    seen = web.seen[-1]
    assert (seen["method"], seen["path"]) == ("POST", "/json?q=1")
    assert json.loads(seen["body"]) == {"a": "ü"}
    headers = seen["headers"]
    assert headers["content-type"] == "application/json"
    assert (headers["x-one"], headers["host"]) == ("1", f"127.0.0.1:{web.port}")
    assert headers["idempotency-key"].startswith("r/t")
    assert headers["user-agent"].startswith("goclaw")


@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        (b"caf\xe9", "text/plain; charset=latin-1", "café"),
        ("é".encode(), "text/html", "é"),
        (b"\x00\xff", "application/octet-stream", b"\x00\xff"),
        (b"\x00\xff", "", b"\x00\xff"),
        (b"plain", "", "plain"),
        (b'{"a":1}', "application/problem+json", {"a": 1}),
        (b"", "application/json", None),
    ],
)
def test_a_body_becomes_what_its_type_says(
    web: Web, call: Caller, body: bytes, content_type: str, expected: object
) -> None:
    """JSON is parsed, text decoded, anything else stays bytes, nothing is None."""
    headers = {"Content-Type": content_type} if content_type else {}
    result: Any = call(web.raw("/typed", body, headers=headers)).result
    assert result["body"] == expected


def test_text_and_bytes_are_sent_as_they_are(web: Web, call: Caller) -> None:
    """Only structures become JSON."""
    url = web.json("/plain", 1)
    call(url, method="PUT", body="<x/>", headers={"Content-Type": "application/xml"})
    assert (web.seen[-1]["body"], web.seen[-1]["headers"]["content-type"]) == (
        b"<x/>", "application/xml",
    )  # fmt: skip
    call(url, method="PUT", body=b"\x00")
    assert web.seen[-1]["body"] == b"\x00"


@pytest.mark.parametrize(("status", "retryable"), [(404, False), (409, False), (503, True)])
def test_an_unexpected_status_fails_typed(
    web: Web, call: Caller, status: int, retryable: bool
) -> None:
    """The server's own faults may be tried again, the caller's may not; the query is not shown."""
    url = web.raw("/status", b"because", status)
    outcome = call(url + "?key=hush")
    assert (outcome.status, outcome.code, outcome.retryable) == ("failed", "http_status", retryable)
    assert f"answered {status}" in outcome.message
    assert "because" in outcome.message
    assert "hush" not in outcome.message


def test_expected_statuses_are_what_counts(web: Web, call: Caller) -> None:
    """With `expect`, 404 may be success and 200 a failure."""
    gone = web.raw("/gone", b"x", 404)
    assert call(gone, expect=[404]).status == "completed"
    assert call(web.json("/fine", 1), expect=[404]).code == "http_status"


def test_retry_after_is_handed_on(web: Web, call: Caller) -> None:
    """A server that asks for time gets it."""
    outcome = call(web.raw("/later", b"", 429, {"Retry-After": "7"}))
    assert (outcome.code, outcome.retryable, outcome.retry_after_s) == ("http_status", True, 7.0)


def test_a_status_may_hold_the_lane(web: Web, call: Caller) -> None:
    """Where the task says so, and the server for how long; else it is a failure as ever."""
    busy = web.raw("/busy", b"", 429, {"Retry-After": "7"})
    outcome = call(busy, pause_on=[429])
    assert (outcome.code, outcome.limited, outcome.retry_after_s) == ("rate_limited", True, 7.0)
    assert not call(busy, pause_on=[503]).limited
    assert call(web.raw("/mute", b"", 429), pause_on=[429]).code == "http_status"


def test_a_large_answer_is_cut_off(web: Web, make_bench: Callable[..., Bench]) -> None:
    """The limit counts what was decoded: a small file that unpacks to much is not unpacked."""
    call = Caller(make_bench, response_bytes_max=100_000)
    bomb = web.packed("/bomb", b"0" * 50_000_000)
    for url in (web.raw("/large", b"x" * 100_001), bomb):
        outcome = call(url)
        assert (outcome.code, outcome.retryable) == ("response_too_large", False), outcome
    fits = call(web.packed("/fits", b"y" * 100_000))
    assert fits.status == "completed"
    assert [len(data) for data in (fits.blobs or {}).values()] != []


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"{", {"Content-Type": "application/json"}),
        (b'{"a": NaN}', {"Content-Type": "application/json"}),
        (b"[" * 50_000, {"Content-Type": "application/json"}),
        (b"zz", {"Content-Encoding": "br"}),
        (b"zz", {"Content-Encoding": "gzip"}),
    ],
)
def test_an_answer_that_lies_is_invalid(
    web: Web, call: Caller, body: bytes, headers: dict[str, str]
) -> None:
    """What says it is JSON, or compressed, and is not: a typed failure, never a crash."""
    outcome = call(web.raw("/lies", body, headers=headers))
    assert (outcome.code, outcome.retryable) == ("response_invalid", True), outcome


def test_redirects_are_followed_three_times(web: Web, call: Caller) -> None:
    """The answer names where it came from; a fourth redirect is too many."""
    web.json("/end", "there")
    for at in range(4):
        to = f"/hop{at + 1}" if at < 3 else "/end"
        web.raw(f"/hop{at}", b"", 302, {"Location": to})
    result: Any = call(web.url("/hop1")).result
    assert (result["body"], result["url"]) == ("there", web.url("/end"))
    assert call(web.url("/hop0")).code == "response_invalid"
    not_followed: Any = call(web.url("/hop0"), expect=[302]).result
    assert not_followed["headers"]["location"] == "/hop1"


def test_another_origin_gets_no_secret(web: Web, make_bench: Callable[..., Bench]) -> None:
    """Headers of the task stay with the origin they were meant for; a body is not handed on."""
    resolver = Resolver(other_example=[["127.0.0.1"]])
    call = Caller(make_bench, resolver=resolver)
    web.json("/target", 1)
    web.raw("/away", b"", 307, {"Location": web.url("/target", "other.example")})
    headers = {"Authorization": "Bearer hush", "X-Api-Key": "hush", "Accept": "text/html"}
    assert call(web.url("/away"), headers=headers).status == "completed"
    seen = web.seen[-1]["headers"]
    assert seen["host"] == f"other.example:{web.port}"
    assert seen["accept"] == "text/html"
    assert "hush" not in str(seen)
    kept = call(web.url("/away"), method="POST", body={"secret": 1})
    assert (kept.code, kept.retryable) == ("bad_params", False)
    assert "another origin" in kept.message
    web.raw("/seen", b"", 303, {"Location": "/target"})
    assert call(web.url("/seen"), method="POST", body="x").status == "completed"
    assert (web.seen[-1]["method"], web.seen[-1]["body"]) == ("GET", b"")


def test_the_address_that_was_checked_is_the_one_connected_to(
    web: Web, make_bench: Callable[..., Bench]
) -> None:
    """A name that changes its address between check and use (DNS rebinding) gains nothing.

    The name is asked for once a connection, and a redirect is asked for and checked again.
    """
    lying = Resolver(lying_example=[["93.184.216.34"], ["127.0.0.1"]])
    call = Caller(make_bench, allow_private=(), resolver=lying, connect_timeout_s=0.2)
    outcome = call(web.url("/json", "lying.example"))
    assert outcome.code == "connection_failed"
    assert lying.asked == [("lying.example", web.port)]
    second = call(web.url("/json", "lying.example"))
    assert (second.code, second.retryable) == ("address_forbidden", False)
    hidden = Resolver(mixed_example=[["93.184.216.34", "127.0.0.1"]])
    call = Caller(make_bench, allow_private=(), resolver=hidden)
    assert call(web.url("/json", "mixed.example")).code == "address_forbidden"


def test_a_redirect_to_a_closed_address_is_refused(
    web: Web, make_bench: Callable[..., Bench]
) -> None:
    """Being let in somewhere opens nothing else."""
    resolver = Resolver(open_example=[["127.0.0.1"]])
    rule = f"open.example:{web.port}"
    call = Caller(make_bench, allow_private=(rule,), resolver=resolver)
    before = len(web.seen)
    for place in ("http://169.254.169.254/latest", web.url("/json"), "http://[::1]:1/"):
        web.raw("/jump", b"", 302, {"Location": place})
        assert call(web.url("/jump", "open.example")).code in (
            "address_forbidden",
            "host_unresolved",
        )
    assert [seen["path"] for seen in web.seen[before:]] == ["/jump"] * 3
    web.raw("/jump", b"", 302, {"Location": "file:///etc/passwd"})
    assert call(web.url("/jump", "open.example")).code == "bad_params"


@pytest.mark.parametrize(
    "params",
    [
        {"url": "ftp://h/"}, {"url": "/path"}, {"url": "http://u:p@h/"}, {"url": 7},
        {"url": "http://127.0.0.1:99999/"}, {"url": "http://127.0.0.1:0/"},
        {"url": "http://h/", "headers": {"a b": "1"}},
        {"url": "http://h/", "headers": {"a": "x\r\nB: y"}},
        {"url": "http://h/", "headers": {"Host": "evil"}},
        {"url": "http://h/", "headers": {"Transfer-Encoding": "chunked"}},
        {"url": "http://h/", "body": {"deep": b"bytes"}},
    ],
)  # fmt: skip
def test_a_request_that_cannot_be_made_is_refused(call: Caller, params: dict[str, Any]) -> None:
    """Before anything is sent, and without another attempt."""
    outcome = call(**params)
    assert (outcome.code, outcome.retryable) == ("bad_params", False), outcome


def test_failures_of_the_connection_are_typed(call: Caller) -> None:
    """Refused, cut off in the middle, no such host: all may be tried again."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def cut() -> None:
            with server.accept()[0] as peer:
                peer.recv(4096)
                peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")

        thread = threading.Thread(target=cut)
        thread.start()
        broken = call(f"http://127.0.0.1:{port}/")
        thread.join()
    refused = call(f"http://127.0.0.1:{port}/")
    for outcome in (broken, refused):
        assert (outcome.code, outcome.retryable) == ("connection_failed", True), outcome
    unknown = call("http://no-such-host.invalid/")
    assert (unknown.code, unknown.retryable) == ("host_unresolved", True)


def test_tls_names_the_host_and_not_the_address(make_bench: Callable[..., Bench]) -> None:
    """The server is told, and its certificate has to say, the name of the URL."""
    said: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def listen() -> None:
            with server.accept()[0] as peer:
                said.append(peer.recv(4096))

        thread = threading.Thread(target=listen)
        thread.start()
        resolver = Resolver(service_example=[["127.0.0.1"]])
        call = Caller(make_bench, allow_private=(f"service.example:{port}",), resolver=resolver)
        outcome = call(f"https://service.example:{port}/")
        thread.join()
    assert b"service.example" in said[0]
    assert (outcome.code, outcome.retryable) == ("connection_failed", True)
    context = tls_context()
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED


def test_a_timeout_and_a_stop_close_the_connection(web: Web, call: Caller) -> None:
    """The attempt ends typed; the server finds nobody there."""
    url = web.hangs("/hang")
    late = call(url, timeout_s=0.05)
    assert (late.status, late.code) == ("failed", "timeout")
    token = call.bench.start("", {"url": url}, kind="http")
    assert call.bench.executor.holds(token)
    call.bench.stop(token, "enough")
    stopped = call.bench.outcome(token)
    assert (stopped.status, stopped.abandoned) == ("cancelled", False)
    assert call.bench.executor.running().others == {"http": 0}


def test_no_proxy_and_no_cookie_is_kept(
    web: Web, call: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the environment or an earlier answer says does not reach a request."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    url = web.json("/cookie", 1, headers={"Set-Cookie": "a=b"})
    assert call(url).status == "completed"
    assert call(url).status == "completed"
    assert "cookie" not in web.seen[-1]["headers"]
    assert web.seen[-1]["client"] == web.seen[-2]["client"], "the connection was used again"
