"""`--on ray`: the shards of a run folder, placed on the workers of a cluster.

This process keeps nothing that is not in the folder. What is placed where is decided in
core/shards/placing.py; a shard is worked on by `claude-batch run DIR/ --shard N` on its worker.
"""

from __future__ import annotations

import shlex
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from claude_batch.cluster.calls import CallEnd, Calls, calls_of, refuse_no_cluster
from claude_batch.commands.cluster.asking import may_place
from claude_batch.commands.cluster.node import ShardEnd, ShardOrder, work_on_shard
from claude_batch.commands.folder.manifest import OF_THE_FOLDER, RunFolder
from claude_batch.commands.folder.progress import (
    EVERY_S,
    READING_SHARE,
    FolderReader,
    FolderWatch,
)
from claude_batch.commands.folder.status import settled_shards, tries_again
from claude_batch.commands.run.messages import counted, shown
from claude_batch.commands.run.retrying import retries
from claude_batch.config.declaration import File, Owner, StoreUrl, journaled
from claude_batch.config.options import OPTIONS, OVERRIDING
from claude_batch.config.reading import read_changes
from claude_batch.config.spelling import as_typed, flag, variable
from claude_batch.core.model.shards import ShardState, ShardView
from claude_batch.core.shards.placing import MOST_AGAIN, Placement, Placing, State
from claude_batch.engine.shutdown import CUTTING, heeded_signals
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

_NEXT = "  next: "
"""What stands before the advice in an error message of a process."""

_QUIET = ("--quiet", "--no-stdout")


def refuse_cluster(given: Mapping[str, Any]) -> None:
    """Refuse what cannot be done on a cluster, before anything is made. Raises UsageError."""
    passed_on(given)
    refuse_no_cluster()


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


def place_shards(
    folder: RunFolder,
    screen: Screen,
    *,
    workers: int | None,
    on_begin: Callable[[], object],
    bound: Callable[[], float | None],
) -> ClusterEnd:
    """Work on a run folder on a cluster; return how that ended.

    At most `workers` shards are at work at once; None: as many as it has CPUs. `on_begin` is called
    before the first one is placed; `bound` returns what all may cost. Raises UsageError.
    """
    arguments, work = passed_on(folder.given), None
    if not may_place(folder, screen):
        return ClusterEnd(code=Exit.BOUNDED)
    while True:
        with calls_of(work_on_shard, at_once=workers) as calls:
            if work is None:
                at_once = min(workers or calls.cpus, len(folder.manifest.shards))
                on_begin()
                _tell_workers(folder, screen, at_once, calls)
                work = ClusterWork(
                    folder=folder,
                    screen=screen,
                    arguments=arguments,
                    calls=calls,
                    workers=at_once,
                    bound=bound,
                )
            work.calls = calls
            if work.is_over_with_its_workers():
                return ClusterEnd(code=work.code, hint=work.hint)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterEnd:
    """How the work on a cluster ended: its exit code, None when all shards are finished.

    `hint` is what the process has said that stopped all: what to do next, in lines.
    """

    code: int | None
    hint: str = ""


@dataclass(slots=True, kw_only=True)
class ClusterWork:
    """The work on a run folder, as this process sees it."""

    folder: RunFolder
    screen: Screen
    arguments: tuple[str, ...]
    calls: Calls[Placement, ShardEnd]
    workers: int
    bound: Callable[[], float | None]
    hint: str = ""
    _placing: Placing = field(init=False)
    _watch: FolderWatch = field(init=False)
    _again: dict[int, int] = field(init=False)
    _asked: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Begin with what is in the folder."""
        folder, options = self.folder, self.folder.settings.options
        reader = FolderReader(path=folder.path, files=folder.files, manifest=folder.manifest)
        self._placing = Placing(workers=self.workers, detaches=options.detach)
        self._watch = FolderWatch(reader=reader)
        self._again = self._to_retry()

    def is_over_with_its_workers(self) -> bool:
        """Place shards; return True once nothing is left to do, False when all workers are lost."""
        look_at = 0.0
        with _noted(self._asked):
            while not look_at or not self._placing.is_over:
                ends = self.calls.ended(_LOOK_EVERY_S)
                now = time.monotonic()
                if is_due := bool(ends or now >= look_at):
                    self._look(now)
                    took_s = time.monotonic() - now  # object storage is slow, and takes money
                    look_at = now + max(EVERY_S, took_s / READING_SHARE)
                for end in ends:
                    self._take(end, now)
                if len(self._asked) > 1:
                    return True
                if is_due and self.calls.is_lost:
                    return self._lose_all(now)
                self._act(now)
                if not ends and not self._placing.at_work:
                    time.sleep(_LOOK_EVERY_S)
            self._look(time.monotonic())
        return True

    def _lose_all(self, now: float) -> bool:
        """Take in that Ray is gone; return whether it is over: what is here is started again."""
        self._placing.lose_all(now)
        if self.calls.address is not None:
            self._problem(f"no node is left of the Ray cluster at {self.calls.address}", "")
            self._placing.stop(Exit.STOPPED)
        else:
            self.screen.notice("the Ray node here is gone; starting another one")
        return self._placing.stopped_by is not None

    def _look(self, now: float) -> None:
        """Read the folder, show it, and let that be taken into account; later if it cannot be."""
        try:
            self._watch.max_cost_usd = self.bound()
            snapshot = self._watch.look()
        except (OSError, StoreError, CheckpointError):
            return
        self.screen.publish(snapshot)
        reader = self._watch.reader
        self._placing.see([self._as_to_do(view) for view in reader.views], reader.epochs, now)

    def _to_retry(self) -> dict[int, int]:
        """Return the finished shards in which something is to be tried again, and their epochs."""
        folder, options = self.folder, self.folder.settings.options
        if not retries(folder.given):
            return {}
        found = settled_shards(folder.path, folder.files, folder.manifest)
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
        state = self._placing.ended(end.key, code, now)
        if state in {None, State.DONE, State.SUBMITTED}:
            return
        number = end.key.shard
        said = end.trouble if end.value is None else end.value.said
        if self._placing.because == number:
            self._problem(f"shard {number} stops the run{_where(end)}", said)
            self.hint = advice_in(said)
        elif self._placing.stopped_by is not None:
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
            why = f": {_first(said)}" if code is not None and code > 0 else ""
            how = _how(code, end.trouble)
            self.screen.notice(f"shard {number} is placed again: {how}{_where(end)}{why}")

    def _problem(self, text: str, said: str) -> None:
        for line in (text, *said.splitlines()):
            self.screen.problem(line)

    def _act(self, now: float) -> None:
        """Stop and place what is to be stopped and placed."""
        if self._placing.stopped_by is None and self._asked:
            at_work = counted(self._placing.at_work, "shard")
            self.screen.notice(
                f"stopping {at_work}: each waits for its answers (10 s at most); Ctrl-C again to "
                "stop now"
            )
            self._placing.stop(128 + self._asked[0])
        for placement in self._placing.to_stop():
            self.calls.stop(placement)
            if self._placing.stopped_by is None:
                self.screen.notice(
                    f"shard {placement.shard} is placed again: nothing is heard of its process"
                )
        for placement in self._placing.to_place(now):
            order = ShardOrder(
                folder=url_of(self.folder.path) or str(self.folder.path),
                run_id=self.folder.manifest.run_id,
                shard=placement.shard,
                arguments=self.arguments,
            )
            self.calls.place(placement, order)

    @property
    def code(self) -> int | None:
        """The exit code; None: all shards are finished."""
        placing = self._placing
        if placing.stopped_by is not None:
            return placing.stopped_by
        if State.FAILED in placing.states.values():
            return Exit.STOPPED
        return Exit.BOUNDED if State.SUBMITTED in placing.states.values() else None


@contextmanager
def _noted(asked: list[int]) -> Iterator[None]:
    """Note signals that ask for a stop while the block runs."""

    def take(number: int, _frame: object) -> None:
        if not asked or number in CUTTING:
            asked.append(number)

    handlers = {number: signal.signal(number, take) for number in heeded_signals()}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def advice_in(said: str) -> str:
    """Return what the last message of a process advises, in lines; "" if it does not."""
    _, found, advice = said.rpartition(_NEXT)
    return "\n".join(each.strip() for each in advice.splitlines()) if found else ""


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
    return said.splitlines()[0].removeprefix("error: ").removeprefix("note: ") if said else ""
