"""What a trial says."""

from __future__ import annotations

import math
import shlex
from dataclasses import replace
from pathlib import Path

from snapedge_builder import trialreport
from snapedge_builder.replay import OutputError, Replay
from snapedge_builder.trialimage import TrialImage
from snapedge_hooks.payload import Payload
from snapedge_hooks.samples import SampleSet

from ...fakes.buildsite import SAMPLES
from ...fakes.edge import runtime_image

FORMATS = Path(__file__).parents[2] / "cases" / "formats"
SAMPLE = SampleSet.parse(SAMPLES.encode()).samples[0]


def image(*, max_latency_ms: int | None = None) -> TrialImage:
    runtime, _ = runtime_image()
    payload = Payload.parse((FORMATS / "payload.json").read_bytes())
    return TrialImage(payload=replace(payload, max_latency_ms=max_latency_ms), runtime=runtime, samples=None, layers={})


def output(largest: float | None, *, tolerance: tuple[float, float] = (0.0, 0.0)) -> OutputError:
    return OutputError(output="y", answers=2, largest=largest, sample="two", tolerance=tolerance)


def replay(*outputs: OutputError) -> Replay:
    return Replay(samples=2, outputs=outputs, deviations=(), milliseconds=(1.0, 30.0))


def test_the_table_shows_each_output_s_worst_answer() -> None:
    found = replay(output(0.00012345, tolerance=(0.001, 0.1)), output(math.inf), output(None))
    lines = trialreport.text(image(), found, seconds_to_ready=0.5).splitlines()
    assert [line.split() for line in lines[2:6]] == [
        ["output", "largest", "error", "allowed", "sample"],
        ["y", "0.000123", "0.001", "+", "0.1", "*", "|want|", "two"],
        ["y", "differs", "0", "two"],
        ["y", "no", "answer", "0", "two"],
    ]
    assert lines[6] == "answers: 15.5 ms median, 30.0 ms slowest"


def test_what_no_number_says_is_null_for_machines() -> None:
    document = trialreport.document(image(), replay(output(math.inf), output(None)), seconds_to_ready=0.5)
    assert [item["largest_error"] for item in document["outputs"]] == [None, None]


def test_slower_than_devices_allow_is_a_note_not_a_refusal() -> None:
    found = replay(output(0.0))
    assert trialreport.notes(image(max_latency_ms=30), found) == ()
    assert trialreport.notes(image(max_latency_ms=29), found) == (
        "the slowest answer took longer here than the 29 ms that devices allow",
    )


def test_a_request_too_long_for_a_line_is_in_a_file_and_odd_names_are_quoted(tmp_path: Path) -> None:
    line = trialreport.curl_line("http://127.0.0.1:1", "it's", SAMPLE, tmp_path)
    assert shlex.split(line)[-1] == "http://127.0.0.1:1/v2/models/it's/infer"
    assert list(tmp_path.iterdir()) == []
    assert trialreport.curl_line("http://127.0.0.1:1", "m", None, tmp_path) == (
        "curl -sS http://127.0.0.1:1/v2/models/m"
    )
