"""Image archives, as containerd imports them."""

import json
import tarfile
from pathlib import Path

import pytest
from tests.fakes.edge import runtime_image

from snapedge_builder import imagearchive
from snapedge_hooks import blobs, images, sideload
from snapedge_hooks.blobs import Blob
from snapedge_hooks.images import ComposedImage, ModelLayer
from snapedge_hooks.situations import PayloadBadError, ShortageError
from snapedge_hooks.vocabulary import Architecture, Digest, HealthCode, ImageReference, RegistryAddress, RepositoryName


def wine(model: bytes = b"model" * 100_000) -> tuple[ComposedImage, list[Blob]]:
    """An image, and what it is made of."""
    runtime, files = runtime_image()
    image = images.compose(runtime, ModelLayer(file="model.tar", diff_id=Digest.of(model), size=len(model)))
    parts = [blobs.of_bytes(data, name) for name, data in [*files.items(), ("model.tar", model)]]
    return image, [*parts, blobs.of_bytes(image.config, "config")]


def reference(image: ComposedImage) -> ImageReference:
    return ImageReference(
        registry=RegistryAddress("localhost:32000"), repository=RepositoryName("wine"), digest=image.digest
    )


def written(folder: Path, image: ComposedImage, parts: list[Blob]) -> Path:
    path = folder / "launcher" / "sideload" / sideload.file_name("wine", image.digest)
    sideload.write(
        path, reference=reference(image), architecture=Architecture.AMD64, manifest=image.manifest, parts=parts
    )
    return path


def test_an_archive_is_whole_and_named_as_pods_name_it(tmp_path: Path) -> None:
    image, parts = wine()
    path = written(tmp_path, image, parts)
    assert [one.name for one in path.parent.iterdir()] == [f"wine-{image.digest.short}.tar"]
    with tarfile.open(path) as archive:
        for member in archive:
            file = archive.extractfile(member)
            assert file is not None
            data = file.read()
            if member.name.startswith("blobs/"):
                assert member.name == f"blobs/sha256/{Digest.of(data).hex}"
            if member.name == "index.json":
                index = json.loads(data)
    assert [one["annotations"] for one in index["manifests"]] == [
        {"io.containerd.image.name": f"localhost:32000/wine@{image.digest}"}
    ]
    assert imagearchive.read(path).architectures == {Architecture.AMD64}


def test_a_damaged_layer_never_lies_ready(tmp_path: Path) -> None:
    image, parts = wine()
    good, bad = parts[0], blobs.of_bytes(b"other", "other")
    parts[0] = Blob(digest=good.digest, size=good.size, name="10-base.tar", open=bad.open)
    with pytest.raises(PayloadBadError, match=r"10-base\.tar"):
        written(tmp_path, image, parts)
    assert not (tmp_path / "launcher" / "sideload").exists()


def test_a_place_that_cannot_be_written_is_no_room(tmp_path: Path) -> None:
    (tmp_path / "launcher").write_text("in the way")
    image, parts = wine()
    with pytest.raises(ShortageError) as caught:
        written(tmp_path, image, parts)
    assert caught.value.code is HealthCode.NO_ROOM


def test_the_folder_goes_with_its_last_archive_and_what_a_power_cut_left(tmp_path: Path) -> None:
    """MicroK8s' hook copies *.tar of the folder, and fails where there is none."""
    image, parts = wine()
    path = written(tmp_path, image, parts)
    (path.parent / ".wine-0.tar.part").write_bytes(b"half")
    assert sideload.names(path.parent) == {path.name}
    sideload.delete(path.parent, [path.name, "wine-gone.tar"])
    assert not path.parent.exists()
    assert path.parent.parent.exists()
    assert sideload.names(path.parent) == frozenset()
    sideload.delete(path.parent, [path.name])


def test_an_archive_of_another_snap_stays(tmp_path: Path) -> None:
    image, parts = wine()
    path = written(tmp_path, image, parts)
    other = path.with_name("other.tar")
    other.touch()
    sideload.delete(path.parent, [path.name])
    assert other.exists()
