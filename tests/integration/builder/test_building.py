"""Folders become snaps: craft-parts, mksquashfs and unsquashfs are real, the runtime is two tiny layers."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from snapedge_builder import building, observation, publication, runtimes, snapyaml, verification
from snapedge_builder.building import (
    Build,
    BuildRequest,
    NoArchitectureError,
    RuntimeFolderMissingError,
    TwoRuntimesError,
)
from snapedge_builder.modelfile import ModelRefusedError
from snapedge_builder.observation import RuntimeUnfitError
from snapedge_builder.packed import OutputError
from snapedge_builder.progress import Silence
from snapedge_builder.proof import SamplesFailedError
from snapedge_builder.publication import IncompleteVersionError, MixedVersionsError
from snapedge_builder.runtimesource import ComposedRuntimes
from snapedge_builder.samplesfile import SamplesUnreadableError
from snapedge_builder.signature import SamplesMismatchError
from snapedge_builder.snapfile import SnapFile
from snapedge_hooks import device
from snapedge_hooks.channels import Channel
from snapedge_hooks.directorystore import DirectoryStore
from snapedge_hooks.document import DocumentError
from snapedge_hooks.errors import ExitCode
from snapedge_hooks.images import RuntimeImage
from snapedge_hooks.payload import Payload
from snapedge_hooks.storeindex import Sha3, SnapKind
from snapedge_hooks.vocabulary import Architecture, Digest, SnapName

from ...fakes import ocilayout
from ...fakes.buildsite import BuildSite, tripler
from ...fakes.docker import FakeDocker
from ...fakes.elffile import shared_object

AMD64, ARM64 = Architecture.AMD64, Architecture.ARM64
ROOT = Path(__file__).parents[3]


def build(
    site: BuildSite,
    folder: Path | None = None,
    *,
    architectures: tuple[Architecture, ...] = (ARM64,),
    ship_failing: bool = False,
) -> Build:
    request = BuildRequest(
        folder=folder or site.model, architectures=architectures, output=site.output, ship_failing=ship_failing
    )
    return building.build(request, cache=site.cache, source=site.source, progress=Silence())


def plan_of(site: BuildSite) -> list[str]:
    request = BuildRequest(folder=site.model, architectures=(ARM64,), output=site.output)
    made = building.plan_build(request, cache=site.cache, source=site.source)
    return [f"{'skip' if action.skip else 'do'} {action.kind}" for action in made.actions]


def test_a_model_becomes_a_snap_for_each_architecture(site: BuildSite) -> None:
    built = build(site, architectures=())
    assert site.files() == [
        "tripler_1.0.0.build.json",
        "tripler_1.0.0_amd64.snap",
        "tripler_1.0.0_arm64.snap",
    ]
    snap = SnapFile.open(built.snaps[1])
    assert {path.split("/")[0] for path in snap.entries if path} == {"bin", "lib", "meta", "payload", "sbom.cdx.json"}
    payload = Payload.parse(snap.read("payload/payload.json"))
    assert payload.architecture is ARM64
    assert payload.runtime.digests == (site.source.ready[ARM64].image.digest,)
    assert payload.runtime.minimum == "1.0.0"
    found = verification.verify(built.snaps)
    assert [item.kind for item in found] == ["model", "model"]


def test_a_plan_run_twice_is_all_skips_and_takes_nothing_again(site: BuildSite) -> None:
    assert plan_of(site) == [
        "do check-model",
        "do prove-samples",
        "do build-runtime",
        "do write-layer",
        "do pack",
        "do deliver",
    ]
    first = build(site)
    before = first.snaps[0].stat()
    assert plan_of(site) == [
        "skip check-model",
        "skip prove-samples",
        "skip build-runtime",
        "skip write-layer",
        "skip pack",
        "skip deliver",
    ]
    second = build(site)
    after = second.snaps[0].stat()
    assert second.plan.is_idle
    assert site.source.builds == [ARM64]
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_a_snap_that_is_gone_or_changed_is_delivered_again_not_packed(site: BuildSite) -> None:
    snap = build(site).snaps[0]
    whole = snap.read_bytes()
    for harm in (snap.unlink, lambda: snap.write_bytes(whole[:100])):
        harm()
        assert plan_of(site)[-2:] == ["skip pack", "do deliver"]
        build(site)
        assert snap.read_bytes() == whole


def test_a_new_model_is_packed_and_the_runtime_is_not_built_again(site: BuildSite) -> None:
    build(site)
    site.say("1.0.0", "1.1.0")
    (site.model / "model.onnx").write_bytes(tripler(3.0001).SerializeToString())
    built = build(site)
    assert site.source.builds == [ARM64]
    assert built.snaps[0].name == "tripler_1.1.0_arm64.snap"
    assert built.snaps[0].stat().st_size < 700_000


def test_a_model_with_an_image_of_its_own_needs_no_runtime_folder(
    site: BuildSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker = FakeDocker(site.top / "docker")
    libc = ocilayout.entry("lib/libc.so.6", shared_object("EM_AARCH64", soname="libc.so.6"), mode=0o755)
    script = ocilayout.entry("server", b"#!/lib/libc.so.6\n", mode=0o4755)
    ocilayout.write(docker.layout, [ocilayout.tar(libc), ocilayout.tar(script)], settings={"Cmd": ["/server"]})
    monkeypatch.setenv("SNAPEDGE_BUILDX", f"{docker.path} buildx")
    (site.model / "Dockerfile").write_text("FROM scratch\n")
    with (site.model / "inference.yaml").open("a") as file:
        file.write("delivery: {image: full}\nbuild: {dockerfile: Dockerfile}\n")
    shutil.rmtree(site.runtime)
    request = BuildRequest(folder=site.model, architectures=(ARM64,), output=site.output)
    source = ComposedRuntimes(site.cache)
    built = building.build(request, cache=site.cache, source=source, progress=Silence())
    snap = SnapFile.open(built.snaps[0])
    runtime = RuntimeImage.parse(snap.read("runtime/runtime.json"))
    assert (runtime.name, runtime.version, runtime.config["config"]["Cmd"]) == ("tripler", "1.0.0", ["/server"])
    assert "server is setuid or setgid, and will not be" in built.warnings
    assert verification.verify(built.snaps)[0].kind == "full"
    calls = len(docker.calls)
    again = building.build(request, cache=site.cache, source=source, progress=Silence())
    assert (again.plan.is_idle, len(docker.calls), again.warnings) == (True, calls, built.warnings)
    with pytest.raises(TwoRuntimesError, match="leave out --runtime, or the Dockerfile"):
        building.plan_build(replace(request, runtime_folder=site.top), cache=site.cache, source=source)


def test_a_remembered_runtime_counts_while_the_cache_holds_all_of_its_layers(site: BuildSite) -> None:
    site.remember_runtime()
    source = ComposedRuntimes(site.cache)
    found = observation.find_runtime(runtimes.read_runtime(site.runtime), ARM64, source)
    assert found is not None
    first, second = found.files.values()
    first.write_bytes(b"cut short")
    second.unlink()
    assert observation.find_runtime(runtimes.read_runtime(site.runtime), ARM64, source) is None
    assert not first.exists()


def test_a_full_snap_carries_its_runtime_and_verifies_alone(site: BuildSite) -> None:
    with (site.model / "inference.yaml").open("a") as file:
        file.write("delivery: {image: full}\n")
    built = build(site)
    (found,) = verification.verify(built.snaps)
    assert (found.kind, found.not_checked) == ("full", ())
    assert "predicted image digest" in found.checks
    names = SnapFile.open(built.snaps[0]).files_below("runtime")
    assert names == ["runtime/layers/10-base.tar", "runtime/layers/40-app.tar", "runtime/runtime.json"]
    document = snapyaml.parse(SnapFile.open(built.snaps[0]).read("meta/snap.yaml"))
    assert document["slots"]["configuration"]["source"] == {"read": ["$SNAP_COMMON/launcher"]}


def test_a_runtime_becomes_a_snap_and_proves_the_models_prediction(site: BuildSite) -> None:
    model = build(site)
    runtime = build(site, site.runtime)
    assert runtime.snaps[0].name == "snapedge-onnx_1.0.0_arm64.snap"
    (alone,) = verification.verify(model.snaps)
    assert alone.not_checked == ("predicted image digest: needs the snap of runtime onnx; name it beside this one",)
    found = verification.verify([*model.snaps, *runtime.snaps])
    assert [(item.kind, item.not_checked) for item in found] == [("model", ()), ("runtime", ())]


def test_every_hook_and_app_has_a_shim_of_two_lines_and_no_other_has(site: BuildSite) -> None:
    snap = SnapFile.open(build(site).snaps[0])
    assert {path.removeprefix("meta/hooks/") for path in snap.files_below("meta/hooks")} == set(device.HOOKS)
    assert {path.removeprefix("bin/") for path in snap.files_below("bin")} == {*device.APPS, "reload"}
    assert snap.read("meta/hooks/post-refresh").decode() == (
        '#!/bin/sh\nPYTHONPATH="$SNAP/lib" exec python3 -m snapedge_hooks post-refresh\n'
    )


def test_the_device_side_starts_from_what_the_snap_carries(site: BuildSite, tmp_path: Path) -> None:
    snap = build(site).snaps[0]
    subprocess.run(["unsquashfs", "-q", "-n", "-d", str(tmp_path / "out"), str(snap)], check=True, capture_output=True)
    script = "import snapedge_hooks.executor as e, snapedge_hooks.__main__; print(e.__file__)"
    done = subprocess.run(
        [
            "python3",
            "-I",
            "-S",
            "-B",
            "-c",
            f"import sys; sys.path.insert(0, {str(tmp_path / 'out' / 'lib')!r}); {script}",
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    lib = tmp_path / "out" / "lib"
    assert done.stdout.split() == [str(lib / "snapedge_hooks/executor.py")]
    assert not [path for path in lib.rglob("*") if path.suffix in (".so", ".pyc")]


def test_equal_folders_give_equal_snaps_wherever_and_whenever_they_are_built(tmp_path: Path) -> None:
    digests = []
    for name, umask in (("one", 0o022), ("another place", 0o077)):
        old = os.umask(umask)
        try:
            site = BuildSite(tmp_path / name)
            built = build(site, architectures=())
        finally:
            os.umask(old)
        digests.append([Digest.of_file(path) for path in (*built.snaps, built.record_path)])
    assert digests[0] == digests[1]


def test_the_record_says_what_went_in_and_no_path_of_the_host(site: BuildSite) -> None:
    built = build(site)
    text = built.record_path.read_text()
    document = json.loads(text)
    assert str(site.top) not in text
    assert document["inputs"]["model"] == Digest.of_file(site.model / "model.onnx")
    assert document["proof"] == {
        "deviations": [],
        "engine": f"onnxruntime {document['tools']['onnxruntime']}",
        "overruled": False,
        "passed": True,
        "samples": 1,
    }
    assert document["runtimes"]["arm64"]["components"][0]["purl"] == "pkg:deb/debian/base@1"
    assert document["snaps"]["arm64"]["sha3_384"] == Sha3.of_file(built.snaps[0])
    assert document["tools"]["packer"].endswith("-all-root -no-xattrs SOURCE_DATE_EPOCH=0")


def test_a_model_with_wrong_answers_is_refused_and_leaves_nothing(site: BuildSite) -> None:
    (site.model / "model.onnx").write_bytes(tripler(4).SerializeToString())
    with pytest.raises(SamplesFailedError) as caught:
        build(site)
    assert caught.value.exit_code is ExitCode.REFUSED
    assert site.files() == []


def test_wrong_answers_can_be_overruled_loudly_and_on_record(site: BuildSite) -> None:
    (site.model / "model.onnx").write_bytes(tripler(4).SerializeToString())
    built = build(site, ship_failing=True)
    assert built.warnings == (
        "this model answers 1 of 1 golden samples WRONGLY and was built all the same; "
        "with gate strict, devices will refuse it",
    )
    assert built.record.document["proof"]["overruled"] is True
    assert built.record.document["proof"]["deviations"][0]["max_error"] == 2.0
    with pytest.raises(SamplesFailedError):
        build(site)


def test_samples_for_another_model_are_refused(site: BuildSite) -> None:
    (site.model / "model.onnx").write_bytes(tripler(name="z").SerializeToString())
    with pytest.raises(SamplesMismatchError, match="input 'x' is not one of the model's"):
        build(site)
    assert site.files() == []


def test_an_opset_the_runtime_lacks_is_refused(site: BuildSite) -> None:
    (site.model / "model.onnx").write_bytes(tripler(opset=99).SerializeToString())
    with pytest.raises(ModelRefusedError, match="needs opset 99"):
        build(site)
    assert site.files() == []


def test_missing_files_are_named(site: BuildSite) -> None:
    (site.model / "samples.json").unlink()
    with pytest.raises(SamplesUnreadableError, match=r"samples\.json cannot be read: No such file"):
        build(site)
    (site.model / "samples.json").write_text('{"format":1,"samples":[]}')
    with pytest.raises(DocumentError, match="samples: is empty"):
        build(site)
    (site.model / "model.onnx").unlink()
    with pytest.raises(ModelRefusedError, match=r"model\.onnx: does not exist"):
        build(site)


def test_a_model_that_wants_grpc_is_refused_on_a_runtime_without(site: BuildSite) -> None:
    with (site.model / "inference.yaml").open("a") as file:
        file.write("service: {grpc: true}\n")
    with pytest.raises(RuntimeUnfitError, match=r"wants gRPC, which .* is built without"):
        build(site)


def test_a_runtime_that_does_not_fit_is_refused(site: BuildSite) -> None:
    with (site.model / "inference.yaml").open("a") as file:
        file.write("runtime: {name: onnx, interface: 1, minimum: '1.5'}\n")
    with pytest.raises(RuntimeUnfitError, match=r"wants runtime onnx interface 1, 1\.5 or newer"):
        build(site)
    site.say("interface: 1, minimum: '1.5'", "interface: 2")
    with pytest.raises(RuntimeUnfitError, match="wants runtime onnx interface 2"):
        build(site)
    site.say("name: onnx, interface: 2", "name: tflite")
    with pytest.raises(RuntimeFolderMissingError, match="runtime tflite: there is no"):
        build(site)


def test_a_runtime_for_other_formats_is_refused(site: BuildSite) -> None:
    project = site.runtime / "image" / "pyproject.toml"
    project.write_text(project.read_text().replace('"onnx"', '"tflite"'))
    with pytest.raises(RuntimeUnfitError, match="tripler: is onnx, runtime onnx serves tflite"):
        build(site)


def test_an_architecture_that_is_not_declared_is_a_usage_error(site: BuildSite) -> None:
    site.say("[amd64, arm64]", "[arm64]")
    with pytest.raises(NoArchitectureError, match="amd64 is not declared here; declared: arm64"):
        build(site, architectures=(AMD64,))


def test_an_output_folder_that_cannot_be_made_is_told(site: BuildSite) -> None:
    site.output.write_text("a file")
    with pytest.raises(OutputError, match="cannot write"):
        build(site)


def test_spaces_and_unicode_in_paths_do_no_harm(tmp_path: Path) -> None:
    site = BuildSite(tmp_path / "süß & $(touch ran) 'y'")
    shutil.move(site.model / "model.onnx", site.model / "mein modell.onnx")
    site.say("file: model.onnx", "file: mein modell.onnx")
    verification.verify(build(site).snaps)


def test_snaps_are_published_once_and_released_together(site: BuildSite) -> None:
    model, runtime = build(site, architectures=()), build(site, site.runtime, architectures=())
    store = DirectoryStore(site.top / "store")
    channel = Channel.parse("candidate")
    paths = [*model.snaps, *runtime.snaps]
    first = publication.publish(paths, store=store, channel=channel)
    again = publication.publish(paths, store=store, channel=channel)
    assert [found.revisions for found in first] == [found.revisions for found in again]
    stored = store.index().entry(SnapName("tripler")).revision(first[0].revisions[ARM64])
    assert stored is not None
    assert (stored.kind, stored.runtime and stored.runtime.minimum) == (SnapKind.MODEL, "1.0.0")
    assert stored.sha3_384 == Sha3.of_file(model.snaps[1])
    assert store.index().snaps.keys() == {SnapName("tripler"), SnapName("snapedge-onnx")}


def test_half_a_version_is_not_published(site: BuildSite) -> None:
    built = build(site, architectures=())
    store = DirectoryStore(site.top / "store")
    with pytest.raises(IncompleteVersionError, match="was built for amd64, too"):
        publication.publish(built.snaps[1:], store=store, channel=Channel.parse("candidate"))
    site.say("1.0.0", "1.0.1")
    later = build(site, architectures=())
    with pytest.raises(MixedVersionsError):
        publication.publish([built.snaps[0], later.snaps[1]], store=store, channel=None)
    assert not store.root.exists()


def test_two_builds_at_once_in_one_cache_both_end_well(site: BuildSite) -> None:
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: build(site), range(2))
    assert first.built.snaps[0].digest == second.built.snaps[0].digest
    assert [path.name for path in (site.top / "cache" / "scratch").iterdir()] == []
    verification.verify(first.snaps)


@pytest.mark.parametrize("task", ["model.onnx", "golden samples", "base layers", "model layer", "tripler_1.0.0_arm64"])
def test_a_build_killed_after_any_step_ends_well_when_run_again(task: str, site: BuildSite, tmp_path: Path) -> None:
    process = subprocess.Popen(
        built_elsewhere(site), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, start_new_session=True
    )
    with process:
        assert process.stderr is not None
        told = next((line for line in process.stderr if line.startswith(task)), "")
        os.killpg(process.pid, signal.SIGKILL)
    assert told, "the step was come to"
    (tmp_path / "calm").mkdir()
    undisturbed = BuildSite(tmp_path / "calm")
    assert build(site).built.snaps[0].digest == build(undisturbed).built.snaps[0].digest
    assert site.files() == undisturbed.files()


def test_a_cache_that_was_made_read_only_is_told(site: BuildSite) -> None:
    build(site)
    (site.model / "model.onnx").write_bytes(tripler(4.0).SerializeToString())
    # Root writes where modes forbid it: a read-only file system is what stops everybody.
    bind = f"mount --bind {shlex.quote(str(site.top / 'cache'))} {shlex.quote(str(site.top / 'cache'))}"
    script = f'{bind} && mount -o remount,ro,bind {shlex.quote(str(site.top / "cache"))} && exec "$@"'
    done = subprocess.run(
        ["unshare", "--mount", "--map-root-user", "sh", "-c", script, "sh", *built_elsewhere(site)],
        capture_output=True,
        text=True,
        check=False,
    )
    if "unshare:" in done.stderr or "mount:" in done.stderr:
        pytest.skip("no user namespaces here")
    assert done.returncode == 1, done.stderr
    assert "cannot be written: Read-only file system; name another folder with --cache" in done.stderr
    assert "Traceback" not in done.stderr


def built_elsewhere(site: BuildSite) -> list[str]:
    """The command that builds the site's model in a process of its own."""
    script = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]);"
        "from snapedge_builder import cli, runtimesource; from tests.fakes.buildsite import TinyRuntimes;"
        "tiny = TinyRuntimes(folder=Path(sys.argv[2]));"
        "runtimesource.ComposedRuntimes = lambda cache, refresh: tiny;"
        "cli.main(sys.argv[3:])"
    )
    places = ["--cache", str(site.top / "cache"), "--output", str(site.output), "-a", "arm64"]
    return [sys.executable, "-c", script, str(ROOT), str(site.source.folder), "build", str(site.model), *places]


def test_what_runs_models_is_loaded_for_a_new_model_alone(site: BuildSite) -> None:
    def loads(words: list[str]) -> bool:
        done = subprocess.run(words, env={**os.environ, "PYTHONPROFILEIMPORTTIME": "1"}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return "onnxruntime.capi" in done.stderr

    command = built_elsewhere(site)
    plan = ["plan" if word == "build" else word for word in command]
    assert [loads(plan), loads(command), loads(plan), loads(command)] == [False, True, False, False]


@pytest.mark.parametrize("blocks", [30, 120])
def test_a_disk_without_room_ends_in_an_error_and_leaves_nothing(site: BuildSite, blocks: int) -> None:
    # A limit on the size of files stands in for a full disk: 15 kB is too small for a module, 60 kB for the snap.
    command = built_elsewhere(site)
    done = subprocess.run(
        ["sh", "-c", f'ulimit -f {blocks}; exec "$@"', "sh", *command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith(("error: cannot assemble the snap", "error: cannot pack"))
    assert site.files() == []
    assert [path.name for path in (site.top / "cache" / "scratch").iterdir()] == []
    assert build(site).snaps[0].is_file()
