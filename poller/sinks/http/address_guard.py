"""Which addresses may be dialled, judged at the moment of dialling.

A URL's host says little: its name can resolve to another address every time, and an address has many
spellings. So the check sits where aiohttp makes the socket for one concrete address, which catches literals,
every answer of a resolver and every form that embeds an IPv4 address. Link-local and metadata addresses are
always refused: they hand out credentials to every caller. Loopback and private addresses are allowed, since
URLs come from the operator and in-cluster receivers are private by nature; `deny_networks` and
`allow_networks` tighten that. A network's own NAT64 prefix cannot be known here, so only the addresses of
metadata services are refused behind any prefix; an operator adds the prefix to `deny_networks` for the rest.
"""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, TypeAlias

from aiohttp.abc import AbstractResolver, ResolveResult

from poller.threads import DaemonThreads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from aiohttp.connector import AddrInfoType

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

ALWAYS_REFUSED: tuple[Network, ...] = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",  # this host
        "169.254.0.0/16",  # link-local: EC2, ECS and EKS credentials, and those of most other clouds
        "100.100.100.200/32",  # metadata of Alibaba Cloud
        "168.63.129.16/32",  # Azure's host agent
        "192.0.0.192/32",  # metadata of Oracle Cloud
        "224.0.0.0/4",  # multicast
        "255.255.255.255/32",  # broadcast
        "::/128",  # unspecified
        "fe80::/10",  # link-local
        "fec0::/10",  # site-local, which RFC 3879 withdrew
        "fd00:c1::/32",  # metadata of Oracle Cloud
        "fd00:ec2::/32",  # EC2's own services: metadata, EKS credentials
        "fd20:ce::254/128",  # metadata of Google Cloud
        "ff00::/8",  # multicast
    )
)

_NAT64 = IPv6Network("64:ff9b::/96")
_NAT64_LOCAL = IPv6Network("64:ff9b:1::/48")
_NAT64_LENGTHS = (32, 40, 48, 56, 64, 96)
"""The lengths of a NAT64 prefix: RFC 6052 section 2.2."""
_METADATA = frozenset(
    map(
        IPv4Address,
        (
            "169.254.169.254",  # EC2 and most other clouds
            "169.254.170.2",  # ECS
            "169.254.170.23",  # EKS
            "100.100.100.200",  # Alibaba Cloud
            "168.63.129.16",  # Azure
            "192.0.0.192",  # Oracle Cloud
        ),
    )
)
_COMPATIBLE = IPv6Network("::/96")
_TRANSLATED = IPv6Network("::ffff:0:0:0/96")
_ISATAP = frozenset({0x00005EFE, 0x02005EFE})


class BlockedAddressError(OSError):
    """An address was not dialled. An `OSError`, so that the next address of the same name gets its turn."""

    def __init__(self, address: str) -> None:
        # The text is the same for all: aiohttp then reports several refusals of one name as one of these.
        super().__init__("the address is not allowed")
        self.address = address


def is_allowed(address: str, *, allow: Sequence[Network] = (), deny: Sequence[Network] = ()) -> bool:
    """Whether `address` may be dialled.

    Args:
        address: An IPv4 or IPv6 address as the socket gets it, possibly with a scope (`fe80::1%eth0`).
        allow: If not empty, only what lies in one of these.
        deny: Never what lies in one of these.

    An address that embeds IPv4 addresses is refused if any of them would be. It counts as lying in an
    allowed network if the IPv4 address it stands for does.
    """
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if any(_within(form, ALWAYS_REFUSED) or _within(form, deny) for form in forms(parsed)):
        return False
    return not allow or _within(parsed, allow) or _within(_destination(parsed), allow)


def forms(address: Address) -> Iterator[Address]:
    """Yield `address` and every IPv4 address it embeds, whatever the mechanism."""
    yield address
    if isinstance(address, IPv4Address):
        return
    low = IPv4Address(int(address) & 0xFFFFFFFF)
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    # ::1 is loopback, not the IPv4-compatible form of 0.0.0.1.
    if address in _COMPATIBLE and not address.is_loopback:
        yield low
    if address in _NAT64 or address in _TRANSLATED or (int(address) >> 32) & 0xFFFFFFFF in _ISATAP:
        yield low
    for length, embedded in _translated_by_prefix(address):
        # Any network may have a NAT64 prefix of its own. Whole ranges would also match ordinary addresses by
        # chance, one in 65,536 for 169.254.0.0/16; a few single addresses practically never do.
        local = address in _NAT64_LOCAL and length >= _NAT64_LOCAL.prefixlen
        if local or embedded in _METADATA:
            yield embedded


def _translated_by_prefix(address: IPv6Address) -> Iterator[tuple[int, IPv4Address]]:
    """Yield the IPv4 address that stands after a NAT64 prefix of each length (RFC 6052 section 2.2)."""
    octets = address.packed
    for length in _NAT64_LENGTHS:
        # Octet 8 is reserved: an embedded address surrounds it.
        behind = [octet for place, octet in enumerate(octets) if place >= length // 8 and place != 8]  # noqa: PLR2004
        yield length, IPv4Address(bytes(behind[:4]))


def guarded_socket(
    *, allow: Sequence[Network] = (), deny: Sequence[Network] = ()
) -> Callable[[AddrInfoType], socket.socket]:
    """Make the `socket_factory` of a connector that dials only what `is_allowed`."""

    def make(addr_info: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, address = addr_info
        host = str(address[0])
        if not is_allowed(host, allow=allow, deny=deny):
            raise BlockedAddressError(host)
        return socket.socket(family=family, type=kind, proto=protocol)

    return make


class Resolver(AbstractResolver):
    """The system's resolver, in a thread of the sink's own: one that hangs holds up only its sink."""

    def __init__(self, name: str) -> None:
        self._threads = DaemonThreads(f"{name}-resolver", 2)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Look `host` up.

        Raises:
            OSError: It has no address, or the lookup failed.
        """
        found = await self._threads.run(
            socket.getaddrinfo, host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
        )
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=int(address[1]),
                family=found_family,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for found_family, _, protocol, _, address in found
        ]

    async def close(self) -> None:
        """Let the threads end."""
        self._threads.close()


def _within(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)


def _destination(address: Address) -> Address:
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address
