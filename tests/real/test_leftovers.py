"""The check that rigs leave nothing behind sees what they make while they are up."""

from . import leftovers
from .cluster import Cluster
from .edgedevice import EdgeDevice


def test_a_device_that_is_up_is_seen(edge_device: EdgeDevice) -> None:
    found = leftovers.inventory()
    assert any(one.startswith("process ") and "systemd" in one for one in found)
    assert any(one.startswith("loop device ") and "core24" in one for one in found)
    assert any(one.startswith("control group ") and one.endswith(f"rig-{edge_device.name}") for one in found)


def test_a_device_that_is_shut_down_leaves_nothing(edge_device: EdgeDevice) -> None:
    other = EdgeDevice("test2")
    before = leftovers.inventory()
    other.up()
    try:
        assert any("rig-test2" in one for one in leftovers.inventory())
    finally:
        other.clean()
    left = leftovers.left_since(before)
    assert not [one for one in left if "rig-test1" not in one]


def test_a_cluster_that_is_up_is_seen(cluster: Cluster) -> None:
    found = leftovers.inventory()
    for program in ("etcd", "kube-apiserver", "kubelet", "containerd", "docker-registry"):
        assert any(one.startswith("process ") and program in one for one in found), program
    assert any(one.startswith("iptables-save chain KUBE-") for one in found)
