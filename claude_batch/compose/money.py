"""What a run may cost: the price list in force, and asking before it gets expensive."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import typer

from claude_batch.config import Options
from claude_batch.core.catalog import BUNDLED, Catalog
from claude_batch.core.model import Request
from claude_batch.core.pricing import expected_cost_usd
from claude_batch.errors import Exit, UsageError
from claude_batch.storage.catalog_file import read_prices

MOST_LOOKED_AT = 50_000
"""Requests whose price is worked out one by one; of a larger file, the first so many stand for
all."""

LIKELY_OUTPUT_TOKENS = 256
"""What an answer is taken to have, if `max_tokens` allows as much: nothing is known yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What a run will probably cost, and at most; `unknown` are models without a price. USD."""

    likely_usd: float
    most_usd: float
    unknown: frozenset[str]


def catalog_for(options: Options) -> Catalog:
    """Return the price list in force: ours, or with what --prices changes in it."""
    return BUNDLED if options.prices is None else read_prices(options.prices)


def forecast(requests: Iterator[Request], total: int, catalog: Catalog, *, batch: bool) -> Forecast:
    """Return what `total` requests will cost, judged by the first of them."""
    likely = most = 0.0
    seen = 0
    unknown: set[str] = set()
    for request in islice(requests, MOST_LOOKED_AT):
        seen += 1
        outputs = (min(LIKELY_OUTPUT_TOKENS, request.max_tokens), request.max_tokens)
        usual, bound = (
            expected_cost_usd(
                request.model, request.input_tokens, output, batch=batch, catalog=catalog
            )
            for output in outputs
        )
        if usual is None or bound is None:
            unknown.add(request.model)
            continue
        likely, most = likely + usual, most + bound
    scale = total / seen if seen else 0.0
    return Forecast(likely_usd=likely * scale, most_usd=most * scale, unknown=frozenset(unknown))


def refuse_unpriced(found: Forecast) -> None:
    """Refuse to bound the cost of what has no price."""
    if found.unknown:
        names = ", ".join(sorted(found.unknown))
        raise UsageError(
            f"--max-cost cannot be kept: the price of {names} is not known",
            hint="give its price with --prices FILE, or leave --max-cost out",
        )


def ask_if_expensive(found: Forecast, options: Options) -> None:
    """Ask before more than --confirm-above is spent; leaves when refused."""
    if found.likely_usd <= options.confirm_above:
        return
    question = (
        f"This will cost about {found.likely_usd:,.2f} USD (at most {found.most_usd:,.2f}, if "
        "every answer uses all of its max_tokens). Go on?"
    )
    if not typer.confirm(question, err=True):
        raise typer.Exit(Exit.BOUNDED)
