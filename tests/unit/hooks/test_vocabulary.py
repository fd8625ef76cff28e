"""Text becomes a domain type, or an error that says what the rule is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapedge_hooks.vocabulary import (
    Architecture,
    Digest,
    ImageReference,
    RegistryAddress,
    RepositoryName,
    SnapName,
    SnapVersion,
    TagName,
)


@pytest.mark.parametrize("text", ["wine-cultivar", "a1", "x" * 40, "m-2-b"])
def test_a_name_that_snapd_and_kserve_take_is_a_snap_name(text: str) -> None:
    assert SnapName(text) == text


@pytest.mark.parametrize("text", ["", "a", "1wine", "wine-", "-wine", "wine--x", "Wine", "wine_x", "x" * 41, "wine\n"])
def test_a_name_that_either_refuses_is_refused_with_the_rule(text: str) -> None:
    with pytest.raises(ValueError, match="2 to 40 lower-case letters"):
        SnapName(text)


@pytest.mark.parametrize("text", ["1", "1.0.0", "1.0~rc1", "v1+git", "a:b", "9" * 32])
def test_a_version_snapd_takes(text: str) -> None:
    assert SnapVersion(text) == text


@pytest.mark.parametrize("text", ["", "-1", "1.0.", "1 0", "9" * 33, "1_0", "ä"])
def test_a_version_snapd_refuses(text: str) -> None:
    with pytest.raises(ValueError, match="snap version"):
        SnapVersion(text)


def test_a_version_becomes_a_tag_a_registry_takes() -> None:
    assert TagName.for_version("1:2.0~rc1+x") == "1_2.0_rc1_x"


def test_an_architecture_knows_its_names_in_other_worlds() -> None:
    arm64 = Architecture.parse("arm64")
    assert (arm64.oci_platform, arm64.oci_variant, arm64.kernel_machine, arm64.gnu_triplet, arm64.elf_machine) == (
        "linux/arm64",
        "v8",
        "aarch64",
        "aarch64-linux-gnu",
        "EM_AARCH64",
    )


def test_an_unknown_architecture_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'riscv64' is not an architecture we build for \(amd64, arm64\)"):
        Architecture.parse("riscv64")


def test_a_reference_needs_a_registry_and_a_digest() -> None:
    for text in ["wine@sha256:" + "0" * 64, "localhost:32000/wine:1.0", "localhost:32000/wine"]:
        with pytest.raises(ValueError, match="registry and a digest"):
            ImageReference.parse(text)


@given(st.binary(max_size=40), st.sampled_from(["wine", "snapedge/runtime-onnx"]))
def test_a_reference_reads_back_what_it_writes(data: bytes, repository: str) -> None:
    reference = ImageReference(
        registry=RegistryAddress("localhost:32000"), repository=RepositoryName(repository), digest=Digest.of(data)
    )
    assert ImageReference.parse(str(reference)) == reference
