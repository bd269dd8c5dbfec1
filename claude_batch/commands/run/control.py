"""A run as other terminals reach it: it publishes what it does, and takes changes (`adjust`)."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from claude_batch.commands.folder.steering import Steering
from claude_batch.commands.money import refuse_unpriced
from claude_batch.config.options import Options
from claude_batch.config.reading import read_changes
from claude_batch.config.settings import RunSettings
from claude_batch.core.catalog.catalog import Catalog
from claude_batch.core.model.adjustment import ADJUSTABLE, Adjustment, Bounds
from claude_batch.core.model.snapshot import AdjustedView, Snapshot
from claude_batch.errors import CheckpointWriteError, ClaudeBatchError, UsageError
from claude_batch.storage.daemon import ends_within, in_daemon
from claude_batch.storage.run.control import (
    Answer,
    LiveState,
    NotOursError,
    Request,
    publish,
    request_path,
    take_request,
    withdraw_live,
)
from claude_batch.storage.run.journal import Adjusted, JournalFile
from claude_batch.storage.run.opening import RunRequest

LOOK_EVERY_S = 0.25
"""How often the run looks for a request, in seconds."""

PUBLISH_EVERY_S = 1.0
"""How often it says what it does, in seconds."""

MOST_ANSWERS = 8
"""Answers that are kept: several commands may ask within a second."""

CLOSING_S = 2.0
"""How long the end of a run waits for a disk that may hang."""


@dataclass(slots=True, kw_only=True)
class Control:
    """Publishes the latest snapshot and waits for changes, in a thread that alone waits for a disk.

    `on_change` gets the options as they are from then on, `bounds` returns what they mean here.
    `models` are those of the run, as far as they are known. In `batch_mode` what is packed already
    has no estimate of its cost, unless there was a bound from the start. Of a shard, `steering` has
    what was changed as this process worked on those before, and gets what is changed now.
    """

    request: RunRequest
    run_id: str
    models: tuple[str, ...]
    journal: JournalFile
    catalog: Catalog
    bounds: Callable[[Options], Bounds]
    on_change: Callable[[Options], None]
    warn: Callable[[str], None]
    batch_mode: bool
    steering: Steering | None = None
    _settings: RunSettings = field(init=False)
    _options: Options = field(init=False)
    _token: str = field(default_factory=lambda: uuid.uuid4().hex)
    _adjusted: dict[str, AdjustedView] = field(default_factory=dict)
    _paused_at: float | None = None
    _begins_paused: bool = False
    _snapshot: Snapshot | None = None
    _answers: tuple[Answer, ...] = ()
    _taken: Request | None = None
    _requests: asyncio.Queue[Request] = field(default_factory=asyncio.Queue)
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    _wake: threading.Event = field(default_factory=threading.Event)
    _closing: bool = False
    _has_warned: bool = False
    _thread: threading.Thread | None = None

    def __post_init__(self) -> None:
        self._settings, self._options = self.request.settings.of_run, self.request.options
        if self.steering is not None:
            self._adjusted = dict(self.steering.views)
            self._paused_at = self.steering.paused_at
            self._begins_paused = self._paused_at is not None

    def open(self) -> None:
        """Begin to publish and to look for requests."""
        self._thread = threading.Thread(target=self._work, name="control", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End that; nothing is left beside the results."""
        self._closing = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(CLOSING_S)
        ends_within(CLOSING_S, partial(withdraw_live, self.request.results))

    def show(self, snapshot: Snapshot) -> Snapshot:
        """Return a snapshot with what the user has changed; it is published soon."""
        if self._adjusted or self._paused_at is not None:
            snapshot = replace(
                snapshot, adjusted=tuple(self._adjusted.values()), paused_at=self._paused_at
            )
        self._snapshot = snapshot
        return snapshot

    @property
    def adjustment(self) -> Adjustment:
        """What is in force now."""
        return Adjustment(bounds=self.bounds(self._options), is_paused=self._paused_at is not None)

    # what the engine asks

    async def next(self) -> Adjustment:
        """Wait for the next change; it is journaled when this returns.

        The first one is the pause in which this process has left the shard before.
        """
        if self._begins_paused:
            self._begins_paused = False
            return self.adjustment
        while True:
            request = await self._requests.get()
            try:
                options = await in_daemon(partial(self._changed, request))
                await in_daemon(partial(self._note, request, options))
            except ClaudeBatchError as error:
                self._reply(Answer(id=request.id, refusal=error.message, hint=error.hint))
                continue
            self._keep(request, options)
            return self.adjustment

    def applied(self) -> None:
        """Acknowledge the change that `next` returned."""
        if self._taken is not None:
            self._reply(Answer(id=self._taken.id))

    def _changed(self, request: Request) -> Options:
        """Return the options with what is asked for. Raises UsageError where that cannot be."""
        unknown = request.changes.keys() - set(ADJUSTABLE)
        if unknown:
            raise UsageError(
                f"the run does not know {', '.join(sorted(unknown))}",
                hint="use the version of claude-batch that it was started with",
            )
        values = read_changes(request.changes)
        if values.get("max_cost") is not None:
            refuse_unpriced(self.models, self.catalog)
            self._refuse_first_bound()
            if self.steering is not None:
                values = {**values, "max_cost": self.steering.part_of(values["max_cost"])}
        defaults = Options()
        changes = {
            name: getattr(defaults, name) if value is None else value
            for name, value in values.items()
        }
        return replace(self._options, **changes)

    def _refuse_first_bound(self) -> None:
        if self.batch_mode and self._options.max_cost is None:
            raise UsageError(
                "batches were packed without a bound on the cost, so none can be kept now",
                hint="stop the run (Ctrl-C), then resume it with --max-cost",
            )

    def _note(self, request: Request, options: Options) -> None:
        """Have it in the journal, for the history and for who resumes the run.

        There the bound on the cost of a shard is its own one: others count with it.
        """
        record = Adjusted(at=time.time(), changes=request.changes, pause=request.pause)
        self.journal.durable("adjusted", record)
        if request.changes:
            adjusted = {**self._settings.adjusted, **request.changes}
            if "max_cost" in request.changes:
                adjusted["max_cost"] = options.max_cost
            settings = replace(self._settings, adjusted=adjusted)
            self.journal.durable("settings", settings)
            self._settings = settings

    def _keep(self, request: Request, options: Options) -> None:
        """Keep to what was asked for and is journaled."""
        now = time.time()
        for name, value in request.changes.items():
            self._adjusted[name] = AdjustedView(name=name, value=value, at=now)
        if request.pause is not None:
            self._paused_at = (self._paused_at or now) if request.pause else None
        self._options, self._taken = options, request
        self.on_change(options)
        if self.steering is not None:
            self.steering.keep(request.changes, at=now, paused_at=self._paused_at)

    def _reply(self, answer: Answer) -> None:
        self._answers = (*self._answers[1 - MOST_ANSWERS :], answer)
        self._wake.set()

    # the thread

    def _work(self) -> None:
        """Look for requests and publish, until closed."""
        due_at, answered = time.monotonic(), self._answers
        while not self._closing:
            self._take()
            if time.monotonic() >= due_at or self._answers is not answered:
                answered = self._answers
                self._publish(self._snapshot, answered)
                due_at = time.monotonic() + PUBLISH_EVERY_S
            self._wake.wait(LOOK_EVERY_S)
            self._wake.clear()

    def _publish(self, snapshot: Snapshot | None, answers: tuple[Answer, ...]) -> None:
        state = LiveState(
            run_id=self.run_id,
            token=self._token,
            process=os.getpid(),
            host=socket.gethostname(),
            at=time.time(),
            snapshot=snapshot,
            answers=answers,
        )
        with suppress(OSError, CheckpointWriteError):  # a full disk: the run itself goes on
            publish(self.request.results, state)

    def _take(self) -> None:
        try:
            request = take_request(self.request.results, run_id=self.run_id, token=self._token)
        except NotOursError as error:
            if not self._has_warned:
                self._has_warned = True
                path = request_path(self.request.results)
                self.warn(f"{path} is not taken for a request to this run: {error.strerror}")
            return
        except OSError:
            return
        if request is not None:
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._requests.put_nowait, request)


def changes_text(changes: Mapping[str, Any]) -> str:
    """Return changed options in words: rpm 200, share none."""
    return ", ".join(
        f"{name.replace('_', '-')} {'none' if value is None else f'{value:,.10g}'}"
        for name, value in changes.items()
    )
