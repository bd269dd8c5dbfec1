"""The pass of `estimate` over a checked file: its tokens by model, in constant memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from claude_batch.core.caching.prefix import PrefixCount, SharedPrefix
from claude_batch.core.caching.terms import terms_of
from claude_batch.core.planning.count_sample import LineSample
from claude_batch.core.planning.workload import (
    OutputBasis,
    Workload,
    WorkloadFold,
    likely_output_tokens,
)
from claude_batch.core.tokens.estimator import estimate_input_tokens
from claude_batch.errors import UsageError
from claude_batch.storage.prompts.check import ignore
from claude_batch.storage.prompts.lines import PromptLines
from claude_batch.storage.prompts.parse import CACHE_MARK, InvalidLine, input_tokens, read_line
from claude_batch.storage.prompts.rows import for_file
from claude_batch.storage.prompts.shapes import Defaults, Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """How long an answer is expected to be, in tokens.

    As `stated`, else like the `mean` of earlier replies, else guessed from its max_tokens.
    """

    stated: int | None = None
    mean: float | None = None

    @property
    def basis(self) -> OutputBasis:
        """Where the expectation comes from."""
        if self.stated is not None:
            return OutputBasis.STATED
        return OutputBasis.GUESSED if self.mean is None else OutputBasis.SAMPLED

    def of(self, max_tokens: int) -> float:
        """Return the output tokens expected of one request."""
        if self.stated is not None:
            return min(self.stated, max_tokens)
        if self.mean is not None:
            return min(self.mean, max_tokens)
        return likely_output_tokens(max_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What `estimate` wants to know of a file.

    `compare` are models to price all of it with; `sample` chooses lines to be counted. `only`
    these lines are asked about; None: all.
    """

    defaults: Defaults
    expectation: Expectation
    compare: tuple[str, ...] = ()
    sample: LineSample | None = None
    only: frozenset[int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What the file holds: as it is, at `most`, and if all of it went to one model.

    At most: if every answer used all of its max_tokens. `whole` is the whole file, where only some
    lines were asked about. `routed` counts lines by the rule they follow (None: by none) and model.
    """

    workload: Workload
    whole: Workload
    routed: Mapping[tuple[str | None, str], int]
    most: Workload
    compared: Mapping[str, Workload]
    prefixes: tuple[SharedPrefix, ...]


def read_workload(
    path: Path, question: Question, *, progress: Callable[[int], None] = ignore
) -> Found:
    """Read a file that has been checked; `progress` gets the bytes read so far.

    Raises UsageError when the file has changed since, or cannot be read.
    """
    reading = _Reading(question)
    for line, shape, may_mark in _shapes(path, question, progress):
        reading.take(line, shape, may_mark=may_mark)
    return Found(
        workload=reading.fold.workload(),
        whole=reading.whole.workload(),
        routed=dict(reading.routed.most_common()),
        most=reading.most.workload(),
        compared={model: fold.workload() for model, fold in reading.folds.items()},
        prefixes=(
            *reading.prefixes.choose("5m").prefixes.values(),
            *reading.prefixes.choose("1h").prefixes.values(),
        ),
    )


def _shapes(
    path: Path, question: Question, progress: Callable[[int], None]
) -> Iterator[tuple[int, Shape, bool]]:
    """Yield lines by number, and whether they may mark something for the cache."""
    defaults, source = for_file(path, question.defaults), PromptLines(path)
    for numbers, lines in source:
        for line, raw in zip(numbers, lines, strict=True):
            shape = read_line(raw, line, defaults)
            if isinstance(shape, InvalidLine):
                raise UsageError(
                    f"{path}:{line}: {shape.what}",
                    hint="the file has changed: try again",
                )
            if shape is not None:
                yield line, shape, CACHE_MARK in (raw or b"")
        progress(source.size)


class _Reading:
    """What has been seen of a file so far."""

    def __init__(self, question: Question) -> None:
        self._question = question
        self._catalog = question.defaults.catalog
        basis = question.expectation.basis
        self.fold = self._new_fold(basis)
        self.whole = self.fold if question.only is None else self._new_fold(basis)
        self.routed: Counter[tuple[str | None, str]] = Counter()
        self.most = self._new_fold(OutputBasis.BOUND)
        self.folds = {model: self._new_fold(basis) for model in question.compare}
        self.prefixes = PrefixCount(catalog=self._catalog)

    def _new_fold(self, basis: OutputBasis) -> WorkloadFold:
        return WorkloadFold(output_basis=basis, catalog=self._catalog)

    def take(self, line: int, shape: Shape, *, may_mark: bool) -> None:
        """Take in a line."""
        params, question = shape.params, self._question
        expected = question.expectation.of(params["max_tokens"])
        tokens = input_tokens(shape, self._catalog)
        terms = terms_of(params, may_mark=may_mark, catalog=self._catalog)
        if question.only is not None:
            self.whole.add(params["model"], tokens, expected, terms)
            if line not in question.only:
                return
        self.routed[shape.rule, params["model"]] += 1
        self.fold.add(params["model"], tokens, expected, terms)
        self.most.add(params["model"], tokens, params["max_tokens"], terms)
        self.prefixes.add(params)
        if question.sample is not None:
            question.sample.add(line, params["model"], tokens)
        for model, fold in self.folds.items():
            params = {**params, "model": model}
            fold.add(model, estimate_input_tokens(params, self._catalog), expected, terms)
