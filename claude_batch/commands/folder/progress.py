"""How a run folder gets on, read again and again at little cost."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from claude_batch.commands.folder.status import ShardStatus, finished_shards
from claude_batch.commands.run.messages import shown
from claude_batch.commands.runs.in_force import options_to_look
from claude_batch.core.model.requests import ResultType
from claude_batch.core.model.shards import FolderView, ShardState, ShardView
from claude_batch.core.model.snapshot import FailureView, Snapshot
from claude_batch.core.scheduling.decisions import StopKind
from claude_batch.core.scheduling.progress import LATEST_FAILURES, RunFacts
from claude_batch.core.shards.claims import Claim
from claude_batch.core.shards.names import shard_name
from claude_batch.core.shards.progress import Pace, fold, snapshot_of_folder, timed
from claude_batch.errors import CheckpointError
from claude_batch.storage.folder.adjusted import options_of
from claude_batch.storage.folder.claims import read_claims
from claude_batch.storage.folder.files import FolderFiles
from claude_batch.storage.folder.manifest import Manifest, Shard
from claude_batch.storage.folder.places import open_shard
from claude_batch.storage.folder.shards import Done
from claude_batch.storage.run.control import FRESH_S, read_live
from claude_batch.storage.run.journal import journal_path
from claude_batch.storage.run.paths import SHARDS
from claude_batch.storage.run.status import RunState, shard_status
from claude_batch.ui.folder_words import SILENT_AFTER_S

EVERY_S = 1.0
"""How often a run folder is looked at, in seconds."""

READING_SHARE = 0.1
"""Files of shards that say nothing of themselves are read for at most this share of the time."""

_IDLE_S = 60.0
"""A shard that was begun, and that nobody works on, is looked at again after this, in seconds."""

_BY_CHOICE = {StopKind.COST, StopKind.DETACHED, StopKind.LIMIT}
"""Stops of a run that are no failure: the user's own bounds."""


@dataclass(slots=True)
class _Seen:
    """What is known of a shard; it stays so while `key` does, or until `again_at` (monotonic)."""

    view: ShardView
    key: object = None
    again_at: float = 0.0


@dataclass(slots=True, kw_only=True)
class FolderReader:
    """Reads the state of all shards again and again: a finished shard once, a waiting one never.

    `host` is where requests go, and `failures` are the latest ones, as far as processes at work say
    that. `views` are the shards as they were read last, `epochs` those of the claims on them.
    """

    path: Path
    files: FolderFiles
    manifest: Manifest
    host: str = ""
    failures: tuple[FailureView, ...] = ()
    views: list[ShardView] = field(default_factory=list)
    epochs: dict[int, int] = field(default_factory=dict)
    _finished: dict[int, _Seen] = field(default_factory=dict)
    _begun: dict[int, _Seen] = field(default_factory=dict)
    _waiting: dict[int, ShardView] = field(default_factory=dict)
    _below: Mapping[str, Sequence[str]] = field(default_factory=dict)
    _done: dict[int, Done] = field(default_factory=dict)
    _idle: dict[int, _Seen] = field(default_factory=dict)
    _has_read: bool = False

    def read(self, *, besides: int | None = None) -> list[ShardView]:
        """Return every shard, but one. Takes no lock and changes nothing.

        Raises OSError, CheckpointError.
        """
        claims, failures = read_claims(self.files), list[FailureView]()
        if not self._has_read:
            self._below = self.files.names_below(SHARDS)
            self._done = finished_shards(self.files, self.manifest, below=self._below)
        views = [
            self._view(shard, claims.get(shard.shard), failures)
            for shard in self.manifest.shards
            if shard.shard != besides
        ]
        self._has_read = True
        self.epochs = {number: claim.epoch for number, claim in claims.items()}
        failures.sort(key=lambda each: each.at)
        self.failures, self.views = tuple(failures[-LATEST_FAILURES:]), views
        return views

    def fold(self, *, max_cost_usd: float | None, besides: int | None = None) -> FolderView:
        """Return the figures of every shard, but one, together."""
        name = f"{shown(self.path)}/"
        return fold(name, self.read(besides=besides), max_cost_usd=max_cost_usd)

    def _view(self, shard: Shard, claim: Claim | None, failures: list[FailureView]) -> ShardView:
        number, epoch = shard.shard, 0 if claim is None else claim.epoch
        if (seen := self._finished.get(number)) is not None and seen.key == epoch:
            return seen.view
        if not epoch and self._has_read:  # nobody has claimed it
            return self._waiting_view(shard)
        is_held = claim is not None and claim.is_held
        seen = None if is_held else self._idle.get(number)
        if seen is not None and seen.key == epoch and time.monotonic() < seen.again_at:
            return seen.view
        folder, names = open_shard(self.path, self.files, number), None
        if self._has_read:
            done = folder.done(self.files)
        else:
            done, names = self._done.get(number), self._below.get(shard_name(number), ())
        is_again = done is not None and epoch > done.epoch  # a retry, perhaps
        results = folder.current(done, names) if is_again or done is None else None
        if (
            done is not None
            and (results is None or results.name == done.results)
            and not (is_held and is_again)
        ):
            view = view_of_done(shard, done)
            if not is_held:  # else it has not let go yet, or is about to try something again
                self._finished[number] = _Seen(view, epoch)
            return view
        view = self._unfinished(shard, results, failures, is_held=is_held)
        if claim is None or not is_held:
            self._idle[number] = _Seen(view, epoch, time.monotonic() + _IDLE_S)
            return view
        self._idle.pop(number, None)
        heard = claim.silent_s < SILENT_AFTER_S
        return replace(
            view,
            state=ShardState.RUNNING,
            holder=claim.holder,
            silent_s=claim.silent_s,
            requests_per_minute=view.requests_per_minute if heard else None,
        )

    def _waiting_view(self, shard: Shard) -> ShardView:
        view = self._waiting.get(shard.shard)
        if view is None:
            view = self._waiting[shard.shard] = shard_view(ShardStatus(shard=shard, results=None))
        return view

    def _unfinished(
        self, shard: Shard, results: Path | None, failures: list[FailureView], *, is_held: bool
    ) -> ShardView:
        """Return a shard that was begun: by what its process says, else by its files."""
        if results is None:
            return self._waiting_view(shard)
        live = _live(results) if is_held else None
        if live is None:
            return self._by_files(shard, results, is_held=is_held)
        self.host = live.host or self.host
        failures.extend(live.failures)
        return view_of_snapshot(shard, live)

    def _by_files(self, shard: Shard, results: Path, *, is_held: bool) -> ShardView:
        key, now = (is_held, *_sizes(results)), time.monotonic()
        seen = self._begun.get(shard.shard)
        if seen is not None and (seen.key == key or now < seen.again_at):
            return seen.view
        try:
            run = shard_status(results, is_held=is_held)
        except CheckpointError:  # who works on it says what is wrong; others are shown all the same
            run = None
        status = ShardStatus(shard=shard, results=results, run=run)
        took_s = time.monotonic() - now
        view = shard_view(status)
        self._begun[shard.shard] = _Seen(view, key, now + took_s / READING_SHARE)
        return view


def _live(results: Path) -> Snapshot | None:
    """Return what the process that works on a shard has said of it a moment ago."""
    try:
        live = read_live(results)
    except OSError:
        return None
    return live.snapshot if live is not None and time.time() - live.at < FRESH_S else None


def _sizes(results: Path) -> tuple[object, ...]:
    def size(path: Path) -> int:
        try:
            return path.stat().st_size
        except OSError:
            return -1

    return results, size(results), size(journal_path(results))


def shard_words(shard: Shard) -> str:
    """Return what a shard is about in few words: its file below the common folder, and lines."""
    return shard.words.replace(shard.source, shard.name, 1)


def state_of(status: ShardStatus) -> ShardState:
    """Return how far a shard is."""
    if status.done is not None:
        return ShardState.FINISHED
    if status.is_held:
        return ShardState.RUNNING
    if status.refused:
        return ShardState.FAILED
    if status.run is None:
        return ShardState.WAITING
    closed = status.run.closed
    stopped = status.run.state is RunState.STOPPED and closed is not None
    if stopped and closed is not None and closed.kind not in _BY_CHOICE:
        return ShardState.FAILED
    return ShardState.INTERRUPTED


def shard_view(status: ShardStatus) -> ShardView:
    """Return a shard by its files."""
    shard, run, claim = status.shard, status.run, status.claim
    if status.done is not None:
        return view_of_done(shard, status.done)
    view = ShardView(
        shard=shard.shard, name=shard_words(shard), state=state_of(status), total=status.total
    )
    if status.is_held and claim is not None:
        view = replace(view, holder=claim.holder, silent_s=claim.silent_s)
    if run is None:
        return view
    tally = run.tally
    return replace(
        view,
        succeeded=tally.ended[ResultType.SUCCEEDED],
        errored=tally.ended[ResultType.ERRORED],
        canceled=tally.ended[ResultType.CANCELED],
        expired=tally.ended[ResultType.EXPIRED],
        output_errors=tally.output_errors,
        left_out=run.identity.invalid,
        degraded=tally.degraded,
        unreported=tally.expenses.unreported,
        input_tokens=tally.input_tokens,
        output_tokens=tally.output_tokens,
        cost_usd=tally.cost_usd,
        errors=dict(tally.errors),
        stop_reasons=dict(tally.stops),
        requests_per_minute=run.pace.results_per_minute if run.pace else None,
    )


def view_of_done(shard: Shard, done: Done) -> ShardView:
    """Return a finished shard."""
    return ShardView(
        shard=shard.shard,
        name=shard_words(shard),
        state=ShardState.FINISHED,
        total=done.total,
        succeeded=done.succeeded,
        errored=done.errored,
        canceled=done.canceled,
        expired=done.expired,
        output_errors=done.output_errors,
        left_out=done.left_out,
        degraded=done.degraded or 0,
        unreported=done.unreported,
        input_tokens=done.input_tokens,
        output_tokens=done.output_tokens,
        cost_usd=done.cost_usd,
        errors=done.errors,
        stop_reasons=done.stop_reasons,
    )


def view_of_snapshot(shard: Shard, snapshot: Snapshot) -> ShardView:
    """Return a shard as the process that works on it sees it."""
    is_paused = snapshot.paused_at is not None
    return ShardView(
        shard=shard.shard,
        name=shard_words(shard),
        state=ShardState.RUNNING,
        total=shard.lines or 1 if snapshot.total is None else snapshot.total,
        succeeded=snapshot.succeeded,
        errored=snapshot.errored,
        canceled=snapshot.canceled,
        expired=snapshot.expired,
        output_errors=snapshot.output_errors,
        degraded=snapshot.degraded,
        unreported=snapshot.unreported,
        input_tokens=snapshot.input_tokens,
        output_tokens=snapshot.output_tokens,
        cost_usd=snapshot.cost_usd,
        stop_reasons=snapshot.stop_reasons,
        requests_per_minute=None if is_paused else snapshot.requests_per_minute,
        in_flight=snapshot.in_flight,
        attempts=snapshot.attempts,
        rate_limited=snapshot.rate_limited,
        is_paused=is_paused,
    )


@dataclass(slots=True, kw_only=True)
class FolderWatch:
    """Follows a run folder: its figures, with its pace since this began.

    With `is_own` the time since then is that of the run, as far as this command knows.
    """

    reader: FolderReader
    max_cost_usd: float | None = None
    is_own: bool = True
    _pace: Pace = field(default_factory=Pace)
    _began_at: float = field(default_factory=time.monotonic)

    def look(self) -> Snapshot:
        """Return all of the folder as it is now. Raises OSError, CheckpointError."""
        view = self.reader.fold(max_cost_usd=self.max_cost_usd)
        now, manifest = time.monotonic(), self.reader.manifest
        self._pace.add(now, view.done, view.requests_per_minute)
        elapsed_s = now - self._began_at if self.is_own else 0.0
        facts = facts_of(manifest, view, host=self.reader.host)
        view = timed(view, self._pace, elapsed_s=elapsed_s)
        snapshot = snapshot_of_folder(view, facts, at=time.time())
        return replace(snapshot, failures=self.reader.failures)


def facts_of(manifest: Manifest, view: FolderView, *, host: str, resumed: int = 0) -> RunFacts:
    """Return what is true of all of a run folder, `resumed` results included."""
    return RunFacts(
        run_id=manifest.run_id,
        prompts=inputs_text(manifest),
        results=view.path,
        sandbox=manifest.options.sandbox,
        host=host,
        total=view.total,
        resumed=resumed,
    )


def bound_of(manifest: Manifest, files: FolderFiles) -> float | None:
    """Return what a run folder may cost, as it is in force now; None: no bound."""
    return options_to_look(options_of(manifest, files).run).max_cost


def inputs_text(manifest: Manifest) -> str:
    """Return what a run folder was made from, in few words."""
    first, *others = manifest.inputs
    return f"{first} and {len(others):,} more" if others else first
