"""The signature that a runtime's snap brings, for models that list its key; what it says is the device's to define."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from securesystemslib.dsse import Envelope

from snapedge_hooks import runtimetrust
from snapedge_hooks.images import RuntimeImage
from snapedge_hooks.runtimetrust import RuntimeStatement

from . import signing
from .observation import RuntimeSigner


def signer(keys: Sequence[Path]) -> RuntimeSigner:
    """What signs runtimes with all of these private keys; the same runtime gets the same bytes.

    Raises:
        KeyFileError: one cannot be read or is no ed25519 key.
    """
    signers = [signing.read_signer(key) for key in keys]

    def sign(runtime: RuntimeImage) -> bytes:
        return signing.signed(Envelope(RuntimeStatement.of(runtime).to_json(), runtimetrust.KIND, {}), signers)

    return sign
