from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapedge_fleet.virtual.addresses import (
    CAPACITY,
    AddressesExhaustedError,
    DeviceAddresses,
    DeviceOutOfRangeError,
)


def test_first_and_later_devices_have_ranges_of_their_own() -> None:
    assert DeviceAddresses.of_device(0).host == "127.64.0.1"
    assert DeviceAddresses.of_device(5).host == "127.64.5.1"
    assert DeviceAddresses.of_device(256).host == "127.65.0.1"
    assert DeviceAddresses.of_device(CAPACITY - 1).host == "127.191.255.1"


@pytest.mark.parametrize("number", [-1, CAPACITY])
def test_numbers_beyond_the_plan_are_refused(number: int) -> None:
    with pytest.raises(DeviceOutOfRangeError, match="has no addresses; start fewer devices"):
        DeviceAddresses.of_device(number)


@given(st.integers(0, CAPACITY - 1), st.integers(0, CAPACITY - 1))
def test_two_devices_share_no_address(one: int, other: int) -> None:
    first, second = DeviceAddresses.of_device(one), DeviceAddresses.of_device(other)
    assert first.network.overlaps(second.network) is (one == other)


def test_pods_and_services_are_given_in_order_and_again_when_free() -> None:
    addresses = DeviceAddresses.of_device(0)
    assert addresses.next_pod([]) == "127.64.0.16"
    assert addresses.next_pod(["127.64.0.16", "127.64.0.18"]) == "127.64.0.17"
    assert addresses.next_service([]) == "127.64.0.128"
    assert addresses.next_service(["127.64.0.128"]) == "127.64.0.129"


def test_exhausted_range_says_what_to_delete() -> None:
    addresses = DeviceAddresses.of_device(0)
    every = [str(addresses.network[offset]) for offset in range(256)]
    with pytest.raises(AddressesExhaustedError, match="delete a pod on this device"):
        addresses.next_pod(every)


@pytest.mark.parametrize(
    ("address", "held"),
    [("127.64.0.128", True), ("127.64.0.16", False), ("127.64.1.128", False), ("10.152.183.1", False), ("x", False)],
)
def test_cluster_addresses_come_from_the_devices_range(address: str, held: bool) -> None:
    assert DeviceAddresses.of_device(0).holds_service(address) is held
