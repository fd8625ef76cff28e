"""`builder`, as a person or a pipeline calls it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from onnx import TensorProto, helper

from snapedge_builder import cli
from snapedge_builder.runtimelock import RuntimeLock
from snapedge_hooks.vocabulary import Architecture, Digest

from ...fakes.buildsite import BuildSite, tripler


@pytest.fixture
def site(tmp_path: Path) -> BuildSite:
    """A place to build in whose cache holds the runtime already, as after a first build."""
    found = BuildSite(tmp_path)
    found.remember_runtime()
    return found


class Said:
    """What a command printed and left with."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


class Commands:
    """The commands with the options every test gives."""

    def __init__(self, site: BuildSite, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self._places = ["--cache", str(site.top / "cache"), "--output", str(site.output)]

    def __call__(self, *words: str | Path) -> Said:
        code = 0
        try:
            cli.main([str(word) for word in words])
        except SystemExit as ended:
            code = int(ended.code or 0)
        said = self._capsys.readouterr()
        return Said(code, said.out, said.err)

    def build(self, folder: Path, *words: str) -> Said:
        return self("build", folder, *self._places, *words)

    def plan(self, folder: Path, *words: str) -> Said:
        return self("plan", folder, *self._places, *words)


@pytest.fixture
def builder(site: BuildSite, capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands(site, capsys)


def test_a_model_goes_all_the_way(site: BuildSite, builder: Commands) -> None:
    planned = builder.plan(site.model)
    assert planned.code == 0
    assert "do    pack           arm64  tripler_1.0.0_arm64.snap: the model layer or the runtime changed" in planned.out
    assert site.files() == []
    built = builder.build(site.model)
    assert built.code == 0
    assert "golden samples: 1 right (" in built.err
    snaps = sorted(site.output.glob("*.snap"))
    assert [path.name for path in snaps] == ["tripler_1.0.0_amd64.snap", "tripler_1.0.0_arm64.snap"]
    assert builder("verify", *snaps).code == 0
    store = site.top / "store"
    published = builder("publish", *snaps, "--store", store, "--channel", "candidate", "--format", "json")
    assert json.loads(published.out) == [
        {
            "name": "tripler",
            "version": "1.0.0",
            "revisions": {"amd64": 1, "arm64": 2},
            "channel": "latest/candidate",
        }
    ]
    inspected = json.loads(builder("inspect", snaps[0], "--format", "json").out)
    assert inspected["model"]["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]
    assert inspected["model"]["samples"] == ["one"]


def test_any_model_gets_a_folder_that_builds_as_it_is(site: BuildSite, builder: Commands) -> None:
    folder = site.model.parent / "My Model 2"
    made = builder("new", folder, "--model", site.model / "model.onnx")
    assert made.code == 0, made.err
    assert "samples.json pins what the model answers today" in made.out
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "inference.yaml",
        "model.onnx",
        "samples.json",
    ]
    assert "**Replace `samples.json`.**" in (folder / "README.md").read_text()
    built = builder.build(folder, "--format", "json")
    assert built.code == 0, built.err
    assert json.loads(built.out)["name"] == "my-model-2"
    before = {path.name: Digest.of_file(path) for path in folder.iterdir()}
    again = builder("new", folder, "--model", site.model / "model.onnx")
    assert (again.code, "holds inference.yaml already" in again.err) == (2, True)
    twin = site.model.parent / "other" / "my-model-2"
    assert builder("new", twin, "--model", site.model / "model.onnx").code == 0
    assert {path.name: Digest.of_file(path) for path in twin.iterdir()} == before


def wide(path: Path, elements: int) -> Path:
    """A model whose tensors are of a fixed and large shape."""
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, elements]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Sigmoid", ["x"], ["y"])], "wide", tensors[:1], tensors[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    path.write_bytes(model.SerializeToString())
    return path


def test_large_tensors_get_a_sample_that_the_build_takes(site: BuildSite, builder: Commands) -> None:
    folder = site.model.parent / "wide"
    assert builder("new", folder, "--model", wide(site.top / "wide.onnx", 250_000)).code == 0
    assert len(json.loads((folder / "samples.json").read_bytes())["samples"]) == 1
    built = builder.build(folder)
    assert built.code == 0, built.err


def test_tensors_too_large_for_any_sample_leave_no_folder(site: BuildSite, builder: Commands) -> None:
    said = builder("new", site.top / "new", "--model", wide(site.top / "wide.onnx", 900_000))
    assert (said.code, said.err.count("\n")) == (3, 1)
    assert "of JSON, more than the 16777216 allowed; export the model with smaller or free dimensions" in said.err
    assert not (site.top / "new").exists()


@pytest.mark.parametrize(("name", "code"), [("7zip", 2), ("x", 2), ("fine-name", 0)])
def test_a_name_that_is_no_snap_name_is_refused(site: BuildSite, builder: Commands, name: str, code: int) -> None:
    folder = site.top / "new"
    said = builder("new", folder, "--model", site.model / "model.onnx", "--name", name)
    assert said.code == code
    assert folder.exists() is (code == 0)


def test_a_model_that_cannot_be_served_leaves_no_folder(site: BuildSite, builder: Commands) -> None:
    bad = site.top / "bad.onnx"
    bad.write_bytes(b"not a model")
    said = builder("new", site.top / "new", "--model", bad)
    assert (said.code, said.err) == (
        3,
        "error: bad.onnx: is no ONNX model; export the model to ONNX\n",
    )
    assert not (site.top / "new").exists()


def test_wrong_answers_are_refused_with_a_table_and_overruled_by_a_flag(site: BuildSite, builder: Commands) -> None:
    (site.model / "model.onnx").write_bytes(tripler(5).SerializeToString())
    refused = builder.build(site.model)
    assert refused.code == 3
    assert "Traceback" not in refused.err
    assert "sample  output  max error  tolerance  problem" in refused.err
    assert site.files() == []
    shipped = builder.build(site.model, "--ship-failing-model")
    assert shipped.code == 0
    assert "warning: this model answers 1 of 1 golden samples WRONGLY" in shipped.err


@pytest.mark.parametrize(
    ("old", "new", "code", "message"),
    [
        ("summary:", "sumary:", 3, "inference.yaml, line 3: unknown key 'sumary'; did you mean 'summary'?"),
        ("version: 1.0.0", "version: 1.0 beta", 3, "inference.yaml, line 2: version: '1.0 beta' is not a snap version"),
        ("samples: samples.json", "samples: gone.json", 3, "gone.json cannot be read"),
        ("model.onnx}", "gone.onnx}", 3, "gone.onnx: does not exist"),
        ("name: tripler", "name: [", 3, "inference.yaml, line"),
    ],
)
def test_bad_declarations_are_one_line_errors(
    site: BuildSite, builder: Commands, old: str, new: str, code: int, message: str
) -> None:
    site.say(old, new)
    for said in (builder.build(site.model), builder.plan(site.model)):
        assert (said.code, said.out) == (code, "")
        assert said.err.startswith("error: ")
        assert message in said.err
        assert "Traceback" not in said.err
    assert site.files() == []


def test_a_folder_with_nothing_to_build_is_a_usage_error(site: BuildSite, builder: Commands) -> None:
    assert builder.build(site.top).code == 2
    assert builder.build(site.top / "gone").code == 2
    shutil.rmtree(site.runtime)
    said = builder.build(site.model)
    assert (said.code, "name the runtime's folder with --runtime" in said.err) == (2, True)


def repacked(snap: Path, change: str, tmp_path: Path) -> Path:
    """The snap with a change made to its tree by a small script."""
    tree, out = tmp_path / "tree", tmp_path / snap.name
    subprocess.run(["unsquashfs", "-q", "-n", "-d", str(tree), str(snap)], check=True, capture_output=True)
    subprocess.run(["sh", "-ec", change], cwd=tree, check=True)
    command = ["mksquashfs", str(tree), str(out), "-noappend", "-comp", "xz", "-no-fragments", "-all-root"]
    subprocess.run(command, check=True, capture_output=True)
    return out


@pytest.fixture
def full(site: BuildSite, builder: Commands) -> Path:
    """A snap with everything in it."""
    with (site.model / "inference.yaml").open("a") as file:
        file.write("delivery: {image: full}\n")
    assert builder.build(site.model, "-a", "arm64").code == 0
    return site.output / "tripler_1.0.0_arm64.snap"


FORGED = "a\n-rwsr-xr-x root  5 2020-01-01 00:00 squashfs-root"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("printf X >> runtime/layers/40-app.tar", "digest of runtime/layers/40-app.tar is sha256:"),
        ("rm runtime/layers/10-base.tar", "runtime/layers/10-base.tar is missing"),
        ("touch runtime/layers/50-more.tar", "runtime/layers/50-more.tar is not listed in runtime.json"),
        ("printf X >> payload/model.tar", "size of payload/model.tar is"),
        ("printf x | dd of=payload/model.tar bs=1 seek=1100 conv=notrunc status=none", "digest of payload/model.tar"),
        (
            'sed -i \'s/"version":"1.0.0"/"version":"1.0.1"/\' payload/payload.json',
            "version of model.json is 1.0.0, not 1.0.1",
        ),
        ("sed -i 's/arm64/amd64/' payload/payload.json", "architecture of payload.json is amd64, not arm64"),
        ('sed -i \'s/"size":/"sizes":/\' payload/payload.json', "payload.json: image.size: is missing"),
        ("sed -i 's/^base: core24/base: core26/' meta/snap.yaml", "base: 'core26' is not core24"),
        ("chmod 600 meta/hooks/install", "meta/hooks/install has mode 0600"),
        ("rm meta/hooks/remove", "hook remove has no meta/hooks/remove"),
        ("ln -s /etc/passwd meta/link", "meta/link links to /etc/passwd, outside of the snap"),
        ("ln -s ../../etc/passwd meta/link", "meta/link links to ../../etc/passwd, outside of the snap"),
        ("ln -sf /etc/passwd payload/payload.json", "payload/payload.json"),
        ("ln -s /etc/passwd 'meta/a -> b'", "meta/a -> b links to /etc/passwd, outside of the snap"),
        (f"mkdir '{FORGED}'", f"holds a name or a link of characters that do not print: {FORGED!r}"),
        ("mkfifo meta/pipe", "meta/pipe is neither a file nor a folder"),
        ("mknod meta/disk b 8 0 || mkfifo meta/disk", "meta/disk is neither a file nor a folder"),
        ("chmod u+s bin/*", "has mode 4755"),
        ("truncate -s 100M payload/payload.json", "has 104857600 bytes, more than the 67108864 allowed"),
        ("truncate -s 200M payload/model.tar", "size of payload/model.tar is"),
        ("printf '' > meta/snap.yaml", "meta/snap.yaml"),
        ("mkdir evil; touch evil/x", "evil does not belong into a snap of ours"),
        ("touch lib/a.so", "lib/a.so is compiled"),
        ("rm -r payload runtime", "holds no payload/payload.json, runtime/runtime.json or cluster/objects.json"),
    ],
)
def test_a_snap_that_is_not_what_it_says_is_refused(
    full: Path, builder: Commands, tmp_path: Path, change: str, message: str
) -> None:
    said = builder("verify", repacked(full, change, tmp_path))
    assert (said.code, message in said.err) == (3, True), said.err
    assert "Traceback" not in said.err


def test_a_snap_is_shown_with_the_packages_in_it(full: Path, builder: Commands) -> None:
    assert "packages\n  base  1  not declared" in builder("inspect", full).out


@pytest.mark.parametrize(
    "change",
    [
        "ln -sf /etc/passwd payload/payload.json",
        "rm payload/model.tar; mkfifo payload/model.tar",
        "truncate -s 100M payload/payload.json",
        "truncate -s 200M payload/model.tar",
        "ln -sf /etc/passwd runtime/runtime.json",
        "printf x > sbom.cdx.json",
        "rm sbom.cdx.json",
        "printf '[]' > meta/snap.yaml",
    ],
)
def test_a_hostile_snap_is_shown_or_refused_and_nothing_else(
    full: Path, builder: Commands, tmp_path: Path, change: str
) -> None:
    hostile = repacked(full, change, tmp_path)
    for said in (builder("inspect", hostile), builder("diff", full, hostile)):
        assert said.code in (0, 1, 3)
        assert "Traceback" not in said.err
        assert "root:" not in said.out
    assert builder("verify", hostile).code == 3


def test_truncated_and_foreign_files_are_no_snaps(full: Path, builder: Commands, tmp_path: Path) -> None:
    data = full.read_bytes()
    cut = tmp_path / "cut.snap"
    cut.write_bytes(data[:-5000])
    said = builder("verify", cut)
    assert (said.code, "cut.snap: is cut short: " in said.err) == (3, True)
    assert builder("inspect", cut).code == 3
    assert builder("publish", cut, "--store", tmp_path / "store").code == 3
    cut.write_bytes(data[:40])
    assert "is no snap" in builder("verify", cut).err
    cut.write_bytes(data[:2000] + bytes(len(data) - 4000) + data[-2000:])
    assert builder("verify", cut).code == 3
    assert builder("verify", tmp_path / "gone.snap").code == 3
    assert not (tmp_path / "store").exists()


def test_a_channel_that_is_none_is_a_usage_error(full: Path, builder: Commands, tmp_path: Path) -> None:
    said = builder("publish", full, "--store", tmp_path / "store", "--channel", "latest/dangerous")
    assert (said.code, "dangerous" in said.err) == (2, True)
    assert not (tmp_path / "store").exists()


def test_every_command_says_what_it_does(builder: Commands) -> None:
    overview = builder("--help").out
    for command in ("new", "plan", "build", "inspect", "verify", "publish"):
        assert f"  {command} " in overview
        said = builder(command, "--help")
        assert said.code == 0
        assert len(said.out.splitlines()) > 5
    assert "\n  builder plan snaps/my-model                      say what a build would do, and why\n" in overview


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["buidl"], "error: no such command 'buidl'"),
        (["build"], "error: missing argument 'FOLDER'; see builder build --help"),
        (["build", ""], "error: invalid value for 'FOLDER': is empty; write . for the current folder"),
        (["new", "x", "--model", "/"], "error: invalid value for '--model': File '/' is a directory; see builder new"),
        (["verify"], "error: missing argument 'FILES...'; see builder verify --help"),
        (["build", ".", "--cache", __file__], f"error: invalid value for '--cache': Directory '{__file__}' is a file"),
    ],
)
def test_wrong_words_are_one_line_and_a_usage_error(builder: Commands, words: list[str], message: str) -> None:
    said = builder(*words)
    assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
    assert said.err.startswith(message)


def test_a_lock_is_checked_without_asking_anybody(site: BuildSite, builder: Commands) -> None:
    missing = builder("lock", "--check", site.runtime)
    assert missing.code == 3
    assert "runtime-onnx/runtime.lock is missing; run `builder lock` for the folder" in missing.err
    locked = RuntimeLock(
        suite="bookworm",
        asked=("python3-minimal",),
        requirements=Digest.of(b""),
        packages=dict.fromkeys(Architecture, ()),
        wheels=dict.fromkeys(Architecture, ()),
        reasons={},
    )
    (site.runtime / "runtime.lock").write_text(locked.to_text())
    fits = builder("lock", "--check", site.runtime, "--format", "json")
    assert (fits.code, json.loads(fits.out)["written"]) == (0, False)
    (site.runtime / "image" / "requirements.lock").write_text("x==1 --hash=sha256:" + 64 * "0")
    for unfit in (builder("lock", "--check", site.runtime), builder.plan(site.runtime), builder.build(site.model)):
        assert unfit.code == 3
        assert "was made for another image/requirements.lock; run `builder lock`" in unfit.err
    assert builder("lock", "--check", "--upgrade", site.runtime).code == 2
