"""Locks, made from a repository in a folder with apt and uv really run, and builds from them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from snapedge_builder import locking, resolution, runtimelock, runtimesource
from snapedge_builder.apt import PackageWithdrawnError
from snapedge_builder.cache import Cache
from snapedge_builder.locking import LockResult, NothingToPinError, VersionsDifferError
from snapedge_builder.parts import BuiltRuntime
from snapedge_builder.runtimelock import PinnedError, RuntimeLockError
from snapedge_builder.wheels import WheelWithdrawnError
from snapedge_hooks.errors import ExitCode
from snapedge_hooks.vocabulary import Architecture
from tests.fakes.elffile import shared_object
from tests.fakes.offlineruntime import BOTH, MACHINES, OfflineRuntime, Teller

from .test_runtimelock import package, wheel

pytestmark = pytest.mark.skipif(shutil.which("apt-get") is None, reason="needs apt")
AMD64, ARM64 = BOTH


@pytest.fixture
def world(tmp_path: Path) -> OfflineRuntime:
    return OfflineRuntime(tmp_path)


def lock(world: OfflineRuntime, *, upgrade: bool = False) -> LockResult:
    return locking.lock(world.folder, cache=Cache(world.root / "locker"), host=world.host, upgrade=upgrade)


def offer_libc(world: OfflineRuntime, version: str, *architectures: Architecture) -> None:
    for architecture in architectures:
        library = shared_object(MACHINES[architecture], soname="libc.so.6")
        world.repository.add("libc6", version, architecture=str(architecture), files={"lib/libc.so.6": library})
    world.repository.publish()


def libc_of(built: BuiltRuntime) -> str:
    return next(item.version for item in built.record.ingredients if item.name == "libc6")


def test_every_package_and_wheel_is_pinned_for_both_architectures(world: OfflineRuntime) -> None:
    done = lock(world)
    assert done.is_new
    for architecture in BOTH:
        assert [(item.name, item.version) for item in done.lock.packages[architecture]] == [
            ("libc6", "2.36-9"),
            ("python3.11-minimal", "3.11.2"),
        ]
        assert [item.name for item in done.lock.wheels[architecture]] == ["fast"]
    text = done.path.read_text()
    assert str(world.root) not in text
    assert runtimelock.parse(text.encode()).to_text() == text


def test_a_build_takes_what_is_pinned_whatever_is_offered_since(world: OfflineRuntime) -> None:
    lock(world)
    offer_libc(world, "2.36-10", *BOTH)
    assert libc_of(world.build(Cache(world.root / "cache"))[ARM64]) == "2.36-9"
    (world.folder / "runtime.lock").unlink()
    assert libc_of(world.build(Cache(world.root / "cache"))[ARM64]) == "2.36-10"


def test_a_pinned_build_is_that_of_the_day_it_was_pinned(world: OfflineRuntime) -> None:
    unpinned = world.build(Cache(world.root / "one"))
    lock(world)
    pinned = world.build(Cache(world.root / "two"))
    assert [built.image for built in pinned.values()] == [built.image for built in unpinned.values()]


def test_a_lock_that_fits_is_left_alone_and_nobody_is_asked(world: OfflineRuntime) -> None:
    lock(world)
    shutil.rmtree(world.repository.root)
    shutil.rmtree(world.house.root)
    again = lock(world)
    assert not again.is_new
    assert again.changes == ()
    assert locking.check(world.folder).lock == again.lock


def test_upgrade_takes_what_is_offered_and_tells_the_changes(world: OfflineRuntime) -> None:
    lock(world)
    offer_libc(world, "2.36-10", *BOTH)
    assert lock(world).changes == ()
    done = lock(world, upgrade=True)
    assert done.changes == ("libc6 2.36-9 -> 2.36-10",)
    assert not lock(world, upgrade=True).is_new


def test_a_new_wheel_leaves_the_packages_as_they_are_pinned(world: OfflineRuntime) -> None:
    lock(world)
    offer_libc(world, "2.36-10", *BOTH)
    for architecture in BOTH:
        world.add_wheel("more", architecture, b"x")
    world.lock()
    with pytest.raises(RuntimeLockError) as caught:
        world.build(Cache(world.root / "cache"))
    assert caught.value.brief == "runtime/runtime.lock was made for another server/requirements.lock"
    assert caught.value.resolution == f"run `builder lock` for the folder {world.folder}"
    done = lock(world)
    assert done.changes == ("more none -> 1",)
    assert done.lock.packages[ARM64][0].version == "2.36-9"


def test_another_base_is_resolved_anew(world: OfflineRuntime) -> None:
    lock(world)
    world.repository.add("tzdata", "2025b", architecture="all", files={"usr/share/zoneinfo/UTC": b"z"})
    world.repository.publish()
    yaml = world.folder / "runtime.yaml"
    yaml.write_text(yaml.read_text().replace("[python3.11-minimal]", "[python3.11-minimal, tzdata]"))
    with pytest.raises(RuntimeLockError, match="does not pin tzdata"):
        locking.check(world.folder)
    assert lock(world).changes == ("tzdata none -> 2025b",)
    locking.check(world.folder)


def test_a_lock_that_is_missing_is_unfit(world: OfflineRuntime) -> None:
    with pytest.raises(RuntimeLockError, match=r"runtime/runtime.lock is missing; run `builder lock`") as caught:
        locking.check(world.folder)
    assert caught.value.exit_code is ExitCode.REFUSED


def test_a_pinned_package_that_is_gone_stops_the_build_and_names_the_upgrade(world: OfflineRuntime) -> None:
    lock(world)
    next((world.repository.root / "pool").glob("libc6_2.36-9_arm64.deb")).unlink()
    cache, teller = Cache(world.root / "cache"), Teller()
    with pytest.raises(PackageWithdrawnError) as caught:
        world.build(cache, teller)
    assert caught.value.brief.startswith("the mirrors no longer have libc6_2.36-9_arm64.deb as it is pinned: ")
    assert "`builder lock --upgrade`" in caught.value.resolution
    assert "base layers arm64" not in teller.tasks


def test_a_pinned_package_is_had_from_another_mirror(world: OfflineRuntime) -> None:
    lock(world)
    other = world.root / "other"
    shutil.move(world.repository.root / "pool", other / "pool")
    world.mirrors = (f"copy:{other}/",)
    assert libc_of(world.build(Cache(world.root / "cache"))[ARM64]) == "2.36-9"


def test_a_pinned_wheel_that_is_gone_stops_the_build(world: OfflineRuntime) -> None:
    lock(world)
    next(world.house.root.glob("*aarch64.whl")).unlink()
    with pytest.raises(WheelWithdrawnError, match=r"the index no longer has fast-1-.*aarch64.whl as it is pinned"):
        world.build(Cache(world.root / "cache"))


def test_another_file_under_a_pinned_wheels_name_is_not_taken(world: OfflineRuntime) -> None:
    lock(world)
    world.add_wheel("fast", ARM64, b"other")
    with pytest.raises(WheelWithdrawnError):
        world.build(Cache(world.root / "cache"))


def test_refresh_does_not_go_past_a_lock(world: OfflineRuntime) -> None:
    lock(world)
    source = runtimesource.ComposedRuntimes(Cache(world.root / "cache"), refresh=True)
    with pytest.raises(PinnedError, match="--refresh would change nothing; run `builder lock --upgrade`") as caught:
        source.recall(world.declaration, ARM64)
    assert caught.value.exit_code is ExitCode.USAGE


def test_an_unfit_lock_is_told_before_anything_is_built(world: OfflineRuntime) -> None:
    lock(world)
    (world.root / "server" / "requirements.lock").write_text("")
    with pytest.raises(RuntimeLockError):
        runtimesource.ComposedRuntimes(Cache(world.root / "cache")).recall(world.declaration, ARM64)


def test_a_damaged_lock_is_replaced_by_an_upgrade_alone(world: OfflineRuntime) -> None:
    (world.folder / "runtime.lock").write_text("{")
    with pytest.raises(RuntimeLockError, match="make another with `builder lock --upgrade`"):
        lock(world)
    assert lock(world, upgrade=True).is_new


def test_what_a_dockerfile_takes_is_not_pinned_here(world: OfflineRuntime) -> None:
    (world.folder / "Dockerfile").write_text("FROM scratch\n")
    (world.folder / "runtime.yaml").write_text(
        "name: mine\nversion: 1.0.0\nformats: [onnx]\nbuild: {dockerfile: Dockerfile}\n"
    )
    for attempt in (lock, lambda world: locking.check(world.folder)):
        with pytest.raises(NothingToPinError, match=r"runtime is built from Dockerfile, .*; pin there") as caught:
            attempt(world)
        assert caught.value.exit_code is ExitCode.USAGE


def test_a_host_that_is_not_in_the_lock_cannot_compile_and_says_so(world: OfflineRuntime) -> None:
    yaml = world.folder / "runtime.yaml"
    yaml.write_text(yaml.read_text() + "architectures: [amd64]\n")
    lock(world)
    with pytest.raises(RuntimeLockError, match="has no packages for arm64, this host"):
        resolution.resolve_all(world.declaration, [AMD64], cache=Cache(world.root / "cache"), host=world.host_of(ARM64))


def test_versions_that_differ_for_no_reason_are_refused_and_nothing_is_written(world: OfflineRuntime) -> None:
    offer_libc(world, "2.36-10", ARM64)
    with pytest.raises(VersionsDifferError) as caught:
        lock(world)
    assert caught.value.brief == (
        "the architectures would get different versions: libc6 (2.36-9 on amd64, 2.36-10 on arm64)"
    )
    assert "base: {differences:" in caught.value.resolution
    assert not (world.folder / "runtime.lock").exists()


def test_a_reason_in_runtime_yaml_stands_in_the_lock(world: OfflineRuntime) -> None:
    offer_libc(world, "2.36-10", ARM64)
    yaml = world.folder / "runtime.yaml"
    yaml.write_text(
        yaml.read_text().replace("[python3.11-minimal]", "[python3.11-minimal], differences: {libc6: a fault}")
    )
    done = lock(world)
    assert done.lock.reasons == {"libc6": "a fault"}
    assert done.path.read_text().count('"reason":"a fault"') == 2
    assert libc_of(world.build(Cache(world.root / "cache"))[AMD64]) == "2.36-9"
    assert libc_of(world.build(Cache(world.root / "cache"))[ARM64]) == "2.36-10"


def test_reasons_that_follow_from_what_is_there_need_not_be_named() -> None:
    both = package("a", "1")
    reasons = locking.explain(
        {AMD64: (both, package("b", "2-1"), package("only")), ARM64: (both, package("b", "2-1+b3"))},
        {AMD64: (wheel("w", "1"), wheel("x")), ARM64: (wheel("w", "2"), wheel("x"))},
        {},
    )
    assert reasons == {
        "b": "Debian rebuilt the same source for one architecture alone",
        "only": "what depends on it is for amd64 alone",
        "w": "the server's own lock says so, by a marker",
    }
