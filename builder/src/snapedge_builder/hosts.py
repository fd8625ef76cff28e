"""The build host, as far as an image may depend on it: where it gets things from, and what it can run."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field

from snapedge_hooks.vocabulary import Architecture

from . import apt
from .apt import HostApt
from .errors import BuilderError


class HostError(BuilderError):
    """This host cannot run the Python of any base."""

    def __init__(self, machine: str) -> None:
        super().__init__(
            f"this host is {machine}, and byte code is compiled by a base's own Python",
            resolution="build on an amd64 or arm64 host",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A build host.

    Attributes:
        apt: what its apt is configured with.
        architecture: that it runs.
        environment: added to this process's own for uv, such as `UV_OFFLINE`.
    """

    apt: HostApt
    architecture: Architecture
    environment: Mapping[str, str] = field(default_factory=dict)


def read_host() -> Host:
    """The host this runs on.

    Raises:
        HostError: of an architecture no base is built for.
        ToolMissingError: without apt.
    """
    return Host(apt=apt.read_host(), architecture=architecture())


def architecture() -> Architecture:
    """The architecture of the host this runs on.

    Raises:
        HostError: it is one no base is built for.
    """
    try:
        return Architecture.of_machine(platform.machine())
    except ValueError as error:
        raise HostError(platform.machine()) from error
