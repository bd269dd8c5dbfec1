"""Which way a run goes on: live, or through batches, and until when.

A mode that was typed holds; else the run goes on as its journal says; a new run goes as the
settings say. Batches that are under way are always seen to their end first: what they bring is
paid for.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import islice

from claude_batch.compose.accounts import batches_of
from claude_batch.compose.api import Api
from claude_batch.compose.estimate_limits import limit_sets
from claude_batch.compose.money import LIKELY_OUTPUT_TOKENS, MOST_LOOKED_AT
from claude_batch.compose.requests import requests_left
from claude_batch.config import Settings
from claude_batch.core.batch_history import BatchHistory, ModeChosen
from claude_batch.core.batch_rules import Mode, Prospects, choose_mode, live_after_s
from claude_batch.core.catalog import Catalog
from claude_batch.core.duration import duration
from claude_batch.core.plan import Circumstances, Pace, plan
from claude_batch.core.workload import OutputBasis, WorkloadFold
from claude_batch.errors import UsageError
from claude_batch.storage.batch_journal import note_mode, read_batches
from claude_batch.storage.opening import OpenRun, Wanted
from claude_batch.ui.screen import Screen


@dataclass(frozen=True, slots=True, kw_only=True)
class TypedMode:
    """What the command line itself says of the mode; None: nothing."""

    mode: str | None = None
    deadline_s: float | None = None
    detach: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """The endpoint whose batches a run goes through first (None: none), and how.

    After `live_after_s` they give way to live mode.
    """

    endpoint: str | None = None
    live_after_s: float | None = None
    detach: bool = False


def refuse_detached(typed: TypedMode, *, mode: str, sandbox: bool) -> None:
    """Refuse to leave batches running where there will be none."""
    if not typed.detach:
        return
    if sandbox:
        raise UsageError(
            "--detach leaves batches running, but the built-in sandbox ends with this command",
            hint="claude-batch sandbox serves one that stays: point ANTHROPIC_BASE_URL to it",
        )
    if mode == Mode.LIVE:
        raise UsageError("--detach leaves batches running, and live mode has none", hint=_BATCH)


_BATCH = "say --mode batch, or leave --detach out"


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossroads:
    """A run that has been opened, and all that its way on depends on."""

    wanted: Wanted
    opened: OpenRun
    settings: Settings
    typed: TypedMode
    api: Api
    catalog: Catalog
    screen: Screen

    def choose(self) -> Way:
        """Return the way on, said on the screen and noted in the journal. Raises UsageError."""
        history = read_batches(self.wanted.results)
        before = history.mode
        asked = self.typed.mode or (before.asked if before else self.opened.identity.mode)
        refuse_detached(self.typed, mode=asked, sandbox=self.wanted.sandbox)
        chosen = ModeChosen(
            asked=asked,
            deadline_at=self._deadline_at(before),
            endpoint=self._endpoint(asked, history),
        )
        way = self._way(chosen, len(history.open_chunks))
        if chosen != (before or ModeChosen(asked=Mode.LIVE)):
            note_mode(self.wanted.results, chosen)
        return way

    def _deadline_at(self, before: ModeChosen | None) -> float | None:
        """Return when the run should be over: as typed now, as it was, or as the settings say."""
        typed_s = self.typed.deadline_s
        if typed_s is None and before is not None:
            return before.deadline_at
        within_s = self.settings.options.deadline_s if typed_s is None else typed_s
        return None if within_s is None else time.time() + within_s

    def _endpoint(self, asked: str, history: BatchHistory) -> str | None:
        """Return the endpoint whose batches are gone through; None: none. Raises UsageError."""
        able = [name for name, each in self.api.transports.items() if batches_of(each) is not None]
        before = history.mode.endpoint if history.mode else None
        if history.open_chunks:
            if before not in able and len(able) != 1:
                raise UsageError(
                    f"batches of this run are under way at endpoint {before}, which is not there",
                    hint="go on with the settings and the key that they were made with",
                )
            return before if before in able else able[0]
        if asked == Mode.LIVE:
            return None
        return before if before in able else next(iter(able), None)

    def _way(self, chosen: ModeChosen, under_way: int) -> Way:
        if chosen.endpoint is None:
            return self._without_batches(chosen.asked)
        if chosen.asked == Mode.LIVE:
            return self._live(chosen.endpoint, under_way)
        left_s = None if chosen.deadline_at is None else chosen.deadline_at - time.time()
        if chosen.asked == Mode.BATCH or under_way:
            return self._batch(chosen.endpoint, under_way, left_s)
        choice = choose_mode(self._prospects(left_s))
        self.screen.notice(f"--mode auto: {choice.reason}")
        if choice.mode is Mode.LIVE:
            return Way()
        return Way(
            endpoint=chosen.endpoint, live_after_s=choice.live_after_s, detach=self.typed.detach
        )

    def _without_batches(self, asked: str) -> Way:
        if asked != Mode.LIVE:
            self.screen.notice(
                f"{self.api.transport.host} has no Message Batches: everything goes live, at the "
                "full price"
            )
        return Way()

    def _live(self, endpoint: str, under_way: int) -> Way:
        """Go live; batches that are under way are canceled, and what they have done is kept."""
        self.screen.notice(
            f"--mode live: {_batches(under_way)} under way and will be canceled; what they have "
            "done is kept, the rest goes live"
        )
        return Way(endpoint=endpoint, live_after_s=0.0)

    def _batch(self, endpoint: str, under_way: int, left_s: float | None) -> Way:
        if under_way:
            self.screen.notice(f"going on in batch mode: {_batches(under_way)} under way")
        else:
            self.screen.notice(
                "through the Message Batches API: half the price, usually done within 1 h, at "
                "most within 24 h"
            )
        if left_s is None:
            return Way(endpoint=endpoint, detach=self.typed.detach)
        after_s = live_after_s(left_s, self._prospects(left_s).live_eta_s or 0.0)
        self.screen.notice(f"what is late after {duration(after_s)} goes live, for the deadline")
        return Way(endpoint=endpoint, live_after_s=after_s, detach=self.typed.detach)

    def _prospects(self, deadline_s: float | None) -> Prospects:
        """Return what either way would take and cost, judged by the first requests left."""
        identity = self.opened.identity
        left = identity.total - self.opened.checkpoint.tally.done
        fold = WorkloadFold(output_basis=OutputBasis.BOUND, catalog=self.catalog)
        for request in islice(requests_left(self.opened, self.wanted), MOST_LOOKED_AT):
            expected = min(LIKELY_OUTPUT_TOKENS, request.max_tokens)
            fold.add(request.model, request.input_tokens, expected)
        workload = fold.workload()
        sets, current = limit_sets(self.settings, {}, self.catalog)
        pace = Pace(share=self.settings.options.share, concurrency=self.api.concurrency)
        planned = plan(
            workload,
            (),
            Circumstances(limit_sets=sets, current=current, pace=pace, catalog=self.catalog),
        )
        scale = left / workload.requests if workload.requests else 0.0
        return Prospects(
            requests=left,
            has_batches=True,
            deadline_s=deadline_s,
            live_eta_s=_scaled(planned.now.seconds, scale),
            cost_live_usd=_scaled(planned.costs.live.usd, scale),
            cost_batch_usd=_scaled(planned.costs.batch.usd, scale),
        )


def _scaled(figure: float | None, scale: float) -> float | None:
    return None if figure is None else figure * scale


def _batches(number: int) -> str:
    return "1 batch is" if number == 1 else f"{number:,} batches are"
