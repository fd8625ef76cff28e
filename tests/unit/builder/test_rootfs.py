"""A base made of packages whose scripts nobody ran."""

from __future__ import annotations

import io
import lzma
import shutil
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from snapedge_builder import debs, rootfs
from snapedge_builder.apt import Package
from snapedge_builder.cache import Cache
from snapedge_builder.debs import Deb, DebError, DebTooLargeError
from snapedge_builder.gates import Platform
from snapedge_builder.rootfs import BaseError
from snapedge_builder.trees import Directory, File, Link, Tree, TreeError
from snapedge_hooks import unpacking
from snapedge_hooks.vocabulary import Architecture, Digest
from tests.fakes.debrepository import DebRepository
from tests.fakes.elffile import shared_object


def package(name: str, version: str = "1", depends: tuple[str, ...] = ()) -> Package:
    return Package(
        name=name,
        version=version,
        architecture="arm64",
        source=name,
        depends=depends,
        path=f"pool/{name}.deb",
        digest=Digest.of(name.encode()),
        size=1,
    )


def deb(name: str, files: Mapping[str, bytes], depends: tuple[str, ...] = ()) -> Deb:
    tree = Tree({path: File(content=data, origin=name) for path, data in files.items()})
    return Deb(package=package(name, depends=depends), tree=tree, licences=())


def library(soname: str, *needed: str) -> bytes:
    return shared_object("EM_AARCH64", soname=soname, needed=needed)


PYTHON = deb(
    "python",
    {"usr/bin/python3": shared_object("EM_AARCH64", needed=["libc.so.6"]), "usr/lib/python3.11/os.py": b""},
    ("libc6", "libz", "dpkg", "media"),
)
CURSES = deb(
    "curses", {"usr/lib/python3.11/_curses.so": shared_object("EM_AARCH64", needed=["libcurses.so.6"])}, ("libcurses",)
)
LIBC = deb("libc6", {"usr/lib/libc.so.6": library("libc.so.6"), "usr/lib/a/gconv/x.so": b"x"})
LIBZ = deb("libz", {"usr/lib/libz.so.1": library("libz.so.1")})
LIBCURSES = deb("libcurses", {"usr/lib/libcurses.so.6": library("libcurses.so.6", "libtinfo.so.6")}, ("libtinfo",))
LIBTINFO = deb("libtinfo", {"usr/lib/libtinfo.so.6": library("libtinfo.so.6")})
MEDIA = deb(
    "media", {"etc/mime.types": b"text/plain", "usr/share/doc/media/copyright": b"x", "usr/share/doc/media/NEWS": b"x"}
)


def test_a_library_stays_only_when_something_that_stays_needs_it() -> None:
    every = [PYTHON, CURSES, LIBC, LIBZ, LIBCURSES, LIBTINFO, MEDIA]
    base = rootfs.assemble(every, named=["python", "curses"], prune=[])
    assert dict(base.dropped) == {"libz": "nothing in the image needs it"}
    pruned = rootfs.assemble(every, named=["python", "curses"], prune=["usr/lib/python3*/_curses.*"])
    assert sorted(pruned.dropped) == ["libcurses", "libtinfo", "libz"]
    named = rootfs.assemble(every, named=["python", "curses", "libz"], prune=[])
    assert dict(named.dropped) == {}


def test_what_only_maintainer_scripts_use_is_not_even_fetched() -> None:
    packages = [package("dpkg"), package("tar"), package("libc6")]
    assert [item.name for item in rootfs.useful(packages, named=["tar"])] == ["tar", "libc6"]


def test_the_fix_ups_are_there_and_documentation_is_not() -> None:
    base = rootfs.assemble([PYTHON, LIBC, MEDIA], named=["python"], prune=[])
    entries = base.tree.entries
    assert entries["bin"] == Link(target="usr/bin", origin="snapedge")
    assert entries["lib"] == Link(target="usr/lib", origin="snapedge")
    assert "lib64" not in entries
    assert entries["tmp"] == Directory(mode=0o1777, origin="snapedge")
    assert isinstance(entries["mnt/models"], Directory)
    passwd = entries["etc/passwd"]
    assert isinstance(passwd, File)
    assert b"nonroot:x:65532:65532:" in passwd.read()
    status = entries["var/lib/dpkg/status.d/media"]
    assert isinstance(status, File)
    assert status.read() == (
        b"Package: media\nStatus: install ok installed\nArchitecture: arm64\nSource: media\nVersion: 1\n"
    )
    assert "usr/share/doc/media/copyright" in entries
    assert "usr/share/doc/media/NEWS" not in entries
    assert "usr/lib/a/gconv/x.so" not in entries


def test_certificates_become_one_bundle() -> None:
    folder = "usr/share/ca-certificates/mozilla"
    certificates = deb("ca-certificates", {f"{folder}/b.crt": b"B\n", f"{folder}/a.crt": b"A"})
    base = rootfs.assemble([certificates], named=["ca-certificates"], prune=[])
    bundle = base.tree.entries["etc/ssl/certs/ca-certificates.crt"]
    assert isinstance(bundle, File)
    assert bundle.read() == b"A\nB\n"


def test_two_packages_with_one_file_are_refused() -> None:
    with pytest.raises(TreeError, match=r"two: 'etc/a' is already there, from one"):
        rootfs.assemble([deb("one", {"etc/a": b""}), deb("two", {"etc/a": b""})], named=["one", "two"], prune=[])


def test_the_platform_follows_from_the_packages() -> None:
    packages = [package("libc6", "2.36-9+deb12u14"), package("python3.11-minimal", "3.11.2-6")]
    found = rootfs.platform_of(packages, suite="bookworm", architecture=Architecture.ARM64)
    assert found == Platform(architecture=Architecture.ARM64, glibc=(2, 36), python=(3, 11))


@pytest.mark.parametrize(("present", "lack"), [("libc6", "python3-minimal"), ("python3.11-minimal", "libc6")])
def test_a_base_without_python_or_a_c_library_is_refused(present: str, lack: str) -> None:
    with pytest.raises(BaseError, match=rf"suite bookworm has no {lack}; add {lack} to base.packages"):
        rootfs.platform_of([package(present, "2.36")], suite="bookworm", architecture=Architecture.ARM64)


def unpack(file: Path, tmp_path: Path) -> Deb:
    cache = Cache(tmp_path / "cache")
    return debs.unpack(package("x"), file, scratch=tmp_path, cache=cache)


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")
def test_a_package_is_read_merged_and_with_its_licences(tmp_path: Path) -> None:
    copyright_file = (
        b"Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\nLicense: MIT\n\n"
    )
    file = DebRepository(tmp_path).add(
        "x",
        "1",
        architecture="arm64",
        files={
            "lib/libx.so.1": "libx.so.1.0",
            "lib/libx.so.1.0": b"x",
            "usr/share/doc/x/copyright": copyright_file + b"License: GPL-2+\n",
        },
    )
    found = unpack(file, tmp_path)
    assert found.tree.entries["usr/lib/libx.so.1"] == Link(target="libx.so.1.0", origin="x")
    content = found.tree.entries["usr/lib/libx.so.1.0"]
    assert isinstance(content, File)
    assert content.read() == b"x"
    assert found.licences == ("GPL-2+", "MIT")


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")
@pytest.mark.parametrize("content", [b"", b"!<arch>\n", b"no package at all"])
def test_a_file_that_is_no_package_is_refused(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "x.deb"
    file.write_bytes(content)
    with pytest.raises(DebError, match=r"x_1_arm64.deb cannot be unpacked: "):
        unpack(file, tmp_path)


def hostile_deb(folder: Path, *members: tarfile.TarInfo, content: bytes = b"", packed: bool = False) -> Path:
    """A package that dpkg-deb reads, with members of the caller's choice; the first has the content."""

    def tar(*infos: tuple[tarfile.TarInfo, bytes]) -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for info, data in infos:
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        return buffer.getvalue()

    control = tar(
        (tarfile.TarInfo("./control"), b"Package: x\nVersion: 1\nArchitecture: arm64\nMaintainer: x\nDescription: x\n")
    )
    inside = tar(*((member, content if member is members[0] else b"") for member in members))
    last = ("data.tar.xz", lzma.compress(inside, preset=0)) if packed else ("data.tar", inside)
    parts = [("debian-binary", b"2.0\n"), ("control.tar", control), last]
    data = b"!<arch>\n"
    for name, part in parts:
        data += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(part):<10}`\n".encode() + part + b"\n" * (len(part) % 2)
    file = folder / "hostile.deb"
    file.write_bytes(data)
    return file


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")
@pytest.mark.parametrize(
    ("name", "kind", "problem"),
    [
        ("../../etc/cron.d/x", tarfile.REGTYPE, "leads out of its archive"),
        ("/etc/passwd", tarfile.REGTYPE, "leads out of its archive"),
        ("dev/sda", tarfile.BLKTYPE, "is a device, a pipe or a sparse file"),
        ("run/pipe", tarfile.FIFOTYPE, "is a device, a pipe or a sparse file"),
        ("var/hole", tarfile.GNUTYPE_SPARSE, "is a device, a pipe or a sparse file"),
        ("etc/hard", tarfile.LNKTYPE, "which is not before it"),
    ],
)
def test_a_hostile_package_is_refused(name: str, kind: bytes, problem: str, tmp_path: Path) -> None:
    member = tarfile.TarInfo(name)
    member.type = kind
    member.linkname = "etc/absent"
    with pytest.raises(TreeError, match=problem):
        unpack(hostile_deb(tmp_path, member), tmp_path)


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")
def test_a_package_that_holds_far_more_than_its_size_is_not_unpacked_to_its_end(tmp_path: Path) -> None:
    bomb = hostile_deb(tmp_path, tarfile.TarInfo("zeros"), content=bytes(unpacking.ALWAYS), packed=True)
    assert bomb.stat().st_size < 100_000
    with pytest.raises(DebTooLargeError) as caught:
        unpack(bomb, tmp_path)
    assert str(caught.value) == (
        "x_1_arm64.deb unpacks to more than 268435456 bytes: 200 times its size, or 256 MiB; do not use it; "
        "take the package from another mirror, or another version of it"
    )
    assert caught.value.exit_code == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "hostile.deb"]


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")
def test_hard_links_of_a_package_count_as_the_files_they_become(tmp_path: Path) -> None:
    links = [tarfile.TarInfo(f"link-{number}") for number in range(300)]
    for link in links:
        link.type, link.linkname = tarfile.LNKTYPE, "file"
    file = hostile_deb(tmp_path, tarfile.TarInfo("file"), *links, content=bytes(1 << 20), packed=True)
    with pytest.raises(DebTooLargeError):
        unpack(file, tmp_path)


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")
@pytest.mark.parametrize("target", ["/etc/shadow", "../../../../../../etc/shadow"])
def test_a_link_of_a_package_is_kept_as_words_and_never_followed(target: str, tmp_path: Path) -> None:
    member = tarfile.TarInfo("etc/link")
    member.type, member.linkname = tarfile.SYMTYPE, target
    found = unpack(hostile_deb(tmp_path, member), tmp_path)
    assert found.tree.entries == {"etc/link": Link(target=target, origin="x")}
