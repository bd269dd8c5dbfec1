"""What a run may cost: its price list, its forecast, and the question before it gets expensive."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

from claude_batch.commands.terminal import confirmed
from claude_batch.config.options import Options
from claude_batch.core.batch.reserve import BatchPrice
from claude_batch.core.catalog.catalog import BUNDLED, Catalog
from claude_batch.core.catalog.pricing import expected_cost_usd
from claude_batch.core.model.requests import Request
from claude_batch.core.model.units import dollars
from claude_batch.core.planning.costs import model_costs
from claude_batch.core.planning.workload import OutputBasis, Workload, WorkloadFold
from claude_batch.errors import UsageError
from claude_batch.storage.catalog_file import read_prices
from claude_batch.storage.prompts.workload import Expectation
from claude_batch.ui.plan_words import BASES

MOST_READ = 50_000
"""Requests that are read one by one; those of a larger file are taken to be like the first ones."""

_FAR = 3.0
"""A guess is confirmed where the most it can come to is above this many times --confirm-above."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What is left of a run: with answers of a likely length, and with the longest possible."""

    likely: Workload
    most: Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What a run will probably cost, and at most (USD), as far as prices are known."""

    likely_usd: float
    most_usd: float
    basis: OutputBasis

    def times(self, factor: float) -> Forecast:
        """Return what `factor` times as much will cost."""
        return replace(self, likely_usd=self.likely_usd * factor, most_usd=self.most_usd * factor)


def catalog_for(options: Options) -> Catalog:
    """Return the price list: the bundled one, with what --prices changes in it."""
    return BUNDLED if options.prices is None else read_prices(options.prices, BUNDLED)


def look_ahead(
    requests: Iterator[Request], total: int, expectation: Expectation, catalog: Catalog
) -> Outlook:
    """Return what `total` requests amount to, judged by the first of them."""
    likely, most = (
        WorkloadFold(output_basis=basis, catalog=catalog)
        for basis in (expectation.basis, OutputBasis.BOUND)
    )
    seen = 0
    for request in islice(requests, MOST_READ):
        seen += 1
        expected = expectation.of(request.max_tokens)
        likely.add(request.model, request.input_tokens, expected, request.terms)
        most.add(request.model, request.input_tokens, request.max_tokens, request.terms)
    scale = total / seen if seen else 0.0
    return Outlook(likely=likely.workload().times(scale), most=most.workload().times(scale))


def forecast(outlook: Outlook, catalog: Catalog, *, batch: bool) -> Forecast:
    """Return what that will cost; what has no price is left out."""
    likely, most = (
        [each.batch if batch else each.live for each in model_costs(workload, catalog)]
        for workload in (outlook.likely, outlook.most)
    )
    return Forecast(
        likely_usd=sum(each.usd or 0.0 for each in likely),
        most_usd=sum(each.high or 0.0 for each in most),
        basis=outlook.likely.output_basis,
    )


def refuse_unpriced(models: Iterable[str], catalog: Catalog) -> None:
    """Refuse to bound the cost of what has no price. Raises UsageError."""
    cards = {model: catalog.card(model) for model in models}
    unknown = sorted(model for model, card in cards.items() if card is None or card.price is None)
    if unknown:
        raise UsageError(
            f"--max-cost cannot be kept: the price of {', '.join(unknown)} is not known",
            hint="set its price with --prices FILE, or leave out --max-cost",
        )


def most_usd(
    request: Request, input_tokens: float, *, batch: bool = False, catalog: Catalog
) -> float:
    """Return the most that a request can cost with a prompt of that many tokens.

    All of its max_tokens are used, and what it marks is written to the cache. What has no price
    fits no bound.
    """
    return _at_most(request, input_tokens, request.max_tokens, batch=batch, catalog=catalog)


def batch_price(request: Request, input_tokens: float, *, catalog: Catalog) -> BatchPrice:
    """Return what a request costs in a batch, as `most_usd` does, for an answer of any length."""
    price = partial(_at_most, request, input_tokens, batch=True, catalog=catalog)
    prompt = price(0)
    return BatchPrice(prompt, 0.0 if prompt == math.inf else price(1) - prompt)


def _at_most(
    request: Request, input_tokens: float, output_tokens: int, *, batch: bool, catalog: Catalog
) -> float:
    terms = request.terms
    if terms.marked_tokens and request.input_tokens:
        share = terms.marked_tokens / request.input_tokens
        terms = replace(terms, marked_tokens=round(share * input_tokens), warm=False)
    price = expected_cost_usd(
        request.model,
        input_tokens,
        output_tokens,
        terms=terms,
        batch=batch,
        catalog=catalog,
    )
    return math.inf if price is None else price


def may_spend(found: Forecast, options: Options) -> bool:
    """Return whether the run may start: above --confirm-above the user is asked first.

    So it is for a run that is only guessed to cost less, and might cost far more.
    """
    above = options.confirm_above
    risky = found.basis is OutputBasis.GUESSED and found.most_usd > _FAR * above
    if found.likely_usd <= above and not risky:
        return True
    return confirmed(
        f"About {dollars(found.likely_usd)} (answers {BASES[found.basis]}), at most "
        f"{dollars(found.most_usd)} if they use all of their max_tokens. Continue?"
    )
