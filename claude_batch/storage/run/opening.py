"""Opening a run: a new one after its prompts were checked, or one that lies on disk already.

Called under the lock. Nothing is created before the prompts are known to be good.
"""

from __future__ import annotations

import shlex
import uuid
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path

import orjson

from claude_batch import __version__
from claude_batch.config.declaration import Owner
from claude_batch.config.options import OVERRIDING, Options
from claude_batch.config.settings import RunSettings, Settings
from claude_batch.config.spelling import flag, spelled
from claude_batch.core.batch.history import BatchHistory
from claude_batch.core.catalog.routing import routes_text
from claude_batch.core.model.requests import ResultType
from claude_batch.core.scheduling.progress import Tally
from claude_batch.errors import (
    CheckpointMismatchError,
    CheckpointWriteError,
    InvalidPromptsError,
    UsageError,
)
from claude_batch.storage.files import beside, open_to_read, replace_file
from claude_batch.storage.objects.locations import ANY, Fetch
from claude_batch.storage.prompts.check import CheckReport
from claude_batch.storage.prompts.input import can_be_read_again, is_regular, rereadable
from claude_batch.storage.prompts.lines import fingerprint
from claude_batch.storage.prompts.options import input_options
from claude_batch.storage.prompts.parse import InvalidLine
from claude_batch.storage.prompts.shapes import NO_OVERRIDES, Defaults, Overrides
from claude_batch.storage.run.batch_journal import history_of, note_mode
from claude_batch.storage.run.checkpoint import Checkpoint, Entry, id_digest
from claude_batch.storage.run.journal import (
    Closed,
    Extended,
    Journal,
    Retry,
    RunIdentity,
    create_journal,
    journal_path,
    note,
    read_journal,
)
from claude_batch.storage.run.limit import Limited, choose_lines
from claude_batch.storage.run.paths import (
    copied_prompts,
    files_of,
    is_same_run,
    keep_prompts,
    prompts_part,
    refuse_foreign_results,
    refuse_mismatch,
    refuse_own_prompts,
)
from claude_batch.storage.run.recovery import (
    Retried,
    abandon_retry,
    is_retrying,
    prove,
    put_back,
    recover,
    retry_expense,
    take_out,
    take_out_again,
    waiting,
)
from claude_batch.storage.run.source import are_gone, change_of, has_grown, prompts_now, source_of
from claude_batch.storage.tables.kinds import Part

_MOST_MODELS = 1_000
"""Models that a journal keeps."""

SKIPPING = "fix the lines above, or send the good ones with --skip-invalid"
"""What to do about a file with bad lines and good ones."""

CheckFile = Callable[[Path, Callable[[InvalidLine], None]], CheckReport]
"""Checks a file of prompts, telling every bad line as it is found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """What the command asks for; `table` is to be written.

    `prompts` is a path, - for stdin, or the URL of an object, which is copied as `fetch` says.
    `part` is what the run is about of a file that is shared with other runs; None: all of it.
    """

    prompts: str
    results: Path
    defaults: Defaults
    settings: Settings
    started_at: str
    table: Path | None = None
    part: Part | None = None
    fetch: Fetch = ANY
    overrides: Overrides = NO_OVERRIDES

    @property
    def options(self) -> Options:
        """The options in force."""
        return self.settings.options

    @property
    def retry(self) -> Retry | None:
        """What this command tries again, and how; None: nothing."""
        options = self.options
        if not (options.retry_errored or options.retry_degraded or options.retry_stop):
            return None
        return Retry(
            errored=options.retry_errored,
            degraded=options.retry_degraded,
            stops=options.retry_stop,
            model=self.overrides.model,
            max_tokens=self.overrides.max_tokens,
            drop=self.overrides.drop,
        )


def _takes(retry: Retry, entry: Entry) -> bool:
    """Return whether a result is to be taken out, and its request tried again."""
    failed = entry.type is not ResultType.SUCCEEDED or entry.breaks_schema
    return (
        (retry.errored and failed)
        or (retry.degraded and entry.degraded)
        or entry.stop_reason in retry.stops
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRun:
    """A run on disk, whole and ready to be worked on; its prompts are read from `prompts`.

    `settings` are the options that its journal keeps. `checked` is what the checking pass found,
    where there was one; `left` how the last process left the run, `batches` what it had in batches;
    `limited` are the lines that this command works on, None for all. `retry` is what is tried again
    (`continued`: a killed process had begun it), `retaken` counts the results taken out for it,
    `restored` those of an earlier retry that are back; `added` counts rows taken up by --extend.
    `lost_marks` and `known_models` as in `Journal`.
    """

    identity: RunIdentity
    settings: RunSettings
    prompts: Path
    checkpoint: Checkpoint
    checked: CheckReport | None = None
    left: Closed | None = None
    batches: BatchHistory = field(default_factory=BatchHistory)
    limited: Limited | None = None
    retry: Retry | None = None
    continued: bool = False
    retaken: int = 0
    restored: int = 0
    added: int = 0
    lost_marks: tuple[int, ...] = ()
    known_models: frozenset[str] | None = None

    def defaults(self, wanted: RunRequest) -> Defaults:
        """Return the defaults for its lines, with where their ids come from, and what a retry sets.

        Reads which results were taken out.
        """
        columns, retry = replace(wanted.defaults.columns, ids=self.identity.ids), self.retry
        overrides = NO_OVERRIDES
        if retry is not None:
            overrides = Overrides(model=retry.model, max_tokens=retry.max_tokens, drop=retry.drop)
        if overrides != NO_OVERRIDES:
            overrides = replace(overrides, applies=_among(waiting(wanted.results)))
        return replace(wanted.defaults, columns=columns, overrides=overrides)

    @property
    def to_do(self) -> int:
        """Requests without a result that this command may send."""
        if self.limited is not None:
            return self.limited.left(self.checkpoint.done)
        return max(0, self.identity.total - self.checkpoint.tally.done)

    @property
    def is_done(self) -> bool:
        """Whether every request has its result."""
        return self.checkpoint.tally.done >= self.identity.total


def _among(digests: array[int]) -> Callable[[str], bool]:
    """Return what finds out whether an id's digest is among sorted ones."""

    def is_among(custom_id: str) -> bool:
        digest = id_digest(custom_id)
        place = bisect_left(digests, digest)
        return place < len(digests) and digests[place] == digest

    return is_among


BeforeStart = Callable[[CheckReport], None]


def open_run(wanted: RunRequest, *, check_file: CheckFile, before_start: BeforeStart) -> OpenRun:
    """Begin the run, or take up the one that is there.

    `before_start` is called with what the check found, when nothing has been created;
    with `wanted.options.fresh` it sets aside what is there.

    A run that came to nothing gives way to other prompts and options: whoever corrects a file that
    was refused as a whole runs it again.

    Raises InvalidPromptsError when lines are bad (each was reported), UsageError when the
    prompts cannot be read, CheckpointError when what lies on disk does not fit.
    """
    opened = _open_whole(wanted, check_file, before_start)
    limit = wanted.options.limit
    if limit is None or opened.is_done:
        return opened
    lines = choose_lines(
        opened.prompts,
        limit,
        left_out=_left_out(wanted.results, opened.identity),
        at_random=wanted.options.random,
    )
    chunks = opened.batches.open_chunks
    return replace(opened, limited=Limited(rows=len(lines), lines=lines, chunks=chunks))


def _open_whole(wanted: RunRequest, check_file: CheckFile, before_start: BeforeStart) -> OpenRun:
    """Begin or take up the whole run, whatever the limit."""
    mine = files_of(wanted.results) if wanted.options.fresh else [wanted.results]
    refuse_own_prompts(wanted.prompts, *mine)
    journal = None if wanted.options.fresh else read_journal(wanted.results)
    if journal is None:
        return _begin(wanted, check_file, before_start)
    identity, results = journal.identity, wanted.results
    if are_gone(wanted.prompts, results, identity):
        return _open_without_prompts(wanted, journal)
    how = input_options(wanted.options)
    with prompts_now(wanted.prompts, results, identity, how, wanted.part, wanted.fetch) as path:
        now = _identity(wanted, path, *fingerprint(path))
        starts_over = not is_same_run(identity, now) and came_to_nothing(
            wanted.prompts, results, journal
        )
        if not starts_over and wanted.options.extend and has_grown(path, identity):
            refuse_mismatch(identity, replace(now, size=identity.size, sha256=identity.sha256))
            identity = _extend(wanted, identity, path, check_file)
        elif not starts_over:
            change = "" if now.sha256 == identity.sha256 else change_of(path, results, identity)
            refuse_mismatch(identity, now, change=change, has_grown=has_grown(path, identity))
        prompts = path if starts_over else keep_prompts(path, results)
        if identity is not journal.identity:
            _note_extended(results, identity)
    if starts_over:
        return _start_over(wanted, journal, check_file, before_start)
    out = _left_out(wanted.results, identity)
    _refuse_gone(wanted.results, journal)
    batches = history_of(journal.batches)
    checkpoint, retrying = _recover_for(wanted, journal, batches)
    checkpoint = prove(
        checkpoint,
        prompts,
        wanted.results,
        left_out=out,
        ids=identity.ids,
        id_prefix=identity.id_prefix,
    )
    checkpoint.tally.add_expense(journal.expenses)
    checkpoint.tally.add_expense(retry_expense(wanted.results))
    return OpenRun(
        identity=identity,
        settings=journal.settings,
        prompts=prompts,
        checkpoint=checkpoint,
        left=journal.closed,
        batches=batches,
        retry=retrying.retry,
        continued=retrying.continued,
        retaken=retrying.retaken,
        restored=retrying.restored,
        added=identity.total - journal.identity.total,
        lost_marks=retrying.lost_marks,
        known_models=journal.known_models,
    )


def _open_without_prompts(wanted: RunRequest, journal: Journal) -> OpenRun:
    """Take up a run whose prompts are gone: nothing of it may be left to send."""
    options, identity, results = wanted.options, journal.identity, wanted.results
    refuse_mismatch(identity, _identity(wanted, Path(), identity.size, identity.sha256))
    _refuse_gone(results, journal)
    checkpoint = recover(results)
    left = identity.total - checkpoint.tally.done
    again = [each for each in ("retry_errored", "retry_degraded") if getattr(options, each)]
    if left > 0 or again or is_retrying(results):
        what = f"{flag(again[0])} sends requests again" if again else f"{left:,} have no result yet"
        name = shlex.quote(str(results))
        raise UsageError(
            f"{wanted.prompts} is gone: of its {identity.total:,} requests {what}",
            hint="put it back, unchanged, then run the same command again; if it was moved: "
            f"claude-batch run PROMPTS --out {name} with the options of the run; the "
            f"{checkpoint.tally.done:,} results so far: claude-batch results {name}",
        )
    checkpoint.tally.add_expense(journal.expenses)
    return OpenRun(
        identity=identity,
        settings=journal.settings,
        prompts=Path(wanted.prompts),
        checkpoint=checkpoint,
        left=journal.closed,
        batches=history_of(journal.batches),
    )


def _extend(
    wanted: RunRequest, identity: RunIdentity, path: Path, check_file: CheckFile
) -> RunIdentity:
    """Check prompts that have grown; return the identity of the run with the new rows.

    Raises InvalidPromptsError, and CheckpointMismatchError where ids would change.
    """
    bad: list[bytes] = []
    checked = check_file(path, _noting(wanted, bad))
    _refuse_invalid(wanted, checked)
    if checked.ids != identity.ids:
        raise CheckpointMismatchError(
            f"{identity.prompts}: the ids of the new rows are not unique",
            hint="give each new row an id of its own, then run the same command again",
        )
    _list_left_out(wanted.results, bad)
    size, sha256 = source_of(identity.prompts, path, wanted.part)
    return replace(
        identity,
        size=checked.size,
        sha256=checked.sha256,
        source_size=size,
        source_sha256=sha256,
        total=checked.requests,
        invalid=checked.invalid,
        models=_models(checked),
    )


def _note_extended(results: Path, identity: RunIdentity) -> None:
    names = [each.name for each in fields(Extended)]
    note(results, Extended(**{name: getattr(identity, name) for name in names}))


def _noting(wanted: RunRequest, bad: list[bytes]) -> Callable[[InvalidLine], None]:
    """Return what lists bad lines in `bad`, where they are to be left out."""

    def note(line: InvalidLine) -> None:
        if wanted.options.skip_invalid:
            bad.append(orjson.dumps({"line": line.line, "error": line.what, "hint": line.remedy}))

    return note


@dataclass(frozen=True, slots=True, kw_only=True)
class _Retrying:
    """The retry that is in force, as `OpenRun` has it."""

    retry: Retry | None = None
    continued: bool = False
    retaken: int = 0
    restored: int = 0
    lost_marks: tuple[int, ...] = ()


def _recover_for(
    wanted: RunRequest, journal: Journal, batches: BatchHistory
) -> tuple[Checkpoint, _Retrying]:
    """Make the results whole, and take out what is retried; return what is there then.

    A retry is not over while its batches are at the API. One whose process was killed goes on, too,
    unless this command begins another.
    """
    results, new = wanted.results, wanted.retry
    was_killed = is_retrying(results) and journal.retry_left_open and new is None
    if was_killed and not journal.retry_has_begun:  # as its results were being taken out
        new = journal.retry
    whole = checkpoint = recover(results)
    found = _Retrying(lost_marks=journal.lost_marks)
    if is_retrying(results):
        if batches.open_chunks or (was_killed and journal.retry_has_begun):
            old = journal.retry or Retry()
            _refuse_other(results, old, new)
            take_out_again(results)
            found = _Retrying(
                retry=old,
                continued=True,
                retaken=len(waiting(results)),
                lost_marks=journal.retry_marks,
            )
        else:
            found = replace(found, restored=put_back(results).put_back)
        checkpoint = recover(results)
    if new is not None and _has_any(checkpoint.tally, new):
        note(results, new)
        retaken = found.retaken + take_out(results, partial(_takes, new))
        checkpoint = recover(results)
        # what is retried has been answered
        found = replace(found, retry=new, continued=False, retaken=retaken, lost_marks=())
    if checkpoint is not whole:  # what was repaired first is reported, too
        checkpoint.damaged += whole.damaged
        checkpoint.torn_bytes = whole.torn_bytes
    return checkpoint, found


def _has_any(tally: Tally, retry: Retry) -> bool:
    """Return whether there are results that a retry takes out."""
    failed = tally.failed + tally.output_errors
    return bool(
        (retry.errored and failed)
        or (retry.degraded and tally.degraded)
        or any(tally.stops[reason] for reason in retry.stops)
    )


def _refuse_other(results: Path, old: Retry, new: Retry | None) -> None:
    """Refuse to send some of a retry whose batches are in progress in another way."""
    if new is None:
        return
    names = [name for name in OVERRIDING if getattr(old, name) != getattr(new, name)]
    if names:
        was = ", ".join(spelled(name, getattr(old, name)) for name in names)
        raise UsageError(
            f"batches of a retry with {was} are in progress",
            hint=f"claude-batch resume {shlex.quote(str(results))} collects them; then retry again",
        )


def end_retry(results: Path, *, goes_on: bool = False) -> Retried:
    """Put back what a retry has taken out and not replaced by something better.

    The retry continues with the next process if it `goes_on`, and while batches are at the API.
    Raises CheckpointError.
    """
    journal = read_journal(results) if is_retrying(results) else None
    if journal is None:
        return Retried()
    return put_back(results, keep=goes_on or bool(history_of(journal.batches).open_chunks))


def came_to_nothing(prompts: str, results: Path, journal: Journal) -> bool:
    """Tell whether a run has neither results nor batches, and its prompts can be read again."""
    has_results = results.exists() and results.stat().st_size > 0
    has_batches = bool(history_of(journal.batches).chunks)
    is_used = has_results or is_retrying(results) or journal.seen or has_batches
    is_copy = Path(prompts) == copied_prompts(results)
    return not is_used and can_be_read_again(prompts) and not is_copy


def _start_over(
    wanted: RunRequest, journal: Journal, check_file: CheckFile, before_start: BeforeStart
) -> OpenRun:
    """Begin a run in the place of one that came to nothing; it goes the way that one went."""
    opened = _begin(wanted, check_file, before_start)
    mode = history_of(journal.batches).mode
    if mode is None:
        return opened
    note_mode(wanted.results, mode)
    return replace(opened, batches=BatchHistory(mode=mode))


def _refuse_gone(results: Path, journal: Journal) -> None:
    """Refuse to buy results again that have been here."""
    if journal.seen and not results.exists():
        raise CheckpointMismatchError(
            f"{results} is gone: it held {journal.seen:,} results or more, says "
            f"{journal_path(results).name}",
            hint="put it back, then run the same command again; or start over with --fresh",
        )


def _left_out(results: Path, identity: RunIdentity) -> frozenset[int]:
    """Return the lines that the check left out; their list must be as it was."""
    if not identity.options.skip_invalid:
        return frozenset()
    lines = frozenset(left_out(results))
    if len(lines) != identity.invalid:
        path = left_out_path(results)
        raise CheckpointMismatchError(
            f"{path} lists {len(lines):,} bad lines, but the check had found {identity.invalid:,}",
            hint="put it back as it was, or start over with --fresh",
        )
    return lines


def _begin(wanted: RunRequest, check_file: CheckFile, before_start: BeforeStart) -> OpenRun:
    """Check the prompts; then create the journal, which makes it a run."""
    if not wanted.options.fresh:
        refuse_foreign_results(wanted.results)
    bad: list[bytes] = []
    how = input_options(wanted.options)
    copy = prompts_part(wanted.results)
    with rereadable(wanted.prompts, copy, how, wanted.part, wanted.fetch) as path:
        checked = check_file(path, _noting(wanted, bad))
        _refuse_invalid(wanted, checked)
        before_start(checked)
        abandon_retry(wanted.results)
        _list_left_out(wanted.results, bad)
        source = source_of(wanted.prompts, path, wanted.part)
        identity = replace(
            _identity(wanted, keep_prompts(path, wanted.results), checked.size, checked.sha256),
            total=checked.requests,
            invalid=checked.invalid,
            ids=checked.ids,
            models=_models(checked),
            source_size=source[0],
            source_sha256=source[1],
        )
    create_journal(wanted.results, identity, wanted.settings.of_run)
    return OpenRun(
        identity=identity,
        settings=wanted.settings.of_run,
        prompts=Path(identity.prompts_path),
        checkpoint=recover(wanted.results),
        checked=checked,
    )


def _models(checked: CheckReport) -> tuple[str, ...]:
    """Return the models of all lines; none where they are too many to keep."""
    return tuple(sorted(checked.models)) if len(checked.models) <= _MOST_MODELS else ()


def _refuse_invalid(wanted: RunRequest, checked: CheckReport) -> None:
    if not checked.invalid or (wanted.options.skip_invalid and checked.requests):
        return
    lines = "line" if checked.invalid == 1 else "lines"
    raise InvalidPromptsError(
        f"{wanted.prompts}: {checked.invalid:,} bad {lines}, {checked.requests:,} good; "
        "nothing was sent",
        hint="fix the lines above" if wanted.options.extend or not checked.requests else SKIPPING,
    )


def _list_left_out(results: Path, bad: list[bytes]) -> None:
    """Write the list of bad lines again; an older one may be there if a start was cut off."""
    path = left_out_path(results)
    try:
        if bad:
            replace_file(path, (line + b"\n" for line in bad))
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise CheckpointWriteError(
            f"{path}: cannot list the lines left out: {error.strerror}",
            hint="make room, or choose another place with --out FILE",
        ) from error


def left_out_path(results: Path) -> Path:
    """Return where --skip-invalid lists the lines it left out."""
    return beside(results, ".invalid.jsonl")


def left_out(results: Path) -> Iterator[int]:
    """Yield the numbers of the lines that --skip-invalid left out when the run began."""
    yield from invalid_rows(results)


def invalid_rows(results: Path) -> dict[int, str]:
    """Return why --skip-invalid left lines out, by line."""
    path = left_out_path(results)
    try:
        with open_to_read(path) as file:
            records = map(orjson.loads, file)
            return {int(each["line"]): str(each.get("error", "")) for each in records}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointMismatchError(
            f"{path} cannot be read: {error}",
            hint="put it back as it was, or start over with --fresh",
        ) from error


def _identity(wanted: RunRequest, path: Path, size: int, sha256: str) -> RunIdentity:
    regular, options = is_regular(wanted.prompts), wanted.options
    return RunIdentity(
        run_id=uuid.uuid4().hex[:12],
        version=__version__,
        started_at=wanted.started_at,
        mode=options.mode,
        options=options.only(Owner.RESULTS),
        prompts=str(Path(wanted.prompts).resolve()) if regular else wanted.prompts,
        prompts_path=str(path),
        results=str(wanted.results),
        size=size,
        sha256=sha256,
        total=0,
        invalid=0,
        routes=routes_text(wanted.defaults.routes),
        id_prefix=wanted.defaults.columns.id_prefix,
    )
