"""Which addresses a request may reach: public ones, and those the configuration names.

A definition may come from somebody who must not reach what the engine's machine can reach
(server-side request forgery, OWASP API7:2023). So the rule is about the address that is connected
to, not about what the name looks like; it holds for every redirect too.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import TYPE_CHECKING, Final, TypeAlias

from goclaw_actors.executors.errors import AddressForbidden, AddressRuleInvalid

if TYPE_CHECKING:
    from collections.abc import Iterable

Address: TypeAlias = "IPv4Address | IPv6Address"
Network: TypeAlias = "IPv4Network | IPv6Network"

PORT_MAX: Final = 65_535

# Private: a rule that names a host and a port may open these.
_PRIVATE: Final = (
    ("loopback", "127.0.0.0/8"), ("loopback", "::1/128"),
    ("private", "10.0.0.0/8"), ("private", "172.16.0.0/12"), ("private", "192.168.0.0/16"),
    ("unique local", "fc00::/7"), ("site local", "fec0::/10"),
    ("shared by carriers", "100.64.0.0/10"),
)  # fmt: skip
# Only a rule that names the address itself may open these.
_SPECIAL: Final = (
    ("link-local", "169.254.0.0/16"), ("link-local", "fe80::/10"),
    ("of a cloud's metadata", "168.63.129.16/32"), ("of a cloud's metadata", "100.100.100.200/32"),
    ("of a cloud's metadata", "fd00:ec2::254/128"),
    ("unspecified", "0.0.0.0/8"), ("unspecified", "::/128"),
    ("multicast", "224.0.0.0/4"), ("multicast", "ff00::/8"),
    ("reserved", "240.0.0.0/4"), ("reserved", "192.0.0.0/24"), ("reserved", "192.88.99.0/24"),
    ("for documentation", "192.0.2.0/24"), ("for documentation", "198.51.100.0/24"),
    ("for documentation", "203.0.113.0/24"), ("for documentation", "2001:db8::/32"),
    ("for documentation", "3fff::/20"), ("for benchmarks", "198.18.0.0/15"),
    ("discarded", "100::/64"), ("reserved", "5f00::/16"),
    ("translated to an address that cannot be checked", "64:ff9b:1::/48"),
    ("reserved, or tunnelled to an address that cannot be checked", "2001::/23"),
)  # fmt: skip


def _networks(table: Iterable[tuple[str, str]]) -> tuple[tuple[str, Network], ...]:
    return tuple((reason, ip_network(network)) for reason, network in table)


_PRIVATE_NETWORKS: Final = _networks(_PRIVATE)
_SPECIAL_NETWORKS: Final = _networks(_SPECIAL)
_NAT64: Final = IPv6Network("64:ff9b::/96")
_COMPATIBLE: Final = IPv6Network("::/96")
_V4_BITS: Final = 0xFFFF_FFFF


def inner(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 address stands for, or the address itself.

    Mapped (`::ffff:0:0/96`), compatible (`::/96`), NAT64 (`64:ff9b::/96`) and 6to4 (`2002::/16`).
    """
    if isinstance(address, IPv4Address):
        return address
    found = address.ipv4_mapped or address.sixtofour
    if found is not None:
        return found
    number = int(address)
    if address in _NAT64 or (address in _COMPATIBLE and number > 1):
        return IPv4Address(number & _V4_BITS)
    return address


@dataclass(frozen=True, slots=True)
class _Rule:
    """What the configuration opens: a network, or a name; `port` None: any."""

    network: Network | None
    name: str
    port: int | None


class AddressPolicy:
    """Say yes or no to an address, for a host and a port. Immutable; any thread.

    `allow` holds networks (`10.0.0.0/8`), addresses, `address:port`, or `name:port`; the last
    opens loopback and private addresses for that name, never link-local or metadata ones.
    `own_ports`: where this process listens itself; closed on every address that is not public,
    whatever is allowed. Raises `AddressRuleInvalid` for a rule that cannot be read.
    """

    def __init__(self, allow: Iterable[str] = (), own_ports: Iterable[int] = ()) -> None:
        self._rules = tuple(_rule(text) for text in allow)
        self._own_ports = frozenset(own_ports)

    def check(self, host: str, port: int, address: Address) -> None:
        """Raise `AddressForbidden` unless `host`, resolved to `address`, may be connected to."""
        real = inner(address)
        reason, special = _kind_of(real)
        if not reason:
            return
        own = port in self._own_ports
        if not own and any(self._opens(rule, host, port, real, special) for rule in self._rules):
            return
        text = "is a port of this engine" if own else f"is {reason}"
        shown = str(real) if str(real) == host else f"{host} ({real})"
        raise AddressForbidden(
            f"{shown} port {port} {text}, and requests may not reach it",
            hint="whoever runs the engine can open it: executors.http.allow_private",
            host=host,
            address=str(real),
            port=port,
        )

    @staticmethod
    def _opens(rule: _Rule, host: str, port: int, address: Address, special: bool) -> bool:  # noqa: FBT001
        if rule.port is not None and rule.port != port:
            return False
        if rule.network is not None:
            return address.version == rule.network.version and address in rule.network
        return not special and host.lower().rstrip(".") == rule.name


def _kind_of(address: Address) -> tuple[str, bool]:
    """Return why an address is not public ('' where it is), and whether it is a special one."""
    for reason, network in _SPECIAL_NETWORKS:
        if address.version == network.version and address in network:
            return reason, True
    for reason, network in _PRIVATE_NETWORKS:
        if address.version == network.version and address in network:
            return reason, False
    return "", False


def _rule(text: str) -> _Rule:
    try:
        return _Rule(ip_network(text), "", None)
    except ValueError:
        pass
    host, colon, port_text = text.rpartition(":")
    if not colon or not port_text.isascii() or not port_text.isdecimal():
        raise _invalid(text)
    port = int(port_text)
    if not 0 < port <= PORT_MAX or not host:
        raise _invalid(text)
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        return _Rule(ip_network(ip_address(bare)), "", port)
    except ValueError:
        if not all(c.isalnum() or c in "-._" for c in host):
            raise _invalid(text) from None
        return _Rule(None, host.lower().rstrip("."), port)


def _invalid(text: str) -> AddressRuleInvalid:
    return AddressRuleInvalid(
        f"{text[:80]!r} names no network, address or host:port",
        hint="write 10.0.0.0/8, 192.168.1.5, 127.0.0.1:8080, [::1]:8080 or intern.example:443",
    )
