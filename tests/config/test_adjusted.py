"""Options that were changed while a run went: what is in force when it is resumed."""

from __future__ import annotations

from typing import Any

import pytest

from claude_batch.commands.run.options import resumed
from claude_batch.config.reading import read_settings
from claude_batch.config.settings import RunSettings

BEGAN = RunSettings(flags={"rpm": 500.0}, adjusted={"rpm": 200.0, "share": 0.3})


@pytest.mark.parametrize(
    ("flags", "repeats", "rpm"),
    [
        ({}, False, 200.0),
        ({"rpm": "500"}, True, 200.0),  # the command that began the run
        ({"rpm": "500"}, False, 500.0),  # resume
        ({"rpm": "300"}, True, 300.0),
        ({"rpm": "none"}, True, None),
    ],
)
def test_an_adjusted_option_stays_unless_the_command_says_something_new(
    flags: dict[str, Any],
    repeats: bool,  # noqa: FBT001  # a case
    rpm: float | None,
) -> None:
    settings = read_settings(flags, {}, run=BEGAN, repeats=repeats)
    assert (settings.options.rpm, settings.options.share) == (rpm, 0.3)


def test_a_flag_that_does_not_count_since_it_was_adjusted_is_said() -> None:
    settings = read_settings({"rpm": "500", "share": "0.4"}, {}, run=BEGAN, repeats=True)
    assert settings.overruled == {"rpm": 500.0}
    said = resumed(settings, "r.jsonl") or ""
    assert "Using --rpm 200 from this run's journal" in said
    assert "Not --rpm 500: the run began with that, and was adjusted since" in said
    assert said.endswith("claude-batch resume r.jsonl --rpm 500")
    assert "Not" not in (resumed(read_settings({}, {}, run=BEGAN), "r.jsonl") or "Not")


def test_what_a_command_overrides_is_no_longer_adjusted() -> None:
    once = read_settings({"rpm": "300"}, {}, run=BEGAN)
    again = read_settings({}, {}, run=once.of_run)
    assert again.options.rpm == 300.0
    assert again.of_run.adjusted == {"share": 0.3}


def test_an_option_that_was_unset_stays_unset() -> None:
    run = RunSettings(flags={"rpm": 500.0}, adjusted={"rpm": None})
    assert read_settings({}, {}, run=run).options.rpm is None


def test_an_adjusted_option_goes_before_a_variable() -> None:
    settings = read_settings({}, {"CLAUDE_BATCH_RPM": "500"}, run=BEGAN)
    assert settings.options.rpm == 200.0


def test_the_user_hears_of_it() -> None:
    assert set(read_settings({}, {}, run=BEGAN).resumed) == {"rpm", "share"}
