"""Image archives: what containerd could import, and for whom."""

import contextlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapedge_builder import imagearchive
from snapedge_builder.imagearchive import ImageArchiveError
from snapedge_hooks.vocabulary import Architecture, Digest


class Archive:
    """An archive that is put together member by member."""

    def __init__(self) -> None:
        self.members: dict[str, bytes] = {}

    def blob(self, content: Any) -> dict[str, Any]:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        digest = Digest.of(data)
        self.members[f"blobs/sha256/{digest.hex}"] = data
        return {"digest": str(digest), "size": len(data)}

    def image(self, architecture: str) -> dict[str, Any]:
        config = self.blob({"architecture": architecture, "os": "linux"})
        layer = self.blob(f"layer {architecture}".encode())
        return self.blob({"config": config, "layers": [layer]}) | {"platform": {"architecture": architecture}}

    def index(self, *manifests: dict[str, Any]) -> None:
        self.members["index.json"] = json.dumps({"manifests": list(manifests)}).encode()

    def write(self, path: Path) -> Path:
        with tarfile.open(path, "w") as tar:
            for name, data in self.members.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        return path


def test_an_oci_archive_is_read_through_its_index(tmp_path: Path) -> None:
    archive = Archive()
    inner = archive.blob({"manifests": [archive.image("amd64"), archive.image("arm64"), archive.image("s390x")]})
    archive.index(inner | {"annotations": {"io.containerd.image.name": "example/kserve:1"}})
    found = imagearchive.read(archive.write(tmp_path / "kserve.tar"))
    assert found.names == ("example/kserve:1",)
    assert found.architectures == {Architecture.AMD64, Architecture.ARM64}


def test_attestations_and_platforms_that_were_not_saved_do_not_count(tmp_path: Path) -> None:
    archive = Archive()
    attestation = archive.blob({"config": {"digest": "sha256:gone"}, "layers": []})
    absent = {"digest": "sha256:" + "0" * 64, "platform": {"architecture": "arm64"}}
    archive.index(archive.image("amd64"), attestation | {"platform": {"architecture": "unknown"}}, absent)
    assert imagearchive.read(archive.write(tmp_path / "a.tar")).architectures == {Architecture.AMD64}


def test_what_docker_saves_is_read(tmp_path: Path) -> None:
    archive = Archive()
    archive.members["c.json"] = b'{"architecture": "arm64"}'
    archive.members["l/layer.tar"] = b"layer"
    archive.members["manifest.json"] = json.dumps(
        [{"Config": "c.json", "RepoTags": ["example/a:1"], "Layers": ["l/layer.tar"]}]
    ).encode()
    found = imagearchive.read(archive.write(tmp_path / "a.tar"))
    assert found.names == ("example/a:1",)
    assert found.architectures == {Architecture.ARM64}


def test_a_layer_that_was_not_saved_is_named(tmp_path: Path) -> None:
    archive = Archive()
    archive.index(archive.image("amd64"))
    lost = next(name for name, data in archive.members.items() if data == b"layer amd64")
    del archive.members[lost]
    with pytest.raises(ImageArchiveError, match=f"lacks {lost}, which its image for amd64 names"):
        imagearchive.read(archive.write(tmp_path / "a.tar"))


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({}, "holds neither index.json nor manifest.json"),
        ({"index.json": b"{"}, "index.json is not JSON"),
        ({"index.json": b"[]"}, "index.json is no JSON object"),
        ({"index.json": b"{}"}, "holds no image for amd64 or arm64"),
        ({"manifest.json": b"{}"}, "manifest.json is no list of images"),
        ({"manifest.json": b'[{"Config": "gone.json"}]'}, "lacks gone.json"),
    ],
)
def test_what_is_no_archive_is_refused(tmp_path: Path, members: dict[str, bytes], words: str) -> None:
    archive = Archive()
    archive.members = members
    with pytest.raises(ImageArchiveError, match=words):
        imagearchive.read(archive.write(tmp_path / "a.tar"))


@pytest.mark.parametrize("content", [b"", b"words", b"\x1f\x8b\x08\x00"])
def test_what_is_no_tar_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(content)
    with pytest.raises(ImageArchiveError, match=r"a\.tar: is no uncompressed tar|holds neither"):
        imagearchive.read(path)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
@pytest.mark.parametrize("name", ["index.json", "manifest.json"])
def test_a_document_that_is_no_plain_file_is_not_followed(tmp_path: Path, name: str, kind: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/passwd"
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.addfile(info)
    with pytest.raises(ImageArchiveError, match=f"{name} is no file of at most"):
        imagearchive.read(tmp_path / "a.tar")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b" " * (4 * 1024 * 1024 + 1), "is no file of at most"),
        (b"[" * 200_000, "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b'{"manifests": [1, null, {"digest": 7, "annotations": 1, "platform": []}]}', "holds no image"),
    ],
)
def test_a_document_made_to_do_harm_is_refused(tmp_path: Path, data: bytes, words: str) -> None:
    archive = Archive()
    archive.members = {"index.json": data}
    with pytest.raises(ImageArchiveError, match=words):
        imagearchive.read(archive.write(tmp_path / "a.tar"))


def test_an_index_that_names_itself_ends(tmp_path: Path) -> None:
    archive = Archive()
    name = "blobs/sha256/" + "0" * 64
    loop = {"digest": "sha256:" + "0" * 64}
    archive.index(loop)
    archive.members[name] = json.dumps({"manifests": [loop, loop]}).encode()
    with pytest.raises(ImageArchiveError, match="holds no image"):
        imagearchive.read(archive.write(tmp_path / "a.tar"))


def test_members_that_lead_out_of_the_archive_are_nobodys_blobs(tmp_path: Path) -> None:
    """Nothing is extracted, and a name is compared, not followed."""
    archive = Archive()
    archive.members["../../etc/passwd"] = b"root"
    archive.members["/etc/shadow"] = b"root"
    archive.members["manifest.json"] = b'[{"Config": "../../../etc/hostname", "Layers": []}]'
    with pytest.raises(ImageArchiveError, match=r"lacks \.\./\.\./\.\./etc/hostname"):
        imagearchive.read(archive.write(tmp_path / "a.tar"))


@given(at=st.integers(min_value=0, max_value=8000), junk=st.binary(min_size=1, max_size=40))
def test_a_damaged_archive_is_read_or_refused_and_nothing_else(
    at: int, junk: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("damaged", numbered=True)
    archive = Archive()
    archive.index(archive.image("amd64"))
    path = archive.write(folder / "a.tar")
    data = path.read_bytes()
    path.write_bytes(data[:at] + junk + data[at + len(junk) :])
    with contextlib.suppress(ImageArchiveError):
        assert imagearchive.read(path).architectures <= {Architecture.AMD64}
