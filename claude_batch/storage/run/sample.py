"""The results of a run read once for a report: figures of all, and a sample with its texts."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from claude_batch.core.history.results import ResultFigures, ResultLine, Sample, Sampled, text_in
from claude_batch.core.model.answers import answer_of
from claude_batch.core.model.requests import ResultType
from claude_batch.storage.files import open_to_read
from claude_batch.storage.run.checkpoint import Done, id_digest, salvage

_TYPES = {kind.value: kind for kind in ResultType}

MOST_SAMPLED = (150, 100, 150)
"""How many results are shown: failed ones, cut off ones, others."""

MOST_TEXT = 4_000
"""Characters of a prompt or an answer that are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultsRead:
    """All results added up, and some of them: failures first."""

    figures: ResultFigures
    sample: tuple[Sampled, ...] = field(default=())


def read_results(*files: Path) -> ResultsRead:
    """Read results files, which may be written to meanwhile; one result of each id counts in each.

    A file that holds an id under several lines is read twice.
    """
    repeated_ids: dict[Path, frozenset[int]] = {}
    while True:
        reader = _Reader(repeated_ids=repeated_ids)
        for file in files:
            reader.read(file)
        if reader.is_right:
            sample = tuple(sorted(reader.sample, key=_order))
            return ResultsRead(figures=reader.figures, sample=sample)


@dataclass(slots=True, kw_only=True)
class _Reader:
    """One pass over results files; of each of `repeated_ids` only the first result counts."""

    repeated_ids: dict[Path, frozenset[int]]
    figures: ResultFigures = field(default_factory=ResultFigures)
    sample: Sample = field(init=False)
    is_right: bool = True
    _file: Path | None = None

    def __post_init__(self) -> None:
        draw = random.Random(0).random  # noqa: S311  # no secret
        self.sample = Sample(most=MOST_SAMPLED, shorten=self._shortened, draw=draw)

    def _shortened(self, result: ResultLine) -> Sampled:
        return _shortened(result, str(self._file))

    def read(self, file: Path) -> None:
        """Read one file."""
        done, seen, self._file = Done(), set[int](), file
        repeated_ids = self.repeated_ids.get(file, frozenset())
        for result in _lines(file):
            if not done.add(result.custom_id, result.line):
                continue
            if repeated_ids and (digest := id_digest(result.custom_id)) in repeated_ids:
                if digest in seen:
                    continue
                seen.add(digest)
            self.figures.add(result)
            self.sample.add(result)
        if file not in self.repeated_ids:
            self.repeated_ids[file] = done.repeated()
            self.is_right = self.is_right and not self.repeated_ids[file]


def _order(each: Sampled) -> tuple[bool, bool, int]:
    """Return what failures come first by, then what is cut off; each in the order of lines."""
    return each.status == ResultType.SUCCEEDED, not each.is_cut, each.line or 0


def _lines(results: Path) -> Iterator[ResultLine]:
    try:
        file = open_to_read(results)
    except FileNotFoundError:
        return
    with file:
        for raw in file:
            result = _result_line(raw)
            if result is not None:
                yield result
                continue
            for part, entry in salvage(raw):
                if entry is not None and (result := _result_line(part)) is not None:
                    yield result


def _result_line(raw: bytes) -> ResultLine | None:
    """Return the result in a line; None if it is no result line."""
    try:
        value = orjson.loads(raw)
        kind, custom_id = _TYPES[value["result"]["type"]], value["custom_id"]
        return ResultLine.of(custom_id, kind, value) if type(custom_id) is str else None
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _shortened(result: ResultLine, file: str) -> Sampled:
    """Return what is shown of a result."""
    answer, meta = answer_of(result.value), result.meta
    return Sampled(
        custom_id=shorten(result.custom_id, 200),
        line=result.line,
        status=result.type.value,
        answer=shorten(answer.text or ""),
        error=None if answer.error is None else shorten(answer.error),
        stop_reason=shorten(result.stop_reason, 100),
        model=shorten(text_in(result.message, "model"), 100),
        endpoint=shorten(text_in(meta, "endpoint"), 100),
        attempts=_whole(meta.get("attempts")),
        latency_s=_number(meta.get("latency_s")),
        input_tokens=answer.input_tokens,
        output_tokens=answer.output_tokens,
        cost_usd=answer.cost_usd,
        is_cut=result.is_cut,
        cached=meta.get("cached") is True,
        degraded=meta.get("degraded") is True,
        file=file,
    )


def shorten(text: str, most: int = MOST_TEXT) -> str:
    """Return a text, cut where it is too long for a page."""
    return text if len(text) <= most else f"{text[:most]} [cut: {len(text):,} characters]"


def _whole(value: Any) -> int | None:
    return value if type(value) is int else None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None
