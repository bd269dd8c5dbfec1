"""The pass of `estimate` over checked files: their tokens by model, in constant memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from claude_batch.core.caching.prefix import PrefixCount, SharedPrefix
from claude_batch.core.caching.terms import terms_of
from claude_batch.core.catalog.catalog import Catalog
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
    """What `estimate` wants to know of files.

    `compare` are models to price all of it with; `sample` chooses lines to be counted. `only`
    these lines are asked about; None: all.
    """

    catalog: Catalog
    expectation: Expectation
    compare: tuple[str, ...] = ()
    sample: LineSample | None = None
    only: frozenset[int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What the files hold: as it is, at `most`, and if all of it went to one model.

    At most: if every answer used all of its max_tokens. `whole` is the whole file, where only some
    lines were asked about. `routed` counts lines by the rule they follow (None: by none) and model.
    """

    workload: Workload
    whole: Workload
    routed: Mapping[tuple[str | None, str], int]
    most: Workload
    compared: Mapping[str, Workload]
    prefixes: tuple[SharedPrefix, ...]


def _shapes(
    path: Path, defaults: Defaults, progress: Callable[[int], None]
) -> Iterator[tuple[int, Shape, bool]]:
    """Yield lines by number, and whether they may mark something for the cache."""
    defaults, source = for_file(path, defaults), PromptLines(path)
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


class WorkloadReader:
    """Reads files that have been checked, and adds up what is in them."""

    def __init__(self, question: Question) -> None:
        self._question = question
        self._catalog = question.catalog
        basis = question.expectation.basis
        self._fold = self._new_fold(basis)
        self._whole = self._fold if question.only is None else self._new_fold(basis)
        self._routed: Counter[tuple[str | None, str]] = Counter()
        self._most = self._new_fold(OutputBasis.BOUND)
        self._folds = {model: self._new_fold(basis) for model in question.compare}
        self._prefixes = PrefixCount(catalog=self._catalog)

    def _new_fold(self, basis: OutputBasis) -> WorkloadFold:
        return WorkloadFold(output_basis=basis, catalog=self._catalog)

    def read(
        self,
        path: Path,
        defaults: Defaults,
        *,
        before: int = 0,
        progress: Callable[[int], None] = ignore,
    ) -> None:
        """Read a file; `progress` gets the bytes read so far.

        The sample has its lines under numbers that begin after `before`. Raises UsageError when the
        file has changed since the check, or cannot be read.
        """
        for line, shape, may_mark in _shapes(path, defaults, progress):
            self._take(before + line, shape, may_mark=may_mark)

    def found(self) -> Found:
        """Return what all files hold."""
        return Found(
            workload=self._fold.workload(),
            whole=self._whole.workload(),
            routed=dict(self._routed.most_common()),
            most=self._most.workload(),
            compared={model: fold.workload() for model, fold in self._folds.items()},
            prefixes=(
                *self._prefixes.choose("5m").prefixes.values(),
                *self._prefixes.choose("1h").prefixes.values(),
            ),
        )

    def _take(self, line: int, shape: Shape, *, may_mark: bool) -> None:
        params, question = shape.params, self._question
        expected = question.expectation.of(params["max_tokens"])
        tokens = input_tokens(shape, self._catalog)
        terms = terms_of(params, may_mark=may_mark, catalog=self._catalog)
        if question.only is not None:
            self._whole.add(params["model"], tokens, expected, terms)
            if line not in question.only:
                return
        self._routed[shape.rule, params["model"]] += 1
        self._fold.add(params["model"], tokens, expected, terms)
        self._most.add(params["model"], tokens, params["max_tokens"], terms)
        self._prefixes.add(params)
        if question.sample is not None:
            question.sample.add(line, params["model"], tokens)
        for model, fold in self._folds.items():
            params = {**params, "model": model}
            fold.add(model, estimate_input_tokens(params, self._catalog), expected, terms)
