"""What a gadget snap says so that a whole device connects and configures itself at first boot, with no shell on it.

Rules (snapd's gadget.yaml, MicroK8s' launch configuration 0.2.0):

1. `connections` are made at first boot alone, between seeded snaps, and name them by the IDs that their store gave.
2. `defaults` reach a snap before its install hook, so the first convergence already has them.
3. MicroK8s reads its launch configuration from its own option `config`: the addons we need, and containerd's leave to
   pull from the device's registry over HTTP.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from snapedge_hooks import configuration
from snapedge_hooks.errors import ExitCode
from snapedge_hooks.vocabulary import RegistryAddress, SnapName

from .errors import BuilderError
from .snapyaml import PLUG

MICROK8S = "EaXqgt1lyCaxKaQCU349mlodBkDCXRcg"
"""MicroK8s' ID in the Snap Store (also in snapd's list of system users)."""
_SLOT = "microk8s"
_CONFIGURATION = "configuration"
"""MicroK8s' plug for its launch configuration, and the slot of the snap that brings one."""
_ADDONS = ("dns", "hostpath-storage", "registry")
_ID = re.compile(r"[a-zA-Z0-9]{32}")


class GadgetError(BuilderError):
    """A gadget's stanzas cannot be made of what was given."""

    exit_code = ExitCode.USAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class SeededSnap:
    """A snap of ours in the image of a device.

    Attributes:
        name: of the snap, for people.
        identity: its ID in the store.
    """

    name: SnapName
    identity: str

    @classmethod
    def parse(cls, text: str) -> SeededSnap:
        """The snap of `name=snap-id`.

        Raises:
            GadgetError: it is no such text.
        """
        name, equals, identity = text.partition("=")
        try:
            if equals and _ID.fullmatch(identity):
                return cls(name=SnapName(name), identity=identity)
        except ValueError as error:
            raise GadgetError(f"{text!r}: {error}") from error
        raise GadgetError(
            f"{text!r} is not name=snap-id",
            resolution="`snap info <name>` of a snap in a store tells its 32 characters",
        )


def options(settings: Sequence[str]) -> dict[str, Any]:
    """The `serve` options of texts such as `serve.gate=strict`, as snapd would hold them.

    Raises:
        GadgetError: one is not such a text, or stands twice.
        ConfigurationError: the device would refuse it.
    """
    found: dict[str, Any] = {}
    for text in settings:
        key, equals, value = text.partition("=")
        if not equals or not key.startswith("serve."):
            raise GadgetError(f"{text!r} is not serve.<key>=<value>")
        name = key.removeprefix("serve.")
        if name in found:
            raise GadgetError(f"{key} stands twice")
        found[name] = int(value) if value.isascii() and value.isdigit() else value
    configuration.parse(found)
    return found


def launch_configuration(registry: RegistryAddress) -> dict[str, Any]:
    """What MicroK8s must be told so that our snaps find a registry and its pods the images."""
    hosts = f'server = "http://{registry}"\n\n[host."http://{registry}"]\ncapabilities = ["pull", "resolve"]\n'
    return {
        "version": "0.2.0",
        "addons": [{"name": name} for name in _ADDONS],
        "containerdRegistryConfigs": {str(registry): hosts},
    }


def stanzas(
    snaps: Sequence[SeededSnap],
    serve: Mapping[str, Any],
    *,
    microk8s: str = MICROK8S,
    configuration_snap: SeededSnap | None = None,
) -> dict[str, Any]:
    """The `connections` and `defaults` of a gadget.yaml.

    Args:
        snaps: of ours, runtimes and models alike; at least one.
        serve: their `serve` options.
        microk8s: its ID, where it comes from another store.
        configuration_snap: the snap of `builder microk8s-config`, where the image has one: MicroK8s takes its launch
            configuration and images, and it gets the credentials to apply KServe.

    Raises:
        GadgetError: no snap, one of them twice, or an ID that is none.
    """
    if not snaps:
        raise GadgetError("no snap is named", resolution="give at least one name=snap-id")
    if not _ID.fullmatch(microk8s):
        raise GadgetError(f"{microk8s!r} is not a snap ID")
    connected = [*snaps, *([] if configuration_snap is None else [configuration_snap])]
    identities = [snap.identity for snap in connected] + [microk8s]
    twice = next((identity for identity in identities if identities.count(identity) > 1), None)
    if twice is not None:
        raise GadgetError(f"snap ID {twice} stands twice")
    registry = configuration.parse(serve).registry
    launch = _dump(launch_configuration(registry))
    defaults: dict[str, Any] = {microk8s: {"config": launch}}
    if serve:
        defaults |= {snap.identity: {"serve": dict(serve)} for snap in snaps}
    connections = [{"plug": f"{snap.identity}:{PLUG}", "slot": f"{microk8s}:{_SLOT}"} for snap in connected]
    if configuration_snap is not None:
        connections.append(
            {"plug": f"{microk8s}:{_CONFIGURATION}", "slot": f"{configuration_snap.identity}:{_CONFIGURATION}"}
        )
    return {"connections": connections, "defaults": defaults}


class _BlockDumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks, as people do."""

    def represent_scalar(self, tag: str, value: Any, style: str | None = None) -> yaml.ScalarNode:
        """A scalar, `|` for several lines."""
        return super().represent_scalar(tag, value, "|" if isinstance(value, str) and "\n" in value else style)


def text(snaps: Sequence[SeededSnap], document: Mapping[str, Any]) -> str:
    """The stanzas for a gadget.yaml, with the snaps' names, which it has no other place for."""
    names = "".join(f"# {snap.identity} is {snap.name}\n" for snap in snaps)
    return f"{names}{_dump(document)}"


def _dump(document: Mapping[str, Any]) -> str:
    written: str = yaml.dump(dict(document), Dumper=_BlockDumper, sort_keys=False, width=1000)
    return written
