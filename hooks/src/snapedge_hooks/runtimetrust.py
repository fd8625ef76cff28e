"""Which runtimes a model may be put on: those it lists, and those that a key it lists has signed for it.

Rules:

1. A listed digest is trusted as it is: builder put it there after it had checked interface and version, and proved the
   model on it.
2. Another runtime is trusted when a DSSE envelope, signed by a listed key, says that this very manifest is the runtime
   of that name, for this architecture, with the interface that the model needs and a version not below its minimum.
3. Names, versions and interfaces count only where they were signed; tags and whatever else the registry says do not.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .document import DocumentError, canonical_json, parse_object
from .dsse import Envelope
from .images import RuntimeImage
from .payload import RuntimeRequirement
from .runtimeterms import version_order
from .vocabulary import Architecture, Digest, PublicKey, SnapName, SnapVersion

FORMAT = 1
KIND = "application/vnd.snapedge.runtime+json"
"""The payload type of an envelope around a statement."""
MAX_STATEMENT = 16 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeStatement:
    """What a signature says of a runtime.

    Attributes:
        name: such as `onnx`.
        version: of the runtime.
        interface: that it offers.
        architecture: that it is for.
        manifest: the digest of its manifest, which names all of its bytes.
    """

    name: str
    version: str
    interface: int
    architecture: Architecture
    manifest: Digest

    @classmethod
    def of(cls, runtime: RuntimeImage) -> RuntimeStatement:
        """What there is to say of a runtime."""
        return cls(
            name=runtime.name,
            version=runtime.version,
            interface=runtime.interface,
            architecture=runtime.architecture,
            manifest=runtime.digest,
        )

    def to_json(self) -> bytes:
        """The canonical statement: what is signed."""
        return canonical_json(
            {
                "format": FORMAT,
                "name": self.name,
                "version": self.version,
                "interface": self.interface,
                "architecture": str(self.architecture),
                "manifest": self.manifest,
            }
        )

    @classmethod
    def parse(cls, data: bytes, *, what: str = "statement of a runtime") -> RuntimeStatement:
        """The statement that `to_json` wrote.

        Raises:
            DocumentError: it is none.
        """
        fields = parse_object(data, what=what, max_bytes=MAX_STATEMENT)
        fields.format(FORMAT)
        statement = cls(
            name=fields.parsed("name", SnapName),
            version=fields.parsed("version", SnapVersion),
            interface=fields.integer("interface", minimum=1),
            architecture=fields.parsed("architecture", Architecture.parse),
            manifest=fields.parsed("manifest", Digest),
        )
        fields.done()
        return statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """A runtime may be used.

    Attributes:
        signer: the key that says so; None where the model lists the runtime itself.
        version: that was signed; None where the model lists the runtime itself.
    """

    signer: PublicKey | None = None
    version: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Distrust:
    """A runtime may not be used.

    Attributes:
        problem: what is wrong with it, going on after its name.
        resolution: what to do.
        weight: how near it came to being trusted: of several reasons the one with the most is told.
    """

    problem: str
    resolution: str
    weight: int = 0


def judge(
    requirement: RuntimeRequirement, architecture: Architecture, manifest: Digest, envelopes: Iterable[bytes]
) -> Trust | Distrust:
    """Whether a model may be put on the runtime with that manifest.

    Args:
        requirement: the model's.
        architecture: of the device.
        manifest: the digest of the runtime's manifest, computed from its bytes.
        envelopes: what is found as its signatures; read only where the model does not list it.
    """
    if manifest in requirement.digests:
        return Trust()
    if not requirement.keys:
        return Distrust(
            problem="is not one this snap lists",
            resolution=f"refresh snapedge-{requirement.name} to one that this snap was built for, or build this snap "
            "again with the one that is there",
        )
    found: Distrust | None = None
    for data in envelopes:
        judged = _judge_one(requirement, architecture, manifest, data)
        if isinstance(judged, Trust):
            return judged
        found = judged if found is None or judged.weight > found.weight else found
    return found or Distrust(
        problem="is neither listed here nor signed",
        resolution="sign it with builder runtime build --key, or build this snap again with it",
    )


def _judge_one(
    requirement: RuntimeRequirement, architecture: Architecture, manifest: Digest, data: bytes
) -> Trust | Distrust:
    try:
        envelope = Envelope.parse(data)
        if envelope.kind != KIND or not envelope.names(requirement.keys):
            return Distrust(
                problem="is signed by no key this snap lists",
                resolution="sign it with a key of runtime.keys, or build this snap again with the key that signed it",
                weight=2,
            )
        signer = envelope.signer(requirement.keys)
        if signer is None:
            return Distrust(
                problem="has a bad signature",
                resolution="find out who changed it, and sign it again: builder runtime build --key",
                weight=3,
            )
        statement = RuntimeStatement.parse(envelope.body)
    except DocumentError as error:
        return Distrust(
            problem="has a signature that cannot be read", resolution=f"sign it again: {error.brief}", weight=1
        )
    problem = _misfit(requirement, architecture, manifest, statement)
    if problem is None:
        return Trust(signer=signer, version=statement.version)
    return Distrust(
        problem=problem,
        resolution=f"refresh snapedge-{requirement.name} to interface {requirement.interface}, {requirement.minimum} "
        "or later, or refresh this snap to one built for it",
        weight=4,
    )


def _misfit(
    requirement: RuntimeRequirement, architecture: Architecture, manifest: Digest, said: RuntimeStatement
) -> str | None:
    """Why a runtime that is signed as it should be will not do."""
    if said.manifest != manifest:
        return "has the signature of another image"
    if (said.name, said.architecture) != (requirement.name, architecture):
        return f"is signed as {said.name} for {said.architecture}"
    return offer_misfit(requirement, said.interface, said.version)


def offer_misfit(requirement: RuntimeRequirement, interface: int, version: str) -> str | None:
    """Why a runtime with that interface and version is not what the model needs; None where it is."""
    if interface != requirement.interface:
        return f"has interface {interface}, this model needs {requirement.interface}"
    if version_order(version) < version_order(requirement.minimum):
        return f"is version {version}, this model needs {requirement.minimum}"
    return None
