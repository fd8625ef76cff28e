"""apt, really run, over a repository in a folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from snapedge_builder.apt import Apt, AptError, MirrorsAwayError, PackagesUnknownError, PackageWithdrawnError
from snapedge_builder.cache import Cache
from snapedge_hooks.errors import ExitCode
from snapedge_hooks.vocabulary import Architecture
from tests.fakes.debrepository import DebRepository

pytestmark = pytest.mark.skipif(shutil.which("apt-get") is None, reason="needs apt")


@pytest.fixture
def repository(tmp_path: Path) -> DebRepository:
    repository = DebRepository(tmp_path / "repository")
    for architecture in ("amd64", "arm64"):
        repository.add(
            "libc6", "2.36-9", architecture=architecture, files={"lib/libc.so": b"c" + architecture.encode()}
        )
        repository.add(
            "server",
            "1:1.0",
            architecture=architecture,
            files={"usr/bin/server": b"s"},
            depends=["libc6 (>= 2.3)", "data"],
        )
    repository.add("data", "3", architecture="all", files={"usr/share/data": b"d"})
    repository.publish()
    return repository


def door(repository: DebRepository, cache: Cache, *, uri: str = "") -> Apt:
    return Apt(repository.host(uri=uri), suite="bookworm", architecture=Architecture.ARM64, cache=cache)


def test_a_foreign_architecture_is_resolved_with_its_dependencies(repository: DebRepository, tmp_path: Path) -> None:
    packages = door(repository, Cache(tmp_path / "cache")).resolve(["server"])
    assert [(item.name, item.version, item.architecture, item.depends) for item in packages] == [
        ("data", "3", "all", ()),
        ("libc6", "2.36-9", "arm64", ()),
        ("server", "1:1.0", "arm64", ("data", "libc6")),
    ]


def test_files_arrive_in_the_cache_and_are_asked_for_once(repository: DebRepository, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    apt = door(repository, cache)
    packages = apt.resolve(["server"])
    apt.fetch(packages)
    assert all(cache.find_blob(package.digest) for package in packages)
    shutil.rmtree(repository.root)
    apt.fetch(packages)


def test_an_unknown_package_is_named(repository: DebRepository, tmp_path: Path) -> None:
    with pytest.raises(PackagesUnknownError) as caught:
        door(repository, Cache(tmp_path / "cache")).resolve(["server", "nonesuch"])
    assert str(caught.value) == (
        "suite bookworm has no package nonesuch for arm64; correct base.packages in runtime.yaml"
    )


def test_a_package_of_another_content_is_refused(repository: DebRepository, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    apt = door(repository, cache)
    packages = apt.resolve(["server"])
    deb = next((repository.root / "pool").glob("libc6_*_arm64.deb"))
    deb.write_bytes(deb.read_bytes().replace(b"carm64", b"hacked"))
    with pytest.raises(PackageWithdrawnError) as caught:
        apt.fetch(packages)
    assert caught.value.brief.startswith("the mirrors no longer have libc6_2.36-9_arm64.deb as it was resolved")
    assert caught.value.resolution == "build with --refresh to resolve the base anew"
    assert cache.find_blob(packages[1].digest) is None


def test_a_package_that_is_gone_is_named(repository: DebRepository, tmp_path: Path) -> None:
    apt = door(repository, Cache(tmp_path / "cache"))
    packages = apt.resolve(["server"])
    next((repository.root / "pool").glob("libc6_*_arm64.deb")).unlink()
    with pytest.raises(AptError, match=r"libc6_2.36-9_arm64.deb"):
        apt.fetch(packages)


def test_mirrors_that_do_not_answer_are_a_remote_part_away(repository: DebRepository, tmp_path: Path) -> None:
    with pytest.raises(MirrorsAwayError) as caught:
        door(repository, Cache(tmp_path / "cache"), uri="http://127.0.0.1:9").resolve(["server"])
    assert caught.value.exit_code is ExitCode.REMOTE_AWAY
    assert caught.value.brief.startswith("no answer from the package mirrors, needed to read the package lists")


def test_dependencies_that_cannot_be_met_are_told(repository: DebRepository, tmp_path: Path) -> None:
    repository.add("broken", "1", architecture="arm64", files={"usr/share/b": b"b"}, depends=["nowhere"])
    repository.publish()
    with pytest.raises(AptError) as caught:
        door(repository, Cache(tmp_path / "cache")).resolve(["broken"])
    assert caught.value.brief == (
        "apt could not resolve the packages: broken : Depends: nowhere but it is not installable"
    )
