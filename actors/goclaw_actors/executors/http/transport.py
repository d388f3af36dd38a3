"""Connections to checked addresses only: the name is resolved once, and what was checked is used.

The check stands where the socket is opened, so nothing can come in between (DNS rebinding:
Prefect CVE-2026-7724), and a redirect cannot pass it by. TLS and `Host` go on naming the host.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final

import certifi
import httpcore
import httpx

from goclaw_actors.executors.errors import HostUnresolved

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from goclaw_actors.executors.http.addresses import AddressPolicy
    from goclaw_actors.executors.http.limits import Resolve

CONNECTIONS_MAX: Final = 256
IDLE_CONNECTIONS_MAX: Final = 32
IDLE_S: Final = 15.0


async def resolve(host: str, port: int) -> list[str]:
    """Ask the system for the addresses of a host, in the order it prefers."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class PinnedBackend(httpcore.AsyncNetworkBackend):
    """Open connections for httpcore: resolve, check every address, connect to one of them."""

    def __init__(self, policy: AddressPolicy, resolver: Resolve = resolve) -> None:
        self._policy = policy
        self._resolve = resolver
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature is httpcore's
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect; raises `AddressForbidden`, `HostUnresolved`, `httpcore.ConnectError`."""
        try:
            addresses = await self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            msg = f"{host} has no address: {error}"
            raise HostUnresolved(msg, hint="check the name", host=host) from error
        for address in addresses:
            self._policy.check(host, port, ip_address(address.partition("%")[0]))
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in addresses:
            try:
                return await self._inner.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature is httpcore's
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Refuse: no URL leads to a file."""
        del timeout, socket_options
        msg = f"requests do not reach the socket {path}"
        raise httpcore.ConnectError(msg)

    async def sleep(self, seconds: float) -> None:
        """Wait between tries of httpcore (it is told to make none)."""
        await asyncio.sleep(seconds)


class PinnedTransport(httpx.AsyncBaseTransport):
    """Send httpx requests over connections of a `PinnedBackend`; no proxy, no environment.

    Raises what httpcore raises. Belongs to one loop.
    """

    def __init__(self, backend: PinnedBackend, tls: ssl.SSLContext | None = None) -> None:
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls or tls_context(),
            max_connections=CONNECTIONS_MAX,
            max_keepalive_connections=IDLE_CONNECTIONS_MAX,
            keepalive_expiry=IDLE_S,
            retries=0,
            network_backend=backend,
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request; follows nothing."""
        sent = httpcore.Request(
            method=request.method,
            url=httpcore.URL(
                scheme=request.url.raw_scheme,
                host=request.url.raw_host,
                port=request.url.port,
                target=request.url.raw_path,
            ),
            headers=request.headers.raw,
            content=request.content,
            extensions=request.extensions,
        )
        answer = await self._pool.handle_async_request(sent)
        return httpx.Response(
            answer.status,
            headers=answer.headers,
            stream=_Body(answer),
            extensions=answer.extensions,
            request=request,
        )

    async def aclose(self) -> None:
        """Close every connection."""
        await self._pool.aclose()


class _Body(httpx.AsyncByteStream):
    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._answer.aiter_stream():
            yield part

    async def aclose(self) -> None:
        await self._answer.aclose()


def tls_context() -> ssl.SSLContext:
    """Trust what the machine trusts (`SSL_CERT_FILE` included); if that is nothing, certifi."""
    context = ssl.create_default_context()
    if not context.cert_store_stats()["x509_ca"]:
        context.load_verify_locations(certifi.where())
    return context
