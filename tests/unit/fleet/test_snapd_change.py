"""What a failed change says, in one line."""

from snapedge_fleet.snapd import Change

FRAMED = """cannot perform the following tasks:
- Run post-refresh hook of "wine-cultivar" snap (run hook "post-refresh":
-----
snapedge post-refresh: do   apply: differs in image
snapedge post-refresh: gate-failed: Sample row-3: cultivar is off by 1, 0 allowed; train again
-----)"""


def test_a_failing_hook_s_last_line_is_the_cause() -> None:
    change = Change(id="7", status="Error", is_ready=True, error=FRAMED)
    assert (
        change.cause == "snapedge post-refresh: gate-failed: Sample row-3: cultivar is off by 1, 0 allowed; train again"
    )


def test_without_a_hook_s_output_snapd_s_own_words_are() -> None:
    error = 'cannot perform the following tasks:\n- Mount snap "x" (x1) (snap is damaged)'
    assert Change(id="7", status="Error", is_ready=True, error=error).cause == '- Mount snap "x" (x1) (snap is damaged)'


def test_without_words_the_status_is() -> None:
    assert Change(id="7", status="Hold", is_ready=True).cause == "Hold"
