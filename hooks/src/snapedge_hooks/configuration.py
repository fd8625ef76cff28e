"""What `snap set` may say, all below `serve.`, and what it makes of a payload."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from .document import canonical_json
from .payload import NODE_PORTS, Payload, parse_namespace
from .situations import ConfigurationError
from .vocabulary import Digest, GateMode, RegistryAddress, Transport

DEFAULT_REGISTRY = RegistryAddress("localhost:32000")
KEYS = ("gate", "namespace", "node-port", "registry", "transport")


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """The device's own wishes; None where the payload decides.

    Attributes:
        registry: where images go.
        namespace: of our objects.
        node_port: on the device; 0 for none whatever the payload says.
        gate: what golden samples decide.
        transport: how images get to containerd.
    """

    registry: RegistryAddress = DEFAULT_REGISTRY
    namespace: str | None = None
    node_port: int | None = None
    gate: GateMode | None = None
    transport: Transport = Transport.REGISTRY

    @property
    def fingerprint(self) -> Digest:
        """Equal for equal wishes."""
        gate = None if self.gate is None else self.gate.value
        return Digest.of(canonical_json([self.registry, self.namespace, self.node_port, gate, self.transport.value]))

    def applied_to(self, payload: Payload) -> Payload:
        """The payload with these wishes in it."""
        service = payload.service
        if self.namespace is not None:
            service = replace(service, namespace=self.namespace)
        if self.node_port is not None:
            service = replace(service, node_port=self.node_port or None)
        return replace(payload, service=service, gate=self.gate or payload.gate)


def parse(options: Mapping[str, Any]) -> Configuration:
    """The configuration of what `snap get -d serve` says.

    Raises:
        ConfigurationError: an unknown key or a bad value, with the first that is wrong.
    """
    for key in sorted(options):
        if key not in KEYS:
            raise ConfigurationError(
                f"serve.{key}" if key else "serve", "is not a key", f"use serve.{', serve.'.join(KEYS)}"
            )
    return Configuration(
        registry=_registry(options.get("registry")),
        namespace=_namespace(options.get("namespace")),
        node_port=_node_port(options.get("node-port")),
        gate=_gate(options.get("gate")),
        transport=_transport(options.get("transport")),
    )


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"


def _registry(value: Any) -> RegistryAddress:
    if value is None:
        return DEFAULT_REGISTRY
    try:
        address = RegistryAddress(value if isinstance(value, str) else "")
        if 1 <= int(address.rpartition(":")[2]) <= 65535:
            return address
    except ValueError:
        pass
    raise ConfigurationError("serve.registry", f"{_shown(value)} is not host:port", f"such as {DEFAULT_REGISTRY}")


def _namespace(value: Any) -> str | None:
    if value is None:
        return None
    try:
        return parse_namespace(value if isinstance(value, str) else "")
    except ValueError:
        raise ConfigurationError(
            "serve.namespace", f"{_shown(value)} is not a namespace", "use up to 63 lower-case letters, digits, dashes"
        ) from None


def _node_port(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and (value in NODE_PORTS or value == 0):
        return value
    raise ConfigurationError(
        "serve.node-port",
        f"{_shown(value)} is not a node port",
        f"use {NODE_PORTS.start} to {NODE_PORTS.stop - 1}, or 0 for none",
    )


def _gate(value: Any) -> GateMode | None:
    if value is None:
        return None
    try:
        return GateMode(value)
    except ValueError:
        raise ConfigurationError("serve.gate", f"{_shown(value)} is not a gate", "use strict, report or none") from None


def _transport(value: Any) -> Transport:
    if value is None:
        return Transport.REGISTRY
    try:
        return Transport(value)
    except ValueError:
        raise ConfigurationError(
            "serve.transport", f"{_shown(value)} is not a transport", "use registry or sideload"
        ) from None
