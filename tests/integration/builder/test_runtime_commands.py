"""`builder runtime`, as those call it who keep runtimes."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from snapedge_builder import building, cli, runtimes, runtimesigning, runtimeversions, signing, verification
from snapedge_builder.building import BuildRequest, NoRuntimeError
from snapedge_builder.progress import Silence
from snapedge_builder.runtimecheck import Outcome
from snapedge_builder.runtimes import DockerfileRuntime
from snapedge_builder.runtimeversions import MixedRuntimesError, RuntimeReport
from snapedge_builder.verification import VerificationError
from snapedge_hooks import content
from snapedge_hooks.dsse import Envelope
from snapedge_hooks.environment import SnapEnvironment
from snapedge_hooks.runtimetrust import RuntimeStatement
from snapedge_hooks.vocabulary import Architecture

from ...fakes.buildsite import BuildSite, tiny_runtime

SHIPPED = Path(__file__).parents[3] / "snaps"


def built(site: BuildSite, folder: Path, output: str = "dist") -> tuple[Path, ...]:
    request = BuildRequest(folder=folder, output=site.top / output)
    return building.build(request, cache=site.cache, source=site.source, progress=Silence()).snaps


def check(site: BuildSite, *paths: Path, against: tuple[Path, ...] = ()) -> RuntimeReport:
    return runtimeversions.check(paths, against, cache=site.cache, source=site.source, progress=Silence())


def patch(site: BuildSite, payload: bytes = b"another server") -> None:
    """From now on the runtime is built of something else."""
    site.source.payload = payload
    site.source.ready.clear()


def builder(*words: str | Path) -> int:
    try:
        cli.main([str(word) for word in words])
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def test_a_folder_is_compared_with_its_last_release_before_anything_is_packed(site: BuildSite) -> None:
    released = built(site, site.runtime, "released")
    found = check(site, site.runtime, against=released)
    assert [verdict.outcome for verdict in found.versions] == [Outcome.SAME, Outcome.SAME]
    patch(site)
    found = check(site, site.runtime, against=released)
    assert [(verdict.old, verdict.outcome, verdict.reason, verdict.changes) for verdict in found.versions] == [
        (
            f"snapedge-onnx_1.0.0_{architecture}.snap",
            Outcome.REFUSED,
            "version 1.0.0 again, with another image",
            ("layers 40-app",),
        )
        for architecture in ("amd64", "arm64")
    ]
    assert found.is_refused
    assert site.files() == []


def test_a_snap_tells_what_it_is_and_which_models_would_be_put_on_it(site: BuildSite) -> None:
    runtime, models = built(site, site.runtime), built(site, site.model)
    found = check(site, *runtime, *models)
    assert (found.name, found.version, found.interface) == ("onnx", "1.0.0", 1)
    assert [one.image for one in found.runtimes] == [site.source.ready[item].image for item in Architecture]
    assert [(model.file, model.outcome) for model in found.models] == [
        ("tripler_1.0.0_amd64.snap", Outcome.GOOD),
        ("tripler_1.0.0_arm64.snap", Outcome.GOOD),
    ]
    patch(site)
    found = check(site, site.runtime, models[0])
    assert [(model.outcome, model.resolution) for model in found.models] == [
        (Outcome.REFUSED, "build the model's snap again with this runtime")
    ]


def test_an_older_snap_of_an_architecture_that_was_not_named_is_not_compared(site: BuildSite) -> None:
    amd64, arm64 = built(site, site.runtime)
    (verdict,) = check(site, amd64, against=(arm64,)).versions
    assert (verdict.outcome, verdict.reason) == (Outcome.UNCONCERNED, "is for arm64, and no such runtime was named")


def test_what_is_not_one_runtime_is_refused(site: BuildSite) -> None:
    amd64, arm64 = built(site, site.runtime)
    model = built(site, site.model)[0]
    with pytest.raises(NoRuntimeError, match="what was named holds no runtime"):
        check(site, model)
    with pytest.raises(NoRuntimeError, match=r"tripler_1.0.0_amd64.snap holds no runtime"):
        check(site, amd64, against=(model,))
    with pytest.raises(NoRuntimeError, match="tripler holds no runtime"):
        check(site, site.model)
    with pytest.raises(MixedRuntimesError, match="is not the only runtime"):
        check(site, site.runtime, amd64)
    with pytest.raises(MixedRuntimesError, match="is for amd64, as another is"):
        check(site, amd64, amd64)
    other = site.source.ready[Architecture.ARM64]
    site.source.ready[Architecture.ARM64] = replace(other, image=replace(other.image, name="mine"))
    mine = built(site, site.runtime, "mine")[1]
    with pytest.raises(MixedRuntimesError, match=r"another runtime .* onnx 1.0.0, interface 1 and mine 1.0.0"):
        check(site, amd64, mine)
    with pytest.raises(MixedRuntimesError, match="is runtime mine, and not onnx"):
        check(site, arm64, against=(mine,))


def test_the_command_says_all_of_it_and_ends_with_3(site: BuildSite, capsys: pytest.CaptureFixture[str]) -> None:
    (released, _), (model, _) = built(site, site.runtime, "released"), built(site, site.model)
    patch(site)
    (again, _) = built(site, site.runtime)
    assert builder("runtime", "check", released, model) == 0
    said = capsys.readouterr()
    assert said.out.splitlines()[0] == "runtime onnx 1.0.0, interface 1"
    assert said.out.splitlines()[-1] == "good  tripler_1.0.0_amd64.snap: lists it"
    assert builder("runtime", "check", again, model, "--against", released) == 3
    said = capsys.readouterr()
    assert said.out.splitlines()[2:] == [
        "refused  amd64  after snapedge-onnx_1.0.0_amd64.snap: version 1.0.0 again, with another image",
        "  layers 40-app",
        "refused  tripler_1.0.0_amd64.snap: keeps the runtime it has (onnx interface 1, 1.0.0 or newer): "
        "this one is not one this snap lists",
    ]
    assert said.err == (
        "error: onnx 1.0.0 may not follow snapedge-onnx_1.0.0_amd64.snap: version 1.0.0 again, with another image; "
        "write version: 1.0.1\n"
    )
    assert builder("runtime", "check", again, model, "--format", "json") == 3
    said = capsys.readouterr()
    assert [one["outcome"] for one in json.loads(said.out)["models"]] == ["refused"]
    assert said.err == (
        "error: 1 of 1 models would not be put on onnx 1.0.0; build the model's snap again with this runtime\n"
    )


def test_build_is_for_runtimes_alone(site: BuildSite, capsys: pytest.CaptureFixture[str]) -> None:
    assert builder("runtime", "build", site.model, "--output", site.output) == 2
    assert "tripler holds no runtime; name the folder" in capsys.readouterr().err
    assert site.files() == []


def test_a_signed_patch_reaches_models_that_list_the_key_without_being_built_again(
    site: BuildSite, capsys: pytest.CaptureFixture[str]
) -> None:
    key = site.top / "key"
    places: list[str | Path] = ["--cache", site.top / "cache", "--output", site.output]
    public = signing.make_key(key)
    site.say("samples:", f'runtime: {{keys: ["{public}"]}}\nsamples:')
    model = built(site, site.model)[0]
    site.source.payload = b"another server"
    site.remember_runtime()
    assert builder("runtime", "build", site.runtime, *places) == 0
    patched = site.output / "snapedge-onnx_1.0.0_amd64.snap"
    assert builder("runtime", "check", patched, model) == 3
    assert "this one is neither listed here nor signed" in capsys.readouterr().out
    assert builder("runtime", "build", site.runtime, *places, "--key", key) == 0
    assert builder("runtime", "check", patched, model) == 0
    said = capsys.readouterr()
    assert said.out.splitlines()[-1] == f"good  {model.name}: lists the key {public.short} that signed it"
    assert ", signed" in said.out
    assert "what the runtime's signature is about" in verification.verify([patched])[0].checks
    subprocess.run(["unsquashfs", "-q", "-n", "-d", site.top / "snap", patched], check=True)
    mounted = SnapEnvironment(
        snap=site.top / "snap",
        common=site.top,
        data=site.top,
        instance_name="snapedge-onnx",
        revision="x1",
        architecture="amd64",
    )
    brought = content.read(mounted).signature
    assert brought is not None, "the device finds it"
    assert Envelope.parse(brought).signer([public]) == public
    assert builder("inspect", model, "--format", "json") == 0
    assert json.loads(capsys.readouterr().out)["model"]["runtime"]["keys"] == [public]


def test_a_runtime_may_be_signed_by_two_keys_while_one_takes_over(site: BuildSite) -> None:
    old, new = site.top / "old", site.top / "new"
    publics = [signing.make_key(path) for path in (old, new)]
    image = tiny_runtime(Architecture.AMD64, site.source.folder).image
    envelope = Envelope.parse(runtimesigning.signer([old, new])(image) or b"")
    assert RuntimeStatement.parse(envelope.body) == RuntimeStatement.of(image)
    for public in publics:
        assert envelope.signer([public]) == public


def test_a_signature_about_another_runtime_is_no_runtime_snap(site: BuildSite) -> None:
    key = site.top / "key"
    signing.make_key(key)
    other = tiny_runtime(Architecture.AMD64, site.top, payload=b"other").image
    envelope = runtimesigning.signer([key])(other)
    request = BuildRequest(folder=site.runtime, output=site.output, sign=lambda image: envelope)
    snap = building.build(request, cache=site.cache, source=site.source, progress=Silence()).snaps[0]
    with pytest.raises(VerificationError, match=r"runtime.dsse is about another runtime than runtime.json"):
        verification.verify([snap])


def test_a_key_that_cannot_be_read_ends_it_before_anything_is_built(
    site: BuildSite, capsys: pytest.CaptureFixture[str]
) -> None:
    assert builder("runtime", "build", site.runtime, "--key", site.top / "absent", "--output", site.output) == 2
    assert capsys.readouterr().err == "error: key absent: cannot be read: No such file or directory\n"


@pytest.mark.parametrize("kind", ["onnx", "sklearn", "tflite"])
def test_a_new_runtime_is_built_as_the_shipped_one_is(tmp_path: Path, kind: str) -> None:
    server = SHIPPED.parent / "kserve-images" / kind
    folder = tmp_path / f"runtime-{kind}"
    assert builder("runtime", "new", folder, "--kind", kind, "--image", server) == 0
    made, shipped = runtimes.read_runtime(folder), runtimes.read_runtime(SHIPPED / f"runtime-{kind}")
    server_of_made = replace(made.project, folder=server, sources=(), lock=server)
    server_of_shipped = replace(shipped.project, folder=server, sources=(), lock=server)
    assert server_of_made == server_of_shipped
    assert replace(made, folder=server, project=server_of_made) == replace(
        shipped, folder=server, project=server_of_made
    )


def test_our_server_is_found_in_a_folder_above(tmp_path: Path) -> None:
    (tmp_path / "kserve-images").symlink_to(SHIPPED.parent / "kserve-images")
    folder = tmp_path / "snaps" / "runtime-vision"
    assert builder("runtime", "new", folder, "--kind", "tflite") == 0
    assert runtimes.read_runtime(folder).name == "vision"


def test_a_new_runtime_of_ones_own_dockerfile(tmp_path: Path) -> None:
    file = tmp_path / "it's" / "Dockerfile"
    file.parent.mkdir()
    file.write_text("FROM scratch\n")
    folder = tmp_path / "Runtime of mine"
    assert builder("runtime", "new", folder, "--kind", "onnx", "--dockerfile", file, "--name", "mine") == 0
    made = runtimes.read_any(folder)
    assert isinstance(made, DockerfileRuntime)
    assert (made.name, made.dockerfile.file.resolve()) == ("mine", file)
    assert made.dockerfile.context.resolve() == file.parent
    assert [str(form) for form in made.formats] == ["onnx"]


@pytest.mark.parametrize(
    ("code", "words", "said"),
    [
        (2, ["--kind", "onnx"], "there is no kserve-images/onnx in a folder above"),
        (3, ["--kind", "onnx", "--dockerfile", "absent"], "build.dockerfile: there is no file"),
        (2, ["--kind", "onnx", "--dockerfile", "a", "--image", "b"], "--dockerfile and --image exclude each other"),
        (
            3,
            ["--kind", "onnx", "--image", str(SHIPPED.parent / "kserve-images" / "tflite")],
            "image: its server is for tflite, and not for onnx",
        ),
        (
            3,
            ["--kind", "onnx", "--image", str(SHIPPED.parent / "kserve-images" / "onnx"), "--name", "a b"],
            "'a b' is not a runtime name",
        ),
    ],
)
def test_a_folder_that_would_not_build_is_not_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], code: int, words: list[str], said: str
) -> None:
    assert builder("runtime", "new", tmp_path / "runtime-mine", *words) == code
    assert said in capsys.readouterr().err
    assert not (tmp_path / "runtime-mine").exists()


def test_a_runtime_that_is_there_is_not_written_over(site: BuildSite, capsys: pytest.CaptureFixture[str]) -> None:
    before = (site.runtime / "runtime.yaml").read_bytes()
    assert builder("runtime", "new", site.runtime, "--kind", "onnx", "--image", site.runtime / "image") == 2
    assert "holds runtime.yaml already" in capsys.readouterr().err
    assert (site.runtime / "runtime.yaml").read_bytes() == before
