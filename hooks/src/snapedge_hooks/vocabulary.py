"""The words that builder, device and fleet share: text becomes one of these at the edge, and stays one inside.

Sources of the grammars: snapd snap/naming/validate.go and snap/validate.go (names, versions, health codes), KServe
inference_service_validation.go (object names), the OCI distribution and image specifications (digests, repositories,
platforms).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Self

SHA256_HEX = 64
_HASHED_BYTES = 1 << 20
"""Hashed at once. A thread waits for the interpreter between two pieces: smaller ones wait longer than they take."""


class Architecture(Enum):
    """A Debian architecture that we build for; never `x86_64` or `aarch64` inside."""

    AMD64 = "amd64"
    ARM64 = "arm64"

    def __str__(self) -> str:
        """The Debian name."""
        return self.value

    @classmethod
    def parse(cls, text: str) -> Architecture:
        """The architecture of that Debian name.

        Raises:
            ValueError: any other text.
        """
        try:
            return cls(text)
        except ValueError:
            known = ", ".join(architecture.value for architecture in cls)
            raise ValueError(f"{text!r} is not an architecture we build for ({known})") from None

    @classmethod
    def of_machine(cls, machine: str) -> Architecture:
        """The architecture of a kernel machine name, such as `platform.machine()` gives.

        Raises:
            ValueError: a machine we do not build for.
        """
        found = {"x86_64": cls.AMD64, "amd64": cls.AMD64, "aarch64": cls.ARM64, "arm64": cls.ARM64}.get(machine.lower())
        if found is None:
            raise ValueError(f"machine {machine!r} is not one we build for")
        return found

    @property
    def oci_variant(self) -> str | None:
        """The OCI platform variant, or None where the architecture has none."""
        return "v8" if self is Architecture.ARM64 else None

    @property
    def oci_platform(self) -> str:
        """What buildx and Kubernetes call it, such as `linux/arm64`."""
        return f"linux/{self.value}"

    @property
    def kernel_machine(self) -> str:
        """What `uname -m` prints there."""
        return "aarch64" if self is Architecture.ARM64 else "x86_64"

    @property
    def gnu_triplet(self) -> str:
        """The multiarch directory name, such as `aarch64-linux-gnu`."""
        return f"{self.kernel_machine}-linux-gnu"

    @property
    def elf_machine(self) -> str:
        """The ELF header's e_machine, by its name in the specification."""
        return "EM_AARCH64" if self is Architecture.ARM64 else "EM_X86_64"


class _Word(str):
    """Text that was checked once, where it entered. Subclasses say what is right in `_PATTERN` and `_RULE`."""

    __slots__ = ()
    _PATTERN = re.compile("")
    _RULE = ""

    def __new__(cls, text: str) -> Self:
        if not cls._PATTERN.fullmatch(text):
            raise ValueError(f"{text!r} is not {cls._RULE}")
        return super().__new__(cls, text)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str.__repr__(self)})"


class SnapName(_Word):
    """A snap name that KServe takes as an object name as well: both grammars at once, 2 to 40 characters.

    snapd: `^[a-z0-9-]*[a-z][a-z0-9-]*$`, no dash at an end, none twice. KServe: a letter first.
    """

    __slots__ = ()
    _PATTERN = re.compile(r"(?=.{2,40}\Z)[a-z](-?[a-z0-9])*")
    _RULE = (
        "a snap name that KServe takes too: 2 to 40 lower-case letters, digits and single dashes, a letter first, "
        "no dash at the end"
    )


class SnapVersion(_Word):
    """A version as `meta/snap.yaml` may carry it: at most 32 characters."""

    __slots__ = ()
    _PATTERN = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9:.+~-]{0,30}[a-zA-Z0-9+~])?")
    _RULE = (
        "a snap version: 1 to 32 letters, digits and :.+~- starting with a letter or digit and ending in one, + or ~"
    )


class RepositoryName(_Word):
    """An OCI repository path, such as `snapedge/runtime-onnx`."""

    __slots__ = ()
    _PATTERN = re.compile(r"(?=.{1,255}\Z)[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*")
    _RULE = "a repository name: lower-case path components of letters, digits, dots, dashes and underscores"


class TagName(_Word):
    """An OCI tag: at most 128 characters."""

    __slots__ = ()
    _PATTERN = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
    _RULE = "a tag: up to 128 letters, digits, dots, dashes and underscores"

    @classmethod
    def for_version(cls, version: str) -> TagName:
        """The tag of a snap version: what a tag cannot carry (`:`, `+`, `~`) becomes `_`."""
        return cls(re.sub(r"[:+~]", "_", version))


class RegistryAddress(_Word):
    """Where a registry listens: `host:port`."""

    __slots__ = ()
    _PATTERN = re.compile(r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?|\[[0-9a-fA-F:]+\]):[0-9]{1,5}")
    _RULE = "a registry address of the form host:port"


class Digest(_Word):
    """A content digest, `sha256:` and 64 hexadecimal digits in lower case."""

    __slots__ = ()
    _PATTERN = re.compile(r"sha256:[0-9a-f]{64}")
    _RULE = "a sha256 digest"

    @classmethod
    def of(cls, data: bytes) -> Digest:
        """The digest of some bytes."""
        return cls("sha256:" + hashlib.sha256(data).hexdigest())

    @classmethod
    def of_file(cls, path: Path) -> Digest:
        """The digest of a file, read in pieces.

        Raises:
            OSError: the file cannot be read.
        """
        found = hashlib.sha256()
        piece = memoryview(bytearray(_HASHED_BYTES))
        with path.open("rb", buffering=0) as file:
            while size := file.readinto(piece):
                found.update(piece[:size])
        return cls("sha256:" + found.hexdigest())

    @property
    def hex(self) -> str:
        """The hexadecimal digits alone."""
        return self.partition(":")[2]

    @property
    def short(self) -> str:
        """Twelve digits, for people."""
        return self.hex[:12]


class PublicKey(_Word):
    """An ed25519 public key, `ed25519:` and 64 hexadecimal digits; whether they are a point is not looked at here."""

    __slots__ = ()
    _PATTERN = re.compile(r"ed25519:[0-9a-f]{64}")
    _RULE = "a public key such as ed25519:<64 hexadecimal digits>"

    @property
    def raw(self) -> bytes:
        """The 32 bytes."""
        return bytes.fromhex(self.partition(":")[2])

    @property
    def key_id(self) -> str:
        """What names the key in an envelope: the sha256 of its text."""
        return Digest.of(self.encode()).hex

    @property
    def short(self) -> str:
        """Twelve digits, for people."""
        return self.partition(":")[2][:12]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageReference:
    """An image by digest in a registry: what a pod is started from. A tag alone is no reference."""

    registry: RegistryAddress
    repository: RepositoryName
    digest: Digest

    def __str__(self) -> str:
        """As containerd takes it."""
        return f"{self.registry}/{self.repository}@{self.digest}"

    @classmethod
    def parse(cls, text: str) -> ImageReference:
        """The reference that `str` writes.

        Raises:
            ValueError: no registry, no digest, or a part of it is not one.
        """
        name, at, digest = text.partition("@")
        registry, slash, repository = name.partition("/")
        if not (at and slash):
            raise ValueError(f"{text!r} is not an image reference with a registry and a digest")
        return cls(registry=RegistryAddress(registry), repository=RepositoryName(repository), digest=Digest(digest))


class ModelFormat(Enum):
    """What a model file is, by its content."""

    ONNX = "onnx"
    TFLITE = "tflite"
    SKLEARN = "sklearn"

    def __str__(self) -> str:
        """The word used in files."""
        return self.value


class GateMode(Enum):
    """What golden samples decide: strict refuses a bad model, report only says so, none does not look."""

    STRICT = "strict"
    REPORT = "report"
    NONE = "none"

    def __str__(self) -> str:
        """The word used in files."""
        return self.value


class Transport(Enum):
    """How images get to containerd: through the device's registry, or as archives that MicroK8s imports."""

    REGISTRY = "registry"
    SIDELOAD = "sideload"

    def __str__(self) -> str:
        """The word used in settings."""
        return self.value


class UpdateStrategy(Enum):
    """How the old pod gives way: surge keeps it until the new one is ready, recreate stops it first."""

    SURGE = "surge"
    RECREATE = "recreate"

    def __str__(self) -> str:
        """The word used in files."""
        return self.value


class HealthStatus(Enum):
    """snapd's four words for a snap's health."""

    OKAY = "okay"
    WAITING = "waiting"
    BLOCKED = "blocked"
    ERROR = "error"


class HealthCode(Enum):
    """Why a snap is not okay; the code of `snapctl set-health --code`."""

    NO_SLOT = "no-slot"
    API_DOWN = "api-down"
    NO_KSERVE = "no-kserve"
    REGISTRY_DOWN = "registry-down"
    NO_RUNTIME = "no-runtime"
    NO_ROOM = "no-room"
    NO_IMAGE = "no-image"
    GATE_FAILED = "gate-failed"
    LOAD_FAILED = "load-failed"
    WRONG_ARCH = "wrong-arch"
    PAYLOAD_BAD = "payload-bad"
    NAME_TAKEN = "name-taken"
    RESTORE_FAILED = "restore-failed"

    @property
    def status(self) -> HealthStatus:
        """Waiting for what may come by itself, error for what will not."""
        return HealthStatus.WAITING if self in _WAITING else HealthStatus.ERROR


_WAITING = frozenset(
    {
        HealthCode.NO_SLOT,
        HealthCode.API_DOWN,
        HealthCode.NO_KSERVE,
        HealthCode.REGISTRY_DOWN,
        HealthCode.NO_RUNTIME,
        HealthCode.NO_ROOM,
        HealthCode.NO_IMAGE,
    }
)
