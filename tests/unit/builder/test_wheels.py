"""uv, really run, over a folder of wheels."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from snapedge_builder import wheels
from snapedge_builder.cache import Cache
from snapedge_builder.errors import BuilderError
from snapedge_builder.gates import Platform
from snapedge_builder.trees import File
from snapedge_builder.wheels import IndexAwayError, LockError, WheelCorruptError, WheelMissingError, WheelTooLargeError
from snapedge_hooks.errors import ExitCode
from snapedge_hooks.vocabulary import Architecture, Digest
from tests.fakes.wheelhouse import Wheelhouse

ARM64 = Platform(architecture=Architecture.ARM64, glibc=(2, 36), python=(3, 11))
AMD64 = Platform(architecture=Architecture.AMD64, glibc=(2, 36), python=(3, 11))


@pytest.fixture
def house(tmp_path: Path) -> Wheelhouse:
    house = Wheelhouse(tmp_path / "wheels")
    for machine in ("aarch64", "x86_64"):
        house.add(
            "fast",
            "1.2",
            tag=f"cp311-cp311-manylinux_2_28_{machine}",
            files={"fast/core.so": machine.encode(), "fast/x.pyi": b""},
        )
    house.add(
        "plain",
        "3",
        tag="py3-none-any",
        files={"plain/__init__.py": b"x = 1\n", "plain/tests/big.py": b""},
        entry_points="[console_scripts]\nplain = plain:main\n",
    )
    return house


def test_each_architecture_gets_its_own_files_and_the_same_versions(house: Wheelhouse, tmp_path: Path) -> None:
    lock = house.lock(tmp_path / "requirements.lock")
    environment = house.environment(tmp_path / "uv")
    found = {item.architecture: wheels.resolve(lock, item, environment=environment) for item in (AMD64, ARM64)}
    assert [wheel.file for wheel in found[Architecture.ARM64]] == [
        "fast-1.2-cp311-cp311-manylinux_2_28_aarch64.whl",
        "plain-3-py3-none-any.whl",
    ]
    assert found[Architecture.AMD64][0].file == "fast-1.2-cp311-cp311-manylinux_2_28_x86_64.whl"
    assert found[Architecture.AMD64][1] == found[Architecture.ARM64][1]


def test_installed_files_are_pruned_and_carry_nothing_of_this_host(house: Wheelhouse, tmp_path: Path) -> None:
    lock = house.lock(tmp_path / "requirements.lock")
    environment = house.environment(tmp_path / "uv")
    resolved = wheels.resolve(lock, ARM64, environment=environment)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    installed = wheels.install(
        resolved, ARM64, prune=["**/tests"], environment=environment, scratch=scratch, cache=Cache(tmp_path / "cache")
    )
    assert [sorted(item.tree.entries) for item in installed] == [
        [
            "usr/lib/snapedge/site-packages/fast-1.2.dist-info/METADATA",
            "usr/lib/snapedge/site-packages/fast-1.2.dist-info/WHEEL",
            "usr/lib/snapedge/site-packages/fast/core.so",
        ],
        [
            "usr/lib/snapedge/site-packages/plain-3.dist-info/METADATA",
            "usr/lib/snapedge/site-packages/plain-3.dist-info/WHEEL",
            "usr/lib/snapedge/site-packages/plain-3.dist-info/entry_points.txt",
            "usr/lib/snapedge/site-packages/plain/__init__.py",
        ],
    ]
    core = installed[0].tree.entries["usr/lib/snapedge/site-packages/fast/core.so"]
    assert isinstance(core, File)
    assert core.read() == b"aarch64"
    assert installed[0].licences == ("MIT",)


def test_an_architecture_without_a_wheel_is_named_with_the_remedy(house: Wheelhouse, tmp_path: Path) -> None:
    house.add("oneside", "5.9.8", tag="cp311-cp311-manylinux_2_28_x86_64", files={"oneside.py": b""})
    lock = house.lock(tmp_path / "requirements.lock")
    environment = house.environment(tmp_path / "uv")
    assert len(wheels.resolve(lock, AMD64, environment=environment)) == 3
    with pytest.raises(WheelMissingError) as caught:
        wheels.resolve(lock, ARM64, environment=environment)
    assert str(caught.value) == (
        "oneside 5.9.8 has no wheel for arm64 (Python 3.11, glibc 2.36); lock a version that has one, put a wheel "
        "built for arm64 into an index of your own, or leave arm64 out of `architectures`"
    )
    assert caught.value.exit_code is ExitCode.REFUSED


def test_a_wheel_for_a_newer_glibc_than_the_base_has_is_no_wheel(house: Wheelhouse, tmp_path: Path) -> None:
    house.add("modern", "1", tag="cp311-cp311-manylinux_2_39_aarch64", files={"modern.py": b""})
    with pytest.raises(WheelMissingError, match=r"modern 1 has no wheel for arm64"):
        wheels.resolve(house.lock(tmp_path / "r.lock"), ARM64, environment=house.environment(tmp_path / "uv"))


def test_a_wheel_whose_hash_is_not_in_the_lock_is_not_taken(house: Wheelhouse, tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text(f"plain==3 --hash=sha256:{'ab' * 32}\n")
    with pytest.raises(WheelMissingError, match=r"plain 3 has no wheel for arm64"):
        wheels.resolve(lock, ARM64, environment=house.environment(tmp_path / "uv"))


def test_a_wheel_that_changed_after_it_was_resolved_is_refused(house: Wheelhouse, tmp_path: Path) -> None:
    environment = house.environment(tmp_path / "uv")
    resolved = wheels.resolve(house.lock(tmp_path / "r.lock"), ARM64, environment=environment)
    house.add("plain", "3", tag="py3-none-any", files={"plain/__init__.py": b"import evil\n"})
    with pytest.raises(WheelCorruptError, match=r"plain==3: what the index gave has another sha256 than was pinned"):
        wheels.install(
            resolved, ARM64, prune=[], environment=environment, scratch=tmp_path, cache=Cache(tmp_path / "cache")
        )


def test_a_file_that_differs_from_its_record_is_refused(house: Wheelhouse, tmp_path: Path) -> None:
    house.add("odd", "1", tag="py3-none-any", files={"odd.py": b"evil"}, record={"odd.py": b"good"})
    environment = house.environment(tmp_path / "uv")
    resolved = wheels.resolve(house.lock(tmp_path / "r.lock"), ARM64, environment=environment)
    with pytest.raises(WheelCorruptError, match=r"odd-1-py3-none-any.whl: odd.py is not what the wheel's RECORD says"):
        wheels.install(
            resolved, ARM64, prune=[], environment=environment, scratch=tmp_path, cache=Cache(tmp_path / "cache")
        )


@pytest.mark.parametrize(
    "tag", ["cp310-cp310-manylinux_2_28_aarch64", "cp311-cp311-win_arm64", "cp311-cp311-musllinux_1_2_aarch64"]
)
def test_a_wheel_for_another_interpreter_or_system_is_no_wheel(house: Wheelhouse, tmp_path: Path, tag: str) -> None:
    house.add("other", "1", tag=tag, files={"other.py": b""})
    with pytest.raises(WheelMissingError, match=r"other 1 has no wheel for arm64"):
        wheels.resolve(house.lock(tmp_path / "r.lock"), ARM64, environment=house.environment(tmp_path / "uv"))


@pytest.mark.parametrize(
    "name", ["../outside.py", "evil/../../outside.py", "/tmp/snapedge-outside.py", "..\\outside.py"]
)
def test_a_file_that_leads_out_of_its_wheel_gets_nowhere(house: Wheelhouse, tmp_path: Path, name: str) -> None:
    house.add("evil", "1", tag="py3-none-any", files={"evil.py": b"", name: b"outside"})
    environment = house.environment(tmp_path / "uv")
    resolved = wheels.resolve(house.lock(tmp_path / "r.lock"), ARM64, environment=environment)
    scratch = tmp_path / "a" / "scratch"
    scratch.mkdir(parents=True)
    # uv passes such files over, or refuses the wheel.
    with contextlib.suppress(BuilderError):
        installed = wheels.install(
            resolved, ARM64, prune=[], environment=environment, scratch=scratch, cache=Cache(tmp_path / "cache")
        )
        assert not [path for item in installed for path in item.tree.entries if path.endswith("outside.py")]
    assert not Path("/tmp/snapedge-outside.py").exists()
    assert not [path for path in (tmp_path / "a").rglob("*outside.py") if "site-packages" not in path.parts]


@pytest.mark.parametrize("listed", ["gone.py", "../../../etc/passwd", "/etc/passwd"])
def test_what_a_record_lists_and_the_wheel_has_not_is_no_part_of_the_image(
    house: Wheelhouse, tmp_path: Path, listed: str
) -> None:
    house.add("liar", "1", tag="py3-none-any", files={"liar.py": b""}, record={listed: b"x"})
    environment = house.environment(tmp_path / "uv")
    resolved = wheels.resolve(house.lock(tmp_path / "r.lock"), ARM64, environment=environment)
    installed = wheels.install(
        resolved, ARM64, prune=[], environment=environment, scratch=tmp_path, cache=Cache(tmp_path / "cache")
    )
    liar = next(item for item in installed if item.wheel.name == "liar")
    assert [path for path in liar.tree.entries if "dist-info" not in path] == ["usr/lib/snapedge/site-packages/liar.py"]


def test_a_wheel_with_a_file_longer_than_any_should_be_is_not_unpacked_to_its_end(
    house: Wheelhouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.add("bomb", "1", tag="py3-none-any", files={"bomb.bin": bytes(9 << 20)})
    environment = house.environment(tmp_path / "uv")
    resolved = wheels.resolve(house.lock(tmp_path / "r.lock"), ARM64, environment=environment)
    monkeypatch.setattr(wheels, "MAX_FILE", 8 << 20)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with pytest.raises(WheelTooLargeError) as caught:
        wheels.install(
            resolved, ARM64, prune=[], environment=environment, scratch=scratch, cache=Cache(tmp_path / "cache")
        )
    assert str(caught.value) == (
        "bomb==1 unpacks to a file of more than 8388608 bytes; do not use it; lock another version, or take it from "
        "another index"
    )
    assert caught.value.exit_code == 3
    assert not [path for path in tmp_path.rglob("bomb.bin") if path.exists()]


def test_a_wheel_that_is_no_archive_is_refused(house: Wheelhouse, tmp_path: Path) -> None:
    file = house.add("broken", "1", tag="py3-none-any", files={"broken.py": b"x = 1\n" * 1000})
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    lock = tmp_path / "r.lock"
    lock.write_text(f"broken==1 --hash=sha256:{Digest.of_file(file).hex}\n")
    environment = house.environment(tmp_path / "uv")
    with pytest.raises(BuilderError, match="uv could not install the wheels"):
        wheels.install(
            wheels.resolve(lock, ARM64, environment=environment),
            ARM64,
            prune=[],
            environment=environment,
            scratch=tmp_path,
            cache=Cache(tmp_path / "cache"),
        )


def test_an_index_that_does_not_answer_is_a_remote_part_away(house: Wheelhouse, tmp_path: Path) -> None:
    environment = {
        "UV_DEFAULT_INDEX": "http://127.0.0.1:9/simple",
        "UV_HTTP_RETRIES": "0",
        "UV_CACHE_DIR": str(tmp_path / "uv"),
    }
    with pytest.raises(IndexAwayError) as caught:
        wheels.resolve(house.lock(tmp_path / "r.lock"), ARM64, environment=environment)
    assert caught.value.exit_code is ExitCode.REMOTE_AWAY
    assert caught.value.resolution == "try again; what was downloaded is kept"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("numpy>=2\n", "'numpy>=2' is not a pinned version"),
        ("numpy==2.0\n", "numpy is not pinned by sha256"),
        ("--index-url http://x\n", "'--index-url http://x' is not a pinned version"),
    ],
)
def test_a_lock_that_pins_nothing_is_refused(text: str, problem: str, tmp_path: Path) -> None:
    lock = tmp_path / "onnx" / "requirements.lock"
    lock.parent.mkdir()
    lock.write_text(text)
    with pytest.raises(LockError) as caught:
        wheels.read_lock(lock)
    assert caught.value.brief == f"onnx/requirements.lock: {problem}"


def test_a_lock_is_read_with_markers_remarks_and_several_hashes(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    one, two = "a" * 64, "b" * 64
    lock.write_text(
        f"# made by uv\nNum_Py==2.4 ; python_version < '3.12' \\\n    --hash=sha256:{one} \\\n    --hash=sha256:{two}\n"
    )
    assert wheels.read_lock(lock) == {("num-py", "2.4"): frozenset({one, two})}
