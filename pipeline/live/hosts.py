"""Which hosts sources may be read from, checked on the address that is connected to.

A service fetches what its clients name. Without a filter they could have it fetch from its own
machine, from the network behind it, or from the address at which clouds hand out credentials.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass
from fnmatch import fnmatchcase

from maskstream.core.errors import ConfigError, InputError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_METADATA: tuple[Network, ...] = tuple(
    ipaddress.ip_network(net)
    for net in (
        "169.254.0.0/16",  # link-local: nobody's camera, everybody's cloud
        "fe80::/10",
        "fd00:ec2::254/128",  # Amazon
        "100.100.100.200/32",  # Alibaba
        "168.63.129.16/32",  # Azure
        "192.0.0.192/32",  # Oracle
    )
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_PATTERN = re.compile(r"[A-Za-z0-9.*?_:\[\]-]+")


class HostRefusedError(InputError):
    """A host that sources may not be read from."""


@dataclass(frozen=True, slots=True)
class HostFilter:
    """Decides by the address.

    - Link-local addresses, and others where clouds answer with credentials, are never opened.
    - Public addresses are always opened.
    - All others (loopback, private ranges, multicast) are opened where the service is for this
      machine alone, and otherwise where a name or range of ``allowed`` says so.

    Attributes:
        allowed: host names, with * and ?, as they stand in the URL (``cam-*.lan``), addresses, and
            ranges of addresses (``10.1.0.0/16``).
        for_this_machine: only programs of this machine can name sources, and they reach its network
            anyway.
    """

    allowed: tuple[str, ...] = ()
    for_this_machine: bool = False

    def __post_init__(self) -> None:
        for item in self.allowed:
            if _network(item) is None and ("/" in item or not _PATTERN.fullmatch(item)):
                raise ConfigError(
                    f"allowed hosts: {item!r} is neither a host name, in which * and ? may stand, "
                    "nor an address or a range such as 10.1.0.0/16"
                )

    def addresses(self, host: str, port: int, *, must_all_fit: bool = False) -> list[str]:
        """Look a host up.

        Args:
            host: a name or an address, without brackets.
            port: where to connect to.
            must_all_fit: refuse the host if one of its addresses is refused.

        Returns:
            Those of its addresses that may be connected to, in the system's order.

        Raises:
            HostRefusedError: none of its addresses may be connected to.
            OSError: there is no such host.
        """
        found = [
            str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        ]
        fitting = [address for address in dict.fromkeys(found) if self._admits(host, address)]
        if not fitting or (must_all_fit and len(fitting) < len(set(found))):
            raise HostRefusedError(self._refusal(host, found))
        return fitting

    def check_literal(self, host: str) -> None:
        """Check a host that is written as an address. Names are looked up only to connect.

        Raises:
            HostRefusedError: it may not be connected to.
        """
        try:
            ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            return
        if not self._admits(host, host):
            raise HostRefusedError(self._refusal(host, [host]))

    def _admits(self, host: str, text: str) -> bool:
        address = _plain(ipaddress.ip_address(text.partition("%")[0]))
        if _is_metadata(address):
            return False
        if self.for_this_machine or (address.is_global and not address.is_multicast):
            return True
        return any(self._matches(item, host, address) for item in self.allowed)

    def _matches(self, item: str, host: str, address: Address) -> bool:
        network = _network(item)
        if network is not None:
            return network.version == address.version and address in network
        return fnmatchcase(host.lower().rstrip("."), item.lower().rstrip("."))

    def _refusal(self, host: str, found: list[str]) -> str:
        shown = host if host in found else f"{host} ({', '.join(dict.fromkeys(found))})"
        if all(_is_metadata(_plain(ipaddress.ip_address(a.partition("%")[0]))) for a in found):
            return f"the host {shown} is link-local; sources are never read from there"
        return (
            f"the host {shown} is not public; where it may be read from, the service is started "
            f"with --allow-hosts {host}"
        )


def connect(
    host: str, port: int, hosts: HostFilter | None, timeout_s: float | None
) -> socket.socket:
    """Connect by TCP, to an address that was checked.

    Raises:
        HostRefusedError: no address of the host may be connected to.
        OSError: there is no such host, or nobody accepts in time.
    """
    if hosts is None:
        return socket.create_connection((host, port), timeout_s)
    failure: OSError | None = None
    for address in hosts.addresses(host, port):
        try:
            return socket.create_connection((address, port), timeout_s)
        except OSError as error:
            failure = error
    raise failure or OSError(f"{host} has no address")


def _network(text: str) -> Network | None:
    try:
        network = ipaddress.ip_network(text.strip("[]"), strict=False)
    except ValueError:
        return None
    if network.num_addresses == 1:
        return ipaddress.ip_network(_plain(network.network_address))
    return network


def _plain(address: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for, where it stands for one."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is None and address.teredo is not None:
            inner = address.teredo[1]
        return inner or address
    return address


def _is_metadata(address: Address) -> bool:
    return any(address.version == net.version and address in net for net in _METADATA)
