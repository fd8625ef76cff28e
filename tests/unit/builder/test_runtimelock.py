"""What a runtime.lock says, and what it fits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapedge_builder import runtimelock
from snapedge_builder.apt import Package
from snapedge_builder.runtimelock import RuntimeLock, RuntimeLockError
from snapedge_builder.runtimes import PINS_NAME, RuntimeDeclaration
from snapedge_builder.wheels import Wheel
from snapedge_hooks.document import DocumentError
from snapedge_hooks.errors import ExitCode
from snapedge_hooks.vocabulary import Architecture, Digest
from tests.fakes.offlineruntime import BOTH, OfflineRuntime

CASE = Path(__file__).parents[2] / "cases" / "formats" / "runtime.lock"
A = Digest.of(b"a")


def package(
    name: str = "libc6", version: str = "2.36-9", *, architecture: str = "arm64", digest: Digest = A
) -> Package:
    return Package(
        name=name,
        version=version,
        architecture=architecture,
        source=name,
        depends=(),
        path=f"pool/main/{name[0]}/{name}/{name}_{version}_{architecture}.deb",
        digest=digest,
        size=7,
    )


def wheel(name: str = "fast", version: str = "1") -> Wheel:
    return Wheel(name=name, version=version, file=f"{name}-{version}-py3-none-any.whl", uri="", digest=A)


def lock_of(declaration: RuntimeDeclaration) -> RuntimeLock:
    return RuntimeLock(
        suite=declaration.suite,
        asked=tuple(sorted(declaration.packages)),
        requirements=Digest.of_file(declaration.project.lock),
        packages={architecture: (package(architecture=str(architecture)),) for architecture in BOTH},
        wheels={architecture: (wheel(),) for architecture in BOTH},
        reasons={},
    )


def test_the_example_is_read_and_written_alike() -> None:
    data = CASE.read_bytes()
    lock = runtimelock.parse(data)
    assert lock.to_text().encode() == data
    assert [(item.name, item.version) for item in lock.packages[Architecture.ARM64]] == [
        ("libc6", "2.36-9+deb12u13"),
        ("python3.11-minimal", "3.11.2-6+deb12u6"),
        ("tzdata", "2025b-0+deb12u2"),
    ]
    assert [item.name for item in lock.packages[Architecture.AMD64]][1] == "libquadmath0"
    assert lock.packages[Architecture.ARM64][2].architecture == "all"
    assert lock.wheels[Architecture.ARM64][0].file == "numpy-2.2.6-cp311-cp311-manylinux_2_17_aarch64.whl"
    assert lock.reasons == {"libquadmath0": "what depends on it is for amd64 alone"}


def test_the_example_names_no_host() -> None:
    assert "://" not in CASE.read_text()


@given(
    names=st.lists(st.from_regex(r"[a-z][a-z0-9.+-]{1,8}", fullmatch=True), unique=True, max_size=4),
    version=st.from_regex(r"[0-9][a-z0-9.+~]{0,8}", fullmatch=True),
)
def test_what_is_written_is_read_again(names: list[str], version: str) -> None:
    packages = {
        architecture: tuple(package(name, version, architecture=str(architecture)) for name in sorted(names))
        for architecture in BOTH
    }
    lock = RuntimeLock(suite="bookworm", asked=(), requirements=A, packages=packages, wheels={}, reasons={})
    assert runtimelock.parse(lock.to_text().encode()) == lock


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('"format":1', '"format":2', "format: 2 is newer than the 1 this version reads"),
        ("pool/main/g/glibc", "../../etc", "is not the path of a .deb in its archive"),
        ("pool/main/g/glibc", "/etc", "is not the path of a .deb in its archive"),
        ("pool/main/g/glibc", "http://a.test", "is not the path of a .deb in its archive"),
        ('"version":"2.36-9+deb12u13"', '"version":"1\\n-r x"', "is not a version"),
        ('"name":"numpy"', '"name":"num py"', "is not a name"),
        ("aarch64.whl", "aarch64.zip", "Invalid wheel filename"),
        ("_arm64.deb", "_amd64.deb", "is for amd64, not arm64"),
        (',"reason":"what depends on it is for amd64 alone"', "", "packages[1].reason: is missing"),
        ('"suite"', '"suit"', "suite: is missing"),
    ],
)
def test_a_lock_that_says_what_none_may_is_refused(old: str, new: str, problem: str, tmp_path: Path) -> None:
    text = CASE.read_text()
    assert old in text
    (tmp_path / PINS_NAME).write_text(text.replace(old, new))
    with pytest.raises(RuntimeLockError) as caught:
        runtimelock.read(tmp_path)
    assert problem in str(caught.value)
    assert "builder lock --upgrade" in caught.value.resolution
    assert caught.value.exit_code is ExitCode.REFUSED


def test_a_name_twice_for_one_architecture_is_refused() -> None:
    lines = CASE.read_text().splitlines(keepends=True)
    at = next(index for index, line in enumerate(lines) if '"name":"numpy"' in line)
    with pytest.raises(DocumentError, match="numpy stands twice for amd64"):
        runtimelock.parse("".join([*lines[:at], lines[at].replace("]", "").rstrip() + ",\n", *lines[at:]]).encode())


def test_a_lock_fits_what_it_was_made_for(tmp_path: Path) -> None:
    declaration = OfflineRuntime(tmp_path).declaration
    assert lock_of(declaration).misfit(declaration) is None
    # What decides which files are taken, and nothing else.
    assert lock_of(declaration).misfit(replace(declaration, prune=("usr/share",), interface=2)) is None


def test_each_way_not_to_fit_is_told(tmp_path: Path) -> None:
    declaration = OfflineRuntime(tmp_path).declaration
    lock = lock_of(declaration)
    assert lock.misfit(replace(declaration, suite="trixie")) == "is of suite bookworm, runtime.yaml asks for trixie"
    more = replace(declaration, packages=(*declaration.packages, "curl"))
    assert lock.misfit(more) == "does not pin curl, which runtime.yaml asks for"
    fewer = replace(declaration, packages=())
    assert lock.misfit(fewer) == "was made with python3.11-minimal, which runtime.yaml does not name"
    one = replace(lock, packages={Architecture.AMD64: lock.packages[Architecture.AMD64]})
    assert one.misfit(declaration) == "has no packages for arm64"
    one = replace(lock, wheels={Architecture.AMD64: lock.wheels[Architecture.AMD64]})
    assert one.misfit(declaration) == "has no wheels for arm64"
    declaration.project.lock.write_text("")
    assert lock.misfit(declaration) == "was made for another server/requirements.lock"


def test_where_no_lock_lies_there_is_none(tmp_path: Path) -> None:
    assert runtimelock.read(tmp_path) is None
