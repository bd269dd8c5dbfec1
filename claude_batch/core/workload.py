"""What a file of prompts amounts to, folded line by line in constant memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from claude_batch.core.catalog import BUNDLED, Catalog

UNCALIBRATED = 0.15
"""How far off the estimate of a whole file may be while nobody has counted any of it."""


class OutputBasis(StrEnum):
    """Where the expected output comes from; every plan states it."""

    STATED = "stated"  # --expect-output
    SAMPLED = "sampled"  # replies of this file that are there already
    BOUND = "bound"  # max_tokens of each line: it can only be less


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Requests and the tokens they read and write."""

    requests: int = 0
    input_tokens: float = 0.0
    output_tokens: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Real tokens per estimated token, and the bounds that hold it with 95 % confidence."""

    ratio: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelLoad:
    """The requests of one model. `long` are those of them at the price of long prompts.

    `low` and `high` bound the input tokens, as factors of the estimate; `ratio` is what the
    estimate has been corrected by.
    """

    model: str
    all: Tokens
    long: Tokens
    largest_input_tokens: int
    ratio: float = 1.0
    low: float = 1.0 - UNCALIBRATED
    high: float = 1.0 + UNCALIBRATED

    def calibrated(self, found: Calibration) -> ModelLoad:
        """Return the same load, its estimates corrected."""
        ratio = found.ratio
        return replace(
            self,
            all=replace(self.all, input_tokens=self.all.input_tokens * ratio),
            long=replace(self.long, input_tokens=self.long.input_tokens * ratio),
            largest_input_tokens=round(self.largest_input_tokens * ratio),
            ratio=self.ratio * ratio,
            low=found.low / ratio,
            high=found.high / ratio,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A file of prompts: one load for each model, and where its expected output comes from."""

    loads: tuple[ModelLoad, ...]
    output_basis: OutputBasis

    @property
    def requests(self) -> int:
        """All requests."""
        return sum(load.all.requests for load in self.loads)

    @property
    def input_tokens(self) -> float:
        """All input tokens, cached or not."""
        return sum(load.all.input_tokens for load in self.loads)

    @property
    def output_tokens(self) -> float:
        """All tokens the models are expected to write."""
        return sum(load.all.output_tokens for load in self.loads)


@dataclass(slots=True)
class _Sum:
    """One model's sums so far."""

    long_above: float
    requests: int = 0
    input_tokens: float = 0.0
    output_tokens: float = 0.0
    long_requests: int = 0
    long_input_tokens: float = 0.0
    long_output_tokens: float = 0.0
    largest: int = 0


@dataclass(slots=True, kw_only=True)
class WorkloadFold:
    """Takes in one line after the other; `workload()` is what it has seen."""

    output_basis: OutputBasis
    catalog: Catalog = BUNDLED
    _sums: dict[str, _Sum] = field(default_factory=dict)

    def add(self, model: str, input_tokens: int, output_tokens: float) -> None:
        """Take in a request with its estimated input and its expected output."""
        found = self._sums.get(model)
        if found is None:
            found = self._sums[model] = _Sum(long_above=self._long_above(model))
        found.requests += 1
        found.input_tokens += input_tokens
        found.output_tokens += output_tokens
        found.largest = max(found.largest, input_tokens)
        if input_tokens > found.long_above:
            found.long_requests += 1
            found.long_input_tokens += input_tokens
            found.long_output_tokens += output_tokens

    def _long_above(self, model: str) -> float:
        card = self.catalog.card(model)
        return (
            float("inf")
            if card is None or card.long_prompt is None
            else card.long_prompt.above_tokens
        )

    def workload(self) -> Workload:
        """Return what has been seen so far, the largest loads first."""
        sums = sorted(self._sums.items(), key=lambda item: -item[1].requests)
        return Workload(
            loads=tuple(_load(model, each) for model, each in sums), output_basis=self.output_basis
        )


def _load(model: str, sums: _Sum) -> ModelLoad:
    return ModelLoad(
        model=model,
        all=Tokens(
            requests=sums.requests,
            input_tokens=sums.input_tokens,
            output_tokens=sums.output_tokens,
        ),
        long=Tokens(
            requests=sums.long_requests,
            input_tokens=sums.long_input_tokens,
            output_tokens=sums.long_output_tokens,
        ),
        largest_input_tokens=sums.largest,
    )


def calibrated(workload: Workload, calibrations: Mapping[str, Calibration]) -> Workload:
    """Return the workload, corrected for each model that was sampled."""
    return replace(
        workload,
        loads=tuple(
            load.calibrated(calibrations[load.model]) if load.model in calibrations else load
            for load in workload.loads
        ),
    )
