"""`builder verify --rebuild`: snaps that are what their folder gives, and snaps that are not."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from snapedge_builder import (
    building,
    cli,
    contents,
    locking,
    pack,
    reproduction,
    runtimesigning,
    runtimesource,
    signing,
    verification,
)
from snapedge_builder.building import BuildRequest
from snapedge_builder.cache import Cache
from snapedge_builder.observation import RuntimeSigner
from snapedge_builder.progress import Silence
from snapedge_builder.reproduction import NotReproducedError, OtherFolderError
from snapedge_builder.snapfile import SnapFile
from snapedge_hooks.errors import ExitCode
from snapedge_hooks.vocabulary import Architecture

from ...fakes.buildsite import INFERENCE, SAMPLES, tripler
from ...fakes.elffile import shared_object
from ...fakes.offlineruntime import BOTH, MACHINES, OfflineRuntime

pytestmark = pytest.mark.skipif(shutil.which("apt-get") is None, reason="needs apt")
AMD64, ARM64 = Architecture.AMD64, Architecture.ARM64


@dataclass
class Site:
    """A model beside its runtime, and what both were built into."""

    top: Path
    parts: OfflineRuntime

    @property
    def model(self) -> Path:
        return self.top / "snaps" / "tripler"

    @property
    def runtime(self) -> Path:
        return self.top / "snaps" / "runtime-onnx"

    @property
    def cache(self) -> Cache:
        return Cache(self.top / "cache")

    def build(self, folder: Path, *architectures: Architecture, sign: RuntimeSigner | None = None) -> list[Path]:
        request = BuildRequest(folder=folder, architectures=architectures, output=self.top / "dist", sign=sign)
        source = runtimesource.ComposedRuntimes(self.cache, host=self.parts.host)
        return list(building.build(request, cache=self.cache, source=source, progress=Silence()).snaps)

    def rebuild(self, snaps: list[Path], folder: Path | None) -> Path:
        return reproduction.rebuild(
            verification.verify(snaps),
            folder,
            runtime_folder=None,
            cache=self.cache,
            progress=Silence(),
            host=self.parts.host,
        )

    def refused(self, snap: Path, folder: Path) -> NotReproducedError:
        with pytest.raises(NotReproducedError) as caught:
            self.rebuild([snap], folder)
        assert caught.value.exit_code is ExitCode.REFUSED
        return caught.value


@pytest.fixture
def site(tmp_path: Path) -> Site:
    parts = OfflineRuntime(tmp_path / "parts")
    found = Site(top=tmp_path, parts=parts)
    found.model.mkdir(parents=True)
    (found.model / "inference.yaml").write_text(INFERENCE)
    (found.model / "samples.json").write_text(SAMPLES)
    (found.model / "model.onnx").write_bytes(tripler().SerializeToString())
    shutil.copytree(parts.folder, found.runtime)
    shutil.copytree(parts.root / "server", found.top / "snaps" / "server")
    return found


def other_libc(site: Site) -> None:
    """The mirrors offer another version of the C library from now on."""
    for architecture in BOTH:
        library = shared_object(MACHINES[architecture], soname="libc.so.6", needed=[])
        site.parts.repository.add(
            "libc6", "2.36-10", architecture=str(architecture), files={"lib/libc.so.6": library, "usr/share/n": b"n"}
        )
    site.parts.repository.publish()


def test_snaps_of_a_folder_are_proved_and_nothing_is_left(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    snaps = site.build(site.model)
    assert site.rebuild(snaps, site.model) == site.model
    monkeypatch.chdir(site.top)
    assert site.rebuild(snaps[:1], None) == Path("snaps/tripler")
    assert site.rebuild(site.build(site.runtime, ARM64), None) == Path("snaps/runtime-onnx")
    assert list((site.top / "cache" / "scratch").iterdir()) == []


def test_a_signed_runtime_is_proved_without_its_key(site: Site) -> None:
    key = site.top / "key"
    signing.make_key(key)
    signed = site.build(site.runtime, AMD64, sign=runtimesigning.signer([key]))
    assert contents.SIGNATURE in SnapFile.open(signed[0]).entries
    key.unlink()
    assert site.rebuild(signed, site.runtime) == site.runtime


def test_what_the_cache_remembers_having_made_is_no_proof(site: Site) -> None:
    data = site.top / "snaps" / "server" / "src" / "server" / "data.txt"
    notes = site.top / "cache" / "notes"
    site.build(site.runtime, ARM64)
    (good,) = (notes / "app").iterdir()
    data.write_text("evil")
    site.build(site.runtime, ARM64)
    (evil,) = set((notes / "app").iterdir()) - {good}
    # The cache now says that the right sources once gave the wrong layer, and a build believes it.
    good.write_bytes(evil.read_bytes())
    data.write_text("data")
    shutil.rmtree(notes / "built-runtime")
    snap = site.build(site.runtime, ARM64)[0]
    assert "usr/lib/snapedge/app/server/data.txt in runtime/layers/40-app.tar" in site.refused(snap, site.runtime).brief


def test_the_file_that_was_changed_since_is_named_with_its_layer(site: Site) -> None:
    runtime, model = site.build(site.runtime, ARM64)[0], site.build(site.model, ARM64)[0]
    (site.top / "snaps" / "server" / "src" / "server" / "data.txt").write_text("other")
    refused = site.refused(runtime, site.runtime)
    assert refused.brief == (
        f"snapedge-onnx_1.0.0_arm64.snap is not what {site.runtime} gives: usr/lib/snapedge/app/server/data.txt in "
        "runtime/layers/40-app.tar has other bytes than it should"
    )
    # A model that brings no runtime differs in what it says of it.
    assert "payload/payload.json has other bytes" in site.refused(model, site.model).brief


def test_another_model_is_told(site: Site) -> None:
    snap = site.build(site.model, ARM64)[0]
    (site.model / "model.onnx").write_bytes(tripler(2.0).SerializeToString())
    assert site.refused(snap, site.model).brief.endswith(
        "mnt/models/tripler/model.json in payload/model.tar has other bytes than it should"
    )


def test_packages_that_moved_on_are_told_by_version_where_nothing_is_pinned(site: Site) -> None:
    snap = site.build(site.runtime, ARM64)[0]
    other_libc(site)
    site.rebuild([snap], site.runtime)  # the cache remembers what was offered then
    shutil.rmtree(site.top / "cache")
    refused = site.refused(snap, site.runtime)
    assert "in runtime/layers/10-base.tar" in refused.brief
    assert refused.details == "libc6: 2.36-9 in the snap, 2.36-10 in what was built"
    assert "`builder lock` the runtime before it is built" in refused.resolution


def test_a_pinned_runtime_is_proved_on_a_host_that_never_saw_it(site: Site) -> None:
    locking.lock(site.runtime, cache=site.cache, host=site.parts.host)
    snap = site.build(site.runtime, ARM64)[0]
    other_libc(site)
    shutil.rmtree(site.top / "cache")
    site.rebuild([snap], site.runtime)


def test_a_folder_of_something_else_is_refused(site: Site) -> None:
    snap = site.build(site.model, ARM64)[0]
    for folder, message in (
        (site.runtime, "builds snapedge-onnx 1.0.0; name the folder that the snap was built from"),
        (site.top, "holds neither inference.yaml nor runtime.yaml"),
        (None, "snaps/tripler holds neither"),
    ):
        with pytest.raises(OtherFolderError, match=message) as caught:
            site.rebuild([snap], folder)
        assert caught.value.exit_code is ExitCode.USAGE


def test_a_snap_that_was_packed_by_other_means_is_told(site: Site) -> None:
    snap = site.build(site.runtime, ARM64)[0]
    tree = site.top / "tree"
    subprocess.run(["unsquashfs", "-q", "-n", "-d", tree, snap], check=True, capture_output=True)
    snap.unlink()
    subprocess.run(
        ["mksquashfs", tree, snap, "-comp", "xz", "-b", "65536", "-all-root", "-no-xattrs", "-quiet", "-no-progress"],
        check=True,
        capture_output=True,
    )
    refused = site.refused(snap, site.runtime)
    assert refused.brief.endswith("it holds the same files, packed otherwise")
    assert refused.resolution.endswith(f"here it is {pack.packer()}")


def test_the_command_wants_snaps_before_the_folder(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--rebuild", str(site.model)], ["--rebuild", "x.snap", str(site.model), str(site.runtime)]):
        with pytest.raises(SystemExit) as ended:
            cli.main(["verify", *words])
        assert ended.value.code == 2
        assert "--rebuild takes .snap files and then one folder" in capsys.readouterr().err
