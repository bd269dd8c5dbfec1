"""What is known of models: which limits they share, how they count tokens, what they cost.

An unknown id is a model, too: of a class of its own, without assumed limits, and of unknown price.
All functions take a `Catalog`: `BUNDLED`, which comes with the program, or with --prices another.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import NamedTuple

from claude_batch.core.catalog.data import AS_OF, MODELS, OWN_LIMITS, TIERS, USUAL_LIMITS
from claude_batch.core.catalog.model_card import ModelCard, ModelClass, Tier, Tokenizer
from claude_batch.core.model.account import NO_LIMITS, Limits
from claude_batch.core.model.typos import nearest

DEFAULT_MODEL = "claude-haiku-5-5"
DEFAULT_MAX_TOKENS = 1024

NOTICE_DAYS = 60
"""Days before a model's retirement from which on it is warned of."""

_NEW_STYLE = re.compile(
    r"claude-([a-z]+)-(\d{1,2})(?:[-.](\d{1,2}))?"
    r"(?![a-z\d]|[-.]\d{1,2}(?!\d))"  # 5-5x and 5-5-5 are slips; a date may follow
)
_OLD_STYLE = re.compile(r"claude-(\d{1,2})(?:[-.](\d{1,2}))?-([a-z]+)")
_UNNUMBERED = re.compile(r"claude-[a-z]+-preview")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Catalog:
    """Cards by model id. Catalogs compare by identity: lookups are cached."""

    as_of: str
    cards: Mapping[str, ModelCard]

    def card(self, model: str) -> ModelCard | None:
        """Return the card of a model id, in any platform's spelling; None: not known."""
        return _card(self, model)

    def with_cards(self, cards: Iterable[ModelCard], *, as_of: str) -> Catalog:
        """Return a catalog in which `cards` replace, or join, those of this one."""
        return replace(self, as_of=as_of, cards=dict(self.cards) | {c.id: c for c in cards})


def catalog_of(cards: Iterable[ModelCard], *, as_of: str) -> Catalog:
    """Return a catalog of these cards."""
    return Catalog(as_of=as_of, cards={card.id: card for card in cards})


BUNDLED = catalog_of(MODELS, as_of=AS_OF)
"""The catalog that comes with the program."""


@lru_cache(maxsize=4096)
def _card(catalog: Catalog, model: str) -> ModelCard | None:
    return catalog.cards.get(model) or catalog.cards.get(canonical(model))


def canonical(model: str) -> str:
    """Return the id a model goes by at Anthropic, without date, platform or version marks.

    `us.anthropic.claude-haiku-4-5-20251001-v1:0`, `claude-haiku-4-5@20251001`,
    `anthropic/claude-haiku-4.5` and `claude-4-5-haiku-latest` are all `claude-haiku-4-5`;
    an id that names no Claude comes back as it is.
    """
    if found := _UNNUMBERED.search(model):
        return found[0]
    if found := _NEW_STYLE.search(model):
        line, major, minor = found.groups()
    elif found := _OLD_STYLE.search(model):
        major, minor, line = found.groups()
    else:
        return model
    return f"claude-{line}-{major}" if minor in {None, "0"} else f"claude-{line}-{major}-{minor}"


def meant_model(word: str, catalog: Catalog, listed: Collection[str] = ()) -> str | None:
    """Return the model that an unknown id probably stands for, of the catalog or of those listed.

    A typo, an id without its beginning, or the first one of a family: `haiku` is the newest Haiku.
    """
    sold = [model for model, card in catalog.cards.items() if card.price is not None]
    sold.sort(key=lambda model: model not in listed)
    known = list(dict.fromkeys([*sold, *listed]))
    if f"claude-{word}" in known:
        return f"claude-{word}"
    words = dict.fromkeys(part for model in known for part in _PARTS.findall(model.lower()))
    parts = {(*nearest(part, words, most=1), part)[0] for part in _PARTS.findall(word.lower())}
    if any(len(part) >= _LEAST_LETTERS for part in parts - {"claude"}):
        for model in known:
            if parts <= {*_PARTS.findall(model.lower())}:
                return model
    return next(iter(nearest(word, known, most=1)), None)


_PARTS = re.compile(r"[a-z]+|[0-9]+")
_LEAST_LETTERS = 3


@lru_cache(maxsize=1024)
def model_class(model: str, catalog: Catalog) -> ModelClass:
    """Return the class of a model id; an unknown model is a class of its own."""
    card = catalog.card(model)
    if card is not None:
        return card.model_class
    return ModelClass(name=model, tokenizer=Tokenizer.NEW, takes_sampling=True)


def tier_limits(tier: str | None, model: str, catalog: Catalog) -> Limits:
    """Return the published limits of a model: none without a tier, or for an unknown model.

    Of a class that is named after its only model no limits have been published.
    """
    card = catalog.card(model)
    if tier is None or card is None or card.model_class.name == card.id:
        return NO_LIMITS
    return OWN_LIMITS.get(card.model_class.name, USUAL_LIMITS)[tier]


def tier_of(name: str) -> Tier:
    """Return what the tier of that name allows besides Messages. Raises KeyError."""
    return {tier.name: tier for tier in TIERS}[name]


def day_of(wall: float) -> date:
    """Return the day, in UTC, of a time in seconds since 1970."""
    return datetime.fromtimestamp(wall, UTC).date()


class Retirement(NamedTuple):
    """The end of a model that is near or over: its date, and the days until then."""

    model: str
    date: str
    days: int


def retirement(model: str, today: date, catalog: Catalog) -> Retirement | None:
    """Return a model's end, if that is near or over."""
    card = catalog.card(model)
    if card is None or card.retires is None:
        return None
    days = (date.fromisoformat(card.retires) - today).days
    if days > NOTICE_DAYS:
        return None
    return Retirement(model, card.retires, days)
