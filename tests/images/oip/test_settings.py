from __future__ import annotations

import re
from pathlib import Path

import pytest

from snapedge_oip import settings
from snapedge_oip.gate import Gate
from snapedge_oip.log import LogFormat
from snapedge_oip.settings import Settings

README = Path(__file__).parents[3] / "kserve-images" / "oip" / "README.md"


def test_the_defaults_are_those_of_the_contract() -> None:
    found = settings.parse("server", ["--model-dir", "/mnt/models"], {})
    assert found == Settings(model_dir=Path("/mnt/models"))
    assert (found.bind, found.http_port, found.gate, found.drain, found.max_body, found.log) == (
        "0.0.0.0",
        8080,
        Gate.STRICT,
        5.0,
        64 * 2**20,
        LogFormat.JSON,
    )
    assert found.termination_log == Path("/dev/termination-log")


def test_a_flag_wins_over_its_variable() -> None:
    environment = {"SNAPEDGE_MODEL_DIR": "/a", "SNAPEDGE_GATE": "none", "SNAPEDGE_DRAIN": "250ms", "SNAPEDGE_LOG": ""}
    found = settings.parse("server", ["--gate", "report"], environment)
    assert (found.model_dir, found.gate, found.drain) == (Path("/a"), Gate.REPORT, 0.25)


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        ([], {}),
        (["--model-dir", "/a", "--gate", "lax"], {}),
        (["--model-dir", "/a", "--http-port", "65536"], {}),
        (["--model-dir", "/a", "--http", "80"], {}),
        (["--model-dir", "/a", "--threads", "0"], {}),
        (["--model-dir", "/a", "--drain", "5 parsecs"], {}),
        (["--model-dir", "/a", "--max-body", "-1"], {}),
        (["--model-dir", "/a"], {"SNAPEDGE_HTTP_PORT": "eighty"}),
    ],
)
def test_what_is_wrong_is_a_usage_error(
    arguments: list[str], environment: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        settings.parse("server", arguments, environment)
    assert caught.value.code == 2
    assert "usage: server" in capsys.readouterr().err


@pytest.mark.parametrize(("text", "expected"), [("64MiB", 67108864), ("1GB", 10**9), ("10", 10), ("1.5kB", 1500)])
def test_sizes(text: str, expected: int) -> None:
    assert settings.size(text) == expected


def test_the_readme_has_every_flag_with_its_variable_and_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        settings.parse("server", ["--help"], {})
    told = dict(re.findall(r"--([a-z-]+) VALUE.*?\(or\s+(SNAPEDGE_[A-Z_]+)\)", capsys.readouterr().out, re.DOTALL))
    rows = re.findall(r"(?m)^\| `--([a-z-]+)` \| `(SNAPEDGE_[A-Z_]+)` \| (\S+)", README.read_text())
    assert {flag: variable for flag, variable, _ in rows} == told
    for flag, _, default in rows:
        shown = default if default[0].isascii() and default != "the" else ""
        given = ["--model-dir", "/m", *([f"--{flag}", shown] if shown else [])]
        assert settings.parse("server", given, {}) == Settings(model_dir=Path("/m")), flag
