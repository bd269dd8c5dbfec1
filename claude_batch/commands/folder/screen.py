"""One screen for all shards that a process works on: the shard at work, and the whole of them."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace

from claude_batch.commands.api import Api
from claude_batch.commands.folder.progress import FolderReader, facts_of, shard_words
from claude_batch.commands.run.watching import Watchers, watched
from claude_batch.core.model.shards import FolderView
from claude_batch.core.model.snapshot import FailureView, Snapshot
from claude_batch.core.scheduling.progress import LATEST_FAILURES
from claude_batch.core.shards.progress import Pace, as_whole, snapshot_of_folder, timed, with_shard
from claude_batch.errors import ClaudeBatchError
from claude_batch.storage.folder.manifest import Shard
from claude_batch.storage.run.opening import RunRequest
from claude_batch.ui.screen.screen import RunSummary, Screen, at_its_end

OTHERS_EVERY_S = 5.0
"""How often it is looked what other processes have done, in seconds."""


@dataclass(slots=True, kw_only=True)
class FolderScreen:
    """Shows the shards of a process, one after another, and all of the folder with each.

    `ending` is how the last one, `number`, ended.
    """

    screen: Screen
    reader: FolderReader
    max_cost_usd: float | None
    watchers: Watchers | None = None
    ending: RunSummary | None = None
    number: int = 0
    _pace: Pace = field(default_factory=Pace)
    _began_at: float = field(default_factory=time.monotonic)
    _resumed: int | None = None
    _others: FolderView | None = None
    _latest: Snapshot | None = None
    _attempts: int = 0
    _rate_limited: int = 0
    _cached: int = 0
    _failures: deque[FailureView] = field(default_factory=lambda: deque(maxlen=LATEST_FAILURES))
    _open: ExitStack = field(default_factory=ExitStack)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _ended: threading.Event = field(default_factory=threading.Event)

    def open(self) -> None:
        """Note how many results there are already. Raises OSError, CheckpointError."""
        self._resumed = self.reader.fold(max_cost_usd=None).done

    def of(self, shard: Shard) -> ShardScreen:
        """Return the screen of the next shard."""
        if not self.number:
            threading.Thread(target=self._look, name="shards", daemon=True).start()
        self.number, self.ending = shard.shard, None
        self._refresh()
        return ShardScreen(whole=self, shard=shard)

    def show(self, snapshot: Snapshot, shard: Shard) -> None:
        """Show a shard, with the whole."""
        self._latest = self._in_whole(snapshot, shard)
        self.screen.publish(self._latest)
        if self.watchers is not None and self._latest.folder is not None:
            facts = facts_of(self.reader.manifest, self._latest.folder, host=snapshot.host)
            self.watchers.show(as_whole(self._latest, facts, cached_before=self._cached))

    def ended(self, snapshot: Snapshot | None, summary: RunSummary | None) -> None:
        """Count what a shard has come to in this process."""
        self.ending = summary
        if snapshot is not None:
            self._attempts += snapshot.attempts
            self._rate_limited += snapshot.rate_limited
            self._cached += snapshot.cached
            final = [each for each in snapshot.failures if each.retry_in_s is None]
            self._failures.extend(final)

    def close(self, summary: RunSummary | None) -> None:
        """Show how far all shards are, and how it ended."""
        if self._ended.is_set():
            return
        self._ended.set()
        has_shown = summary is not None or self._latest is not None
        last = self._whole() if has_shown else None
        if last is not None and self.watchers is not None:
            self.watchers.show(at_its_end(last, summary) or last)
        self._open.close()
        self.screen.close(last, summary)

    @contextmanager
    def watching(self, request: RunRequest, api: Api, screen: Screen) -> Iterator[Watchers]:
        """Yield whom a shard reports to: what was opened for the first one, for all of them.

        Snapshots are passed on as those of the whole. Raises UsageError.
        """
        if self.watchers is None:
            self.watchers = self._open.enter_context(watched(request, api, screen))
        yield Watchers(observe=self.watchers.observe, show=_ignore)

    def _in_whole(self, snapshot: Snapshot, shard: Shard) -> Snapshot:
        others = self._others
        if others is None:  # nothing could be read
            return snapshot
        view = with_shard(others, snapshot, shard=shard.shard, name=shard_words(shard))
        now = time.monotonic()
        self._pace.add(now, view.done, view.requests_per_minute)
        is_paused, elapsed_s = snapshot.paused_at is not None, now - self._began_at
        view = timed(view, self._pace, elapsed_s=elapsed_s, is_paused=is_paused)
        return replace(snapshot, folder=view)

    def _whole(self) -> Snapshot | None:
        """Return all shards as they are left."""
        try:
            with self._lock:
                view = self.reader.fold(max_cost_usd=self.max_cost_usd)
        except (OSError, ClaudeBatchError):
            return None
        view = replace(view, elapsed_s=time.monotonic() - self._began_at, requests_per_minute=None)
        host = "" if self._latest is None else self._latest.host
        facts = facts_of(self.reader.manifest, view, host=host, resumed=self._resumed or 0)
        return replace(
            snapshot_of_folder(view, facts, at=time.time()),
            attempts=self._attempts,
            rate_limited=self._rate_limited,
            cached=self._cached,
            failures=tuple(self._failures),
        )

    def _look(self) -> None:
        while not self._ended.wait(OTHERS_EVERY_S):
            self._refresh()

    def _refresh(self) -> None:
        with suppress(OSError, ClaudeBatchError), self._lock:
            self._others = self.reader.fold(max_cost_usd=self.max_cost_usd, besides=self.number)


def _ignore(_snapshot: Snapshot) -> None:
    """Ignore a snapshot of a shard: that of the whole is shown."""


@dataclass(slots=True, kw_only=True)
class ShardScreen:
    """The screen of one shard: it ends without closing that of the whole."""

    whole: FolderScreen
    shard: Shard
    _is_closed: bool = False

    def checking(
        self, path: str, done_bytes: int, total_bytes: int | None, doing: str = "checking"
    ) -> None:
        """Report how far a pass over `path` is."""
        self.whole.screen.checking(path, done_bytes, total_bytes, doing)

    def checked(self) -> None:
        """Report that the pass is over."""
        self.whole.screen.checked()

    def notice(self, message: str, hint: str = "") -> None:
        """Show a notice that stays."""
        self.whole.screen.notice(message, hint)

    def problem(self, text: str) -> None:
        """Show what is wrong with the input."""
        self.whole.screen.problem(text)

    def publish(self, snapshot: Snapshot) -> None:
        """Show `snapshot` soon, with the whole."""
        self.whole.show(snapshot, self.shard)

    def close(self, snapshot: Snapshot | None, summary: RunSummary | None) -> None:
        """Keep how the shard ended."""
        if not self._is_closed:
            self._is_closed = True
            self.whole.ended(snapshot, summary)
