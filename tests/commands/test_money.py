"""What a run may cost: judged by the first requests of what is left, asked for when expensive."""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import count, islice

import pytest

from claude_batch.commands.money import (
    MOST_READ,
    Forecast,
    Outlook,
    forecast,
    look_ahead,
    may_spend,
    refuse_unpriced,
)
from claude_batch.config.options import Options
from claude_batch.core.catalog.catalog import BUNDLED
from claude_batch.core.model.requests import Request
from claude_batch.core.planning.workload import OutputBasis
from claude_batch.errors import UsageError
from claude_batch.storage.prompts.workload import Expectation

HAIKU = "claude-haiku-5-5"


def requests(model: str = HAIKU) -> Iterator[Request]:
    """Yield requests without end, each of 100 tokens and with at most 1,000 to answer."""
    for line in count(1):
        yield Request(
            custom_id=f"line-{line}",
            line=line,
            model=model,
            max_tokens=1_000,
            body=b"{}",
            input_tokens=100,
        )


def outlook_of(total: int, expectation: Expectation | None = None) -> Outlook:
    return look_ahead(requests(), total, expectation or Expectation(), BUNDLED)


def cost_of(total: int, *, batch: bool = False) -> Forecast:
    asked = islice(requests(), total)
    return forecast(look_ahead(asked, total, Expectation(), BUNDLED), BUNDLED, batch=batch)


def test_a_large_file_is_judged_by_its_first_requests() -> None:
    outlook = outlook_of(40 * MOST_READ)
    assert outlook.likely.requests == 40 * MOST_READ
    assert outlook.most.output_tokens == 40 * MOST_READ * 1_000


def test_a_batch_is_foreseen_at_half_the_price() -> None:
    assert cost_of(1_000, batch=True).likely_usd == pytest.approx(cost_of(1_000).likely_usd / 2)


def test_what_has_no_price_is_no_bound() -> None:
    with pytest.raises(UsageError, match="qwen3"):
        refuse_unpriced([HAIKU, "qwen3"], BUNDLED)


def test_nothing_left_costs_nothing() -> None:
    found = forecast(look_ahead(iter(()), 0, Expectation(), BUNDLED), BUNDLED, batch=False)
    assert (found.likely_usd, found.most_usd) == (0.0, 0.0)


@pytest.mark.parametrize(("answer", "goes_on"), [("y\n", True), ("\n", False), ("", False)])
def test_what_is_expensive_goes_on_with_a_yes(
    answer: str, *, goes_on: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    found = Forecast(likely_usd=12.0, most_usd=50.0, basis=OutputBasis.SAMPLED)
    assert may_spend(found, Options(confirm_above=10.0)) is goes_on


def test_what_is_cheap_is_not_asked_about() -> None:
    found = Forecast(likely_usd=9.0, most_usd=50.0, basis=OutputBasis.SAMPLED)
    assert may_spend(found, Options(confirm_above=10.0))


def test_what_is_guessed_to_be_cheap_but_may_be_dear_is_asked_about(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    found = Forecast(likely_usd=9.0, most_usd=31.0, basis=OutputBasis.GUESSED)
    assert not may_spend(found, Options(confirm_above=10.0))


def test_both_figures_and_their_basis_are_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    may_spend(Forecast(likely_usd=12.0, most_usd=48.0, basis=OutputBasis.GUESSED), Options())
    said = " ".join(capsys.readouterr().err.split())
    assert "About 12.00 USD (answers guessed: a quarter of max_tokens, 256 at least)" in said
    assert "at most 48.00 USD" in said


def test_replies_that_are_there_tell_what_the_rest_will_cost() -> None:
    outlook = outlook_of(10, Expectation(mean=20.0))
    assert (outlook.likely.output_tokens, outlook.likely.output_basis) == (
        200.0,
        OutputBasis.SAMPLED,
    )
