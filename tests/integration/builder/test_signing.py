"""Keys and signatures over packed snaps; the cryptography is real, the runtime is two tiny layers."""

from __future__ import annotations

import base64
import json
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from snapedge_builder import building, cli, signing, verification
from snapedge_builder.building import BuildRequest
from snapedge_builder.progress import Silence
from snapedge_builder.signing import KeyFileError, SignatureMissingError, SignatureWrongError
from snapedge_builder.verification import VerifiedSnap
from snapedge_hooks.document import DocumentError
from snapedge_hooks.errors import ExitCode
from snapedge_hooks.vocabulary import Architecture, Digest, PublicKey

from ...fakes.buildsite import BuildSite


class Signed:
    """A snap, a key, and what checks say of them."""

    def __init__(self, top: Path) -> None:
        self.site = BuildSite(top)
        self.snap = self.build()
        self.key = top / "key"
        self.public = signing.make_key(self.key)
        self.signature = signing.signature_path(self.snap)

    def build(self) -> Path:
        site = self.site
        request = BuildRequest(folder=site.model, architectures=(Architecture.ARM64,), output=site.output)
        return building.build(request, cache=site.cache, source=site.source, progress=Silence()).snaps[0]

    def verified(self) -> VerifiedSnap:
        return verification.verify([self.snap])[0]

    def check(self, *keys: PublicKey) -> PublicKey:
        return signing.check(self.verified(), keys or [self.public])


@pytest.fixture
def signed(tmp_path: Path) -> Signed:
    return Signed(tmp_path)


def test_a_signature_is_a_dsse_envelope_that_others_can_verify(signed: Signed) -> None:
    before = signed.snap.read_bytes()
    assert signing.sign([signed.snap], key=signed.key) == (signed.signature,)
    assert signed.snap.read_bytes() == before
    assert signed.check() == signed.public
    envelope = json.loads(signed.signature.read_text())
    body = base64.b64decode(envelope["payload"])
    kind = envelope["payloadType"].encode()
    # Pre-authentication encoding, as the DSSE protocol writes it out.
    message = b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(body), body)
    raw = bytes.fromhex(str(signed.public).removeprefix("ed25519:"))
    Ed25519PublicKey.from_public_bytes(raw).verify(base64.b64decode(envelope["signatures"][0]["sig"]), message)
    payload = signed.verified().payload
    assert payload is not None
    statement = json.loads(body)
    assert statement["snap"] == Digest.of_file(signed.snap)
    assert statement["model"] == payload.model.digest
    assert statement["image"] == payload.predicted_image
    assert set(statement) == {
        *("format", "name", "version", "architecture", "snap", "sbom", "payload", "model", "image", "runtime")
    }


def test_signing_twice_writes_the_same_bytes(signed: Signed) -> None:
    signing.sign([signed.snap], key=signed.key)
    first = signed.signature.read_bytes()
    signing.sign([signed.snap], key=signed.key)
    assert signed.signature.read_bytes() == first


def test_two_people_may_sign_one_snap(signed: Signed) -> None:
    other = signing.make_key(signed.site.top / "other")
    signing.sign([signed.snap], key=signed.key)
    signing.sign([signed.snap], key=signed.site.top / "other")
    assert signed.check(signed.public) == signed.public
    assert signed.check(other) == other


def test_a_snap_without_signature_or_with_a_strangers_is_refused(signed: Signed) -> None:
    with pytest.raises(SignatureMissingError, match="has no signature beside it") as raised:
        signed.check()
    assert raised.value.exit_code is ExitCode.REFUSED
    signing.sign([signed.snap], key=signed.key)
    with pytest.raises(SignatureMissingError, match="is not signed by a key named here"):
        signed.check(signing.make_key(signed.site.top / "other"))


def test_a_signature_of_another_version_is_refused_until_signed_again(signed: Signed) -> None:
    signing.sign([signed.snap], key=signed.key)
    signed.site.say("Gives three times", "Gives thrice")
    assert signed.build() == signed.snap
    with pytest.raises(SignatureWrongError, match="the snap is not the one that was signed"):
        signed.check()
    signing.sign([signed.snap], key=signed.key)
    assert signed.check() == signed.public


def test_an_edited_statement_is_refused(signed: Signed) -> None:
    signing.sign([signed.snap], key=signed.key)
    envelope = json.loads(signed.signature.read_text())
    statement = json.loads(base64.b64decode(envelope["payload"]))
    statement["version"] = "9.9.9"
    envelope["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
    signed.signature.write_text(json.dumps(envelope))
    with pytest.raises(SignatureWrongError, match="the signature does not fit its statement"):
        signed.check()


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", DocumentError),
        ("{}", DocumentError),
        ('{"payload":"!","payloadType":"x","signatures":[{"keyid":"a","sig":"b"}]}', SignatureWrongError),
        ('{"payload":"YQ==","payloadType":"x","signatures":[1]}', DocumentError),
    ],
)
def test_a_damaged_envelope_is_refused(signed: Signed, text: str, error: type[Exception]) -> None:
    signed.signature.write_text(text)
    with pytest.raises(error):
        signed.check()


def test_a_private_key_is_its_owners_alone_and_never_written_over(signed: Signed) -> None:
    assert stat.S_IMODE(signed.key.stat().st_mode) == 0o600
    before = signed.key.read_bytes()
    with pytest.raises(KeyFileError, match="key key: is there already") as raised:
        signing.make_key(signed.key)
    assert raised.value.exit_code is ExitCode.USAGE
    assert signed.key.read_bytes() == before
    (signed.site.top / "half.pub").write_text("")
    with pytest.raises(KeyFileError, match=r"key half.pub: is there already"):
        signing.make_key(signed.site.top / "half")
    assert not (signed.site.top / "half").exists()
    assert signing.read_public_key(signing.public_path(signed.key)) == signed.public


def test_what_is_no_key_is_refused(signed: Signed, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("no key")
    with pytest.raises(KeyFileError, match="is no private key"):
        signing.sign([signed.snap], key=wrong)
    with pytest.raises(KeyFileError, match="is no public key"):
        signing.read_public_key(wrong)
    with pytest.raises(KeyFileError, match="cannot be read"):
        signing.sign([signed.snap], key=tmp_path / "absent")
    rsa = generate_private_key(65537, 2048)
    wrong.write_bytes(rsa.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(KeyFileError, match="is no ed25519 key"):
        signing.sign([signed.snap], key=wrong)
    assert not signed.signature.exists()


def test_the_commands_make_a_key_sign_and_verify(signed: Signed, capsys: pytest.CaptureFixture[str]) -> None:
    key = signed.site.top / "a key"
    cli.builder.main(["key", str(key)], standalone_mode=False)
    public = capsys.readouterr().out.splitlines()[1].partition(".pub: ")[2]
    cli.builder.main(["sign", "--key", str(key), str(signed.snap)], standalone_mode=False)
    assert capsys.readouterr().out == f"{signed.signature}: signed\n"
    cli.builder.main(["verify", str(signed.snap), "--key", f"{key}.pub"], standalone_mode=False)
    assert f"signed by {public})" in capsys.readouterr().out
    with pytest.raises(SystemExit) as left:
        cli.main(["verify", str(signed.snap), "--key", f"{signed.key}.pub"])
    assert left.value.code == 3
    assert "is not signed by a key named here" in capsys.readouterr().err
