"""Keys, and signatures over finished snaps: ed25519 in a DSSE envelope beside the file, `NAME.snap.dsse`.

What is signed is a statement of canonical JSON: the digests of the packed file, of its payload.json and its bill of
materials, of the model, of the runtime, and of the image composed from both. The signature lies beside the snap and
not inside, so the snap's bytes stay the same whoever builds it.

Rules:

1. Nothing is signed that does not verify.
2. A signature is good when the key is one the verifier named, the envelope's bytes are what that key signed, and the
   statement, made again from the snap, is the one signed.
3. A private key is never written over, never printed, and is readable by its owner alone.

    KeyFileError            a key cannot be written or read
    SignatureMissingError   a snap has no signature by a named key
    SignatureWrongError     a signature is damaged, or is about other bytes
    SignatureUnwritableError
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import Error as SigningError
from securesystemslib.signer import CryptoSigner, SSlibKey  # type: ignore[attr-defined]

from snapedge_hooks.document import DocumentError, canonical_json, parse_object
from snapedge_hooks.errors import ExitCode
from snapedge_hooks.vocabulary import Digest, PublicKey

from . import contents, packed, verification
from .errors import BuilderError
from .snapfile import SnapFile
from .verification import VerifiedSnap

PAYLOAD_TYPE = "application/vnd.snapedge.snap+json"
SUFFIX = ".dsse"
_MAX_FILE = 1024 * 1024


class KeyFileError(BuilderError):
    """A key cannot be written or read."""

    exit_code = ExitCode.USAGE

    def __init__(self, path: Path, problem: str, *, resolution: str = "") -> None:
        super().__init__(f"key {path.name}: {problem}", resolution=resolution)


class SignatureMissingError(BuilderError):
    """A snap is not signed by any of the keys that would do."""

    exit_code = ExitCode.REFUSED

    def __init__(self, file: str, problem: str) -> None:
        super().__init__(f"{file}: {problem}", resolution="have it signed: builder sign --key FILE")


class SignatureWrongError(BuilderError):
    """A signature is not what it should be."""

    exit_code = ExitCode.REFUSED

    def __init__(self, file: str, problem: str) -> None:
        super().__init__(f"{file}: {problem}", resolution="do not ship it; build or fetch it again")


class SignatureUnwritableError(BuilderError):
    """There is no room, or no right, to lay a signature beside its snap."""

    def __init__(self, path: Path, cause: packed.OutputError) -> None:
        super().__init__(cause.brief, resolution=f"make room in {path.parent}, or copy the snap to where you may write")


def make_key(path: Path) -> PublicKey:
    """Make a key pair: the private key in the file, the public one in the file with `.pub` behind its name.

    Raises:
        KeyFileError: one of the files is there already, or cannot be written; then neither is left.
    """
    signer = CryptoSigner.generate_ed25519()
    public = PublicKey(f"ed25519:{signer.public_key.keyval['public']}")
    beside = public_path(path)
    made: list[Path] = []
    try:
        for file, data, mode in ((path, signer.private_bytes, 0o600), (beside, f"{public}\n".encode(), 0o644)):
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            made.append(file)
            with os.fdopen(descriptor, "wb") as opened:
                opened.write(data)
    except OSError as error:
        for file in made:
            file.unlink(missing_ok=True)
        problem = "is there already" if isinstance(error, FileExistsError) else f"cannot be written: {error.strerror}"
        raise KeyFileError(Path(error.filename or path), problem, resolution="name another file") from error
    return public


def public_path(path: Path) -> Path:
    """Where the public half of a key file lies."""
    return path.with_name(f"{path.name}.pub")


def read_public_key(path: Path) -> PublicKey:
    """The public key in a file.

    Raises:
        KeyFileError: it cannot be read or is none.
    """
    try:
        return PublicKey(_read(path).decode("ascii").strip())
    except ValueError as error:
        raise KeyFileError(path, "is no public key", resolution="name the .pub file of a key") from error


def sign(paths: Sequence[Path], *, key: Path) -> tuple[Path, ...]:
    """Sign packed snaps; the signatures lie beside them.

    A signature by another key over the same statement is kept; one over another statement is replaced.

    Raises:
        KeyFileError: the key cannot be read or is no ed25519 key.
        BuilderError: a snap does not verify, or a signature cannot be written.
    """
    signer = read_signer(key)
    written = []
    for snap in verification.verify(paths):
        path = signature_path(snap.path)
        envelope = _kept(path, canonical_json(_statement(snap)))
        try:
            packed.replace_file(path, signed(envelope, [signer]))
        except packed.OutputError as error:
            raise SignatureUnwritableError(path, error) from error
        written.append(path)
    return tuple(written)


def signed(envelope: Envelope, signers: Iterable[CryptoSigner]) -> bytes:
    """An envelope with the signatures of further keys, as it is written."""
    for signer in signers:
        envelope.sign(signer)
    return canonical_json(envelope.to_dict())


def signature_path(snap: Path) -> Path:
    """Where the signatures of a snap lie."""
    return snap.with_name(f"{snap.name}{SUFFIX}")


def check(snap: VerifiedSnap, keys: Sequence[PublicKey]) -> PublicKey:
    """The key that signed a snap, one of those named.

    Raises:
        SignatureMissingError: there is no signature, or none by one of the keys.
        SignatureWrongError: it is damaged, or is about other bytes.
    """
    path = signature_path(snap.path)
    if not path.exists():
        raise SignatureMissingError(snap.path.name, "has no signature beside it")
    envelope = _parse(path)
    named = {key.key_id: key for key in keys}
    found = [named[key_id] for key_id in envelope.signatures if key_id in named]
    if not found:
        raise SignatureMissingError(snap.path.name, "is not signed by a key named here")
    try:
        accepted = envelope.verify([_verifier(key) for key in found], 1)
    except (SigningError, ValueError) as error:
        raise SignatureWrongError(path.name, "the signature does not fit its statement") from error
    if envelope.payload_type != PAYLOAD_TYPE:
        raise SignatureWrongError(path.name, f"is about {envelope.payload_type}, not a snap")
    signed = parse_object(envelope.payload, what=path.name)
    signed.format(1)
    for what, value in _statement(snap).items():
        if what != "format" and signed.optional_text(what) != value:
            raise SignatureWrongError(snap.path.name, f"the {what} is not the one that was signed")
    signed.done()
    return named[next(iter(accepted))]


def _statement(snap: VerifiedSnap) -> dict[str, Any]:
    opened = SnapFile.open(snap.path)
    payload, runtime = snap.payload, snap.runtime
    return {
        "format": 1,
        "name": snap.name,
        "version": snap.version,
        "architecture": str(snap.architecture),
        "snap": Digest.of_file(snap.path),
        "sbom": Digest.of(opened.read(contents.SBOM)),
        "payload": None if payload is None else Digest.of(opened.read(contents.PAYLOAD)),
        "model": None if payload is None else payload.model.digest,
        "image": None if payload is None else payload.predicted_image,
        "runtime": None if runtime is None else runtime.digest,
    }


def _kept(path: Path, statement: bytes) -> Envelope:
    if path.exists():
        try:
            found = _parse(path)
        except (SignatureWrongError, DocumentError):
            found = None  # nobody could have trusted it
        if found is not None and (found.payload, found.payload_type) == (statement, PAYLOAD_TYPE):
            return found
    return Envelope(statement, PAYLOAD_TYPE, {})


def _parse(path: Path) -> Envelope:
    try:
        fields = parse_object(_read(path), what=path.name)
        return Envelope.from_dict(
            {
                "payload": fields.text("payload"),
                "payloadType": fields.text("payloadType"),
                "signatures": [
                    {"keyid": item.text("keyid"), "sig": item.text("sig")} for item in fields.objects("signatures")
                ],
            }
        )
    except (SigningError, ValueError) as error:
        raise SignatureWrongError(path.name, "is no signature envelope") from error


def read_signer(path: Path) -> CryptoSigner:
    """The private key in a file.

    Raises:
        KeyFileError: it cannot be read or is no ed25519 key.
    """
    data = _read(path)
    try:
        private = load_pem_private_key(data, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyFileError(path, "is no private key", resolution="make one: builder key FILE") from error
    if not isinstance(private, Ed25519PrivateKey):
        raise KeyFileError(path, "is no ed25519 key", resolution="make one: builder key FILE")
    public = PublicKey(f"ed25519:{private.public_key().public_bytes_raw().hex()}")
    return CryptoSigner(private, _verifier(public))


def _verifier(key: PublicKey) -> SSlibKey:
    """The key as securesystemslib takes it."""
    return SSlibKey(key.key_id, "ed25519", "ed25519", {"public": key.raw.hex()})


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_FILE)
    except OSError as error:
        raise KeyFileError(path, f"cannot be read: {error.strerror}") from error
