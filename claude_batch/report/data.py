"""What a report is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from claude_batch.core.history.results import ResultFigures, Sampled
from claude_batch.core.history.run import RunHistory
from claude_batch.core.history.tiers import TierGain
from claude_batch.core.model.events import Expense


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportData:
    """A run, read from its files at `at` (wall time).

    `state` is running, waiting, finished, interrupted or stopped; `sentence` says why it stopped
    or how it gets on, `next_command` resumes it. `batch_saving_usd` is what batches would have
    saved of live requests, `tier_gains` what higher tiers would have. `prompts_note` says why
    prompts are missing in the sample.
    """

    at: float
    version: str
    name: str
    prompts: str
    results: str
    run_id: str
    mode: str
    sandbox: bool
    state: str
    sentence: str
    next_command: str
    total: int
    left_out: int
    figures: ResultFigures
    history: RunHistory
    expenses: Expense
    batch_saving_usd: float | None
    tier_gains: tuple[TierGain, ...]
    sample: Sequence[Sampled]
    prompts_note: str

    @property
    def cost_usd(self) -> float | None:
        """What results and attempts without one have cost, as far as it is known."""
        costs = [self.figures.cost_usd, self.expenses.cost_usd]
        known = [cost for cost in costs if cost is not None]
        return sum(known) if known else None
