"""Results of a run added up for a report: how they ended, what they used, and a sample of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from claude_batch.core.model.answers import error_text
from claude_batch.core.model.requests import UNFINISHED, ResultType, read_usage

_MOST_USD = 1e9
"""A cost of one result beyond this is damage, and not added up."""

_MOST_KINDS = 1_000
"""Models, endpoints and kinds of errors that are told apart; more would fill memory and page."""

OTHERS = "others"
"""Stands for the kinds beyond that."""


class ResultLine(NamedTuple):
    """A result line as far as a report needs it; `value` is the whole line, parsed."""

    custom_id: str
    line: int | None
    type: ResultType
    value: Mapping[str, Any]

    @property
    def meta(self) -> Mapping[str, Any]:
        """What claude-batch wrote of the request."""
        meta = self.value.get("meta")
        return meta if type(meta) is dict else {}

    @property
    def message(self) -> Mapping[str, Any]:
        """The API's message; empty without one."""
        message = self.value["result"].get("message")
        return message if type(message) is dict else {}

    @property
    def stop_reason(self) -> str:
        """Why the answer ended; empty without one."""
        return text_in(self.message, "stop_reason")

    @property
    def is_cut(self) -> bool:
        """Whether it succeeded, but is not what was asked for: cut off, refused, off its schema."""
        broken = self.meta.get("output_error") is not None
        return self.type is ResultType.SUCCEEDED and (broken or self.stop_reason in UNFINISHED)


@dataclass(slots=True)
class ModelFigures:
    """Results of one model, their tokens and cost."""

    results: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None


@dataclass(slots=True)
class ErrorFigures:
    """Results that failed for one cause, and the first of them."""

    results: int = 0
    custom_id: str = ""
    what: str = ""


@dataclass(slots=True)
class ResultFigures:
    """All results of a run added up. What came from a cache has used nothing."""

    ended: Counter[ResultType] = field(default_factory=Counter)
    stops: Counter[str] = field(default_factory=Counter)
    endpoints: Counter[str] = field(default_factory=Counter)
    models: dict[str, ModelFigures] = field(default_factory=dict)
    errors: dict[str, ErrorFigures] = field(default_factory=dict)
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None
    cached: int = 0
    degraded: int = 0
    off_schema: int = 0
    tried_again: int = 0

    @property
    def done(self) -> int:
        """Requests with a result."""
        return self.ended.total()

    @property
    def failed(self) -> int:
        """Requests whose result is not a success."""
        return self.done - self.ended[ResultType.SUCCEEDED]

    @property
    def unfinished(self) -> int:
        """Answers that were refused or cut off."""
        return sum(self.stops[reason] for reason in UNFINISHED)

    def add(self, result: ResultLine) -> None:
        """Count one more result."""
        meta, message = result.meta, result.message
        self.ended[result.type] += 1
        self.endpoints[_kind(self.endpoints, text_in(meta, "endpoint"))] += 1
        self.cached += meta.get("cached") is True
        self.degraded += meta.get("degraded") is True
        attempts = meta.get("attempts")
        self.tried_again += type(attempts) is int and attempts > 1
        if result.type is ResultType.SUCCEEDED:
            self.stops[_kind(self.stops, result.stop_reason or "not known")] += 1
            self.off_schema += meta.get("output_error") is not None
            self._add_usage(meta, message)
        else:
            self._add_error(result)

    def _add_usage(self, meta: Mapping[str, Any], message: Mapping[str, Any]) -> None:
        usage = read_usage(None if meta.get("cached") is True else message.get("usage"))
        name = _kind(self.models, text_in(message, "model") or "not known")
        model = self.models.setdefault(name, ModelFigures())
        model.results += 1
        model.input_tokens += usage.prompt_tokens
        model.output_tokens += usage.output_tokens
        self.input_tokens += usage.prompt_tokens
        self.output_tokens += usage.output_tokens
        cost_usd = meta.get("cost_usd")
        if isinstance(cost_usd, int | float) and 0 <= cost_usd < _MOST_USD:
            model.cost_usd = (model.cost_usd or 0.0) + cost_usd
            self.cost_usd = (self.cost_usd or 0.0) + cost_usd

    def _add_error(self, result: ResultLine) -> None:
        what = error_text(result.value["result"]) or result.type.value
        name = _kind(self.errors, what.partition(":")[0] or result.type.value)
        error = self.errors.get(name)
        if error is None:
            error = self.errors[name] = ErrorFigures(0, result.custom_id, what)
        error.results += 1


def _kind(known: Mapping[str, Any], name: str) -> str:
    return name if name in known or len(known) < _MOST_KINDS else OTHERS


def text_in(values: Mapping[str, Any], name: str) -> str:
    """Return the text under a key; empty where there is none."""
    value = values.get(name)
    return value if isinstance(value, str) else ""


@dataclass(slots=True, kw_only=True)
class Sample:
    """A few results of each sort, drawn so that each had the same chance (reservoir sampling).

    `most` are kept of those that failed, of those that are cut off, and of the others; `shorten`
    makes what is kept of a result. `draw` gives numbers in [0, 1).
    """

    most: tuple[int, int, int]
    shorten: Callable[[ResultLine], Any]
    draw: Callable[[], float]
    seen: list[int] = field(default_factory=lambda: [0, 0, 0])
    _kept: tuple[list[Any], list[Any], list[Any]] = field(default_factory=lambda: ([], [], []))

    def add(self, result: ResultLine) -> None:
        """Keep a result, or not."""
        sort = 2
        if result.type is not ResultType.SUCCEEDED:
            sort = 0
        elif result.is_cut:
            sort = 1
        kept, most = self._kept[sort], self.most[sort]
        self.seen[sort] += 1
        if len(kept) < most:
            kept.append(self.shorten(result))
        elif (place := int(self.draw() * self.seen[sort])) < most:
            kept[place] = self.shorten(result)

    def __iter__(self) -> Iterator[Any]:
        """Yield what was kept: failures first, then what is cut off."""
        for kept in self._kept:
            yield from kept
