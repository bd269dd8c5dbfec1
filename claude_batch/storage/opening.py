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
from claude_batch.core.routing import routes_text
from claude_batch.errors import InvalidPromptsError, UsageError
from claude_batch.storage.entries import Checkpoint
from claude_batch.storage.files import beside, replace_file
from claude_batch.storage.journal import Closed, RunIdentity, create_journal, read_journal
from claude_batch.storage.prompts import CheckReport, Defaults, InvalidLine, fingerprint
from claude_batch.storage.recovery import recover, take_out_unsuccessful
from claude_batch.storage.run_files import (
    STDIN,
    copied_prompts,
    copy_prompts,
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
    journal = None if wanted.fresh else read_journal(wanted.results)
    if journal is None:
        return _begin(wanted, check_file, before_start)
    with _prompts_at_hand(wanted) as (path, _):
        now = _identity(wanted, path, *fingerprint(path))
    refuse_mismatch(journal.identity, now)
    checkpoint, retaken = recover(wanted.results), 0
    unsuccessful = checkpoint.tally.failed
    if wanted.retry_errored and unsuccessful:
        take_out_unsuccessful(wanted.results)
        checkpoint, retaken = recover(wanted.results), unsuccessful
    return OpenRun(
        identity=journal.identity,
        prompts=Path(now.prompts_path),
        checkpoint=checkpoint,
        left=journal.closed,
        retaken=retaken,
    )


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
        if bad:
            replace_file(left_out_path(wanted.results), (line + b"\n" for line in bad))
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


def left_out_path(results: Path) -> Path:
    """Return where --skip-invalid lists the lines it left out."""
    return beside(results, ".invalid.jsonl")


def left_out(results: Path) -> Iterator[int]:
    """Yield the numbers of the lines that --skip-invalid left out when the run began."""
    path = left_out_path(results)
    if path.exists():
        with path.open("rb") as file:
            for raw in file:
                yield orjson.loads(raw)["line"]


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
