"""What a reply costs, from its own usage; exact to the last pico-dollar.

Source: API-FACTS 6. A price nobody knows is None, never zero.
"""

from __future__ import annotations

from claude_batch.core.catalog import BUNDLED, Catalog
from claude_batch.core.model import Usage
from claude_batch.core.model_card import BATCH_PRICE, PICO_DOLLARS, ModelCard, Price

_WEB_SEARCH = PICO_DOLLARS // 100
"""10 dollars for a thousand searches; no factor applies to it."""

_WHOLE = 100
_DECIMALS = 10


def cost_usd(model: str, usage: Usage, catalog: Catalog = BUNDLED) -> float | None:
    """Return the dollars one reply cost; None for a model, or a speed, of unknown price."""
    card = catalog.card(model)
    price = _price(card, usage.prompt_tokens)
    if card is None or price is None:
        return None
    short_writes = usage.cache_creation_input_tokens - usage.cache_creation_1h_input_tokens
    pico = (
        usage.input_tokens * price.input
        + short_writes * price.write_5m
        + usage.cache_creation_1h_input_tokens * price.write_1h
        + usage.cache_read_input_tokens * price.read
        + usage.output_tokens * price.output
    )
    whole = 1
    for percent in _factors(card, usage):
        if percent is None:
            return None
        pico, whole = pico * percent, whole * _WHOLE
    pico += usage.web_search_requests * _WEB_SEARCH * whole
    return round(pico / (PICO_DOLLARS * whole), _DECIMALS)


def _factors(card: ModelCard, usage: Usage) -> list[int | None]:
    """Return the percentages that apply to all tokens of a reply; None: at a price unknown."""
    factors: list[int | None] = []
    if usage.service_tier == "batch":
        factors.append(round(_WHOLE * BATCH_PRICE))
    elif usage.speed == "fast":
        factors.append(card.fast_percent)
    if usage.inference_geo == "us":
        factors.append(card.us_percent)
    return factors


def _price(card: ModelCard | None, prompt_tokens: float) -> Price | None:
    """Return the price that holds for a prompt of that length."""
    if card is None:
        return None
    long = card.long_prompt
    return card.price if long is None or prompt_tokens <= long.above_tokens else long.price


def expected_cost_usd(
    model: str,
    input_tokens: float,
    output_tokens: float,
    *,
    batch: bool = False,
    catalog: Catalog = BUNDLED,
) -> float | None:
    """Return the dollars one request will cost, uncached and anywhere; None: price unknown."""
    price = _price(catalog.card(model), input_tokens)
    if price is None:
        return None
    pico = input_tokens * price.input + output_tokens * price.output
    return pico / PICO_DOLLARS * (BATCH_PRICE if batch else 1.0)
