"""Blobs reach the registry whole or not at all, whatever it does meanwhile."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fakes.edge import FakeClock
from tests.fakes.registry import FakeRegistry

from snapedge_hooks import blobs, upload
from snapedge_hooks.clock import Deadline
from snapedge_hooks.registry import Registry
from snapedge_hooks.situations import PayloadBadError, ShortageError
from snapedge_hooks.vocabulary import Digest, HealthCode, RegistryAddress, RepositoryName, TagName

REPOSITORY, RUNTIMES = RepositoryName("wine"), RepositoryName("snapedge/runtime-onnx")
DATA = bytes(range(256)) * 5000
DIGEST = Digest.of(DATA)


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    made = FakeRegistry()
    yield made
    made.close()


@pytest.fixture
def registry(fake: FakeRegistry) -> Iterator[Registry]:
    made = Registry(fake.address)
    yield made
    made.close()


@pytest.fixture
def blob(tmp_path: Path) -> blobs.Blob:
    path = tmp_path / "10-base.tar"
    path.write_bytes(DATA)
    return blobs.of_file(path, DIGEST, len(DATA))


def soon() -> Deadline:
    return Deadline.after(FakeClock(), 100)


def test_a_blob_is_sent_once(fake: FakeRegistry, registry: Registry, blob: blobs.Blob) -> None:
    upload.push(registry, REPOSITORY, blob, soon())
    assert fake.blobs[REPOSITORY] == {DIGEST: DATA}
    assert fake.received == len(DATA)


@pytest.mark.parametrize("offset", [2, 100_000, 262_144, 700_001])
def test_an_upload_goes_on_where_it_broke_off(
    fake: FakeRegistry, registry: Registry, blob: blobs.Blob, offset: int
) -> None:
    fake.faults.drop_after = [offset]
    upload.push(registry, REPOSITORY, blob, soon())
    assert fake.blobs[REPOSITORY] == {DIGEST: DATA}
    assert fake.received == len(DATA)


def test_an_upload_that_the_registry_forgot_starts_anew(
    fake: FakeRegistry, registry: Registry, blob: blobs.Blob
) -> None:
    fake.faults.drop_after, fake.faults.forgets_uploads = [100_000, 200_000], True
    upload.push(registry, REPOSITORY, blob, soon())
    assert fake.blobs[REPOSITORY] == {DIGEST: DATA}


def test_a_connection_that_always_breaks_is_given_up(fake: FakeRegistry, registry: Registry, blob: blobs.Blob) -> None:
    fake.faults.drop_after, fake.faults.forgets_uploads = [10] * 20, True
    with pytest.raises(ShortageError, match=r"broke the connection 5 times over 10-base\.tar") as caught:
        upload.push(registry, REPOSITORY, blob, soon())
    assert caught.value.code is HealthCode.REGISTRY_DOWN


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        (b"x" + DATA[1:], "has digest sha256:"),
        (DATA[:-1], "is not 1280000 bytes long"),
        (DATA + b"x", "is not 1280000 bytes long"),
        (b"", "is not 1280000 bytes long"),
    ],
)
def test_a_damaged_file_never_becomes_a_blob(
    fake: FakeRegistry, registry: Registry, tmp_path: Path, written: bytes, problem: str
) -> None:
    path = tmp_path / "layer.tar"
    path.write_bytes(written)
    with pytest.raises(PayloadBadError, match=problem):
        upload.push(registry, REPOSITORY, blobs.of_file(path, DIGEST, len(DATA)), soon())
    assert (fake.blobs, fake.uploads) == ({}, {})


def test_a_missing_file_is_named(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(PayloadBadError, match=r"gone\.tar cannot be read: No such file"):
        upload.push(registry, REPOSITORY, blobs.of_file(tmp_path / "gone.tar", DIGEST, 3), soon())


def test_an_empty_blob_is_sent(fake: FakeRegistry, registry: Registry) -> None:
    upload.push(registry, REPOSITORY, blobs.of_bytes(b"", "nothing"), soon())
    assert fake.blobs[REPOSITORY] == {Digest.of(b""): b""}


def test_a_mount_sends_nothing(fake: FakeRegistry, registry: Registry) -> None:
    fake.blobs[RUNTIMES] = {DIGEST: DATA}
    upload.mount(registry, REPOSITORY, RUNTIMES, DIGEST, len(DATA), soon())
    assert (fake.blobs[REPOSITORY], fake.received) == ({DIGEST: DATA}, 0)


def test_a_mount_that_became_an_upload_is_copied(fake: FakeRegistry, registry: Registry) -> None:
    fake.blobs[RUNTIMES], fake.faults.never_mounts = {DIGEST: DATA}, True
    upload.mount(registry, REPOSITORY, RUNTIMES, DIGEST, len(DATA), soon())
    assert (fake.blobs[REPOSITORY], fake.uploads) == ({DIGEST: DATA}, {})


def test_a_mount_of_what_nobody_has_is_cancelled(fake: FakeRegistry, registry: Registry) -> None:
    with pytest.raises(ShortageError) as caught:
        upload.mount(registry, REPOSITORY, RUNTIMES, DIGEST, len(DATA), soon())
    assert (caught.value.code, fake.uploads) == (HealthCode.NO_RUNTIME, {})


@pytest.mark.parametrize("status", [500, 429, 413, 401])
def test_a_refusal_is_told_and_the_upload_cancelled(
    fake: FakeRegistry, registry: Registry, blob: blobs.Blob, status: int
) -> None:
    fake.faults.status["PUT"] = (status, b"busy\n now")
    with pytest.raises(ShortageError, match=f"Registry: answered {status}: busy now"):
        upload.push(registry, REPOSITORY, blob, soon())
    assert fake.uploads == {}


def test_a_full_registry_has_no_room(fake: FakeRegistry, registry: Registry, blob: blobs.Blob) -> None:
    fake.faults.status["PUT"] = (500, b'{"errors":[{"detail":"write: no space left on device"}]}')
    with pytest.raises(ShortageError) as caught:
        upload.push(registry, REPOSITORY, blob, soon())
    assert caught.value.code is HealthCode.NO_ROOM


def test_a_registry_that_lies_about_digests_is_not_believed(
    fake: FakeRegistry, registry: Registry, blob: blobs.Blob
) -> None:
    fake.faults.lies = True
    with pytest.raises(ShortageError, match=r"stored .* as something else"):
        upload.push(registry, REPOSITORY, blob, soon())
    with pytest.raises(ShortageError, match=r"stored .* as something else"):
        registry.put_manifest(REPOSITORY, TagName("1"), b"{}")


def test_a_manifest_with_other_bytes_than_its_digest_is_refused(fake: FakeRegistry, registry: Registry) -> None:
    fake.manifests[REPOSITORY] = {DIGEST: b"{}"}
    with pytest.raises(ShortageError, match="with other bytes"):
        registry.manifest(REPOSITORY, DIGEST)


def test_another_host_is_not_followed(fake: FakeRegistry, registry: Registry) -> None:
    fake.faults.redirect_to = "http://127.0.0.2:9"
    for ask in (registry.has_blob, registry.open_blob, registry.serves_blob):
        with pytest.raises(ShortageError, match=r"another host, 127\.0\.0\.2:9; not followed"):
            ask(REPOSITORY, DIGEST)


def test_a_redirect_without_end_ends(fake: FakeRegistry, registry: Registry) -> None:
    fake.faults.redirect_to = f"http://{fake.address}"
    with pytest.raises(ShortageError, match="redirects without end"):
        registry.has_blob(REPOSITORY, DIGEST)


def test_an_endless_manifest_is_cut_off(fake: FakeRegistry, registry: Registry) -> None:
    fake.manifests[REPOSITORY], fake.tags[REPOSITORY] = {DIGEST: b"x"}, {"1": DIGEST}
    fake.faults.huge = 5 * 1024 * 1024
    with pytest.raises(ShortageError, match="sent more than"):
        registry.manifest(REPOSITORY, TagName("1"))


def test_a_registry_that_is_away_is_down() -> None:
    registry = Registry(RegistryAddress("127.0.0.1:1"))
    with pytest.raises(ShortageError, match=r"Registry: 127\.0\.0\.1:1 refuses the connection") as caught:
        registry.has_blob(REPOSITORY, DIGEST)
    assert caught.value.code is HealthCode.REGISTRY_DOWN


def test_a_claim_is_not_a_blob(fake: FakeRegistry, registry: Registry) -> None:
    fake.blobs[REPOSITORY] = {DIGEST: DATA}
    assert registry.has_blob(REPOSITORY, DIGEST)
    assert registry.serves_blob(REPOSITORY, DIGEST)
    fake.faults.lost.add(DIGEST)
    assert registry.has_blob(REPOSITORY, DIGEST)
    assert not registry.serves_blob(REPOSITORY, DIGEST)
