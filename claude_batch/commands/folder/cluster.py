"""`--on ray`: the shards of a run folder, placed on the workers of a cluster.

This process keeps nothing that is not in the folder. What is placed where is decided in
core/shards/placing.py; a shard is worked on by `claude-batch run DIR/ --shard N` on its worker.
"""

from __future__ import annotations

import shlex
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from claude_batch.cluster.calls import CallEnd, Calls, calls_of
from claude_batch.commands.folder.manifest import OF_THE_FOLDER, RunFolder
from claude_batch.commands.folder.node import ShardEnd, ShardOrder, work_on_shard
from claude_batch.commands.folder.progress import (
    EVERY_S,
    READING_SHARE,
    FolderReader,
    FolderWatch,
)
from claude_batch.commands.folder.status import finished_shards, tries_again
from claude_batch.commands.run.messages import counted, shown
from claude_batch.commands.run.retrying import retries
from claude_batch.config.declaration import File, Owner, StoreUrl, journaled
from claude_batch.config.options import OPTIONS, OVERRIDING
from claude_batch.config.reading import read_changes
from claude_batch.config.spelling import as_typed, flag, variable
from claude_batch.core.model.shards import ShardState, ShardView
from claude_batch.core.shards.placing import MOST_AGAIN, Placement, Placing, State
from claude_batch.errors import CheckpointError, Exit, UsageError
from claude_batch.storage.folder.places import open_shard
from claude_batch.storage.objects.errors import StoreError
from claude_batch.storage.run.paths import url_of
from claude_batch.ui.screen.screen import Screen

_LOOK_EVERY_S = 0.25
"""How often this process looks whether a worker has ended, or Ctrl-C was pressed."""

_NOT_PASSED_ON = {
    *OF_THE_FOLDER,
    *("prompt_file", "system_file", "quiet", "progress", "stdout", "format", "new_only", "yes"),
}
"""Options of this process; those that shape results are in the manifest."""

_QUIET = ("--quiet", "--no-stdout")

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def passed_on(given: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the options of a command as those that work on its shards get them.

    Raises UsageError for what must not be passed on, or cannot be.
    """
    if "metrics_port" in given:
        raise UsageError(
            "--metrics-port is for one process, and --on ray works with many",
            hint="set OTEL_EXPORTER_OTLP_ENDPOINT on the hosts: every process reports there",
        )
    arguments: list[str] = []
    for name, value in read_changes(given).items():
        declared = OPTIONS[name]
        shapes = declared.owner is Owner.RESULTS and not (retries(given) and name in OVERRIDING)
        if name in _NOT_PASSED_ON or shapes:
            continue
        if isinstance(declared.kind, StoreUrl) and value != journaled(declared.kind, value):
            raise UsageError(
                f"{flag(name)} has a password in it, and --on ray passes no secrets on",
                hint=f"set {variable(name)} to it on all hosts, and leave out {flag(name)}",
            )
        if isinstance(declared.kind, File) and value is not None:
            value = value.absolute()  # noqa: PLW2901  # hosts have other working directories
        arguments += shlex.split(as_typed(name, value))
    return (*arguments, *_QUIET)


def place_shards(folder: RunFolder, screen: Screen, *, workers: int | None) -> int | None:
    """Work on a run folder on a cluster; return the exit code, None when all shards are finished.

    At most `workers` shards are at work at once; None: as many as it has CPUs. Raises UsageError.
    """
    arguments = passed_on(folder.given)
    options, shards = folder.settings.options, len(folder.manifest.shards)
    with calls_of(work_on_shard, at_once=workers) as calls:
        workers = min(workers or calls.cpus, shards)
        work = ClusterWork(
            folder=folder,
            screen=screen,
            calls=calls,
            arguments=arguments,
            placing=Placing(workers=workers, detaches=options.detach),
        )
        _tell_workers(folder, screen, workers, calls)
        return work.to_its_end()


def _tell_workers(
    folder: RunFolder, screen: Screen, workers: int, calls: Calls[Placement, ShardEnd]
) -> None:
    options = folder.settings.options
    where = "a Ray node here" if calls.address is None else f"Ray at {calls.address}"
    screen.notice(
        f"{shown(folder.path)}/: {counted(len(folder.manifest.shards), 'shard')}, at most "
        f"{workers:,} at work at once on {where} with {counted(calls.cpus, 'CPU')}"
    )
    if workers > calls.cpus:
        screen.notice(f"--workers {workers}: more than there are CPUs; the others wait for one")
    if workers > 1 and options.shared_limits is None and not options.uses_sandbox:
        screen.notice(
            "several processes use the limits of one organization, and do not know of each other: "
            "they keep to them, but some get more than others, and new ones meet 429s",
            "--shared-limits redis://HOST:PORT/0 splits them fairly",
        )


@dataclass(slots=True, kw_only=True)
class ClusterWork:
    """The work on a run folder, as this process sees it."""

    folder: RunFolder
    screen: Screen
    calls: Calls[Placement, ShardEnd]
    arguments: tuple[str, ...]
    placing: Placing
    _asked: list[int] = field(default_factory=list)
    _again: dict[int, int] = field(default_factory=dict)

    def to_its_end(self) -> int | None:
        """Place shards until nothing is left to do; return the exit code, None: all is finished."""
        folder = self.folder
        reader = FolderReader(path=folder.path, files=folder.files, manifest=folder.manifest)
        watch = FolderWatch(reader=reader, max_cost_usd=folder.settings.options.max_cost)
        self._again = self._to_retry()
        look_at = 0.0
        with _noted(self._asked):
            while not self.placing.is_over or not look_at:
                ends = self.calls.ended(_LOOK_EVERY_S)
                now = time.monotonic()
                if ends or now >= look_at:
                    self._look(watch, now)
                    took_s = time.monotonic() - now  # object storage is slow, and takes money
                    look_at = now + max(EVERY_S, took_s / READING_SHARE)
                for end in ends:
                    self._take(end, now)
                if self._is_cut_off():
                    break
                self._act(now)
                if not ends and not self.placing.at_work:
                    time.sleep(_LOOK_EVERY_S)
            self._look(watch, time.monotonic())
        return self._code()

    def _look(self, watch: FolderWatch, now: float) -> None:
        """Read the folder, show it, and let that be taken into account; later if it cannot be."""
        try:
            snapshot = watch.look()
        except (OSError, StoreError, CheckpointError):
            return
        self.screen.publish(snapshot)
        views = [self._as_to_do(view) for view in watch.reader.views]
        self.placing.see(views, watch.reader.epochs, now)

    def _to_retry(self) -> dict[int, int]:
        """Return the finished shards in which something is to be tried again, and their epochs."""
        folder, options = self.folder, self.folder.settings.options
        if not retries(folder.given):
            return {}
        found = finished_shards(folder.files, folder.manifest)
        return {number: done.epoch for number, done in found.items() if tries_again(options, done)}

    def _as_to_do(self, view: ShardView) -> ShardView:
        """Return a shard as unfinished as long as it has not been retried."""
        before = self._again.get(view.shard)
        if before is None or view.state is not ShardState.FINISHED:
            return view
        files = self.folder.files
        done = open_shard(self.folder.path, files, view.shard).done(files)
        if done is None or done.epoch > before:
            return view
        return replace(view, state=ShardState.INTERRUPTED)

    def _take(self, end: CallEnd[Placement, ShardEnd], now: float) -> None:
        """Take in how a worker has ended, and say so unless it is done."""
        code = None if end.value is None else end.value.code
        state = self.placing.ended(end.key, code, now)
        if state in {None, State.DONE, State.SUBMITTED}:
            return
        number = end.key.shard
        said = end.trouble if end.value is None else end.value.said
        if self.placing.because == number:
            self._problem(f"shard {number} stops the run{_where(end)}", said)
        elif self.placing.stopped_by is not None:
            return
        elif state is State.FAILED:
            self._problem(
                f"shard {number} has failed: it got no further in {MOST_AGAIN + 1} attempts"
                f"{_where(end)}",
                said,
            )
        elif code == Exit.CHECKPOINT:
            self.screen.notice(f"shard {number} waits: {_first(said)}")
        else:
            self.screen.notice(
                f"shard {number} is placed again: {_how(code, end.trouble)}{_where(end)}",
                _first(said) if code is not None and code > 0 else "",
            )

    def _problem(self, text: str, said: str) -> None:
        for line in (text, *said.splitlines()):
            self.screen.problem(line)

    def _act(self, now: float) -> None:
        """Stop and place what is to be stopped and placed."""
        if self.placing.stopped_by is None and self._asked:
            at_work = counted(self.placing.at_work, "shard")
            self.screen.notice(
                f"stopping {at_work}: each waits for its answers (10 s at most); Ctrl-C again to "
                "stop now"
            )
            self.placing.stop(128 + self._asked[0])
        elif self.placing.stopped_by is None and self.calls.is_lost:
            self._problem("no node of the Ray cluster is left", "")
            self.placing.stop(Exit.STOPPED)
        for placement in self.placing.to_stop():
            self.calls.stop(placement)
        for placement in self.placing.to_place(now):
            order = ShardOrder(
                folder=url_of(self.folder.path) or str(self.folder.path),
                run_id=self.folder.manifest.run_id,
                shard=placement.shard,
                arguments=self.arguments,
            )
            self.calls.place(placement, order)

    def _is_cut_off(self) -> bool:
        """Return whether those at work are not waited for."""
        return len(self._asked) > 1 or (self.placing.stopped_by is not None and self.calls.is_lost)

    def _code(self) -> int | None:
        placing = self.placing
        if placing.stopped_by is not None:
            return placing.stopped_by
        if State.FAILED in placing.states.values():
            return Exit.STOPPED
        return Exit.BOUNDED if State.SUBMITTED in placing.states.values() else None


@contextmanager
def _noted(asked: list[int]) -> Iterator[None]:
    """Note signals that ask for a stop while the block runs."""
    handlers = {
        number: signal.signal(number, lambda number, _: asked.append(number)) for number in _SIGNALS
    }
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _where(end: CallEnd[Placement, ShardEnd]) -> str:
    return "" if end.value is None else f" ({end.value.host})"


def _how(code: int | None, trouble: str) -> str:
    """Return how a process ended, in words."""
    if code is None:
        return trouble
    if code < 0:
        return f"its process was ended by {signal.Signals(-code).name}"
    return f"its process ended with exit code {code}"


def _first(said: str) -> str:
    return said.splitlines()[0].removeprefix("error: ") if said else ""
