"""Which addresses requests may reach."""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goclaw_actors.executors.errors import AddressForbidden, AddressRuleInvalid
from goclaw_actors.executors.http.addresses import AddressPolicy
from goclaw_actors.executors.http.call import retry_after_s

CLOSED = (
    "127.0.0.1", "127.255.0.1", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.0.1",
    "169.254.169.254", "100.64.0.1", "100.100.100.200", "0.0.0.0", "0.1.2.3", "224.0.0.1",  # noqa: S104
    "255.255.255.255", "240.0.0.1", "198.18.0.1", "192.0.0.192", "168.63.129.16",
    "::1", "::", "fe80::1", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1", "2001:db8::1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1",
    "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2002:c0a8:1::1", "2001::1",
)  # fmt: skip
OPEN = ("93.184.216.34", "1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111",
        "::ffff:1.1.1.1", "64:ff9b::101:101")  # fmt: skip


def reached(policy: AddressPolicy, address: str, port: int = 80, host: str = "h") -> bool:
    """Tell whether an address may be connected to."""
    try:
        policy.check(host, port, ip_address(address))
    except AddressForbidden:
        return False
    return True


def test_only_public_addresses_are_open_by_default() -> None:
    """Loopback, private, link-local, metadata and the like, in every disguise."""
    policy = AddressPolicy()
    assert [address for address in CLOSED if reached(policy, address)] == []
    assert [address for address in OPEN if not reached(policy, address)] == []


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
def test_what_python_calls_private_is_closed(address: IPv4Address | IPv6Address) -> None:
    """The table is at least as strict as the standard library's, but for a few that it embeds.

    An address of 6to4 is as open as the one that stands in it: some versions call all private.
    """
    embedded = address.sixtofour if isinstance(address, IPv6Address) else None
    if embedded is None and reached(AddressPolicy(), str(address)):
        kinds = ("private", "loopback", "link_local", "multicast", "unspecified")
        assert [kind for kind in kinds if getattr(address, "is_" + kind)] == []


@pytest.mark.parametrize(
    ("rule", "address", "port", "host", "expected"),
    [
        ("10.0.0.0/8", "10.9.9.9", 1, "h", True),
        ("10.0.0.0/8", "::ffff:10.9.9.9", 1, "h", True),
        ("10.0.0.0/8", "192.168.0.1", 1, "h", False),
        ("127.0.0.1:8080", "127.0.0.1", 8080, "h", True),
        ("127.0.0.1:8080", "127.0.0.1", 8081, "h", False),
        ("[::1]:8080", "::1", 8080, "h", True),
        ("localhost:8080", "127.0.0.1", 8080, "localhost", True),
        ("localhost:8080", "127.0.0.1", 8080, "LOCALHOST.", True),
        ("localhost:8080", "127.0.0.1", 8080, "evil.example", False),
        ("localhost:80", "169.254.169.254", 80, "localhost", False),
        ("169.254.169.254:80", "169.254.169.254", 80, "h", True),
        ("fd00::/8", "fd00::5", 1, "h", True),
    ],
)
def test_a_rule_opens_what_it_names(
    rule: str, address: str, port: int, host: str, expected: bool
) -> None:
    """Networks, addresses, address and port, name and port; nothing beside."""
    assert reached(AddressPolicy([rule]), address, port, host) is expected


def test_own_ports_stay_closed() -> None:
    """The engine's own port is not reached through an address that was opened."""
    policy = AddressPolicy(["127.0.0.0/8"], own_ports=[7000])
    assert reached(policy, "127.0.0.1", 7001)
    assert not reached(policy, "127.0.0.1", 7000)


@pytest.mark.parametrize("rule", ["", "10.0.0.1/8", "host", "host:0", "host:99999", "a b:80", ":1"])
def test_a_bad_rule_is_refused(rule: str) -> None:
    """At the start, not at the first request."""
    with pytest.raises(AddressRuleInvalid, match="names no network"):
        AddressPolicy([rule])


def test_retry_after_is_a_number_or_a_date() -> None:
    """Seconds, or an HTTP date; anything else counts as not given."""
    now = datetime(2026, 1, 1, 0, 0, 0, tzinfo=UTC)
    assert retry_after_s("120", now) == 120.0
    assert retry_after_s("Thu, 01 Jan 2026 00:00:30 GMT", now) == 30.0
    assert retry_after_s("Wed, 31 Dec 2025 00:00:00 GMT", now) == 0.0
    assert [retry_after_s(text, now) for text in ("", "soon", "-1", "9" * 40)] == [None] * 4
