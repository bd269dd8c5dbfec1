"""The table of `status --history` at three widths."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rich.console import Console

from claude_batch.core.history.run import Session
from claude_batch.core.model.minutes import Minute
from claude_batch.ui.tables.history import history_table
from tests.core.history.test_minutes import FREE, HELD_BACK, START_RPM

NOON = 1_796_040_000.0
FIRST = Session(
    minutes=tuple(
        replace(
            HELD_BACK,
            at=NOON + 60.0 * n,
            input_tokens=123_456,
            output_tokens=7_890,
            failures={"rate_limited": 10, "server_error": 2},
            limited={"requests": 7, "": 3},
        )
        for n in range(2)
    )
)
AGAIN = Session(minutes=(replace(FREE, at=NOON + 3_600, limited={}, failures={}),))


def text(width: int, *sessions: Session) -> str:
    console = Console(width=width)
    with console.capture() as printed:
        console.print(history_table(sessions))
    return printed.get()


@pytest.mark.parametrize("width", [60, 100, 160])
def test_every_figure_of_a_minute_is_there_at_any_width(width: int) -> None:
    shown = text(width, FIRST, AGAIN)
    for figure in ("1,000", "123k", "7,890", "7 RPM, 3 unnamed", "2 server error", "RPM 1,000"):
        assert figure in shown
    assert "0.50 USD" in shown
    assert max(map(len, shown.splitlines())) <= width


def test_a_process_that_resumed_is_marked() -> None:
    assert text(160, FIRST, AGAIN).count("resumed") == 1


def test_the_last_row_adds_up() -> None:
    assert "3,000" in text(160, FIRST, AGAIN).splitlines()[-1]


def test_a_limit_of_ones_own_is_named() -> None:
    lane = replace(HELD_BACK.lanes[0], limits=(replace(START_RPM, source="ceiling"),))
    assert "RPM 1,000 (your --rpm)" in text(
        160, Session(minutes=(replace(HELD_BACK, lanes=(lane,)),))
    )


def test_a_run_without_a_minute_says_so() -> None:
    assert "no minute" in text(100, Session())


def test_an_odd_name_of_a_failure_is_shown_harmlessly() -> None:
    odd = Minute(at=NOON, seconds=60.0, failures={"\x1b[31m": 1})
    assert "\x1b" not in text(160, Session(minutes=(odd,)))
