"""Lines for pipes and CI."""

from __future__ import annotations

from dataclasses import replace

from claude_batch.core.model.snapshot import Phase
from claude_batch.ui.screen.plain import PlainRenderer, figures_text
from claude_batch.ui.screen.screen import Checking, RunSummary
from tests.ui import pictures
from tests.ui.terminal import FakePipe


class Hand:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def plain(stream: FakePipe, hand: Hand) -> PlainRenderer:
    return PlainRenderer(stream=stream, monotonic=hand, wall=lambda: pictures.AT)


def shown(*, seconds: int, snapshot: object = None) -> list[str]:
    """Return the lines of a run that is shown every tenth of a second."""
    stream, hand = FakePipe(), Hand()
    renderer = plain(stream, hand)
    for tenth in range(seconds * 10):
        hand.now = tenth / 10
        renderer.show(pictures.CALM if snapshot is None else snapshot)  # type: ignore[arg-type]
    return stream.text.splitlines()


def test_a_line_says_where_the_run_stands() -> None:
    line = (
        "12:03:05  1,200/10,000 done (12 %)  0 failed  40 in flight  980/min  "
        "about 9 min left (12:12)  waiting for output tokens (limit 400k/min)"
    )
    assert shown(seconds=3) == [line]


def test_the_first_lines_come_sooner_than_every_ten_seconds() -> None:
    assert [len(shown(seconds=seconds)) for seconds in (2, 3, 7, 15, 25, 35)] == [0, 1, 2, 3, 4, 5]


def test_a_new_phase_has_a_line_at_once() -> None:
    stream, hand = FakePipe(), Hand()
    renderer = plain(stream, hand)
    renderer.show(pictures.CALM)
    renderer.show(replace(pictures.CALM, phase=Phase.STOPPING))
    assert "980/min  stopping  finishing 40 requests" in stream.text


def test_a_sandbox_run_a_retry_and_the_reason_of_waiting_are_named() -> None:
    line = shown(seconds=3, snapshot=pictures.STORM)[0]
    assert "SANDBOX" in line
    assert "1,020 retrying" in line
    assert "Haiku 5.5: API overloaded; next try in 2 s" in line


def test_a_new_failure_is_shown_once() -> None:
    stream, hand = FakePipe(), Hand()
    renderer = plain(stream, hand)
    renderer.show(pictures.CALM)
    for now in (3.0, 30.0):
        hand.now = now
        renderer.show(pictures.BUSY)
    assert stream.text.count("last failure: line-17 (line 17) invalid_request_error") == 1


def test_a_line_about_a_shard_is_about_the_whole_too() -> None:
    (line,) = shown(seconds=3, snapshot=pictures.SHARD)
    assert "shard 4: 1,200/10,000 done (12 %)" in line
    assert "| all shards: 640,134/2,000,000 done (32 %)  12/40 finished" in line
    assert "812.40 of 3,000.00 USD" in line


def test_shards_that_begin_and_end_make_no_lines_of_their_own() -> None:
    stream, hand = FakePipe(), Hand()
    renderer = plain(stream, hand)
    for phase in (Phase.STARTING, Phase.RUNNING, Phase.FINISHED, Phase.STARTING):
        renderer.show(replace(pictures.SHARD, phase=phase))
    assert stream.text == ""


def test_a_line_about_a_run_folder_counts_its_shards() -> None:
    line = figures_text(pictures.WHOLE)
    assert "12 of 40 shards finished, 3 at work, 1 failed, 24 waiting" in line
    assert "  812.40 of 3,000.00 USD" in line


def test_a_bound_on_the_cost_is_shown_as_it_was_typed_in_the_sandbox_too() -> None:
    assert pictures.WHOLE.folder is not None
    folder = replace(pictures.WHOLE.folder, max_cost_usd=0.0115)
    line = figures_text(replace(pictures.WHOLE, folder=folder, cost_usd=0.0079, sandbox=True))
    assert "  would cost 0.0079 of 0.0115 USD" in line


def test_an_unknown_total_is_left_out() -> None:
    line = shown(seconds=3, snapshot=replace(pictures.CALM, total=None))[0]
    assert "  1,200 done  0 failed" in line


def test_a_check_has_a_line_every_ten_seconds() -> None:
    stream, hand = FakePipe(), Hand()
    renderer = plain(stream, hand)
    for second in range(15):
        hand.now = float(second)
        renderer.check(
            Checking(
                doing="checking",
                path="p.jsonl",
                done_bytes=second,
                total_bytes=20,
                elapsed_s=hand.now,
            )
        )
    assert stream.text == (
        "12:03:05  checking p.jsonl: 0 B of 20 B, 0 %\n"
        "12:03:05  checking p.jsonl: 10 B of 20 B, 50 %\n"
    )


def test_quiet_leaves_out_the_summary_of_a_good_end() -> None:
    stream = FakePipe()
    done = RunSummary(message="finished", resume_command=None, exit_code=0)
    PlainRenderer(stream=stream, quiet=True, wall=lambda: pictures.AT).end(pictures.FINISHED, done)
    assert stream.text.splitlines()[1:] == []


def test_an_endpoint_that_is_not_up_is_named_with_its_reason() -> None:
    assert "second out (invalid x-api-key)" in figures_text(pictures.POOL)


def test_what_the_user_changes_is_shown_at_once() -> None:
    stream, hand = FakePipe(), Hand()
    renderer = plain(stream, hand)
    renderer.show(pictures.CALM)
    hand.now = 0.5
    renderer.show(replace(pictures.CALM, adjusted=pictures.PAUSED.adjusted))
    assert "rpm 200, adjusted" in stream.text
