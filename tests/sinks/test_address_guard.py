"""Which addresses are dialled."""

from __future__ import annotations

import socket
import threading
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from poller.delivery import attempt
from poller.errors import DeliveryError, DeliveryReason
from poller.sinks.http.address_guard import ALWAYS_REFUSED, forms, is_allowed
from tests.sinks.samples import EVENT, in_loop, opened, receiver, webhook

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sinks.samples import Received

V4 = st.ip_addresses(v=4)
V6 = st.ip_addresses(v=6)
LINK_LOCAL = st.ip_addresses(v=4, network="169.254.0.0/16")


def nat64_local(address: int) -> int:
    """Embed after the prefix 64:ff9b:1::/48 as RFC 6052 says, around the byte of zeros."""
    return 0x0064_FF9B_0001 << 80 | (address >> 16) << 64 | (address & 0xFFFF) << 40


def rfc_6052(prefix: int, length: int, address: int) -> IPv6Address:
    """Embed an IPv4 address after a NAT64 prefix of a length, around octet 8 (RFC 6052 section 2.2)."""
    octets = bytearray(prefix.to_bytes(16, "big")[: length // 8].ljust(16, b"\0"))
    places = [place for place in range(length // 8, 16) if place != 8][:4]
    for place, octet in zip(places, address.to_bytes(4, "big"), strict=True):
        octets[place] = octet
    return IPv6Address(bytes(octets))


EMBEDDINGS: dict[str, Callable[[int], int]] = {
    "mapped": lambda address: 0xFFFF << 32 | address,
    "compatible": lambda address: address,
    "translated": lambda address: 0xFFFF << 48 | address,
    "nat64": lambda address: 0x0064_FF9B << 96 | address,
    "nat64-local": nat64_local,
    "nat64-local-96": lambda address: 0x0064_FF9B_0001 << 80 | address,
    "6to4": lambda address: 0x2002 << 112 | address << 80 | 1,
    "teredo-server": lambda address: 0x2001_0000 << 96 | address << 64,
    "teredo-client": lambda address: 0x2001_0000 << 96 | address ^ 0xFFFFFFFF,
    "isatap": lambda address: 0x2001_0DB8 << 96 | 0x5EFE << 32 | address,
}


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "169.254.170.2",
        "169.254.170.23",
        "169.254.0.1",
        "::ffff:169.254.169.254",
        "::ffff:a9fe:a9fe",
        "::169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fe80::1",
        "fe80::1%eth0",
        "febf::1",
        "0.0.0.0",  # noqa: S104 - dialled, not bound
        "0.1.2.3",
        "::",
        "224.0.0.1",
        "239.255.255.255",
        "255.255.255.255",
        "ff02::1",
        "::ffff:0.0.0.0",
        "::ffff:255.255.255.255",
        "100.100.100.200",
        "168.63.129.16",
        "",
        "localhost",
        "127.1",
        "0x7f.0.0.1",
    ],
)
def test_what_hands_out_credentials_is_always_refused(address: str) -> None:
    """Metadata, link-local, unspecified, multicast and unparsable addresses are refused, even if allowed.

    Injects fault 44.
    """
    assert not is_allowed(address)
    assert not is_allowed(address, allow=[ip_network("0.0.0.0/0"), ip_network("::/0")])


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "::1", "10.0.0.1", "192.168.1.1", "172.16.0.1", "fd12::1", "8.8.8.8", "2606:4700::1111"],
)
def test_loopback_private_and_public_addresses_are_allowed(address: str) -> None:
    """A receiver in the cluster is private by nature."""
    assert is_allowed(address)


@pytest.mark.parametrize("embedding", EMBEDDINGS)
@given(address=LINK_LOCAL)
def test_no_embedding_hides_a_link_local_address(embedding: str, address: IPv4Address) -> None:
    """Every way to write an IPv4 address inside an IPv6 one is seen through."""
    wrapped = IPv6Address(EMBEDDINGS[embedding](int(address)))
    assert address in forms(wrapped)
    assert not is_allowed(str(wrapped))


@pytest.mark.parametrize("embedding", EMBEDDINGS)
@given(address=st.ip_addresses(v=4, network="10.0.0.0/8"))
def test_no_embedding_hides_a_denied_address(embedding: str, address: IPv4Address) -> None:
    """What `deny_networks` refuses is refused in every form."""
    wrapped = str(IPv6Address(EMBEDDINGS[embedding](int(address))))
    assert not is_allowed(wrapped, deny=[ip_network("10.0.0.0/8")])


@given(V4 | V6)
def test_allow_networks_are_all_there_is(address: IPv4Address | IPv6Address) -> None:
    """With `allow_networks`, an address outside of them is refused, and one inside is as it was without."""
    outside = ip_network("198.51.100.0/24")
    exactly = ip_network(address)
    if address not in outside and not any(form in outside for form in forms(address)):
        assert not is_allowed(str(address), allow=[outside])
    assert is_allowed(str(address), allow=[exactly]) == is_allowed(str(address))


@given(V4 | V6)
def test_deny_goes_before_allow(address: IPv4Address | IPv6Address) -> None:
    """What both lists name is refused."""
    assert not is_allowed(str(address), allow=[ip_network(address)], deny=[ip_network(address)])


@given(V4)
def test_a_mapped_address_is_the_address(address: IPv4Address) -> None:
    """The mapped and the translated form are allowed exactly if the IPv4 address is."""
    allow = [ip_network("10.0.0.0/8"), ip_network("127.0.0.0/8")]
    expected = is_allowed(str(address), allow=allow)
    assert is_allowed(f"::ffff:{address}", allow=allow) == expected
    nat64 = IPv6Address(EMBEDDINGS["nat64"](int(address)))
    assert is_allowed(str(nat64), allow=allow) == expected


@given(st.sampled_from(ALWAYS_REFUSED), st.data())
def test_no_setting_opens_what_is_always_refused(network: Any, data: st.DataObject) -> None:
    """No list in the configuration makes a metadata address dialable."""
    address = data.draw(st.ip_addresses(network=network))
    assert not is_allowed(str(address), allow=[network])


LOCAL_PREFIX = 0x0064_FF9B_0001 << 80
OWN_PREFIX = 0x2001_0DB8_0122_0344 << 64
METADATA = ["169.254.169.254", "169.254.170.2", "169.254.170.23", "100.100.100.200", "168.63.129.16"]


@pytest.mark.parametrize("length", [48, 56, 64, 96])
@given(address=LINK_LOCAL)
def test_every_length_of_the_local_nat64_prefix_is_seen_through(length: int, address: IPv4Address) -> None:
    """After 64:ff9b:1::/48 an IPv4 address may stand at the place of any longer prefix (fault 81)."""
    wrapped = rfc_6052(LOCAL_PREFIX, length, int(address))
    assert address in forms(wrapped)
    assert not is_allowed(str(wrapped))


@pytest.mark.parametrize("length", [32, 40, 48, 56, 64, 96])
@pytest.mark.parametrize("address", METADATA)
def test_no_nat64_prefix_leads_to_a_metadata_service(address: str, length: int) -> None:
    """Whatever prefix a network translates with, metadata services are refused behind it (fault 81)."""
    assert not is_allowed(str(rfc_6052(OWN_PREFIX, length, int(IPv4Address(address)))))


@given(V4)
def test_ordinary_addresses_are_not_taken_for_translated_ones(address: IPv4Address) -> None:
    """Behind a prefix that nothing is known of, any other address may be dialed (fault 81)."""
    if str(address) not in METADATA and str(address) != "192.0.0.192":
        assert is_allowed(str(rfc_6052(0x2001_0DB8 << 96, 96, int(address))))


@pytest.mark.parametrize("address", ["fd00:c1::a9fe:a9fe", "fd00:c1::1", "fec0::1", "feff::1"])
def test_oracle_s_metadata_and_site_local_addresses_are_refused(address: str) -> None:
    """Both are refused without any setting, and no setting opens them (fault 81)."""
    assert not is_allowed(address)
    assert not is_allowed(address, allow=[ip_network("::/0")])


@pytest.mark.parametrize(
    ("address", "allowed"),
    [("127.0.0.1", False), ("::ffff:127.0.0.1", False), ("::ffff:0:127.0.0.1", False), ("::1", True)],
)
def test_denying_ipv4_loopback_covers_its_mapped_forms(address: str, allowed: bool) -> None:
    """`127.0.0.0/8` covers every form of itself; `::1` needs an entry of its own (fault 81)."""
    assert is_allowed(address, deny=[ip_network("127.0.0.0/8")]) is allowed
    assert not is_allowed(address, deny=[ip_network("127.0.0.0/8"), ip_network("::1")])


async def failure(url: str, **settings: Any) -> DeliveryError:
    """Send to `url` and return what went wrong."""
    async with opened(webhook(url, **settings)) as sink:
        return (await attempt(sink, [EVENT]))[EVENT.id]


@pytest.mark.parametrize(
    "host",
    ["169.254.169.254", "[fe80::1]", "[fd00:ec2::254]", "[::ffff:169.254.169.254]", "[64:ff9b::a9fe:a9fe]"],
)
@in_loop
async def test_a_literal_address_is_checked_when_it_is_dialled(host: str) -> None:
    """An address in the URL itself goes through no resolver, and is refused all the same."""
    error = await failure(f"http://{host}/latest/meta-data/")
    assert error.reason is DeliveryReason.BLOCKED_ADDRESS
    assert not error.permanent
    assert "must not be dialled" in str(error)
    assert "meta-data" not in str(error)


@in_loop
async def test_a_name_is_judged_by_what_it_resolves_to(names: dict[str, list[str]]) -> None:
    """A harmless name with a metadata address, or with several, is refused."""
    names["one.example"] = ["169.254.169.254"]
    names["many.example"] = ["169.254.169.254 fe80::1 169.254.170.2"]
    for host in ("one.example", "many.example"):
        assert (await failure(f"http://{host}/")).reason is DeliveryReason.BLOCKED_ADDRESS


@in_loop
async def test_rebinding_is_refused_at_the_next_connection(names: dict[str, list[str]]) -> None:
    """A name that changes from a good to a metadata address is refused when it is dialled again.

    Injects fault 44.
    """
    names["rebind.example"] = ["127.0.0.1", "169.254.169.254"]

    def hang_up(_: Received) -> web.Response:
        return web.Response(headers={"connection": "close"})

    async with receiver(hang_up) as found, opened(webhook(f"http://rebind.example:{found.port}/")) as sink:
        await sink.send([EVENT])
        # Forget what was resolved, as happens after some seconds.
        session = sink._client._session
        assert session is not None
        assert isinstance(session.connector, aiohttp.TCPConnector)
        session.connector.clear_dns_cache()
        with pytest.raises(DeliveryError) as caught:
            await sink.send([EVENT])
    assert caught.value.reason is DeliveryReason.BLOCKED_ADDRESS
    assert len(found.requests) == 1


@in_loop
async def test_a_good_address_of_the_same_name_is_dialled_instead(names: dict[str, list[str]]) -> None:
    """One refused address does not spoil the others."""
    async with receiver() as found:
        names["mixed.example"] = ["169.254.169.254 127.0.0.1"]
        async with opened(webhook(f"http://mixed.example:{found.port}/")) as sink:
            await sink.send([EVENT])
    assert len(found.requests) == 1


@pytest.mark.parametrize(
    ("settings", "allowed"),
    [
        ({}, True),
        ({"allow_networks": ["127.0.0.0/8"]}, True),
        ({"allow_networks": ["127.0.0.1"]}, True),
        ({"allow_networks": ["10.0.0.0/8", "fd00::/8"]}, False),
        ({"deny_networks": ["127.0.0.0/8"]}, False),
        ({"deny_networks": ["10.0.0.0/8"]}, True),
        ({"allow_networks": ["127.0.0.0/8"], "deny_networks": ["127.0.0.1/32"]}, False),
    ],
)
@in_loop
async def test_the_lists_of_networks_hold(settings: dict[str, list[str]], allowed: bool) -> None:
    """`allow_networks` and `deny_networks` decide about the address that is dialled (fault 44)."""
    async with receiver() as found:
        if allowed:
            async with opened(webhook(found.url, **settings)) as sink:
                await sink.send([EVENT])
        else:
            assert (await failure(found.url, **settings)).reason is DeliveryReason.BLOCKED_ADDRESS
    assert len(found.requests) == allowed


@in_loop
async def test_a_name_that_does_not_resolve_says_so(names: dict[str, list[str]]) -> None:
    """An unknown name is a failure of DNS, to be tried again (fault 30)."""
    names["nowhere.example"] = []
    error = await failure("https://nowhere.example/p4th-canary")
    assert error.reason is DeliveryReason.DNS
    assert not error.permanent
    assert "canary" not in str(error)


@in_loop
async def test_a_resolver_that_hangs_costs_the_deadline_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadline covers name resolution, and closing does not wait for it (fault 30)."""
    gate = threading.Event()
    real = socket.getaddrinfo

    def hang(host: str, *args: Any, **kwargs: Any) -> Any:
        if host == "slow.example":
            gate.wait(30)
        return real(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    try:
        for _ in range(3):
            error = await failure("http://slow.example/", timeout="200ms")
            assert error.reason is DeliveryReason.TIMEOUT
            assert "within 200ms" in str(error)
    finally:
        gate.set()
