"""The dashboard as people see it."""

from __future__ import annotations

import io
import string
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from syrupy.assertion import SnapshotAssertion

from claude_batch.core.model.snapshot import EndpointState, Snapshot
from claude_batch.ui.dashboard.dashboard import dashboard
from tests.ui import pictures

RUNS = {
    "calm": pictures.CALM,
    "waiting": pictures.WAITING,
    "busy": pictures.BUSY,
    "storm": pictures.STORM,
    "pool": pictures.POOL,
    "paused": pictures.PAUSED,
    "stopping": pictures.STOPPING,
    "stopped": pictures.STOPPED,
    "finished": pictures.FINISHED,
    "a shard of a run folder": pictures.SHARD,
    "all of a run folder": pictures.WHOLE,
    "limits not known": replace(
        pictures.CALM,
        total=None,
        eta_s=None,
        lanes=(
            replace(pictures.lane(), gauges=pictures.NO_LIMITS_KNOWN, wait=pictures.FINDING_PACE),
        ),
        wait=pictures.FINDING_PACE,
    ),
}


def drawn(snapshot: Snapshot, width: int, height: int = 40, encoding: str = "utf-8") -> str:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(file=file, width=width, height=height, color_system=None)
    with console.capture() as capture:
        console.print(dashboard(snapshot))
    return capture.get()


@pytest.mark.parametrize("width", [60, 100, 160])
@pytest.mark.parametrize("run", RUNS)
def test_a_run_looks_like_this(run: str, width: int, snapshot: SnapshotAssertion) -> None:
    assert drawn(RUNS[run], width) == snapshot


def test_a_low_terminal_shows_lanes_in_a_line_each(snapshot: SnapshotAssertion) -> None:
    assert drawn(pictures.STORM, 100, height=16) == snapshot


def test_a_low_terminal_says_how_many_shards_are_hidden() -> None:
    assert "and 2 more shards" in drawn(pictures.WHOLE, 100, height=13)


def test_a_very_low_terminal_says_how_many_lanes_are_hidden() -> None:
    assert "and 3 more lanes" in drawn(pictures.STORM, 100, height=11)


def test_ascii_is_enough(snapshot: SnapshotAssertion) -> None:
    assert drawn(pictures.CALM, 100, encoding="ascii") == snapshot


@given(
    width=st.integers(min_value=20, max_value=200),
    height=st.integers(min_value=1, max_value=50),
    name=st.text(alphabet=string.printable + "東京é́🎉\u200b\x1b\x9b", max_size=60),
)
def test_nothing_is_ever_wider_or_higher_than_the_room(width: int, height: int, name: str) -> None:
    failures = tuple(replace(f, custom_id=name, what=name) for f in pictures.FAILURES)
    run = replace(
        pictures.STORM,
        failures=failures,
        prompts=name,
        folder=replace(
            pictures.SHARD.folder or pictures.FOLDER,
            path=name,
            shard_name=name,
            at_work=(pictures.shard(13, name=name, holder=name),),
            errors={name: 3},
        ),
        lanes=(*pictures.STORM.lanes, pictures.paused(name)),
        endpoints=(*pictures.POOL.endpoints, pictures.endpoint(name, EndpointState.OUT, name)),
    )
    lines = drawn(run, width, height).split("\n")[:-1]
    assert max(cell_len(line) for line in lines) <= width
    assert len(lines) <= height


def test_what_an_api_says_cannot_steer_the_terminal() -> None:
    failure = replace(pictures.FAILURES[0], what="\x1b[2J\x07gone", custom_id="a\nb")
    assert "\x1b" not in drawn(replace(pictures.CALM, failures=(failure,)), 100)


def test_square_brackets_are_no_markup() -> None:
    failure = replace(pictures.FAILURES[0], what="[red]messages[0][/]")
    assert "[red]messages[0][/]" in drawn(replace(pictures.CALM, failures=(failure,)), 160)


@pytest.mark.parametrize("width", [60, 100, 160])
def test_growing_figures_do_not_move_their_neighbours(width: int) -> None:
    later = replace(
        pictures.CALM,
        succeeded=9_999,
        errored=1,
        in_flight=7,
        retrying=1_234,
        rate_limited=99,
        elapsed_s=4_000.0,
        eta_s=3.0,
        input_tokens=987_654_321,
        requests_per_minute=3.0,
    )
    before, after = drawn(pictures.CALM, width), drawn(later, width)
    for word in ("failed", "retrying", "about", "requests/min", "429s", "tokens in"):
        assert places(before, word) == places(after, word)


def places(picture: str, word: str) -> list[tuple[int, int]]:
    lines = enumerate(picture.split("\n"))
    return [(number, line.index(word)) for number, line in lines if word in line]


def test_a_countdown_runs_between_snapshots_of_the_failure() -> None:
    failure = replace(pictures.FAILURES[1], at=pictures.AT, retry_in_s=9.0)
    later = replace(pictures.CALM, failures=(failure,), at=pictures.AT + 4)
    assert "again in  0:05" in drawn(later, 100)


def test_no_color_leaves_no_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    console = Console(file=io.StringIO(), width=100, force_terminal=True)
    with console.capture() as capture:
        console.print(dashboard(pictures.STORM))
    codes = {part.split("m")[0] for part in capture.get().split("\x1b[")[1:]}
    assert codes <= {"0", "1", "2", "1;2"}


def test_a_sandbox_run_is_labelled() -> None:
    assert drawn(pictures.STORM, 60).startswith(" SANDBOX   answers are simulated; nothing costs")


def test_a_host_that_is_not_anthropics_is_named() -> None:
    assert drawn(pictures.BUSY, 100).startswith("host relay.example.com")
