"""The Dockerfile of a composed image: the same plan, written for BuildKit. Pure: it reads and writes nothing.

Rules:

1. No program of the image runs while it is built: the stages that run something run it on the builder's own platform,
   so that an image for another architecture needs no emulation.
2. Nothing is fetched by a step: packages, wheels and sources lie in the context, checked against their hashes before.
3. One COPY of the last stage for each layer tree: the base, each wheel, the server's sources. What becomes of them is
   the same as for trees that were composed here: byte code, gates, and our own way of writing a layer.
"""

from __future__ import annotations

import json
import posixpath
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import rootfs, wheels
from .patterns import extended_expression

TOOLS_TAR = "tools.tar"
DEBS = "debs"
FILES = "files"
WHEELS = "wheels"
SOURCES = "app"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSteps:
    """What a Dockerfile is to do.

    Attributes:
        title: what is built, in words.
        base_prune: globs of files of the base that do not run.
        wheels: names, each with a folder of its own in the context's `wheels`, in the order of their trees.
        wheels_prune: globs below site-packages that do not run.
        app: where the server's sources go.
        settings: the `config` of the image's config.
    """

    title: str
    base_prune: tuple[str, ...]
    wheels: tuple[str, ...]
    wheels_prune: tuple[str, ...]
    app: str
    settings: Mapping[str, Any]

    @property
    def trees(self) -> tuple[str, ...]:
        """What each layer of the built image is, in order: `base`, a wheel's name, `app`."""
        return ("base", *self.wheels, "app")


def write(steps: ImageSteps) -> str:
    """The Dockerfile, for a context with `tools.tar`, `debs`, `files`, `wheels` and `app` in it."""
    stages = [
        f"# {steps.title}. Nothing of the image runs while it is built: an image for any platform needs no emulation.",
        "FROM --platform=$BUILDPLATFORM scratch AS tools",
        f"ADD {TOOLS_TAR} /",
        "ENV PATH=/usr/bin LC_ALL=C",
        "",
        *_base_stage(steps),
        *(_wheels_stage(steps) if steps.wheels else ()),
        "FROM scratch",
        "COPY --from=base /layer/ /",
        *(f"COPY --from=wheels /layers/{name}/ /" for name in steps.wheels),
        f"COPY {SOURCES}/ /{steps.app}/",
        *_settings(steps.settings),
    ]
    return "\n".join(stages) + "\n"


def _base_stage(steps: ImageSteps) -> list[str]:
    links = [f"mkdir -p usr/{name} && ln -s usr/{name} {name}" for name in rootfs.MERGED]
    bundle, folder = rootfs.CA_BUNDLE, rootfs.CERTIFICATES
    return [
        "# Debian packages, unpacked; what their maintainer scripts would have done is in files/.",
        "FROM tools AS base",
        f"RUN --mount=type=bind,source={DEBS},target=/debs <<'END'",
        "set -eu",
        "mkdir /layer && cd /layer",
        *links,
        'for deb in /debs/*.deb; do dpkg-deb --fsys-tarfile "$deb" | tar --extract --keep-directory-symlink; done',
        *_prune([*rootfs.DROPPED, *steps.base_prune]),
        "if [ -d usr/share/doc ]; then",
        "  find usr/share/doc -mindepth 2 ! -type d -regextype posix-extended "
        "! -regex 'usr/share/doc/[^/]+/copyright' -delete",
        "fi",
        f"if [ -d {folder} ]; then",
        f"  mkdir -p {posixpath.dirname(bundle)}",
        f"  find {folder} -type f -name '*.crt' | sort | while IFS= read -r file; do",
        '    printf \'%s\\n\' "$(cat "$file")"',
        f"  done >{bundle}",
        "fi",
        "find . -mindepth 1 -type d -empty -delete",
        "[ -d usr/lib64 ] || rm lib64",
        f"mkdir -p tmp {' '.join(rootfs.FOLDERS)}",
        "END",
        f"COPY {FILES}/ /layer/",
        "",
    ]


def _wheels_stage(steps: ImageSteps) -> list[str]:
    site = f"/layers/${{folder##*/}}/{wheels.SITE_PACKAGES}"
    return [
        "# Wheels, each in a tree of its own.",
        "FROM tools AS wheels",
        f"RUN --mount=type=bind,source={WHEELS},target=/wheels <<'END'",
        "set -eu",
        "for folder in /wheels/*; do",
        f'  mkdir -p "{site}"',
        f'  cd "{site}"',
        '  unzip -q "$folder"/*.whl',
        "  chmod -R go-w .",
        "  for part in *.data/purelib *.data/platlib *.data/data; do",
        '    if [ -d "$part" ]; then cp -a "$part/." .; fi',
        "  done",
        "  rm -rf ./*.data",
        *(f"  {line}" for line in _prune([*wheels.DROPPED, *steps.wheels_prune])),
        "  find . -mindepth 1 -type d -empty -delete",
        "done",
        "END",
        "",
    ]


def _prune(patterns: Iterable[str]) -> list[str]:
    tests = [f"-regex {shlex.quote('./' + extended_expression(pattern))}" for pattern in dict.fromkeys(patterns)]
    first, *others = tests
    return [
        "find . -mindepth 1 -regextype posix-extended \\( \\",
        f"     {first} \\",
        *(f"  -o {test} \\" for test in others),
        "\\) -prune -exec rm -rf {} +",
    ]


def _settings(settings: Mapping[str, Any]) -> list[str]:
    pairs = [str(pair).partition("=") for pair in settings.get("Env", ())]
    return [
        *(f"ENV {name}={_quoted(value)}" for name, _, value in pairs),
        *(f"EXPOSE {port}" for port in settings.get("ExposedPorts", {})),
        f"WORKDIR {settings['WorkingDir']}",
        f"USER {settings['User']}",
        f"ENTRYPOINT {_list(settings['Entrypoint'])}",
    ]


def _quoted(value: str) -> str:
    """A value as ENV takes it: its quotes, backslashes and dollars mean themselves."""
    return '"' + "".join(f"\\{character}" if character in '"\\$' else character for character in value) + '"'


def _list(words: Sequence[str]) -> str:
    return json.dumps(list(words))
