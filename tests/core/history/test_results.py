"""Results added up, and drawn for a sample."""

from __future__ import annotations

import random
from typing import Any

import pytest

from claude_batch.core.history.results import ResultFigures, ResultLine, Sample
from claude_batch.core.model.requests import ResultType


def parsed(kind: ResultType, value: dict[str, Any]) -> ResultLine:
    result = ResultLine.of(value["custom_id"], kind, value)
    assert result is not None
    return result


def a_result(line: int, **changes: Any) -> ResultLine:
    message = {
        "model": "m",
        "stop_reason": changes.pop("stop_reason", "end_turn"),
        "usage": {"input_tokens": 10, "output_tokens": 5},
    }
    meta = {"line": line, "attempts": 1, "endpoint": "e", "cost_usd": 0.5, **changes}
    value = {"custom_id": f"r{line}", "result": {"type": "succeeded", "message": message}}
    return parsed(ResultType.SUCCEEDED, {**value, "meta": meta})


def an_error(line: int, kind: str = "api_error") -> ResultLine:
    error = {"type": "error", "error": {"type": kind, "message": "no"}}
    value = {"custom_id": f"r{line}", "result": {"type": "errored", "error": error}}
    return parsed(ResultType.ERRORED, {**value, "meta": {"line": line}})


def test_results_are_added_up() -> None:
    figures = ResultFigures()
    for result in (a_result(1), a_result(2, stop_reason="max_tokens", attempts=3), an_error(3)):
        figures.add(result)
    assert (figures.done, figures.failed, figures.unfinished) == (3, 1, 1)
    assert (figures.cost_usd, figures.input_tokens, figures.tried_again) == (1.0, 20, 1)
    assert figures.models["m"].results == 2
    assert (figures.errors["api_error"].results, figures.errors["api_error"].custom_id) == (1, "r3")


def test_an_answer_from_the_cache_has_used_nothing() -> None:
    figures = ResultFigures()
    figures.add(a_result(1, cached=True, cost_usd=0.0))
    assert (figures.cached, figures.output_tokens) == (1, 0)


@pytest.mark.parametrize(
    "odd",
    [
        {"custom_id": "a", "result": {"type": "succeeded"}},
        {"custom_id": "a", "result": {"type": "succeeded", "message": []}, "meta": 7},
        {"custom_id": "a", "result": {"type": "succeeded", "message": {"usage": 1, "model": 2}}},
    ],
)
def test_an_odd_result_is_counted_without_figures(odd: dict[str, Any]) -> None:
    figures = ResultFigures()
    figures.add(parsed(ResultType.SUCCEEDED, odd))
    assert (figures.done, figures.output_tokens, figures.cost_usd) == (1, 0, None)


def test_more_kinds_than_fit_are_counted_together() -> None:
    figures = ResultFigures()
    for line in range(1, 1_501):
        figures.add(an_error(line, kind=f"kind-{line}"))
    assert len(figures.errors) == 1_001
    assert figures.errors["others"].results == 500


def test_a_sample_has_failures_first_and_each_result_the_same_chance() -> None:
    drawn: list[int] = []
    for seed in range(200):
        sample = Sample(
            most=(2, 2, 5), shorten=lambda each: each.line, draw=random.Random(seed).random
        )
        for line in range(1, 101):
            sample.add(an_error(line) if line in {50, 60} else a_result(line))
        kept = list(sample)
        assert kept[:2] == [50, 60]
        assert len(set(kept)) == 7
        drawn += kept[2:]
    first, last = (sum(a <= line <= b for line in drawn) for a, b in ((1, 49), (52, 100)))
    assert first == pytest.approx(last, rel=0.2)


def test_the_tally_of_a_report_is_that_of_status() -> None:
    figures = ResultFigures()
    for result in (a_result(1), a_result(2, stop_reason="max_tokens", cost_usd=None), an_error(3)):
        figures.add(result)
    tally = figures.tally
    assert (tally.done, tally.failed, tally.priced) == (3, 1, 1)
    assert (tally.input_tokens, tally.output_tokens, tally.cost_usd) == (20, 10, 0.5)
    assert tally.stops == {"max_tokens": 1}
