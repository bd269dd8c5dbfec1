"""Results of a run added up for a report: how they ended, what they used, and a sample of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from claude_batch.core.model.answers import error_text
from claude_batch.core.model.requests import MOST_TOKENS, UNFINISHED, ResultType
from claude_batch.core.scheduling.progress import Tally

_MOST_USD = 1e9
"""A cost of one result beyond this is damage, and not added up."""

_MOST_KINDS = 1_000
"""Models, endpoints and kinds of errors that are listed at most; more would fill the page."""

OTHERS = "others"
"""Stands for the kinds beyond that."""

NOT_KNOWN = "not known"
"""Stands for a model or a stop reason that a line does not have."""

_NOTHING: Mapping[str, Any] = {}


class ResultLine(NamedTuple):
    """A result line as far as a report needs it; `value` is the whole line, parsed.

    `meta` is what claude-batch wrote of the request, `message` the API's; both empty where there
    is none. `is_cut`: it succeeded, but is not what was asked for: cut off, refused, off its
    schema. A tuple, since a report of a large run makes a million of them.
    """

    custom_id: str
    line: int | None
    type: ResultType
    value: Mapping[str, Any]
    meta: Mapping[str, Any]
    message: Mapping[str, Any]
    stop_reason: str
    is_cut: bool

    @classmethod
    def of(cls, custom_id: str, kind: ResultType, value: Mapping[str, Any]) -> ResultLine | None:
        """Return the result in a line with this id; None where its line number is none."""
        meta, message = value.get("meta"), value["result"].get("message")
        if type(meta) is not dict:
            meta = _NOTHING
        if type(message) is not dict:
            message = _NOTHING
        line, reason = meta.get("line"), message.get("stop_reason")
        if line is not None and not (type(line) is int and line > 0):
            return None
        if type(reason) is not str:
            reason = ""
        succeeded = kind is ResultType.SUCCEEDED
        is_cut = succeeded and (reason in UNFINISHED or meta.get("output_error") is not None)
        return cls(custom_id, line, kind, value, meta, message, reason, is_cut)


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
    priced: int = 0

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
        meta = result.meta
        self.ended[result.type] += 1
        endpoint = meta.get("endpoint")
        self.endpoints[_kind(self.endpoints, endpoint if type(endpoint) is str else "")] += 1
        cached, attempts = meta.get("cached") is True, meta.get("attempts")
        self.cached += cached
        self.degraded += meta.get("degraded") is True
        self.tried_again += type(attempts) is int and attempts > 1
        if result.type is ResultType.SUCCEEDED:
            self.stops[_kind(self.stops, result.stop_reason or NOT_KNOWN)] += 1
            self.off_schema += meta.get("output_error") is not None
            self._add_usage(result, cached=cached)
        else:
            self._add_error(result)

    def _add_usage(self, result: ResultLine, *, cached: bool) -> None:
        name = result.message.get("model")
        if type(name) is not str:
            name = NOT_KNOWN
        model = self.models.get(name)
        if model is None:
            model = self.models.setdefault(_kind(self.models, name), ModelFigures())
        model.results += 1
        read, written = (0, 0) if cached else _tokens(result.message.get("usage"))
        model.input_tokens += read
        model.output_tokens += written
        self.input_tokens += read
        self.output_tokens += written
        cost_usd: Any = result.meta.get("cost_usd")
        if type(cost_usd) in {int, float} and 0 <= cost_usd < _MOST_USD:
            model.cost_usd = (model.cost_usd or 0.0) + cost_usd
            self.cost_usd = (self.cost_usd or 0.0) + cost_usd
            self.priced += 1

    @property
    def tally(self) -> Tally:
        """The same figures as those of a run in progress."""
        return Tally(
            ended=Counter(self.ended),
            priced=self.priced,
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            cost_usd=self.cost_usd,
            degraded=self.degraded,
            output_errors=self.off_schema,
            stops=Counter({name: n for name, n in self.stops.items() if name in UNFINISHED}),
        )

    def _add_error(self, result: ResultLine) -> None:
        what = error_text(result.value["result"]) or result.type.value
        name = _kind(self.errors, what.partition(":")[0] or result.type.value)
        error = self.errors.get(name)
        if error is None:
            error = self.errors[name] = ErrorFigures(0, result.custom_id, what)
        error.results += 1


def _tokens(usage: Any) -> tuple[int, int]:
    """Return the tokens of the whole prompt and of the answer; 0 where they cannot be read."""
    try:
        read = (
            (usage.get("input_tokens") or 0)
            + (usage.get("cache_creation_input_tokens") or 0)
            + (usage.get("cache_read_input_tokens") or 0)
        )
        written = usage.get("output_tokens") or 0
        plausible = 0 <= read < MOST_TOKENS and 0 <= written < MOST_TOKENS
    except (TypeError, AttributeError):
        return 0, 0
    return (read, written) if plausible and type(read) is type(written) is int else (0, 0)


def _kind(known: Mapping[str, Any], name: str) -> str:
    return name if name in known or len(known) < _MOST_KINDS else OTHERS


def text_in(values: Mapping[str, Any], name: str) -> str:
    """Return the text under a key; empty where there is none."""
    value = values.get(name)
    return value if isinstance(value, str) else ""


@dataclass(slots=True, kw_only=True)
class Sampled:
    """One result of the sample, from `file`. `prompt` is None while it is not known."""

    custom_id: str
    line: int | None
    status: str
    answer: str
    error: str | None
    stop_reason: str
    model: str
    endpoint: str
    attempts: int | None
    latency_s: float | None
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None
    is_cut: bool
    cached: bool
    degraded: bool
    prompt: str | None = None
    file: str = ""


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
