"""What a batch reserves of --max-cost: its prompts, and answers as long as those seen so far."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from claude_batch.core.model.requests import Request

SHARE = 0.99
"""This share of the answers seen so far was no longer than what is reserved for an answer."""

ENOUGH = 100
"""Answers that have a 99th percentile; before, all of max_tokens is reserved."""


class BatchPrice(NamedTuple):
    """What a request costs in a batch: its prompt, and each output token (USD)."""

    input_usd: float
    token_usd: float

    def usd(self, output_tokens: float) -> float:
        """Return the price with an answer of that length."""
        return self.input_usd + self.token_usd * output_tokens


@dataclass(slots=True)
class AnswerLengths:
    """The lengths of the answers seen so far, in output tokens."""

    _counts: Counter[int] = field(default_factory=Counter)
    _total: int = 0
    _usual: float | None = None

    def add(self, tokens: int) -> None:
        """Count one more answer."""
        self._counts[tokens] += 1
        self._total += 1
        self._usual = None

    @property
    def usual(self) -> float:
        """Their 99th percentile; inf before there are enough."""
        if self._usual is None:
            self._usual = self._percentile()
        return self._usual

    def _percentile(self) -> float:
        if self._total < ENOUGH:
            return math.inf
        seen = 0
        for tokens in sorted(self._counts):
            seen += self._counts[tokens]
            if seen >= SHARE * self._total:
                break
        return tokens


@dataclass(slots=True)
class Reserve:
    """The price of a chunk's requests; `_token_usd` is per output token, by max_tokens.

    What they cost with answers of up to `_most_tokens` is kept: it is asked for with each request.
    """

    input_usd: float = 0.0
    _token_usd: dict[int, float] = field(default_factory=dict)
    _most_tokens: float = math.inf
    _usd: float = 0.0

    def add(self, price: BatchPrice, max_tokens: int) -> None:
        """Add a request."""
        self.input_usd += price.input_usd
        self._token_usd[max_tokens] = self._token_usd.get(max_tokens, 0.0) + price.token_usd
        self._usd += price.usd(min(max_tokens, self._most_tokens))

    def usd(self, most_tokens: float = math.inf) -> float:
        """Return what they cost if no answer is longer than `most_tokens`."""
        if most_tokens != self._most_tokens:
            answers = (min(most, most_tokens) * usd for most, usd in self._token_usd.items())
            self._most_tokens, self._usd = most_tokens, self.input_usd + sum(answers)
        return self._usd


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What a chunk may cost: the price of each request, and whether the limit on cost allows it."""

    price: Callable[[Request], BatchPrice]
    can_afford: Callable[[float], bool]
    lengths: AnswerLengths

    def has_room(self, reserve: Reserve, price: BatchPrice, max_tokens: int) -> bool:
        """Return whether one more request can be afforded."""
        usual = self.lengths.usual
        return self.can_afford(reserve.usd(usual) + price.usd(min(max_tokens, usual)))
