"""`builder try`: images run from their layers in bubblewrap, asked over HTTP."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from snapedge_builder import building, cli, replay, trialimage, trialserver
from snapedge_builder.building import BuildRequest, NoModelError
from snapedge_builder.observation import RuntimeUnfitError
from snapedge_builder.progress import Silence
from snapedge_builder.trialimage import ForeignArchitectureError, RuntimeSnapMissingError, TrialImage
from snapedge_builder.trialserver import ServerEndedError, ServerSlowError, TrialServer
from snapedge_hooks import sandbox as sandboxes
from snapedge_hooks.errors import ExitCode
from snapedge_hooks.vocabulary import Architecture

from ...fakes.buildsite import SAMPLES, BuildSite
from ...fakes.servingruntime import sandbox, serving_runtime

HOST = trialimage.host_architecture() or Architecture.AMD64
OTHER = Architecture.ARM64 if HOST is Architecture.AMD64 else Architecture.AMD64

pytestmark = pytest.mark.skipif(sandbox() is None, reason="bubblewrap is not installed")


@pytest.fixture
def site(tmp_path: Path) -> BuildSite:
    """A place to build in, whose runtime can be run."""
    found = BuildSite(tmp_path)
    put_runtime(found)
    return found


def put_runtime(site: BuildSite, word: str = "3", *, version: str = "1.0.0") -> None:
    for architecture in Architecture:
        site.source.ready[architecture] = serving_runtime(architecture, site.source.folder, word, version=version)


def read(
    site: BuildSite,
    path: Path | None = None,
    *,
    runtime: Path | None = None,
    architecture: Architecture | None = HOST,
) -> TrialImage:
    return trialimage.read(
        path or site.model,
        architecture=architecture,
        runtime=runtime,
        cache=site.cache,
        source=site.source,
        progress=Silence(),
    )


def build(site: BuildSite, folder: Path | None = None) -> list[Path]:
    request = BuildRequest(folder=folder or site.model, output=site.output)
    return list(building.build(request, cache=site.cache, source=site.source, progress=Silence()).snaps)


def snap_of(snaps: list[Path], architecture: Architecture = HOST) -> Path:
    (found,) = [path for path in snaps if path.stem.endswith(f"_{architecture}")]
    return found


@contextmanager
def running(site: BuildSite, image: TrialImage, seconds: float = 20.0) -> Iterator[TrialServer]:
    runner = sandbox()
    assert runner is not None
    with trialserver.running(image, cache=site.cache, sandbox=runner, seconds=seconds) as server:
        yield server


def replayed(site: BuildSite, image: TrialImage) -> replay.Replay:
    assert image.samples is not None
    with running(site, image) as server, replay.over_http(server.url, is_alive=server.check) as ask:
        return replay.replay(ask, image.payload.model.name, image.samples)


def left_behind(site: BuildSite) -> list[str]:
    return [path.name for path in (site.top / "cache" / "scratch").iterdir()]


def test_a_folder_is_served_and_answers_right_with_nothing_packed(site: BuildSite) -> None:
    found = replayed(site, read(site))
    assert found.passed
    assert [(item.output, item.answers, item.largest) for item in found.outputs] == [("y", 1, 0.0)]
    assert len(found.milliseconds) == 1
    assert site.files() == []
    assert left_behind(site) == []


def test_the_server_has_no_more_rights_than_in_a_pod(site: BuildSite) -> None:
    import urllib.request

    with running(site, read(site)) as server, urllib.request.urlopen(server.url, timeout=5) as answer:
        facts = json.load(answer)
    assert facts == {"name": "tripler", "uid": 65532, "pid": 1, "gate": "report"}


def test_every_wrong_answer_is_told_with_its_size(site: BuildSite) -> None:
    put_runtime(site, "4")
    found = replayed(site, read(site))
    assert (found.passed, found.wrong_samples) == (False, 1)
    assert found.outputs[0].largest == 2.0
    assert found.deviations[0].problem == "is off by 2 where 0.001 is allowed"


def test_a_refused_question_is_a_wrong_answer_in_the_servers_words(site: BuildSite) -> None:
    put_runtime(site, "refuses")
    found = replayed(site, read(site))
    assert [(item.output, item.problem) for item in found.deviations] == [("-", "was answered 400 no such input")]
    assert [(item.output, item.answers, item.largest) for item in found.outputs] == [("y", 0, None)]


def test_a_model_that_does_not_load_is_refused_with_the_servers_reason_and_log(site: BuildSite) -> None:
    put_runtime(site, "load-failed")
    with pytest.raises(ServerEndedError, match="ended with exit code 3: no such operator: Foo") as caught:
        replayed(site, read(site))
    assert caught.value.exit_code is ExitCode.REFUSED
    assert caught.value.details == "cannot load tripler"
    assert left_behind(site) == []


def test_a_server_that_dies_of_a_question_is_told_apart_from_one_that_answers_badly(site: BuildSite) -> None:
    put_runtime(site, "dies")
    with pytest.raises(ServerEndedError, match="ended with exit code 9") as caught:
        replayed(site, read(site))
    assert "killed by a question" in caught.value.details


def test_a_server_that_is_never_ready_is_ended_in_its_time(site: BuildSite) -> None:
    put_runtime(site, "slow")
    with pytest.raises(ServerSlowError, match="not ready after 1 s"), running(site, read(site), seconds=1.0):
        pass
    assert left_behind(site) == []


def test_a_snap_on_a_shared_runtime_finds_the_one_it_was_built_on_beside_it(site: BuildSite) -> None:
    snap = snap_of(build(site))
    with pytest.raises(RuntimeSnapMissingError, match=r"no snapedge-onnx_\*_\w+\.snap beside it is the one"):
        read(site, snap)
    build(site, site.runtime)
    image = read(site, snap)
    assert image.notes == ()
    assert image.composed.digest == image.payload.predicted_image
    assert replayed(site, image).passed


def test_a_full_snap_needs_nothing_beside_it(site: BuildSite) -> None:
    with (site.model / "inference.yaml").open("a") as file:
        file.write("delivery: {image: full}\n")
    assert replayed(site, read(site, snap_of(build(site)))).passed


def test_a_patched_runtime_is_tried_under_a_snap_and_what_devices_say_to_it_is_told(site: BuildSite) -> None:
    snap = snap_of(build(site))
    put_runtime(site, "3.0", version="1.0.1")
    image = read(site, snap, runtime=site.runtime)
    assert image.notes == (
        "runtime onnx 1.0.1 is not the build that this snap lists; "
        "devices take it only where a key of the snap's has signed it",
    )
    assert replayed(site, image).passed


def test_a_runtime_that_no_device_would_take_is_refused(site: BuildSite) -> None:
    snap = snap_of(build(site))
    put_runtime(site, "3.0", version="0.9")
    with pytest.raises(RuntimeUnfitError, match=r"the runtime is version 0\.9, this model needs 1\.0\.0"):
        read(site, snap, runtime=site.runtime)
    with pytest.raises(RuntimeUnfitError, match="is no snap of a runtime"):
        read(site, snap, runtime=snap)


def test_what_holds_no_model_is_a_usage_error(site: BuildSite) -> None:
    with pytest.raises(NoModelError, match="runtime-onnx holds no model"):
        read(site, site.runtime)
    with pytest.raises(NoModelError, match=r"snapedge-onnx_1\.0\.0_\w+\.snap holds no model"):
        read(site, snap_of(build(site, site.runtime)))


def test_a_new_model_does_not_unpack_the_runtime_again(site: BuildSite) -> None:
    trees = site.top / "cache" / "rootfs" / "trees"
    replayed(site, read(site))
    first = {path.name: path.stat().st_ino for path in trees.iterdir()}
    site.say("1.0.0", "1.0.1")
    replayed(site, read(site))
    assert {path.name: path.stat().st_ino for path in trees.iterdir()} == first
    assert list((site.top / "cache" / "rootfs" / "trees").glob("*/mnt/models/*")) == []


# The command.

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def builder(site: BuildSite, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """`builder try`, on the site's runtime and with the machine's userland in the sandbox."""
    monkeypatch.setattr(sandboxes, "find_sandbox", sandbox)
    monkeypatch.setattr("snapedge_builder.runtimesource.ComposedRuntimes", lambda cache: site.source)

    def run(*words: str | Path) -> tuple[int, str, str]:
        code = 0
        try:
            cli.main(["try", *map(str, words), "--cache", str(site.top / "cache")])
        except SystemExit as ended:
            code = int(ended.code or 0)
        said = capfd.readouterr()
        return code, said.out, said.err

    return run


def test_the_command_prints_the_largest_error_of_each_output(site: BuildSite, builder: Run) -> None:
    code, out, _ = builder(site.model)
    assert code == 0
    lines = out.splitlines()
    assert lines[0].startswith(f"tripler 1.0.0 {HOST} on runtime onnx 1.0.0: ready after ")
    assert lines[1:4] == [
        "golden samples: 1 of 1 right",
        "  output  largest error  allowed  sample",
        "  y       0              0.001    one",
    ]


def test_wrong_answers_leave_with_3_a_table_and_a_document(site: BuildSite, builder: Run) -> None:
    put_runtime(site, "4")
    code, out, err = builder(site.model, "--format", "json")
    assert code == 3
    assert "tripler answers 1 of 1 golden samples wrongly when it is served" in err
    assert "one     y       2          0.001      is off by 2 where 0.001 is allowed" in err
    document = json.loads(out)
    assert document["passed"] is False
    assert document["outputs"] == [
        {"name": "y", "answers": 1, "largest_error": 2.0, "sample": "one", "atol": 0.001, "rtol": 0.0}
    ]


def test_a_model_without_samples_is_started_and_that_is_said(site: BuildSite, builder: Run) -> None:
    site.say("samples: samples.json\n", "delivery: {gate: none}\n")
    (site.model / "samples.json").unlink()
    code, out, _ = builder(site.model)
    assert (code, "note: there are no golden samples: that it starts is all that was shown" in out) == (0, True)


@pytest.mark.parametrize("long", [False, True])
def test_serve_leaves_it_up_with_a_curl_line_that_works_until_ctrl_c(
    site: BuildSite, builder: Run, long: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    if long:
        many = json.loads(SAMPLES)
        sample = many["samples"][0]
        sample["request"]["inputs"][0] |= {"shape": [500, 2], "data": [1.5, -2.5] * 500}
        sample["expect"]["outputs"][0] |= {"shape": [500, 2], "data": [4.5, -7.5] * 500}
        (site.model / "samples.json").write_text(json.dumps(many))
    said: list[str] = []

    def ask_then_interrupt() -> None:
        seen = ""
        while "\ncurl " not in seen or not seen.endswith("\n"):
            time.sleep(0.02)
            seen += capfd.readouterr().out
        said.append(seen.splitlines()[-1])
        said.append(subprocess.run(["sh", "-c", said[0]], capture_output=True, text=True, check=False).stdout)
        os.kill(os.getpid(), signal.SIGTERM)

    asking = threading.Thread(target=ask_then_interrupt)
    asking.start()
    code, _, err = builder(site.model, "--serve")
    asking.join()
    assert (code, err.splitlines()[-1]) == (0, "stopped")
    assert json.loads(said[1])["outputs"][0]["data"][:2] == ([4.5, -7.5] if long else [3.0, -6.0])
    assert ("--data-binary @" in said[0]) is long
    assert left_behind(site) == []


def _registered(folder: Path, version: str, flags: str) -> Path:
    """A folder as binfmt_misc shows it, with an emulator of some version for the other architecture."""
    program = folder / "qemu"
    program.write_text(f"#!/bin/sh\necho qemu version {version}\n")
    program.chmod(0o755)
    machine = "b700" if OTHER is Architecture.ARM64 else "3e00"
    binfmt = folder / "binfmt_misc"
    binfmt.mkdir()
    magic = "7f454c46020101000000000000000000" + "0200" + machine
    (binfmt / "qemu").write_text(f"enabled\ninterpreter {program}\nflags: {flags}\noffset 0\nmagic {magic}\n")
    return binfmt


def test_another_architecture_runs_under_an_emulator_that_is_new_enough_and_held(tmp_path: Path) -> None:
    binfmt = _registered(tmp_path, "10.0.2", "PF")
    (note,) = trialimage.check_runs_here("x.snap", OTHER, binfmt=binfmt)
    assert note == f"{OTHER} runs under QEMU 10.0 here: the answers are a device's, the times are not"
    assert trialimage.check_runs_here("x.snap", HOST, binfmt=binfmt) == ()


@pytest.mark.parametrize(
    ("version", "flags", "why"),
    [("7.2.19", "PF", "; QEMU 7.2 is too old"), ("10.1.0", "P", "; QEMU 10.1 is registered without flag F")],
)
def test_an_emulator_that_would_crash_or_that_no_sandbox_reaches_is_named(
    version: str, flags: str, why: str, tmp_path: Path
) -> None:
    with pytest.raises(ForeignArchitectureError, match=f"x.snap is for {OTHER}, this host is .*{why}"):
        trialimage.check_runs_here("x.snap", OTHER, binfmt=_registered(tmp_path, version, flags))


def test_without_an_emulator_another_architecture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ForeignArchitectureError, match=r"register QEMU 10 or newer for .* \(binfmt_misc, flag F\)"):
        trialimage.check_runs_here("x.snap", OTHER, binfmt=tmp_path)
