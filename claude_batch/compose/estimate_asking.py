"""What `estimate` asks the API: exact counts of some lines, and the limits."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from claude_batch.compose.accounts import counting_of
from claude_batch.compose.api import Api
from claude_batch.compose.probing import Probe, one_per_class, probe, remedy
from claude_batch.config import Settings
from claude_batch.core.catalog import model_class, tier_of
from claude_batch.core.count_sample import Chosen
from claude_batch.core.limits import Limits
from claude_batch.engine.counting import Counts, count_lines
from claude_batch.storage.prompts import Defaults, read_requests

if TYPE_CHECKING:
    from claude_batch.transport.opening import EndpointTransport

ASSUMED_TIER = "start"
"""The lowest: what is said of it holds for everybody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inquiry:
    """What to ask: to count the lines of `chosen`, and the limits of `models`."""

    settings: Settings
    sandbox: bool
    scenario: Path | None
    prompts: Path
    defaults: Defaults
    chosen: tuple[Chosen, ...]
    models: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """What the API told: counted lines, limits by model class, how fast it is.

    `notes` say what it did not tell, and why.
    """

    counts: Counts = field(default_factory=Counts)
    limits: Mapping[str, Limits] = field(default_factory=dict)
    first_token_s: float | None = None
    notes: tuple[str, ...] = ()


def ask(inquiry: Inquiry) -> Learned:
    """Ask the first endpoint; nothing at all if there is nothing to ask."""
    if not (inquiry.chosen or inquiry.models):
        return Learned()
    settings = inquiry.settings
    with Api(
        options=settings.options,
        endpoints=settings.endpoints,
        sandbox=inquiry.sandbox,
        scenario=inquiry.scenario,
    ) as api:
        api.open()
        return asyncio.run(_asked(api.transport, inquiry))


async def _asked(transport: EndpointTransport, inquiry: Inquiry) -> Learned:
    catalog = inquiry.defaults.catalog
    try:
        counts, notes = await _count(transport, inquiry) if inquiry.chosen else (Counts(), ())
        probes = await probe(transport, one_per_class(inquiry.models, catalog))
    finally:
        await transport.close()
    return Learned(
        counts=counts,
        limits={model_class(each.model, catalog).name: each.limits for each in probes if each.told},
        first_token_s=min((each.seconds for each in probes if not each.failure), default=None),
        notes=(*notes, *_unlearned(probes)),
    )


def _unlearned(probes: Sequence[Probe]) -> Iterator[str]:
    """Yield why the limits of a model could not be learned."""
    for each in probes:
        if each.failure is not None:
            yield f"{each.model}: {each.failure.message}: {remedy(each.failure)}"
        elif not each.told:
            yield f"{each.model}: the endpoint does not tell its limits: the tier's are taken"


async def _count(transport: EndpointTransport, inquiry: Inquiry) -> tuple[Counts, tuple[str, ...]]:
    """Return the counted lines, and why some could not be counted."""
    account = counting_of(transport)
    if account is None or not transport.abilities.count_tokens:
        return Counts(), ("this endpoint counts no tokens: the estimate is not calibrated",)
    lines = {each.line for each in inquiry.chosen}
    requests = read_requests(inquiry.prompts, inquiry.defaults, skip=lambda line: line not in lines)
    tier = tier_of(inquiry.settings.options.tier or ASSUMED_TIER)
    counts = await count_lines(
        requests, inquiry.chosen, account.count_tokens, per_minute=tier.count_tokens_per_minute
    )
    if counts.failure is None:
        return counts, ()
    left = len(lines) - counts.lines
    what = f"{left:,} of {len(lines):,} lines could not be counted: {counts.failure.message}"
    return counts, (f"{what}: {remedy(counts.failure)}",)
