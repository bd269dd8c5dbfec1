"""`--cache-prefix auto`: find what the prompts of a file begin with alike, and mark its end.

A first pass counts beginnings (`PrefixCount`), `choose` picks those worth caching, and each
request that starts with one gets a single breakpoint there (`PrefixPlan`). Which beginnings are
worth it is a question of money: a write costs more than plain input, a read far less.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from claude_batch.core.catalog import BUNDLED, Catalog, model_class
from claude_batch.core.model_card import ModelCard, Tokenizer
from claude_batch.core.prefix_levels import SYSTEM, TOOLS, Level, levels, marked, sets_cache_control
from claude_batch.core.tokens import prefix_tokens

Lifetime = Literal["5m", "1h"]

MOST_CANDIDATES = 50_000
"""Beginnings remembered at once; beyond it the rarest are forgotten."""

_PERHAPS = 0.9
_SURELY = 1.1
"""The estimate may be off: from 0.9 of the model's minimum on a breakpoint is tried (one that is
too early is ignored and costs nothing), from 1.1 on its saving is promised."""

_CHARS_PER_TOKEN_AT_LEAST = 0.65
_UNKNOWN_MINIMUM = 1_024
_USUAL_READ, _WRITE_5M, _WRITE_1H = 0.1, 1.25, 2.0

BATCH_HITS = 0.75
"""The share of a batch's requests that find the entry: 30 to 98 % (API-FACTS 7). The others write
it again, at twice the price of plain input, so that a batch must share more to gain anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedPrefix:
    """A beginning that requests share: `sure` when it is certainly long enough to be cached."""

    key: int
    model: str
    tokens: float
    requests: int
    sure: bool


@dataclass(slots=True)
class _Candidate:
    """A beginning seen so far. `tokens` are estimated at the second sight, 0 until then."""

    below: int
    depth: int
    model: str
    count: int = 1
    tokens: float = 0.0


@dataclass(slots=True, kw_only=True)
class PrefixCount:
    """Counts the beginnings of one request after the other, in bounded memory."""

    catalog: Catalog = BUNDLED
    most: int = MOST_CANDIDATES
    _found: dict[int, _Candidate] = field(default_factory=dict)

    def add(self, params: Mapping[str, Any]) -> None:
        """Take in a request. One that says itself what to cache is left alone."""
        if _characters(params) < self._shortest(params["model"]) or sets_cache_control(params):
            return
        for depth, level in enumerate(levels(params)):
            known = self._found.get(level.key)
            if known is None:
                self._found[level.key] = _Candidate(level.below, depth, params["model"])
                continue
            known.count += 1
            if known.count == 2:  # noqa: PLR2004  # the second sight
                known.tokens = _tokens_up_to(level, params, self._tokenizer(params["model"]))
        if len(self._found) > self.most:
            self._forget_the_rarest()

    def _shortest(self, model: str) -> float:
        """Return the characters below which no prompt can be long enough."""
        return _minimum(self.catalog.card(model)) * _PERHAPS * _CHARS_PER_TOKEN_AT_LEAST

    def _tokenizer(self, model: str) -> Tokenizer:
        return model_class(model, self.catalog).tokenizer

    def _forget_the_rarest(self) -> None:
        """Halve what is remembered (lossy counting: what is common survives)."""
        at_most = 1
        while len(self._found) > self.most // 2:
            self._found = {key: each for key, each in self._found.items() if each.count > at_most}
            at_most *= 2

    def choose(self, lifetime: Lifetime) -> PrefixPlan:
        """Return the beginnings whose caching saves most; a request uses the longest of them."""
        chosen = _best(self._found, lifetime, self.catalog)
        return PrefixPlan(prefixes=chosen, lifetime=lifetime)


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixPlan:
    """The beginnings to be cached, and for how long."""

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
        return (body, None) if key is None else (orjson.dumps(params), key)


def _characters(params: Mapping[str, Any]) -> int:
    """Return about how long a prompt is, without looking into what is nested."""
    system = params.get("system")
    if params.get("tools") or not isinstance(system, str | None):
        return 1_000_000
    contents = [message.get("content") for message in params["messages"]]
    if not all(isinstance(content, str) for content in contents):
        return 1_000_000
    return len(system or "") + sum(map(len, contents))


def _tokens_up_to(level: Level, params: Mapping[str, Any], tokenizer: Tokenizer) -> float:
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
    return prefix_tokens(kept, tokenizer)


def _first(content: Any, block: int) -> Any:
    return content if isinstance(content, str) else content[: block + 1]


def _minimum(card: ModelCard | None) -> int:
    return _UNKNOWN_MINIMUM if card is None else card.min_cacheable_tokens


def _multiples(card: ModelCard | None, lifetime: Lifetime) -> tuple[float, float]:
    """Return what a cache read and a cache write cost, of plain input."""
    if card is None or card.price is None or not card.price.input:
        return _USUAL_READ, _WRITE_5M if lifetime == "5m" else _WRITE_1H
    price = card.price
    write = price.write_5m if lifetime == "5m" else price.write_1h
    return price.read / price.input, write / price.input


def _best(
    found: Mapping[int, _Candidate], lifetime: Lifetime, catalog: Catalog
) -> dict[int, SharedPrefix]:
    """Return the set of beginnings that saves most.

    Worked out from the longest to the shortest: for each, either its longer relatives are cached
    and it serves the requests that are left, or they are not and it serves all of them.
    """
    savings = {
        key: _Saving.of(each, lifetime, catalog) for key, each in found.items() if each.count > 1
    }
    longer: dict[int, list[int]] = {}
    for key in sorted(savings, key=lambda key: -found[key].depth):
        savings[key].settle([(child, savings[child]) for child in longer.pop(key, ())])
        longer.setdefault(found[key].below, []).append(key)
    chosen: dict[int, SharedPrefix] = {}
    waiting = [key for roots in longer.values() for key in roots]
    while waiting:
        key = waiting.pop()
        saving, candidate = savings[key], found[key]
        waiting += saving.kept
        if saving.requests:
            sure = candidate.tokens >= _SURELY * _minimum(catalog.card(candidate.model))
            chosen[key] = SharedPrefix(
                key=key,
                model=candidate.model,
                tokens=candidate.tokens,
                requests=saving.requests,
                sure=sure,
            )
    return chosen


@dataclass(slots=True, kw_only=True)
class _Saving:
    """What caching a beginning saves, in the price of that many input tokens.

    `each` is saved per request that reads it, `write` paid on top by the one that writes; `best`
    is the saving of the best choice from here on, `covered` how many requests that choice serves,
    `kept` the longer ones in it, and `requests` those that use this very beginning.
    """

    each: float
    write: float
    count: int
    best: float = 0.0
    covered: int = 0
    requests: int = 0
    kept: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, candidate: _Candidate, lifetime: Lifetime, catalog: Catalog) -> _Saving:
        card = catalog.card(candidate.model)
        read, write = _multiples(card, lifetime)
        if lifetime == "1h":
            read = BATCH_HITS * read + (1.0 - BATCH_HITS) * write
        if candidate.tokens < _PERHAPS * _minimum(card):
            return cls(each=0.0, write=0.0, count=candidate.count)
        return cls(
            each=candidate.tokens * (1.0 - read),
            write=candidate.tokens * (write - 1.0),
            count=candidate.count,
        )

    def of_requests(self, requests: int) -> float:
        """Return what it saves when so many requests use it."""
        return (requests - 1) * self.each - self.write

    def settle(self, longer: list[tuple[int, _Saving]]) -> None:
        """Choose between this beginning and the longer ones that start with it."""
        worth = [(key, each) for key, each in longer if each.best > 0.0]
        without = sum(each.best for _, each in worth)
        stay = [(key, each) for key, each in worth if each.best > each.covered * self.each]
        rest = self.count - sum(each.covered for _, each in stay)
        with_it = sum(each.best for _, each in stay) + self.of_requests(rest)
        if self.each > 0.0 and rest > 1 and with_it > 0.0 and with_it >= without:
            self.best, self.covered, self.requests = with_it, self.count, rest
            self.kept = [key for key, _ in stay]
        else:
            self.best, self.covered = without, sum(each.covered for _, each in worth)
            self.kept = [key for key, _ in worth]
