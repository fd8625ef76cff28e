"""What an image says of what is in it."""

from __future__ import annotations

from snapedge_builder import foundpackages
from snapedge_builder.trees import File, Tree

STATUS = b"""\
Package: libc6
Status: install ok installed
Architecture: arm64
Source: glibc (2.36-9)
Version: 2.36-9+deb12u9
Description: GNU C Library
 continues

Package: gone
Status: deinstall ok config-files
Version: 1
"""
METADATA = b"Metadata-Version: 2.4\nName: onnxruntime\nVersion: 1.31.1\nLicense-Expression: MIT\n\nVersion: 9\n"


def test_packages_and_wheels_are_found_with_their_layer() -> None:
    layers = {
        "01": Tree({"var/lib/dpkg/status": File(content=STATUS)}),
        "02": Tree(
            {
                "var/lib/dpkg/status.d/tzdata": File(content=b"Package: tzdata\nVersion: 2025b-0\nArchitecture: all\n"),
                "var/lib/dpkg/status.d/tzdata.md5sums": File(content=b"0123  usr/share/x\n"),
                "app/.venv/lib/python3.11/site-packages/onnxruntime-1.31.1.dist-info/METADATA": File(content=METADATA),
                "usr/lib/broken-1.dist-info/METADATA": File(content=b"\xff\n"),
            }
        ),
    }
    found = foundpackages.find(layers, architecture="arm64")
    assert [(item.purl.to_string(), item.source, item.licences, item.layer, item.digest) for item in found] == [
        ("pkg:deb/debian/libc6@2.36-9%2Bdeb12u9?arch=arm64", "glibc", (), "01", None),
        ("pkg:deb/debian/tzdata@2025b-0?arch=all", "tzdata", (), "02", None),
        ("pkg:pypi/onnxruntime@1.31.1", "onnxruntime-1.31.1.dist-info", ("MIT",), "02", None),
    ]
