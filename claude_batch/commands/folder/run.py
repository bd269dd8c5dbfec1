"""`run` and `resume` on a run folder: its shards one after another, or one of them.

Each shard is an ordinary run with its own results; what was learned of limits goes from one to the
next.
"""

from __future__ import annotations

import math
import os
import random
import shlex
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from claude_batch.commands.check import defaults_of
from claude_batch.commands.folder.ending import (
    FolderEnd,
    bad_lines,
    finished_text,
    note_refused,
)
from claude_batch.commands.folder.manifest import RunFolder, existing_folder, open_folder
from claude_batch.commands.folder.money import FolderMoney
from claude_batch.commands.folder.progress import FolderReader
from claude_batch.commands.folder.screen import OTHERS_EVERY_S, FolderScreen
from claude_batch.commands.folder.stage import ShardStage
from claude_batch.commands.folder.status import (
    ShardStatus,
    done_of,
    settled_shards,
    shard_statuses,
    tries_again,
)
from claude_batch.commands.folder.steering import Steering
from claude_batch.commands.run.messages import counted, shown, shown_source
from claude_batch.commands.run.options import resumed
from claude_batch.commands.run.retrying import overrides_of, retries
from claude_batch.commands.run.run import carry_out
from claude_batch.commands.run.stdout import STDOUT, form_of
from claude_batch.config.options import Options
from claude_batch.config.reading import typed_options
from claude_batch.config.settings import RunSettings
from claude_batch.core.catalog.routing import routes_of_text
from claude_batch.core.model.units import dollars
from claude_batch.core.scheduling.scheduler import Learned
from claude_batch.core.shards.claims import (
    LOOK_EVERY_S,
    SILENT_S,
    Claim,
    Held,
    decide,
    has_moved,
    latest,
)
from claude_batch.core.shards.names import id_prefix
from claude_batch.engine.shutdown import exit_code_of, raise_signals
from claude_batch.errors import (
    BoundTooLowError,
    CheckpointError,
    CheckpointLockedError,
    ClaudeBatchError,
    Exit,
    InvalidPromptsError,
    UsageError,
)
from claude_batch.storage.folder.adjusted import (
    FolderChange,
    note_change,
    options_of,
    read_changes_of,
)
from claude_batch.storage.folder.claims import HeldClaim, claims_on, held_by_another, take_claim
from claude_batch.storage.folder.cutting import refuse_changed
from claude_batch.storage.folder.files import folder_gone
from claude_batch.storage.folder.manifest import Shard
from claude_batch.storage.folder.places import open_shard
from claude_batch.storage.folder.shards import Done, ShardFolder, Shipping
from claude_batch.storage.objects.errors import StoreError
from claude_batch.storage.objects.locations import Fetch
from claude_batch.storage.prompts.shapes import NO_OVERRIDES, Overrides
from claude_batch.storage.run.journal import read_journal
from claude_batch.storage.run.opening import RunRequest
from claude_batch.storage.run.output import print_results
from claude_batch.storage.run.paths import MANIFEST, has_manifest
from claude_batch.storage.run.results import utc
from claude_batch.storage.run.status import RunState, remember_run, run_status
from claude_batch.ui.screen.opening import chosen_form, open_screen
from claude_batch.ui.screen.screen import RunSummary, Screen

_NEARLY_FREE_S = SILENT_S - 2 * LOOK_EVERY_S
"""A holder whose shard is free in less time has missed its turn to show that it lives."""

_LOOK_AGAIN_S = 1.0
"""How often it is looked whether a shard that was passed over is free, in seconds."""


def run_folder(inputs: Sequence[str], given: Mapping[str, Any], *, resumes: bool = False) -> int:
    """Start or resume the run of a folder, or one shard of it; return the exit code."""
    options = typed_options(given, os.environ)
    if options.on is not None:
        from claude_batch.commands.cluster.cluster import refuse_cluster  # noqa: PLC0415  # rarely used

        refuse_cluster(given)
    screen = _open_screen(options)
    try:
        folder = open_folder(inputs, given, screen, resumes=resumes)
        if options.shard is not None and options.shard > len(folder.manifest.shards):
            raise UsageError(
                f"there is no shard {options.shard}: {shown(folder.path)}/ has shards 1 to "
                f"{len(folder.manifest.shards)}",
                hint="claude-batch status " + shlex.quote(shown(folder.path)),
            )
        _refuse_log_inside(folder, options)
        if has_manifest(folder.path):  # it is on this host
            remember_run(folder.path)
        return _run(folder, options, screen)
    finally:
        screen.close(None, None)


def _run(folder: RunFolder, options: Options, screen: Screen) -> int:
    """Work on a folder that is open; return the exit code."""
    try:
        if options.on is not None:
            return _run_on_cluster(folder, options, screen)
        work = FolderWork(folder=folder, screen=screen, one_after_another=options.shard is None)
        return work.all() if options.shard is None else work.one(options.shard)
    except StoreError as error:  # it could be read when this command began
        raise CheckpointError(
            f"{error.message}; no result is lost",
            hint=f"{error.hint}; then run the same command again",
        ) from error


def _run_on_cluster(folder: RunFolder, options: Options, screen: Screen) -> int:
    """Work on a folder on a cluster; return the exit code."""
    from claude_batch.commands.cluster.cluster import place_shards  # noqa: PLC0415  # rarely used

    workers = "" if options.workers is None else f" --workers {options.workers}"
    also = f" --on ray{workers}"
    work = FolderWork(folder=folder, screen=screen, one_after_another=False, also=also)
    shown_whole = work.open()
    work.tell_resumed()
    try:
        end = place_shards(
            folder,
            screen,
            workers=options.workers,
            on_begin=work.keep_options,
            bound=work.bound_now,
        )
        return work.end(shown_whole, end.code, hint=end.hint)
    finally:
        shown_whole.close(None)


def resume_folder(name: str, given: Mapping[str, Any]) -> int:
    """Resume the run of a folder; return the exit code. Raises UsageError where there is none."""
    existing_folder(name)
    return run_folder([name], given, resumes=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """A shard that another process works on: the claim on it as it was seen `at` (monotonic)."""

    shard: Shard
    claim: Claim | None
    at: float

    def has_moved(self, now: Passed) -> bool:
        """Return whether its holder has shown since that it lives."""
        before, after = self.claim, now.claim
        return before is None or after is None or has_moved(before, after, now.at - self.at)


@dataclass(slots=True, kw_only=True)
class FolderWork:
    """Works on shards of a folder. `one_after_another`: on all, with all that may be spent.

    `also` are options of the command that works on the rest.
    """

    folder: RunFolder
    screen: Screen
    one_after_another: bool
    also: str = ""
    _shown: FolderScreen | None = None
    _steering: Steering = field(init=False)
    _money: FolderMoney = field(init=False)
    _at_work: Shard | None = None
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _learned: Learned | None = None
    _may_spend: bool = False
    _finished: dict[int, Done] = field(default_factory=dict)
    _kept: int | None = None
    _has_told: bool = False
    _is_short: bool = False
    _interrupted: int | None = None
    _looked_at: float = -math.inf

    def __post_init__(self) -> None:
        self._money = FolderMoney(
            folder=self.folder, whole=self.one_after_another, statuses=self._statuses
        )
        self._steering = Steering(part_of=self._part_of, on_change=self._adjust)

    @property
    def _bound(self) -> float | None:
        """What all of the folder may cost, as it is now; None: no bound."""
        return self._steering.adjusted(self.folder.settings.options).max_cost

    def bound_now(self) -> float | None:
        """Return what all of the folder may cost; looks now and then whether that has changed."""
        if (now := self.clock()) - self._looked_at > OTHERS_EVERY_S:
            self._looked_at = now
            self._take_changes()
        return self._bound

    def keep_options(self) -> None:
        """Note what this command was given: from now on that is in force for all of the folder.

        Of a command for one shard that is the bound on the cost; its other options are those of its
        process. A cluster's workers note that bound: they find out whether it is too low. One that
        replaces an adjusted bound is noted before: workers would keep to the adjusted one.
        """
        folder = self.folder
        if self._kept is not None or folder.is_its_maker:
            return
        only = {"max_cost"} if "shard" in folder.given else None
        is_workers = "on" in folder.given and "max_cost" not in folder.before.run.adjusted
        besides = {"max_cost"} if is_workers else set[str]()
        given, now = folder.news(only, besides), options_of(folder.manifest, folder.files)
        if RunSettings() not in (given, replace(folder, before=now).news(only, besides)):
            self._kept = note_change(folder.files, FolderChange(at=time.time(), given=given))

    def tell_resumed(self) -> None:
        """Say once which options are in force because earlier commands were given them."""
        if not self._has_told:
            self._has_told = True
            name = f"{shown(self.folder.path)}/"
            if message := resumed(self.folder.settings, name, "this run folder"):
                self.screen.notice(message)

    def _take_changes(self) -> None:
        """Keep to what other commands have changed since this one began."""
        for change in read_changes_of(self.folder.files):
            if change.number > self.folder.before.changes and change.number != self._kept:
                self._steering.take(change)
        self._adjust()

    def _adjust(self) -> None:
        """Show that something was changed."""
        if self._shown is not None:
            self._shown.max_cost_usd = self._bound

    def _part_of(self, bound: float) -> float:
        """Return what the shard at work may cost when the bound becomes another one."""
        assert self._at_work is not None  # noqa: S101  # it asks
        return self._money.adjusted(bound, self._at_work)

    def all(self) -> int:
        """Work on all shards that nobody else works on; return the exit code."""
        self._shown = shown = self.open()
        try:
            return self._all(shown)
        except KeyboardInterrupt as error:  # between two shards
            return self.end(shown, exit_code_of(error), why="interrupted")
        finally:
            shown.close(None)

    def open(self) -> FolderScreen:
        """Return a screen for all of the folder."""
        folder = self.folder
        reader = FolderReader(path=folder.path, files=folder.files, manifest=folder.manifest)
        bound = self._bound
        shown = FolderScreen(screen=self.screen, reader=reader, max_cost_usd=bound)
        shown.open()
        return shown

    def _all(self, shown: FolderScreen) -> int:
        passed: list[Passed] = []
        detached: list[int] = []
        folder = self.folder
        self._finished = settled_shards(folder.path, folder.files, folder.manifest)
        for shard in self._in_turn(passed):
            try:
                code = self._work_on(shard)
            except CheckpointLockedError as error:
                self.screen.notice(error.message)
                passed.append(self._passed(shard))
                continue
            except BoundTooLowError as error:
                if passed and not self._is_short:
                    self._is_short = True
                    continue
                if not self._may_spend:  # nothing was done
                    raise
                return self.end(shown, Exit.BOUNDED, why=error.message, too_little=True)
            if code == Exit.BOUNDED and self.folder.settings.options.detach:
                detached.append(shard.shard)
            elif code not in {Exit.SUCCEEDED, Exit.SOME_FAILED}:
                return self.end(shown, code, last=shown.ending)
        if detached:
            why = f"the batches of {counted(len(detached), 'shard')} are left running"
            return self.end(shown, Exit.BOUNDED, why=why)
        if self._is_any_left(passed):
            why = "" if self._interrupted is None else "interrupted"
            return self.end(shown, self._interrupted or Exit.BOUNDED, why=why)
        return self.end(shown, None)

    def _is_left(self, shard: Shard) -> bool:
        """Return whether there is something to do in a shard, as far as is known."""
        done = self._finished.get(shard.shard)
        return done is None or tries_again(self.folder.settings.options, done)

    def _is_any_left(self, passed: Sequence[Passed]) -> bool:
        """Return whether nobody has finished shards that were passed over, or not come to."""
        folder = self.folder
        shards = [each.shard for each in passed]
        if self._interrupted is not None:
            shards = [*folder.manifest.shards]
        if shards:
            self._finished |= settled_shards(folder.path, folder.files, folder.manifest)
        return any(map(self._is_left, shards))

    def _in_turn(self, passed: list[Passed]) -> Iterator[Shard]:
        """Yield all shards, then those that were `passed` over and that nobody works on by then.

        These come sooner where too little of the bound on the cost is left: the rest of it may be
        what a dead process might have spent.
        """
        shards = deque(self.folder.manifest.shards)
        while shards and not self._is_short and self._interrupted is None:
            yield shards[0]
            if not self._is_short:
                shards.popleft()
        for shard in (*self.take_back(passed), *shards):
            if self._interrupted is None:
                yield shard

    def _passed(self, shard: Shard) -> Passed:
        """Return a shard that another process works on, as it is seen now."""
        claim = latest(claims_on(self.folder.files, shard.shard))
        return Passed(shard=shard, claim=claim, at=self.clock())

    def take_back(self, passed: list[Passed]) -> list[Shard]:
        """Take the shards out of `passed` that nobody works on any more, and return them.

        Waits for each until its holder has shown that it lives, or was silent for long enough.
        """
        freed, has_told = [], False
        for each in tuple(passed):
            while self._interrupted is None:
                now = self._passed(each.shard)
                held = decide(() if now.claim is None else (now.claim,))
                if not isinstance(held, Held):
                    passed.remove(each)
                    freed.append(each.shard)
                    break
                if each.has_moved(now):
                    break
                if not has_told:
                    has_told = True
                    self.screen.notice(
                        f"shard {each.shard.shard}: waiting up to {held.free_in_s:.0f} s to see "
                        f"whether {held.by} still works on it"
                    )
                self.sleep(min(_LOOK_AGAIN_S, held.free_in_s))
        return freed

    def one(self, number: int) -> int:
        """Work on one shard; return the exit code. Raises CheckpointLockedError."""
        return self._work_on(self.folder.manifest.shards[number - 1])

    def _work_on(self, shard: Shard) -> int:
        """Work on a shard until it is finished, or has to stop; return the exit code."""
        folder = open_shard(self.folder.path, self.folder.files, shard.shard)
        done = self._finished.get(shard.shard) or self._done(folder)
        options = self.folder.settings.options
        if done is not None and not tries_again(options, done):
            self._print_again(folder, done)
            if not self.one_after_another:
                self.screen.notice(finished_text(done))
            return self._code_of(done)
        if not self.folder.files.exists(MANIFEST):
            raise folder_gone(self.folder.files.place)
        self._at_work = shard
        self._take_changes()
        self.tell_resumed()
        claim = self._claim(shard)
        try:
            done = self._done(folder)
            if done is not None and not tries_again(options, done):  # finished meanwhile
                return self._code_of(done)
            if not self._is_pictured:
                of, part = len(self.folder.manifest.shards), ""
                if claim.max_cost_usd is not None and not self.one_after_another:
                    part = f"; it may cost {dollars(claim.max_cost_usd)} of --max-cost for all"
                self.screen.notice(f"shard {shard.shard} of {of}: {shown_words(shard)}{part}")
            results = folder.begin(claim.epoch, done or folder.done(self.folder.files))
            with folder.shipping(results, claim, self.screen.notice) as shipping:
                return self._work_off(shard, folder, results, claim, shipping)
        except CheckpointLockedError:
            raise
        except ClaudeBatchError as error:
            with suppress(ClaudeBatchError, OSError):
                folder.note_refused(self.folder.files, claim.epoch, error.message)
            raise
        finally:
            claim.close()

    def _done(self, folder: ShardFolder) -> Done | None:
        """Return what a shard came to; None while it, or a retry of it, is unfinished."""
        done = folder.done(self.folder.files)
        return None if folder.is_unfinished(done) else done

    def _work_off(
        self,
        shard: Shard,
        folder: ShardFolder,
        results: Path,
        claim: HeldClaim,
        shipping: Shipping,
    ) -> int:
        """Work on a shard whose files are in place; return the exit code."""
        stage = ShardStage(
            claim=claim,
            shipping=shipping,
            learned=self._learned,
            is_first=not self._may_spend,
            share=self._share(shard),
            steering=self._steering,
            on_begin=self.keep_options,
            watching=None if self._shown is None else self._shown.watching,
            ending=None if self._shown else lambda last: self._left().alone(shard.shard, last),
        )
        request = self._request(shard, results, claim.max_cost_usd)
        try:
            code = self._carry_out(shard, request, stage)
        except ClaudeBatchError:
            with suppress(ClaudeBatchError):  # the first one says more
                self._note_done(folder, results, claim, shipping)  # of a retry that is over
            raise
        if self.one_after_another:
            raise_signals()
        self._learned, self._interrupted = stage.learned, stage.interrupted
        if code not in {Exit.SUCCEEDED, Exit.SOME_FAILED}:
            self._note_done(folder, results, claim, shipping)  # as above
            return code
        self._may_spend = True
        return self._finish(folder, results, claim, shipping)

    def _carry_out(self, shard: Shard, request: RunRequest, stage: ShardStage) -> int:
        """Work off the run of a shard; return the exit code."""
        results, claim = request.results, stage.claim
        try:
            return carry_out(self._screen_of(shard), request, stage)
        except InvalidPromptsError as error:
            skips, alone = self.folder.settings.options.skip_invalid, not self.one_after_another
            raise bad_lines(error, self.folder.path, shard, skips=skips, alone=alone) from error
        except BoundTooLowError as error:  # which speaks of a part of the bound
            bound = self._bound or 0.0
            note_refused(results, error, claim.max_cost_usd)
            raise self._money.too_little(bound, shard, error.enough_usd) from error
        finally:  # its files may be gone: that says more than the error does
            claim.refuse_lost()

    def _print_again(self, folder: ShardFolder, done: Done) -> None:
        """Print the results of a shard that was finished before, where results are printed."""
        options = self.folder.settings.options
        if options.stdout and not options.new_only:
            form = form_of(options.format)
            with folder.reading(done) as results:
                if results is not None:
                    print_results(results, STDOUT, form=form, wanted=lambda _: True, ordered=False)

    def _share(self, shard: Shard) -> float:
        """Return how large a part of what this process is about to do a shard is."""
        return self._money.part(shard) if self.one_after_another else 1.0

    def _claim(self, shard: Shard) -> HeldClaim:
        """Claim a shard. Raises CheckpointLockedError where another works on it."""
        files = self.folder.files
        while True:
            match decide(claims_on(files, shard.shard)):
                case Held(by, free_in_s) if free_in_s > _NEARLY_FREE_S or self.one_after_another:
                    raise held_by_another(shard.shard, by, free_in_s)
                case Held(by, free_in_s):
                    message = f"{by} has shard {shard.shard}, but is silent: waiting for it"
                    self.screen.notice(message)
                    time.sleep(free_in_s)
                    continue
                case free:
                    claim = take_claim(
                        files, shard.shard, free.epoch, self._money.slice(self._bound, shard)
                    )
            if claim is not None and self._money.is_within(self._bound, claim):
                return claim
            if claim is not None:  # another has claimed a shard meanwhile, too: one of us waits
                claim.close()
                time.sleep(random.random())  # noqa: S311  # no secret

    def _request(self, shard: Shard, results: Path, max_cost: float | None) -> RunRequest:
        """Return the run of a shard."""
        manifest = self.folder.manifest
        journal, settings = read_journal(results), self.folder.settings
        if shard.pinned is None and journal is None:
            refuse_changed(Path(shard.source), shard.start, shard.end, shard.sha256)
        skips = settings.options if journal is None else journal.identity.options
        options = replace(
            self._steering.adjusted(settings.options),
            skip_invalid=skips.skip_invalid,  # of a shard that has begun, as it began
            max_cost=max_cost,
            yes=settings.options.yes or self._may_spend,
            stdout=bool(settings.options.stdout),
        )
        adjusted = {**settings.of_run.adjusted, **self._steering.changes}
        adjusted.pop("max_cost", None)  # others count with the shard's part, which its claim has
        settings = replace(
            settings,
            options=options,
            routes=routes_of_text(manifest.routes),
            resumed=(),  # that was said
            of_run=replace(settings.of_run, adjusted=adjusted),
        )
        defaults = defaults_of(settings, shard.source)
        columns = replace(defaults.columns, ids=manifest.ids, id_prefix=id_prefix(shard.name))
        return RunRequest(
            prompts=shard.source,
            results=results,
            defaults=replace(defaults, columns=columns),
            settings=settings,
            started_at=utc(time.time()),
            part=shard.part,
            fetch=Fetch(pinned=shard.pinned),
            overrides=self._overrides(),
        )

    def _overrides(self) -> Overrides:
        given = self.folder.given
        if not retries(given):
            return NO_OVERRIDES
        return overrides_of(given, besides=self.folder.manifest.options)

    def _finish(
        self, folder: ShardFolder, results: Path, claim: HeldClaim, shipping: Shipping
    ) -> int:
        """Note that the shard is finished, if it is; return the exit code."""
        done = self._note_done(folder, results, claim, shipping)
        if done is None:
            return Exit.BOUNDED
        if self.one_after_another:
            self.screen.notice(finished_text(done))
        return self._code_of(done)

    def _note_done(
        self, folder: ShardFolder, results: Path, claim: HeldClaim, shipping: Shipping
    ) -> Done | None:
        """Note what the shard came to, and return that; None if it is unfinished."""
        status = run_status(results)
        if status is None or status.state is not RunState.FINISHED:
            return None
        done = replace(done_of(status, folder.shard, claim.epoch), segments=shipping.finish())
        claim.refuse_lost()
        if not folder.finish(self.folder.files, done):
            done = folder.done(self.folder.files) or done
        self._finished[folder.shard] = done
        folder.tidy(done)
        return done

    def _code_of(self, done: Done) -> int:
        return Exit.SOME_FAILED if done.has_failures else Exit.SUCCEEDED

    def end(
        self,
        shown: FolderScreen,
        stopped: int | None,
        *,
        last: RunSummary | None = None,
        why: str = "",
        too_little: bool = False,
        hint: str = "",
    ) -> int:
        """Show how far the whole is; return the exit code, `stopped` where shards are left.

        `last` is how the shard ended that has stopped it; else `why` says the reason. `too_little`
        of the bound on the cost is left for the next one. `hint` says what to do, in lines.
        """
        end = self._left()
        if end.is_finished and stopped is None:
            summary = end.finished()
        else:
            if last is not None:
                why = end.why(shown.number, last)
            code = Exit.BOUNDED if stopped is None else stopped
            summary = end.stopped(code, last=last, why=why, too_little=too_little, hint=hint)
        shown.close(summary)
        return summary.exit_code

    def _left(self) -> FolderEnd:
        """Return the folder as this process leaves it."""
        path, bound = self.folder.path, self._bound
        return FolderEnd(path=path, statuses=self._statuses(), bound_usd=bound, also=self.also)

    @property
    def _is_pictured(self) -> bool:
        """Whether there is a picture that says which shard is being worked on."""
        options = self.folder.settings.options
        form = chosen_form(options.progress, quiet=options.quiet)
        return self._shown is not None and form == "live"

    def _screen_of(self, shard: Shard) -> Screen:
        """Return where a shard is shown."""
        return self.screen if self._shown is None else self._shown.of(shard)

    def _statuses(self) -> list[ShardStatus]:
        folder = self.folder
        return shard_statuses(folder.path, folder.files, folder.manifest, self._finished)


def _refuse_log_inside(folder: RunFolder, options: Options) -> None:
    """Refuse a log of attempts in the place of files of the folder."""
    if options.log is not None and options.log.absolute().is_relative_to(folder.path):
        raise UsageError(
            f"--log {options.log} is in the run folder, which holds only its own files",
            hint="name a file elsewhere",
        )


def _open_screen(options: Options) -> Screen:
    # results and a moving picture on one terminal would write over each other
    shared = bool(options.stdout) and sys.stdout.isatty() and options.progress == "auto"
    return open_screen("plain" if shared else options.progress, quiet=options.quiet)


def shown_words(shard: Shard) -> str:
    """Return what a shard is about, as the user would name it."""
    return shard.words.replace(shard.source, shown_source(shard.source), 1)
