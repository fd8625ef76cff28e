"""`build:` in inference.yaml and runtime.yaml."""

from __future__ import annotations

from pathlib import Path

import pytest

from snapedge_builder import buildsettings
from snapedge_builder.buildsettings import (
    Backend,
    BuildSettings,
    DockerfileSettings,
    SecretFile,
    SecretVariable,
)
from snapedge_builder.yamldocument import DeclarationError, parse_yaml


def read(folder: Path, text: str) -> BuildSettings:
    for name in ("docker", "data"):
        (folder / name).mkdir(exist_ok=True)
    (folder / "docker" / "Dockerfile").touch()
    top = parse_yaml(f"build:\n  {text}\n".encode(), file="runtime.yaml")
    return buildsettings.read(top.section("build"), folder)


def test_nothing_said_leaves_it_to_the_builder(tmp_path: Path) -> None:
    section = parse_yaml(b"name: x\n", file="runtime.yaml").section("build")
    assert buildsettings.read(section, tmp_path) == BuildSettings(backend=Backend.AUTO, dockerfile=None)


def test_a_dockerfile_alone_is_enough(tmp_path: Path) -> None:
    assert read(tmp_path, "dockerfile: docker/Dockerfile").dockerfile == DockerfileSettings(
        file=tmp_path / "docker" / "Dockerfile",
        context=tmp_path / "docker",
        target="",
        arguments={},
        secrets={},
        contexts={},
    )


def test_every_key_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    text = (
        "{backend: buildx, dockerfile: docker/Dockerfile, context: ., target: server, args: {VERSION: 1.10, EMPTY: ''},"
        " secrets: {token: {env: TOKEN}, netrc: {file: ~/.netrc}, pip.conf: {file: data/pip.conf}},"
        " contexts: {base: 'docker-image://debian:12', data: data, rootfs: 'oci-layout://data/layout:1',"
        " 'debian:12': 'https://example.com/context.git'}}"
    )
    section = parse_yaml(f"build: {text}\n".encode(), file="inference.yaml").section("build")
    (tmp_path / "docker").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "docker" / "Dockerfile").touch()
    assert buildsettings.read(section, tmp_path) == BuildSettings(
        backend=Backend.BUILDX,
        dockerfile=DockerfileSettings(
            file=tmp_path / "docker" / "Dockerfile",
            context=tmp_path,
            target="server",
            arguments={"VERSION": "1.10", "EMPTY": ""},
            secrets={
                "token": SecretVariable(name="TOKEN"),
                "netrc": SecretFile(path=Path("/home/me/.netrc")),
                "pip.conf": SecretFile(path=tmp_path / "data" / "pip.conf"),
            },
            contexts={
                "base": "docker-image://debian:12",
                "data": str(tmp_path / "data"),
                "rootfs": f"oci-layout://{tmp_path}/data/layout:1",
                "debian:12": "https://example.com/context.git",
            },
        ),
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("backend: kaniko", "build.backend: 'kaniko' is not one of auto, compose, buildx"),
        ("dockerfile: Dockerfile", "build.dockerfile: there is no file "),
        ("context: data", "build.context: is for an image of one's own; name its dockerfile as well"),
        ("secrets: {a: {env: A}}", "build.secrets: is for an image of one's own"),
        ("{backend: compose, dockerfile: docker/Dockerfile}", "build.backend: compose builds no Dockerfile"),
        ("{dockerfile: docker/Dockerfile, context: nowhere}", "build.context: there is no folder "),
        ("{dockerfile: docker/Dockerfile, dokcer: x}", "unknown key 'build.dokcer'"),
        ("{dockerfile: docker/Dockerfile, args: {A-B: x}}", "build.args.A-B: is not the name of a build argument"),
        ("{dockerfile: docker/Dockerfile, args: {A: }}", "build.args.A: is empty"),
        (
            "{dockerfile: docker/Dockerfile, args: {SOURCE_DATE_EPOCH: 1}}",
            "build.args.SOURCE_DATE_EPOCH: is always 0: a time would make equal images differ; leave it out",
        ),
        ("{dockerfile: docker/Dockerfile, secrets: {a: s3cret}}", "build.secrets.a: is not a mapping"),
        ("{dockerfile: docker/Dockerfile, secrets: {a: {value: x}}}", "write {file: PATH} or {env: VARIABLE}"),
        ("{dockerfile: docker/Dockerfile, secrets: {a: {env: A, file: b}}}", "is in no one place"),
        ("{dockerfile: docker/Dockerfile, secrets: {a: {env: a b}}}", "write its name, never its value"),
        ("{dockerfile: docker/Dockerfile, secrets: {'a,b': {env: A}}}", "build.secrets.a,b: is not the id of a secret"),
        ("{dockerfile: docker/Dockerfile, contexts: {base: nowhere}}", "build.contexts.base: there is no folder "),
        ("{dockerfile: docker/Dockerfile, contexts: {A=B: data}}", "build.contexts.A=B: is not the name of a context"),
    ],
)
def test_what_cannot_be_done_is_told_with_its_line(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        read(tmp_path, text)
    assert problem in str(caught.value)
    assert caught.value.line is not None


def test_a_secret_written_out_is_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError) as caught:
        read(tmp_path, "{dockerfile: docker/Dockerfile, secrets: {a: s3cret}}")
    assert "s3cret" not in str(caught.value)
