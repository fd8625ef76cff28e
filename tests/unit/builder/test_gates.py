"""What a layer must hold to."""

from __future__ import annotations

import pytest

from snapedge_builder import gates
from snapedge_builder.gates import GateError, Linkage, Platform
from snapedge_builder.trees import Directory, File, Link, Node, Tree
from snapedge_hooks.errors import ExitCode
from snapedge_hooks.vocabulary import Architecture
from tests.fakes.elffile import shared_object

ARM64 = Platform(architecture=Architecture.ARM64, glibc=(2, 36), python=(3, 11))


@pytest.mark.parametrize(
    ("path", "node", "breach"),
    [
        ("usr/lib/a.so", File(content=shared_object("EM_X86_64")), "usr/lib/a.so is for EM_X86_64, not EM_AARCH64"),
        (
            "usr/lib/a.so",
            File(content=shared_object("EM_AARCH64", versions=["GLIBC_2.38"])),
            "usr/lib/a.so asks for GLIBC_2.38, the base has 2.36",
        ),
        ("usr/lib/a.so", File(content=b"\x7fELF" + bytes(60)), "usr/lib/a.so is a damaged ELF file"),
        ("x/a.cpython-312-aarch64-linux-gnu.so", File(content=b"no"), "is for Python 3.12, the base has 3.11"),
        ("usr/bin/su", File(content=b"x", raw_mode=0o4755), "usr/bin/su is setuid or setgid"),
        ("etc/a", File(content=b"x", raw_mode=0o666), "etc/a is writable for everybody"),
        ("var/open", Directory(mode=0o777), "var/open is writable for everybody"),
        (
            "x/run",
            File(content=b"#!/home/me/.venv/bin/python\n", executable=True),
            "x/run names the interpreter '/home/me/.venv/bin/python', which is not the image's",
        ),
        (
            "usr/lib/out",
            Link(target="../../../etc/shadow"),
            "usr/lib/out links to ../../../etc/shadow, out of the image",
        ),
    ],
)
def test_a_breach_is_refused_with_the_file_and_the_reason(path: str, node: Node, breach: str) -> None:
    with pytest.raises(GateError) as caught:
        gates.check_layer(Tree({path: node}), ARM64, layer="20-x")
    assert caught.value.brief.startswith("layer 20-x for arm64: ")
    assert breach in caught.value.brief
    assert caught.value.exit_code is ExitCode.REFUSED


@pytest.mark.parametrize(
    ("path", "node"),
    [
        ("tmp", Directory(mode=0o1777)),
        ("usr/bin/tool", File(content=b"#!/usr/bin/python3 -P\n", executable=True)),
        ("lib/a.abi3.so", File(content=shared_object("EM_AARCH64", versions=["GLIBC_2.36"]))),
        ("x/a.cpython-311-aarch64-linux-gnu.so", File(content=shared_object("EM_AARCH64"))),
        ("usr/lib/link", Link(target="/etc/passwd")),
        ("doc/script", File(content=b"#!/home/me/python\n")),
    ],
)
def test_what_is_right_passes(path: str, node: Node) -> None:
    gates.check_layer(Tree({path: node}), ARM64, layer="20-x")


def test_every_breach_of_a_layer_is_told() -> None:
    tree = Tree({"a.so": File(content=shared_object("EM_X86_64")), "b": File(content=b"x", raw_mode=0o4755)})
    with pytest.raises(GateError) as caught:
        gates.check_layer(tree, ARM64, layer="20-x")
    assert caught.value.brief.endswith("and 1 more")
    assert caught.value.details.splitlines() == ["a.so is for EM_X86_64, not EM_AARCH64", "b is setuid or setgid"]


def own(layers: dict[str, dict[str, Node]]) -> tuple[str, ...]:
    return gates.check_own({name: Tree(entries) for name, entries in layers.items()}, Architecture.ARM64)


def libc(newest: str) -> File:
    return File(content=shared_object("EM_AARCH64", soname="libc.so.6") + f"\0GLIBC_2.17\0GLIBC_{newest}\0".encode())


@pytest.mark.parametrize(
    ("node", "breach"),
    [
        (shared_object("EM_X86_64"), "layer 02 for arm64: opt/x is for EM_X86_64, not EM_AARCH64"),
        (
            shared_object("EM_AARCH64", versions=["GLIBC_2.36"]),
            "layer 02 for arm64: opt/x asks for GLIBC_2.36, the base has 2.31",
        ),
    ],
)
def test_an_image_of_ones_own_is_held_to_its_own_libc(node: bytes, breach: str) -> None:
    with pytest.raises(GateError, match=breach):
        own({"01": {"lib/libc.so.6": libc("2.31")}, "02": {"opt/x": File(content=node)}})


def test_a_program_that_needs_glibc_cannot_be_where_there_is_none() -> None:
    with pytest.raises(GateError, match=r"asks for GLIBC_2.17, the base has 0.0"):
        own({"01": {"x": File(content=shared_object("EM_AARCH64", versions=["GLIBC_2.17"]))}})


def test_what_may_not_matter_in_an_image_of_ones_own_is_told() -> None:
    needy = File(content=shared_object("EM_AARCH64", needed=["libtk.so", "libc.so.6"]))
    assert own(
        {
            "01": {"lib/libc.so.6": libc("2.31"), "bin/su": File(content=b"x", raw_mode=0o4755)},
            "02": {"opt/x.so": needy, "opt/out": Link(target="../../../x"), "srv": Directory(mode=0o777)},
        }
    ) == ("bin/su is setuid or setgid, and will not be", "opt/x.so needs libtk.so, which is not in the image")


def test_a_library_is_found_in_another_layer_by_soname_or_file_name() -> None:
    provider = gates.check_layer(
        Tree({"usr/lib/libz.so.1.3": File(content=shared_object("EM_AARCH64", soname="libz.so.1"))}), ARM64, layer="10"
    )
    consumer = gates.check_layer(
        Tree({"x.so": File(content=shared_object("EM_AARCH64", needed=["libz.so.1", "libz.so.1.3"]))}),
        ARM64,
        layer="20",
    )
    gates.check_linkage([provider, consumer], image="runtime onnx", architecture=Architecture.ARM64)


def test_a_library_that_no_layer_has_is_refused() -> None:
    consumer = Linkage(offered=frozenset(), wanted={"libgomp.so.1": "x.so"})
    with pytest.raises(GateError, match=r"runtime onnx for arm64: x.so needs libgomp.so.1, which is not in the image"):
        gates.check_linkage([consumer], image="runtime onnx", architecture=Architecture.ARM64)
