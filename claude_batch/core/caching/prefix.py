"""`--cache-prefix auto`: find the prefixes that prompts share, choose, and mark the end of each.

A first pass counts prefixes (`PrefixCount`), `choose` picks those worth caching, and each request
that starts with one gets a single breakpoint there (`PrefixPlan`). Which are worth it is a
question of money: a write costs more than plain input, a read far less, and an entry that expires
is written again. Source: docs/claude-api.md, Models and prices, Prompt caching.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from claude_batch.core.caching.breakpoints import (
    SYSTEM,
    TOOLS,
    Level,
    levels,
    marked,
    sets_cache_control,
)
from claude_batch.core.catalog.catalog import Catalog
from claude_batch.core.catalog.model_card import BATCH_PRICE, PICO_DOLLARS, ModelCard
from claude_batch.core.model.raw_json import dumped
from claude_batch.core.tokens.estimator import prefix_tokens

Lifetime = Literal["5m", "1h"]
"""How long an entry lives: 5 minutes in live mode, an hour in batches."""

MARKED_FROM = 0.9
PROMISED_FROM = 1.1
"""The estimate of a length may be off: from 0.9 of the model's minimum on a breakpoint is set (one
that is too early is ignored and costs nothing), from 1.1 on its saving is promised."""

BATCH_HITS = 0.75
"""The share of a batch's requests that find the entry (docs/claude-api.md#prompt-caching).
The others write it again, at twice the price of input: a batch must share more to gain anything."""

MOST_CANDIDATES = 50_000
"""Prefixes remembered at once; beyond it the rarest are forgotten."""

REACH = 1_000
"""An entry that no request has used for this many others is taken to have expired: 5 minutes at
200 requests per minute."""

_UNKNOWN_MINIMUM = 1_024
_USUAL_READ, _WRITE_5M, _WRITE_1H = 0.1, 1.25, 2.0
"""Prices of an unknown model's cache, in multiples of its input."""

_FEWEST_CHARS_PER_TOKEN = 0.65


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedPrefix:
    """A prefix that requests share, to be cached for `lifetime`.

    `writes` of the `requests` pay the write: the first, and each that finds no entry. `sure`: the
    prefix is certainly long enough to be cached.
    """

    key: int
    model: str
    tokens: float
    requests: int
    writes: float
    lifetime: Lifetime
    sure: bool

    @property
    def read_tokens(self) -> float:
        """Tokens that are read from the cache instead of being paid in full."""
        return self.tokens * (self.requests - self.writes)

    def saving_usd(self, catalog: Catalog) -> float | None:
        """Return what caching it saves, writes paid; None: a price is not known."""
        card = catalog.card(self.model)
        if card is None or card.price is None:
            return None
        price = card.price
        write, factor = price.write_5m, 1.0
        if self.lifetime == "1h":
            write, factor = price.write_1h, BATCH_PRICE
        extra = self.tokens * self.writes * (write - price.input)
        saved = self.read_tokens * (price.input - price.read) - extra
        return factor * saved / PICO_DOLLARS


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixReport:
    """What is cached: this many prefixes, which this many requests share.

    `tokens` will surely be read from the cache instead of being paid in full, which saves
    `saving_usd`, writes paid; None while a price is not known.
    """

    prefixes: int
    requests: int
    tokens: int
    saving_usd: float | None


def report(prefixes: Iterable[SharedPrefix], catalog: Catalog) -> PrefixReport:
    """Return what caching these will come to."""
    prefixes = tuple(prefixes)
    sure = [each for each in prefixes if each.sure]
    savings = [each.saving_usd(catalog) for each in sure]
    known = [saving for saving in savings if saving is not None]
    return PrefixReport(
        prefixes=len(prefixes),
        requests=sum(each.requests for each in prefixes),
        tokens=round(sum(each.read_tokens for each in sure)),
        saving_usd=sum(known) if len(known) == len(savings) else None,
    )


@dataclass(slots=True, kw_only=True)
class Candidate:
    """A prefix seen so far. `tokens` are estimated at the second sight, 0 until then.

    `shorter` is the key of the next shorter one, `depth` how many shorter ones there are, `last`
    the number of the request that had it last.
    """

    shorter: int
    depth: int
    model: str
    last: int
    count: int = 1
    writes: int = 1
    tokens: float = 0.0

    def record(self, number: int, reach: int) -> None:
        """Note that request `number` has it; after a gap of more than `reach` it is written."""
        self.count += 1
        self.writes += number - self.last > reach
        self.last = number


@dataclass(slots=True, kw_only=True)
class PrefixCount:
    """Counts the prefixes of one request after the other, in bounded memory."""

    catalog: Catalog
    most: int = MOST_CANDIDATES
    _found: dict[int, Candidate] = field(default_factory=dict)
    _seen: int = 0

    def add(self, params: Mapping[str, Any]) -> None:
        """Take in the next request. One that sets its own breakpoints is left alone."""
        self._seen += 1
        if _characters(params) < self._shortest(params["model"]) or sets_cache_control(params):
            return
        for depth, level in enumerate(levels(params)):
            known = self._found.get(level.key)
            if known is None:
                self._found[level.key] = Candidate(
                    shorter=level.shorter, depth=depth, model=params["model"], last=self._seen
                )
                continue
            known.record(self._seen, REACH)
            if known.count == 2:  # noqa: PLR2004  # the second sight
                known.tokens = tokens_up_to(level, params, self.catalog)
        if len(self._found) > self.most:
            self._forget_the_rarest()

    def _shortest(self, model: str) -> float:
        """Return the characters below which no prompt can be long enough."""
        return minimum(self.catalog.card(model)) * MARKED_FROM * _FEWEST_CHARS_PER_TOKEN

    def _forget_the_rarest(self) -> None:
        """Halve what is remembered (lossy counting: what is common survives)."""
        at_most = 1
        while len(self._found) > self.most // 2:
            self._found = {key: each for key, each in self._found.items() if each.count > at_most}
            at_most *= 2

    def choose(self, lifetime: Lifetime) -> PrefixPlan:
        """Return the prefixes whose caching saves most; a request uses the longest of them."""
        return PrefixPlan(
            prefixes=_most_saving(self._found, lifetime, self.catalog), lifetime=lifetime
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixPlan:
    """The prefixes to be cached, and for how long."""

    prefixes: Mapping[int, SharedPrefix]
    lifetime: Lifetime

    def mark(self, params: Mapping[str, Any]) -> tuple[Mapping[str, Any], int | None]:
        """Return params with a breakpoint and the prefix's key; untouched, and None, without."""
        if not self.prefixes or sets_cache_control(params):
            return params, None
        longest = None
        for level in levels(params):
            if level.key in self.prefixes:
                longest = level
        if longest is None:
            return params, None
        return marked(params, longest, self.lifetime), longest.key

    def apply(self, body: bytes) -> tuple[bytes, int | None]:
        """Do the same to params as compact JSON. What is not touched comes back byte for byte."""
        if not self.prefixes:
            return body, None
        params, key = self.mark(orjson.loads(body))
        return (body, None) if key is None else (dumped(params), key)


def minimum(card: ModelCard | None) -> int:
    """Return the tokens below which a model's prefix is not cached."""
    return _UNKNOWN_MINIMUM if card is None else card.min_cacheable_tokens


def tokens_up_to(level: Level, params: Mapping[str, Any], catalog: Catalog) -> float:
    """Return the estimated tokens of what lies before a breakpoint at `level`."""
    kept: dict[str, Any] = {name: params.get(name) for name in ("model", "tool_choice")}
    tools, system = params.get("tools"), params.get("system")
    kept["tools"] = tools[: level.block + 1] if tools and level.message == TOOLS else tools
    if level.message == SYSTEM:
        kept["system"] = _first(system, level.block)
    elif level.message > SYSTEM:
        messages = list(params["messages"][: level.message + 1])
        last = messages[-1]
        messages[-1] = {**last, "content": _first(last["content"], level.block)}
        kept["system"], kept["messages"] = system, messages
    return prefix_tokens(kept, catalog)


def _first(content: Any, block: int) -> Any:
    return content if isinstance(content, str) else content[: block + 1]


def _characters(params: Mapping[str, Any]) -> int:
    """Return about how long a prompt is, without looking into what is nested."""
    system = params.get("system")
    if params.get("tools") or not isinstance(system, str | None):
        return 1_000_000
    contents = [message.get("content") for message in params["messages"]]
    if not all(isinstance(content, str) for content in contents):
        return 1_000_000
    return len(system or "") + sum(map(len, contents))


def _most_saving(
    found: Mapping[int, Candidate], lifetime: Lifetime, catalog: Catalog
) -> dict[int, SharedPrefix]:
    """Return the set of prefixes that saves most.

    Worked out from the longest to the shortest: for each, either longer ones that start with it
    are cached and it serves the requests that are left, or they are not and it serves all of them.
    """
    savings = {
        key: _Saving.of(each, lifetime, catalog) for key, each in found.items() if each.count > 1
    }
    longer: dict[int, list[int]] = {}
    for key in sorted(savings, key=lambda key: -found[key].depth):
        savings[key].settle([(child, savings[child]) for child in longer.pop(key, ())])
        longer.setdefault(found[key].shorter, []).append(key)
    chosen: dict[int, SharedPrefix] = {}
    waiting = [key for roots in longer.values() for key in roots]
    while waiting:
        key = waiting.pop()
        saving, candidate = savings[key], found[key]
        waiting += saving.kept
        if saving.requests:
            chosen[key] = SharedPrefix(
                key=key,
                model=candidate.model,
                tokens=candidate.tokens,
                requests=saving.requests,
                writes=expected_writes(saving.requests, candidate.writes, lifetime),
                lifetime=lifetime,
                sure=candidate.tokens >= PROMISED_FROM * minimum(catalog.card(candidate.model)),
            )
    return chosen


def expected_writes(requests: int, writes: int, lifetime: Lifetime) -> float:
    """Return how many of `requests` pay the write; `writes` of them in the order of the file.

    In a batch neither the order is known nor which requests find the entry.
    """
    if lifetime == "5m":
        return min(writes, requests)
    return 1.0 + (requests - 1) * (1.0 - BATCH_HITS)


def _multiples(card: ModelCard | None, lifetime: Lifetime) -> tuple[float, float]:
    """Return what a cache read and a cache write cost, of plain input."""
    if card is None or card.price is None or not card.price.input:
        return _USUAL_READ, _WRITE_5M if lifetime == "5m" else _WRITE_1H
    price = card.price
    write = price.write_5m if lifetime == "5m" else price.write_1h
    return price.read / price.input, write / price.input


@dataclass(slots=True, kw_only=True)
class _Saving:
    """What caching a prefix saves, in the price of that many input tokens.

    Each request that uses it saves `per_request`, but for `writes` of them that pay `per_write` on
    top instead. `best` is the saving of the best choice among this prefix and the longer ones that
    start with it, `covered` how many requests that choice serves, `kept` the longer ones in it,
    and `requests` those that use this very prefix.
    """

    per_request: float
    per_write: float
    count: int
    writes: int = 1
    best: float = 0.0
    covered: int = 0
    requests: int = 0
    kept: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, candidate: Candidate, lifetime: Lifetime, catalog: Catalog) -> _Saving:
        card = catalog.card(candidate.model)
        read, write = _multiples(card, lifetime)
        if lifetime == "1h":
            read = BATCH_HITS * read + (1.0 - BATCH_HITS) * write
        tokens = candidate.tokens if candidate.tokens >= MARKED_FROM * minimum(card) else 0.0
        return cls(
            per_request=tokens * (1.0 - read),
            per_write=tokens * (write - 1.0),
            count=candidate.count,
            writes=candidate.writes if lifetime == "5m" else 1,
        )

    def of_requests(self, requests: int) -> float:
        """Return what it saves when that many requests use it."""
        return (requests - self.writes) * self.per_request - self.writes * self.per_write

    def settle(self, longer: list[tuple[int, _Saving]]) -> None:
        """Choose between this prefix and the longer ones that start with it."""
        worth = [(key, each) for key, each in longer if each.best > 0.0]
        without = sum(each.best for _, each in worth)
        stay = [(key, each) for key, each in worth if each.best > each.covered * self.per_request]
        rest = self.count - sum(each.covered for _, each in stay)
        with_it = sum(each.best for _, each in stay) + self.of_requests(rest)
        if self.per_request > 0.0 and rest > 1 and with_it > 0.0 and with_it >= without:
            self.best, self.covered, self.requests = with_it, self.count, rest
            self.kept = [key for key, _ in stay]
        else:
            self.best, self.covered = without, sum(each.covered for _, each in worth)
            self.kept = [key for key, _ in worth]
