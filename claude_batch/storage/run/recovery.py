"""A results file made whole after a crash or an edit, and rewritten when requests are retried.

Every result is kept: only a torn tail is cut, and what is no result, or a second one of the same
request, is moved to a file beside it. Line numbers in results are the cheap way to remember what
is done; ids decide, and both are compared with the prompts before anything is sent.
"""

from __future__ import annotations

import os
import shutil
from array import array
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import orjson

from claude_batch.core.model.events import NO_EXPENSE, Expense
from claude_batch.core.model.requests import UNFINISHED, ResultType
from claude_batch.errors import CheckpointMismatchError, CheckpointWriteError
from claude_batch.storage.files import (
    beside,
    open_to_append,
    replace_file,
    sync_directory,
    sync_file,
    sync_open,
    temporary_folder,
)
from claude_batch.storage.prompts.columns import CUSTOM_ID, ID_PREFIX, own_id
from claude_batch.storage.prompts.lines import PromptLines
from claude_batch.storage.prompts.parse import generated_id
from claude_batch.storage.run.checkpoint import (
    Checkpoint,
    Done,
    Entry,
    id_digest,
    read_checkpoint,
    read_lines,
)

RETRYING, RETRIED = ".retrying", ".retried"
"""Added to the name of a results file: the lines taken out of it that are being retried, and those
that a retry has replaced."""

_BOM = b"\xef\xbb\xbf"
_KEY, _BEDROCK_KEY = b'"custom_id"', b'"modelInput"'
_QUICK_START = b'{"custom_id":"'


def recover(results: Path) -> Checkpoint:
    """Make `results` a file of whole result lines, durable ones, and return what it holds.

    A torn tail is cut; damaged bytes elsewhere are moved to RESULTS.damaged. What a killed process
    had written but not synced counts from here on, so it is synced now. Call it under the lock.
    Raises CheckpointWriteError when the file cannot be repaired.
    """
    file = results.resolve()  # a results file may be a link
    try:
        checkpoint = read_checkpoint(results)
        if checkpoint.damaged:
            _sort_out(results, ".damaged", _first_results())
        elif checkpoint.torn_bytes:
            os.truncate(file, checkpoint.size)
        elif checkpoint.open_end:
            with open_to_append(file) as end:
                end.write(b"\n")
        if file.exists():
            sync_file(file)
            checkpoint.size = file.stat().st_size
    except OSError as error:
        raise _cannot(results, "repaired", error) from error
    return checkpoint


def _first_results() -> Callable[[Entry], bool]:
    done = Done()
    return lambda entry: done.add(entry.custom_id, entry.line)


def take_out(results: Path, unwanted: Callable[[Entry], bool]) -> int:
    """Rewrite `results` without the `unwanted`, so that they are tried again; return how many.

    The old lines wait in RESULTS.retrying until `put_back` has compared them with the new ones.
    Raises CheckpointWriteError; nothing has changed then.
    """
    return _move(results, RETRYING, lambda entry: not unwanted(entry))


def is_retrying(results: Path) -> bool:
    """Return whether results that were taken out wait beside `results`."""
    return beside(results, RETRYING).exists()


def take_out_again(results: Path) -> None:
    """Rewrite `results` without the lines that wait in RESULTS.retrying: they are still retried.

    Raises CheckpointWriteError.
    """
    out = {hash(_ended(raw)) for raw, _ in read_lines(beside(results, RETRYING))}

    def others() -> Iterator[bytes]:
        for raw, _ in read_lines(results):
            if hash(_ended(raw)) not in out:
                yield _ended(raw)

    try:
        replace_file(results.resolve(), others())
    except OSError as error:
        raise _cannot(results, "rewritten", error) from error


class Retried(NamedTuple):
    """What became of results that were taken out: so many were put back, so many replaced."""

    put_back: int = 0
    replaced: int = 0


def put_back(results: Path, *, keep: bool = False) -> Retried:
    """Put back the results that `take_out` has taken, unless a better one has come.

    Of two that are equally good an answer stays, and the newer of two failures. Lines that were
    replaced are moved to RESULTS.retried, and so are new ones that were not good enough. With
    `keep` only what has no new result is put back, and all stay in RESULTS.retrying as well, for a
    later call. Doing it twice, or again after a crash in between, comes to the same.

    Raises CheckpointWriteError; no line is lost then.
    """
    before, now = _old_and_new(results)
    back = {
        digest: line
        for digest, line in before.items()
        if digest not in now or (not keep and line.stays(now[digest]))
    }
    there = now | back
    try:
        if not back.keys().isdisjoint(now):
            _set_aside(results, back.keys() & now.keys())
        if back:
            replace_file(results.resolve(), _with(results, back))
        if not keep:
            _end_retrying(results, {line.hash for line in there.values()})
    except OSError as error:
        raise _cannot(results, "rewritten", error) from error
    replaced = sum(there[digest].hash != line.hash for digest, line in before.items())
    return Retried(len(back), replaced)


def left_to_retry(results: Path) -> int:
    """Return how many results that were taken out have no new one yet."""
    if not is_retrying(results):
        return 0
    before, now = _old_and_new(results)
    return sum(
        digest not in now or now[digest].hash == line.hash for digest, line in before.items()
    )


@contextmanager
def as_put_back(results: Path) -> Iterator[Path]:
    """Give `results`, or, while a retry is unfinished, a copy with the better of old and new ones.

    The other files of the run are beside it. Nothing is changed, and no process is waited for.
    """
    if not is_retrying(results):
        yield results
        return
    with temporary_folder() as folder:
        copy = folder / results.name
        try:  # in this order: whatever is moved meanwhile is in one of them
            for suffix in ("", RETRYING, RETRIED):
                if suffix != RETRIED or beside(results, RETRIED).exists():
                    shutil.copyfile(beside(results, suffix), beside(copy, suffix))
        except FileNotFoundError:  # the retry has just ended
            yield results
            return
        for path in results.parent.glob(f"{results.name}?*"):
            other = folder / path.name
            if not other.exists():
                other.symlink_to(path.absolute())
        recover(copy)
        put_back(copy)
        yield copy


def waiting(results: Path) -> array[int]:
    """Return, sorted, the digests of the ids whose results were taken out: they are retried."""
    lines = read_lines(beside(results, RETRYING))
    return array("q", sorted({id_digest(entry.custom_id) for _, entry in lines if entry}))


def retry_expense(results: Path) -> Expense:
    """Return what results have cost that a retry has replaced; that was paid, too.

    Those that wait in RESULTS.retrying count as well, but for lines that are in `results`, too.
    """
    expense = NO_EXPENSE
    seen: set[int] = set()  # a crash may have written a line twice
    if is_retrying(results):
        seen.update(hash(_ended(raw)) for raw, _ in read_lines(results))
    for suffix in (RETRIED, RETRYING):
        for raw, entry in read_lines(beside(results, suffix)):
            if entry is not None and entry.cost_usd and hash(_ended(raw)) not in seen:
                seen.add(hash(_ended(raw)))
                usage = entry.usage
                expense = expense.plus(
                    Expense(
                        discarded=1,
                        input_tokens=usage.prompt_tokens,
                        output_tokens=usage.output_tokens,
                        cost_usd=entry.cost_usd,
                    )
                )
    return expense


def abandon_retry(results: Path) -> None:
    """Move what a run before this one has left in RESULTS.retrying to RESULTS.retried."""
    if is_retrying(results):
        try:
            _end_retrying(results, set())
        except OSError as error:
            raise _cannot(beside(results, RETRYING), "moved", error) from error


def _old_and_new(results: Path) -> tuple[dict[int, _Line], dict[int, _Line]]:
    """Return the results that were taken out, and what there is of the same ids by now."""
    before = _best(beside(results, RETRYING))
    return before, _best(results, among=before)


class _Line(NamedTuple):
    """A result line: how good it is, and its hash."""

    rank: tuple[int, int]
    hash: int

    def stays(self, newer: _Line) -> bool:
        """Return whether this line is kept, and not the one that a retry has brought."""
        if self.hash == newer.hash:
            return False  # it is there already
        return newer.rank < self.rank or (newer.rank == self.rank and self.rank > _FAILED)


def _best(path: Path, among: Container[int] | None = None) -> dict[int, _Line]:
    """Return the first of the best lines in `path` for each id's digest, of those `among`."""
    best: dict[int, _Line] = {}
    for raw, entry in read_lines(path):
        if entry is None:
            continue
        digest, rank = id_digest(entry.custom_id), _rank(entry)
        if (among is None or digest in among) and (digest not in best or best[digest].rank < rank):
            best[digest] = _Line(rank, hash(_ended(raw)))
    return best


_FAILED = (0, 0)


def _rank(entry: Entry) -> tuple[int, int]:
    """Return how good a result is. Of two answers that stopped early the longer is better."""
    if entry.type is not ResultType.SUCCEEDED:
        return _FAILED
    if entry.stop_reason == "refusal":
        return 1, 0
    if entry.stop_reason in UNFINISHED:
        return 2, entry.usage.output_tokens
    if entry.breaks_schema:
        return 3, 0
    return (4 if entry.degraded else 5), 0


def _set_aside(results: Path, digests: Container[int]) -> None:
    """Copy the lines of `results` with those ids' digests to RESULTS.retried: they are paid for."""
    with open_to_append(beside(results, RETRIED)) as aside:
        for raw, entry in read_lines(results):
            if entry is not None and id_digest(entry.custom_id) in digests:
                aside.write(_ended(raw))
        sync_open(aside)


def _with(results: Path, back: Mapping[int, _Line]) -> Iterator[bytes]:
    """Yield the lines of `results`, and instead of those in `back` the old ones."""
    for raw, entry in read_lines(results):
        if entry is None or id_digest(entry.custom_id) not in back:
            yield _ended(raw)
    left = {line.hash for line in back.values()}
    for raw, _ in read_lines(beside(results, RETRYING)):
        if hash(_ended(raw)) in left:
            left.remove(hash(_ended(raw)))
            yield _ended(raw)


def _end_retrying(results: Path, there: Container[int]) -> None:
    """Move RESULTS.retrying to RESULTS.retried, but for lines that are `there` in the results."""
    retrying, retried = beside(results, RETRYING), beside(results, RETRIED)
    with open_to_append(retried) as moved:
        for raw, _ in read_lines(retrying):
            if hash(_ended(raw)) not in there:
                moved.write(_ended(raw))
        sync_open(moved)
    sync_directory(retried.parent)
    retrying.unlink(missing_ok=True)
    sync_directory(retried.parent)


def prove(
    checkpoint: Checkpoint,
    prompts: Path,
    results: Path,
    *,
    left_out: frozenset[int],
    ids: tuple[str, ...] = (CUSTOM_ID,),
    id_prefix: str = ID_PREFIX,
) -> Checkpoint:
    """Return what is done by the lines of `prompts` alone, each result matched by its id.

    Lines that were `left_out` as bad have no result; `ids` are the keys that hold ids, `id_prefix`
    begins those of other lines. A second
    result of a request is moved to RESULTS.damaged: the one whose line number is right stays, else
    the first. Takes one pass over the prompts; more if line numbers are not right. Raises
    CheckpointMismatchError when results belong to no line of the prompts, CheckpointWriteError when
    the file cannot be rewritten.
    """
    done, id_of_line = checkpoint.done, partial(id_of, ids=ids, prefix=id_prefix)
    if not done.ids and _lines_are_right(prompts, done, id_of_line):
        return checkpoint
    digests = {*done.digests, *map(id_digest, done.ids)}
    lines = _lines_of(digests, prompts, left_out, id_of_line)
    if len(lines) < len(digests):
        raise CheckpointMismatchError(
            f"{results} holds {len(digests) - len(lines):,} results of requests that {prompts} "
            "does not have",
            hint="were ids edited, or results of several runs put together? Put the file back as "
            "it was, or take those lines out; --fresh starts over (and sets it aside)",
        )
    if checkpoint.surplus:
        moved = _move(results, ".damaged", _best_results(results, lines))
        checkpoint = replace(
            read_checkpoint(results),
            damaged=checkpoint.damaged + moved,
            torn_bytes=checkpoint.torn_bytes,
        )
    checkpoint.done = Done()
    for digest, line in lines.items():
        checkpoint.done.digests[line] = digest
    return checkpoint


def _lines_are_right(prompts: Path, done: Done, id_of_line: _IdOfLine) -> bool:
    """Return whether each line that has a result has the id of that result."""
    digests, right = done.digests, 0
    for line, raw in _numbered(prompts):
        digest = digests[line]
        if digest:
            if digest != id_digest(id_of_line(raw, line)):
                return False
            right += 1
    return right == sum(1 for _ in digests)


def _lines_of(
    digests: set[int], prompts: Path, left_out: frozenset[int], id_of_line: _IdOfLine
) -> dict[int, int]:
    """Return the number of the prompt line for each digest of an id that has one."""
    lines: dict[int, int] = {}
    for line, raw in _numbered(prompts):
        digest = id_digest(id_of_line(raw, line))
        if digest in digests and line not in left_out:
            lines.setdefault(digest, line)
    return lines


def _best_results(results: Path, lines: Mapping[int, int]) -> Callable[[Entry], bool]:
    """Return what keeps one result per id; `lines` has the right line for each id's digest."""

    def is_right(entry: Entry) -> bool:
        return lines[id_digest(entry.custom_id)] == entry.line

    entries = (entry for _, entry in read_lines(results) if entry is not None)
    right = {id_digest(entry.custom_id) for entry in entries if is_right(entry)}
    kept: set[int] = set()

    def keep(entry: Entry) -> bool:
        digest = id_digest(entry.custom_id)
        if digest in kept or (digest in right and not is_right(entry)):
            return False
        kept.add(digest)
        return True

    return keep


def _numbered(prompts: Path) -> Iterator[tuple[int, bytes | None]]:
    for numbers, lines in PromptLines(prompts):
        yield from zip(numbers, lines, strict=True)


_IdOfLine = Callable[[bytes | None, int], str]


def id_of(
    raw: bytes | None, line: int, ids: tuple[str, ...] = (CUSTOM_ID,), prefix: str = ID_PREFIX
) -> str:
    """Return the id of a prompt line that was found good before, reading as little as possible."""
    if raw is None or not ids:
        return generated_id(line, prefix)
    if ids == (CUSTOM_ID,):
        if _KEY not in raw and b"\\u" not in raw and _BEDROCK_KEY not in raw:
            return generated_id(line, prefix)
        if raw.startswith(_QUICK_START) and raw.count(_KEY) == 1:
            custom_id = raw[len(_QUICK_START) : raw.find(b'"', len(_QUICK_START))]
            if custom_id and b"\\" not in custom_id:
                return custom_id.decode(errors="replace")
    try:
        value = orjson.loads(raw.removeprefix(_BOM))
    except ValueError:
        return generated_id(line, prefix)
    given = own_id(value, ids)
    return generated_id(line, prefix) if given is None else given


def _move(results: Path, suffix: str, keep: Callable[[Entry], bool]) -> int:
    """Move results that `keep` does not want to RESULTS plus `suffix`; return how many."""
    moved = 0

    def count(entry: Entry) -> bool:
        nonlocal moved
        kept = keep(entry)
        moved += not kept
        return kept

    try:
        _sort_out(results, suffix, count)
    except OSError as error:
        raise _cannot(results, "rewritten", error) from error
    return moved


def _sort_out(results: Path, suffix: str, keep: Callable[[Entry], bool]) -> None:
    """Keep the results that `keep` wants; move everything else to RESULTS plus `suffix` first.

    A crash in between repeats lines in that file, and loses none.
    """
    aside = beside(results, suffix)
    with open_to_append(aside) as moved:

        def kept() -> Iterator[bytes]:
            for raw, entry in read_lines(results):
                if entry is not None and keep(entry):
                    yield _ended(raw)
                else:
                    moved.write(_ended(raw))
            sync_open(moved)
            sync_directory(aside.parent)

        replace_file(results.resolve(), kept())


def _ended(raw: bytes) -> bytes:
    return raw if raw.endswith(b"\n") else raw + b"\n"


def _cannot(results: Path, what: str, error: OSError) -> CheckpointWriteError:
    return CheckpointWriteError(
        f"{results}: cannot be {what}: {error.strerror}",
        hint="make room or give write permission, then run the same command again",
    )
