"""What the cluster serves of the model under test, as the tests ask it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from . import shippedsnaps
from .cluster import REGISTRY, Cluster
from .predictions import Questioner, predict
from .shippedsnaps import MODEL

MK8S = ("mk8s", "microk8s", "microk8s")
"""Plug, providing snap, slot."""
OUTPUT = "cultivar"


def eventually(is_so: Callable[[], bool], what: str, timeout: float = 60) -> None:
    """Wait until something is so; what it is called is in the failure."""
    deadline = time.monotonic() + timeout
    while not is_so():
        assert time.monotonic() < deadline, f"{what}: not within {timeout:g} s"
        time.sleep(0.2)


def served_image(cluster: Cluster, name: str = MODEL, namespace: str = "default") -> str:
    """What the InferenceService asks for; nothing where there is none."""
    found = cluster.get("inferenceservices", "-n", namespace)
    images = [one["spec"]["predictor"]["containers"][0]["image"] for one in found if one["metadata"]["name"] == name]
    return str(images[0]) if images else ""


def image_of(snap: Path) -> str:
    """What it asks for when a snap is served."""
    return f"{REGISTRY}/{MODEL}@{shippedsnaps.image_digest(snap)}"


def assert_right(cluster: Cluster, name: str = MODEL, namespace: str = "default") -> None:
    """Every golden sample is answered right."""
    address = cluster.service_address(f"{name}-predictor", namespace)
    for sample in shippedsnaps.samples():
        expected = next(one["data"] for one in sample["expect"]["outputs"] if one["name"] == OUTPUT)
        assert predict(address, MODEL, sample["request"])[OUTPUT] == expected


@contextlib.contextmanager
def nobody_waits(cluster: Cluster) -> Iterator[Questioner]:
    """A client asks all through the block; none of its questions may fail, none be answered wrongly."""
    with Questioner(cluster.service_address(f"{MODEL}-predictor"), MODEL, OUTPUT, shippedsnaps.samples()) as found:
        yield found
        time.sleep(0.5)  # what a change left behind may still fail
    assert found.complaints == []
    assert found.right > 50
