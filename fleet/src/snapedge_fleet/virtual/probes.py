"""Readiness, liveness and startup probes, performed against a pod's address as the kubelet performs them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from .apply import Document


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One probe of a container; without a path it only connects."""

    port: int
    path: str | None
    delay: float
    period: float
    timeout: float
    failure_threshold: int
    success_threshold: int

    @classmethod
    def from_container(cls, container: Document, field: str) -> Probe | None:
        """The probe a container declares under `field`; None without one, or for kinds that are not performed."""
        document = container.get(field)
        if document is None:
            return None
        action = document.get("httpGet") or document.get("tcpSocket")
        if action is None:
            return None
        return cls(
            port=named_port(container, action["port"]),
            path=action.get("path", "/") if "httpGet" in document else None,
            delay=document.get("initialDelaySeconds", 0),
            period=document.get("periodSeconds", 10),
            timeout=document.get("timeoutSeconds", 1),
            failure_threshold=document.get("failureThreshold", 3),
            success_threshold=document.get("successThreshold", 1),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """What one try said."""

    succeeded: bool
    message: str = ""


def named_port(container: Document, port: int | str) -> int:
    """A port given by number or by the name the container gives it; 0 if there is no such name."""
    if isinstance(port, int):
        return port
    if port.isdigit():
        return int(port)
    numbers: Mapping[str, int] = {entry.get("name", ""): entry["containerPort"] for entry in container.get("ports", [])}
    return numbers.get(port, 0)


async def perform(probe: Probe, address: str) -> ProbeResult:
    """Try once."""
    try:
        async with asyncio.timeout(probe.timeout):
            return await _try(probe, address)
    except TimeoutError:
        where = f"http://{address}:{probe.port}{probe.path or ''}"
        return ProbeResult(succeeded=False, message=f'Get "{where}": context deadline exceeded')
    except (OSError, EOFError) as error:
        return ProbeResult(succeeded=False, message=f"dial tcp {address}:{probe.port}: {error}")


async def _try(probe: Probe, address: str) -> ProbeResult:
    reader, writer = await asyncio.open_connection(address, probe.port)
    try:
        if probe.path is None:
            return ProbeResult(succeeded=True)
        head = f"GET {probe.path} HTTP/1.1\r\nHost: {address}:{probe.port}\r\n"
        writer.write(f"{head}User-Agent: kube-probe/1.34\r\nAccept: */*\r\nConnection: close\r\n\r\n".encode())
        line = await reader.readline()
        words = line.split(b" ", 2)
        if len(words) < 2 or not words[1].isdigit():
            return ProbeResult(succeeded=False, message="malformed HTTP response")
        code = int(words[1])
        if 200 <= code < 400:
            return ProbeResult(succeeded=True)
        return ProbeResult(succeeded=False, message=f"HTTP probe failed with statuscode: {code}")
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
