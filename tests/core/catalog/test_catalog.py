"""The catalog knows a model by any of its names, and knows what it does not know."""

from __future__ import annotations

from datetime import date

import pytest

from claude_batch.core.catalog.catalog import (
    BUNDLED,
    DEFAULT_MODEL,
    Retirement,
    canonical,
    meant_model,
    model_class,
    retirement,
    tier_limits,
    tier_of,
)
from claude_batch.core.catalog.data import TIERS
from claude_batch.core.catalog.model_card import ModelCard, ModelClass, Price, Tokenizer
from claude_batch.core.model.account import NO_LIMITS, Limits

PRICED = [card for card in BUNDLED.cards.values() if card.price is not None]


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("claude-haiku-4-5", "claude-haiku-4-5"),
        ("claude-haiku-4-5-20251001", "claude-haiku-4-5"),
        ("us.anthropic.claude-haiku-4-5-20251001-v1:0", "claude-haiku-4-5"),
        ("claude-haiku-4-5@20251001", "claude-haiku-4-5"),
        ("anthropic/claude-haiku-4.5", "claude-haiku-4-5"),
        ("claude-4-5-haiku-latest", "claude-haiku-4-5"),
        ("claude-opus-4-20250514", "claude-opus-4"),
        ("claude-opus-4-0", "claude-opus-4"),
        ("claude-opus-5-20260724", "claude-opus-5"),
        ("claude-opus-5-5", "claude-opus-5-5"),
        ("claude-3-5-haiku-20241022", "claude-haiku-3-5"),
        ("claude-3-haiku-20240307", "claude-haiku-3"),
        ("claude-mythos-preview", "claude-mythos-preview"),
    ],
)
def test_every_platform_s_name_leads_to_the_same_model(name: str, model: str) -> None:
    card = BUNDLED.card(name)
    assert card is not None
    assert card.id == model


@pytest.mark.parametrize("card", BUNDLED.cards.values(), ids=lambda card: card.id)
def test_the_table_uses_the_names_it_looks_up(card: ModelCard) -> None:
    assert canonical(card.id) == card.id


@pytest.mark.parametrize(
    "name",
    [
        *("qwen3", "gpt-7", "claude-fable-5-3", "claude-opus-6", ""),
        *("claude-haiku-5-5x", "claude-opus-5-5x", "claude-haiku-5-5-5", "claude-opus-55"),
    ],
)
def test_what_is_not_in_the_table_is_not_taken_for_its_neighbour(name: str) -> None:
    assert BUNDLED.card(name) is None


def test_an_unknown_model_is_a_class_of_its_own() -> None:
    assert model_class("qwen3", BUNDLED) == ModelClass(
        name="qwen3", tokenizer=Tokenizer.NEW, takes_sampling=True
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("claude-opus-4-8", "claude-opus-4-5-20251101"),
        ("claude-sonnet-4-6", "claude-sonnet-4-5"),
        ("claude-fable-5-2", "claude-fable-5"),
        ("claude-mythos-5-2", "claude-mythos-5-1"),
    ],
)
def test_models_of_a_combined_class_share_its_limits(one: str, other: str) -> None:
    assert model_class(one, BUNDLED).name == model_class(other, BUNDLED).name


@pytest.mark.parametrize("other", ["claude-opus-5-5", "claude-opus-4-8", "claude-sonnet-5"])
def test_models_of_different_classes_do_not(other: str) -> None:
    assert model_class("claude-opus-5", BUNDLED).name != model_class(other, BUNDLED).name


@pytest.mark.parametrize(
    ("model", "tokenizer"),
    [
        ("claude-opus-4-6", Tokenizer.OLD),
        ("claude-sonnet-4-6", Tokenizer.OLD),
        ("claude-haiku-4-5", Tokenizer.OLD),
        ("claude-opus-4-7", Tokenizer.NEW),
        ("claude-sonnet-5", Tokenizer.NEW),
        ("claude-haiku-5-5", Tokenizer.NEW),
    ],
)
def test_the_new_tokenizer_came_with_opus_4_7(model: str, tokenizer: Tokenizer) -> None:
    assert model_class(model, BUNDLED).tokenizer is tokenizer


@pytest.mark.parametrize("card", PRICED, ids=lambda card: card.id)
def test_sampling_parameters_went_when_the_tokenizer_came(card: ModelCard) -> None:
    assert card.model_class.takes_sampling is (card.model_class.tokenizer is Tokenizer.OLD)


@pytest.mark.parametrize("card", PRICED, ids=lambda card: card.id)
def test_writes_cost_one_and_a_quarter_and_twice_the_input(card: ModelCard) -> None:
    assert card.price is not None
    price = card.price
    assert (price.write_5m * 4, price.write_1h) == (price.input * 5, price.input * 2)


@pytest.mark.parametrize(
    ("model", "thousandths"),
    [
        ("claude-fable-5-2", 25),
        ("claude-mythos-5-1", 25),
        ("claude-opus-5-5", 50),
        ("claude-sonnet-5-5", 50),
        ("claude-fable-5", 100),
        ("claude-opus-5", 100),
        ("claude-haiku-5-5", 100),
    ],
)
def test_a_cache_read_is_not_always_a_tenth(model: str, thousandths: int) -> None:
    card = BUNDLED.cards[model]
    assert card.price is not None
    assert card.price.read * 1000 == card.price.input * thousandths


def test_no_tier_is_no_guess() -> None:
    assert tier_limits(None, DEFAULT_MODEL, catalog=BUNDLED) is NO_LIMITS


@pytest.mark.parametrize("model", ["qwen3", "claude-opus-4-1"])
def test_a_model_without_published_limits_has_no_guess(model: str) -> None:
    assert tier_limits("build", model, catalog=BUNDLED) is NO_LIMITS


@pytest.mark.parametrize(
    ("model", "tier", "limits"),
    [
        ("claude-haiku-5-5", "start", (1_000, 2_000_000, 400_000)),
        ("claude-opus-4-6", "build", (5_000, 5_000_000, 1_000_000)),
        ("claude-fable-5-2", "build", (2_000, 1_500_000, 300_000)),
        ("claude-fable-5", "scale", (4_000, 4_000_000, 800_000)),
        ("claude-3-5-haiku-20241022", "start", (1_000, 100_000, 20_000)),
    ],
)
def test_a_tier_guesses_the_limits_of_the_class(
    model: str, tier: str, limits: tuple[int, int, int]
) -> None:
    requests, input_tokens, output_tokens = limits
    assert tier_limits(tier, model, catalog=BUNDLED) == Limits(
        requests=requests, input_tokens=input_tokens, output_tokens=output_tokens
    )


def test_each_tier_allows_more_than_the_one_below() -> None:
    assert [tier.batch_queue for tier in TIERS] == [200_000, 300_000, 500_000]


def test_a_tier_is_found_by_its_name() -> None:
    assert tier_of("build").monthly_usd == 1_000


@pytest.mark.parametrize(
    ("today", "days"),
    [
        (date(2026, 9, 30), None),
        (date(2026, 10, 1), 60),
        (date(2026, 11, 30), 0),
        (date(2026, 12, 1), -1),
    ],
)
def test_a_model_s_end_is_announced_sixty_days_before(today: date, days: int | None) -> None:
    found = retirement("claude-sonnet-4-5", today, BUNDLED)
    assert (found and found.days) == days


def test_the_announced_end_of_opus_4_5_is_known() -> None:
    found = retirement("claude-opus-4-5", date(2026, 11, 29), BUNDLED)
    assert found == Retirement(model="claude-opus-4-5", date="2027-01-22", days=54)


@pytest.mark.parametrize(
    ("model", "percent"),
    [
        ("claude-fable-5-2", 200),
        ("claude-mythos-5-2", 200),
        ("claude-opus-5-5", 200),
        ("claude-opus-5", 200),
        ("claude-opus-4-8", None),
        ("claude-fable-5-1", None),
    ],
)
def test_fast_mode_costs_double_where_there_is_one(model: str, percent: int | None) -> None:
    assert BUNDLED.cards[model].fast_percent == percent


@pytest.mark.parametrize("model", ["claude-haiku-5-5", "qwen3"])
def test_nothing_is_said_of_a_model_without_an_announced_end(model: str) -> None:
    assert retirement(model, date(2030, 1, 1), BUNDLED) is None


def test_an_override_is_another_catalog() -> None:
    price = Price.per_million(input_usd=1, output_usd=2)
    own = BUNDLED.cards[DEFAULT_MODEL]._replace(price=price)
    catalog = BUNDLED.with_cards([own], as_of="2027-01-01")
    assert (catalog.card(DEFAULT_MODEL), BUNDLED.card(DEFAULT_MODEL)) == (
        own,
        BUNDLED.cards[DEFAULT_MODEL],
    )


@pytest.mark.parametrize(
    ("word", "listed", "meant"),
    [
        ("haiku", (), "claude-haiku-5-5"),
        ("sonnet-5", (), "claude-sonnet-5"),
        ("opus", ("claude-opus-4-6",), "claude-opus-4-6"),
        ("sonet", (), "claude-sonnet-5-5"),
        ("claude-hiaku-5-5", (), "claude-haiku-5-5"),
        ("claude haiku 4.5", (), "claude-haiku-4-5"),
        ("claude-sonnet-9", (), "claude-sonnet-5"),
        ("qwen3", ("qwen3:8b", "llama"), "qwen3:8b"),
        ("qwen3", (), None),
        ("gpt-4o", (), None),
        ("5-5", (), None),
        ("", (), None),
    ],
)
def test_an_unknown_id_stands_for_the_model_that_was_probably_meant(
    word: str, listed: tuple[str, ...], meant: str | None
) -> None:
    assert meant_model(word, BUNDLED, listed) == meant
