"""Opening a run: a new one after its prompts were checked, or one that lies on disk already.

Called under the lock. Nothing is created before the prompts are known to be good.
"""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import orjson

from claude_batch import __version__
from claude_batch.core.model import ResultType
from claude_batch.core.routing import routes_text
from claude_batch.errors import (
    CheckpointMismatchError,
    CheckpointWriteError,
    InvalidPromptsError,
    UsageError,
)
from claude_batch.storage.claims import settled
from claude_batch.storage.entries import Checkpoint, Entry
from claude_batch.storage.files import beside, replace_file
from claude_batch.storage.journal import (
    Closed,
    Journal,
    RunIdentity,
    create_journal,
    journal_path,
    read_journal,
)
from claude_batch.storage.prompts import CheckReport, Defaults, InvalidLine, fingerprint
from claude_batch.storage.recovery import recover, take_out
from claude_batch.storage.run_files import (
    STDIN,
    copied_prompts,
    copy_prompts,
    files_of,
    is_regular,
    keep_copy,
    refuse_foreign_results,
    refuse_mismatch,
)

CheckFile = Callable[[Path, Callable[[InvalidLine], None]], CheckReport]
"""Checks a file of prompts, telling every bad line as it is found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the command asks for; `prompts` is a path, or - for stdin.

    `cache_prefix` is auto or off; `mode` is live, batch or auto, and counts for a new run.
    """

    prompts: str
    results: Path
    defaults: Defaults
    sandbox: bool
    scenario: str | None
    endpoint: str
    skip_invalid: bool
    retry_errored: bool
    fresh: bool
    started_at: str
    dedupe: bool = False
    cache_prefix: str = "off"
    mode: str = "live"
    retry_degraded: bool = False

    def takes_again(self, entry: Entry) -> bool:
        """Tell whether a result is to be taken out, and its request tried again."""
        errored = self.retry_errored and entry.type is not ResultType.SUCCEEDED
        return errored or (self.retry_degraded and entry.degraded)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRun:
    """A run on disk, whole and ready to be worked on; its prompts are read from `prompts`.

    `checked` tells what the checking pass found, where there was one; `left` how the last process
    left the run; `retaken` counts results taken out to be tried again.
    """

    identity: RunIdentity
    prompts: Path
    checkpoint: Checkpoint
    checked: CheckReport | None = None
    left: Closed | None = None
    retaken: int = 0

    @property
    def is_done(self) -> bool:
        """Whether every request has its result."""
        return self.checkpoint.tally.done >= self.identity.total


def open_run(wanted: Wanted, *, check_file: CheckFile, before_start: Callable[[], None]) -> OpenRun:
    """Begin the run, or take up the one that is there.

    `before_start` is called when the prompts are known to be good and nothing has been created;
    with `wanted.fresh` it sets aside what is there.

    Raises InvalidPromptsError when lines are bad (they were told one by one), UsageError when the
    prompts cannot be read, CheckpointError when what lies on disk does not fit.
    """
    _refuse_own_prompts(wanted)
    journal = None if wanted.fresh else read_journal(wanted.results)
    if journal is None:
        return _begin(wanted, check_file, before_start)
    with _prompts_at_hand(wanted) as (path, keep):
        now = _identity(wanted, path, *fingerprint(path))
        refuse_mismatch(journal.identity, now)
        prompts = keep()  # of a copy, the one that is known to be whole
    out = _left_out(wanted.results, journal.identity)
    _refuse_gone(wanted.results, journal)
    checkpoint, retaken = recover(wanted.results), 0
    failed, degraded = checkpoint.tally.failed, checkpoint.tally.degraded
    if (wanted.retry_errored and failed) or (wanted.retry_degraded and degraded):
        retaken = take_out(wanted.results, wanted.takes_again)
        checkpoint = recover(wanted.results)
    checkpoint.done = settled(prompts, wanted.results, checkpoint.done, left_out=out)
    return OpenRun(
        identity=journal.identity,
        prompts=prompts,
        checkpoint=checkpoint,
        left=journal.closed,
        retaken=retaken,
    )


def _refuse_own_prompts(wanted: Wanted) -> None:
    """Refuse to write results into the prompts, or to set the prompts aside with a run."""
    prompts, results = Path(wanted.prompts), wanted.results
    if is_regular(wanted.prompts) and any(
        path.exists() and prompts.exists() and path.samefile(prompts)
        for path in (files_of(results) if wanted.fresh else [results])
    ):
        raise UsageError(
            f"{prompts} would be both prompts and results",
            hint="name another file for the results: --out FILE",
        )


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
    if not identity.skip_invalid:
        return frozenset()
    lines = frozenset(left_out(results))
    if len(lines) != identity.invalid:
        path = left_out_path(results)
        raise CheckpointMismatchError(
            f"{path} lists {len(lines):,} bad lines, but the check had found {identity.invalid:,}",
            hint="put it back as it was, or start over with --fresh",
        )
    return lines


def _begin(wanted: Wanted, check_file: CheckFile, before_start: Callable[[], None]) -> OpenRun:
    """Check the prompts; then create the journal, which makes it a run."""
    if not wanted.fresh:
        refuse_foreign_results(wanted.results)
    bad: list[bytes] = []

    def note(line: InvalidLine) -> None:
        if wanted.skip_invalid:
            bad.append(orjson.dumps({"line": line.line, "error": line.what, "hint": line.remedy}))

    with _prompts_at_hand(wanted) as (path, keep):
        checked = check_file(path, note)
        _refuse_invalid(wanted, checked)
        before_start()
        _list_left_out(wanted.results, bad)
        identity = replace(
            _identity(wanted, keep(), checked.size, checked.sha256),
            total=checked.requests,
            invalid=checked.invalid,
        )
    create_journal(wanted.results, identity)
    return OpenRun(
        identity=identity,
        prompts=Path(identity.prompts_path),
        checkpoint=recover(wanted.results),
        checked=checked,
    )


def _refuse_invalid(wanted: Wanted, checked: CheckReport) -> None:
    if not checked.invalid or (wanted.skip_invalid and checked.requests):
        return
    lines = "line" if checked.invalid == 1 else "lines"
    raise InvalidPromptsError(
        f"{wanted.prompts}: {checked.invalid:,} bad {lines}, {checked.requests:,} good; "
        "nothing was sent",
        hint="mend the lines above"
        + (", or send the good ones with --skip-invalid" if checked.requests else ""),
    )


def _list_left_out(results: Path, bad: list[bytes]) -> None:
    """Write the list of bad lines anew; an older one may be there if a start was cut off."""
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
    path = left_out_path(results)
    try:
        with path.open("rb") as file:
            for raw in file:
                yield int(orjson.loads(raw)["line"])
    except FileNotFoundError:
        return
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CheckpointMismatchError(
            f"{path} cannot be read: {error}",
            hint="put it back as it was, or start over with --fresh",
        ) from error


@contextmanager
def _prompts_at_hand(wanted: Wanted) -> Iterator[tuple[Path, Callable[[], Path]]]:
    """Give a path that can be read again and again, and what keeps it for later runs.

    Stdin, pipes and devices are copied; a copy that nobody keeps is removed.
    """
    if is_regular(wanted.prompts):
        path = Path(wanted.prompts).resolve()
        yield path, lambda: path
        return
    part = _copy(wanted)
    try:
        yield part, lambda: keep_copy(part, wanted.results)
    finally:
        part.unlink(missing_ok=True)


def _copy(wanted: Wanted) -> Path:
    if wanted.prompts != STDIN:
        with Path(wanted.prompts).open("rb") as source:
            return copy_prompts(source, wanted.results)
    if sys.stdin.isatty():
        raise UsageError(
            "prompts were to be read from stdin, but stdin is a terminal",
            hint="pipe them in (cat prompts.jsonl | claude-batch run - -o results.jsonl), or name "
            "a file",
        )
    return copy_prompts(sys.stdin.buffer, wanted.results)


def _identity(wanted: Wanted, path: Path, size: int, sha256: str) -> RunIdentity:
    regular = is_regular(wanted.prompts)
    return RunIdentity(
        run_id=uuid.uuid4().hex[:12],
        version=__version__,
        started_at=wanted.started_at,
        mode=wanted.mode,
        prompts=str(Path(wanted.prompts).resolve()) if regular else wanted.prompts,
        prompts_path=str(path if regular else copied_prompts(wanted.results)),
        results=str(wanted.results),
        size=size,
        sha256=sha256,
        total=0,
        invalid=0,
        sandbox=wanted.sandbox,
        scenario=wanted.scenario,
        endpoint=wanted.endpoint,
        model=wanted.defaults.model,
        max_tokens=wanted.defaults.max_tokens,
        system=wanted.defaults.system,
        skip_invalid=wanted.skip_invalid,
        routes=routes_text(wanted.defaults.routes),
        dedupe=wanted.dedupe,
        cache_prefix=wanted.cache_prefix,
    )
