"""Which loopback address belongs to which part of a virtual device.

Rules:

- Device N owns one /24 below 127.64.0.0: its third and second octet count devices, its last octet counts parts.
- .1 is the device itself: registry on 32000, Kubernetes API on 16443, NodePorts.
- .16 to .127 are pods, .128 to .254 are ClusterIPs. An address is given again only after it was given back.
- Everything is below 127/8, so nothing has to be configured on the machine and no root is needed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from snapedge_hooks.errors import ExitCode, SnapedgeError

_FIRST_SECOND_OCTET = 64
_SECOND_OCTETS = 128
CAPACITY = _SECOND_OCTETS * 256
"""How many devices the plan has room for."""

_HOST = 1
_PODS = range(16, 128)
_SERVICES = range(128, 255)


class DeviceOutOfRangeError(SnapedgeError):
    """There is no address range for this device number."""

    exit_code = ExitCode.USAGE

    def __init__(self, number: int) -> None:
        super().__init__(
            f"virtual device number {number} has no addresses",
            details=f"numbers go from 0 to {CAPACITY - 1}",
            resolution="start fewer devices",
        )


class AddressesExhaustedError(SnapedgeError):
    """Every address of one kind is in use on this device."""

    def __init__(self, network: IPv4Network, kind: str) -> None:
        super().__init__(
            f"every {kind} address of {network} is in use",
            resolution=f"delete a {kind} on this device",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceAddresses:
    """The /24 of one device and what its parts are called in it."""

    network: IPv4Network

    @classmethod
    def of_device(cls, number: int) -> DeviceAddresses:
        """The range of device `number`, counted from 0."""
        if not 0 <= number < CAPACITY:
            raise DeviceOutOfRangeError(number)
        second, third = divmod(number, 256)
        return cls(network=IPv4Network((f"127.{_FIRST_SECOND_OCTET + second}.{third}.0", 24)))

    @property
    def host(self) -> str:
        """Where the registry, the Kubernetes API and NodePorts of the device listen."""
        return str(self.network[_HOST])

    def next_pod(self, used: Iterable[str]) -> str:
        """The first pod address that is not in `used`."""
        return self._first_free(_PODS, used, "pod")

    def next_service(self, used: Iterable[str]) -> str:
        """The first ClusterIP that is not in `used`."""
        return self._first_free(_SERVICES, used, "service")

    def holds_service(self, address: str) -> bool:
        """Whether `address` may be asked for as a ClusterIP."""
        try:
            parsed = IPv4Address(address)
        except ValueError:
            return False
        return parsed in self.network and int(parsed) - int(self.network.network_address) in _SERVICES

    def _first_free(self, offsets: range, used: Iterable[str], kind: str) -> str:
        taken = set(used)
        for offset in offsets:
            address = str(self.network[offset])
            if address not in taken:
                return address
        raise AddressesExhaustedError(self.network, kind)
