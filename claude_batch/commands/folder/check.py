"""`check` of the inputs of a run folder: each file as its shards will be checked."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Collection, Container, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from claude_batch.commands.check import check_prompts, defaults_of
from claude_batch.commands.folder.ids import find_ids
from claude_batch.commands.run.messages import counted, shown, shown_source
from claude_batch.config.options import Options
from claude_batch.config.settings import Settings
from claude_batch.core.model.answers import are_of_answers
from claude_batch.core.shards.names import id_prefix
from claude_batch.errors import ClaudeBatchError, Exit, InvalidPromptsError, NoRowsError, UsageError
from claude_batch.storage.folder.copies import Copies
from claude_batch.storage.folder.ids import ID_KEYS
from claude_batch.storage.folder.inputs import Input, find_inputs
from claude_batch.storage.folder.manifest import Shard
from claude_batch.storage.folder.places import is_run_folder
from claude_batch.storage.objects.locations import is_url
from claude_batch.storage.prompts.check import check
from claude_batch.storage.prompts.input import first_rows
from claude_batch.storage.prompts.lines import PromptLines
from claude_batch.storage.prompts.options import input_options
from claude_batch.storage.prompts.shapes import Defaults
from claude_batch.ui.messages import error_text
from claude_batch.ui.screen.opening import open_screen
from claude_batch.ui.screen.screen import Screen


def check_inputs(inputs: Sequence[str], settings: Settings, *, show: int, as_json: bool) -> int:
    """Check file after file and print what was found in each; return the exit code.

    A file that cannot be read as it is does not keep the others from being checked. Raises
    UsageError where there are no files.
    """
    found = inputs_of("check", inputs)
    codes, ids = [Exit.SUCCEEDED], None
    screen = open_screen(settings.options.progress, quiet=settings.options.quiet)
    try:
        with copies_shown(screen, settings.options) as copies:
            found = with_rows(found, copies, settings, screen, refuses=False)
            ids = find_ids(found, copies, settings.options, screen)
        if ids.note:
            screen.notice(ids.note)
    except InvalidPromptsError as error:
        screen.problem(error_text(error.message, error.hint).rstrip())
        codes.append(error.exit_code)
    except NoRowsError:
        raise
    except UsageError:
        pass  # of one file, which is looked at below, too
    finally:
        screen.close(None, None)
    for number, source in enumerate(found):
        try:
            code = check_prompts(
                shown_source(source.source),
                settings,
                show=0 if number else show,
                as_json=as_json,
                prefix=id_prefix(source.name),
                ids=None if ids is None else ids.columns,
            )
        except UsageError as error:
            sys.stderr.write(error_text(error.message, error.hint))
            code = error.exit_code
        codes.append(Exit(code))
    return max(codes)


def inputs_of(command: str, names: Sequence[str], leave_out: str | None = None) -> list[Input]:
    """Return the inputs that a command is about, but for those below the folder `leave_out`.

    Raises UsageError; for a run folder, too.
    """
    for name in names:
        if is_run_folder(name):
            raise UsageError(
                f"{name}: is a run folder", hint=f"{command} takes the files that it was made from"
            )
    return find_inputs(names, leave_out)


def copies_shown(screen: Screen, options: Options) -> Copies:
    """Return copies of objects, in which ids are looked for; the screen shows how far they are."""

    def progress(source: Input, done: int, size: int) -> None:
        screen.checking(source.name, done, size, "reading")

    keys = filter(None, (*ID_KEYS, options.id_column))
    return Copies(progress, keys)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """What the first rows of an input are; `error` says why they cannot be used."""

    source: Input
    is_empty: bool = False
    are_answers: bool = False
    error: UsageError | None = None

    @property
    def is_left_out(self) -> bool:
        """Whether it is no input beside others: an earlier run has left its answers there."""
        return self.are_answers and not self.source.is_named


def with_rows(
    found: Sequence[Input],
    copies: Copies,
    settings: Settings,
    screen: Screen,
    *,
    refuses: bool = True,
) -> list[Input]:
    """Return the inputs that a run takes; of those that are left out it is said why.

    They are empty, or answers of an earlier run, found in a folder or by a glob that has other
    inputs, too. Raises UsageError where nothing is left, and, unless it `refuses` nothing, where
    the first rows of a file cannot be used: else that shows when its turn comes, hours later.
    """
    looks = [_look(each, copies, settings) for each in found]
    for each in looks:
        if each.is_empty:
            screen.notice(f"{each.source.name}: there are no rows in it")
    filled = [each for each in looks if not each.is_empty]
    if not filled:
        raise NoRowsError("there are no prompts in any of the files", hint="name other inputs")
    taken = filled
    if not all(each.are_answers for each in filled):
        taken = [each for each in filled if not each.is_left_out]
        _tell_answers([each for each in filled if each.are_answers], screen)
    errors = [each.error for each in taken if each.error is not None]
    if errors and refuses:
        others = counted(len(errors) - 1, "other file")
        more = f"; {others} cannot be used either" if errors[1:] else ""
        raise UsageError(f"{errors[0].message}{more}", hint=errors[0].hint)
    return [each.source for each in taken]


def _look(source: Input, copies: Copies, settings: Settings) -> _Look:
    how, are_answers, problem = input_options(settings.options), False, None
    try:
        with first_rows(copies.first_rows(source, how), source.source, how) as few:
            are_answers = are_of_answers(_keys(few))
            name = shown_source(source.source)
            _refuse_all_bad(few, name, defaults_of(settings, source.source))
    except NoRowsError:
        return _Look(source=source, is_empty=True)
    except UsageError as error:
        problem = error
    return _Look(source=source, are_answers=are_answers, error=problem)


def _keys(few: Path) -> Collection[str]:
    """Return the columns, or keys, of the first row; none where it is no object."""
    for _, lines in PromptLines(few):
        for raw in filter(None, lines):
            try:
                row = orjson.loads(raw)
            except orjson.JSONDecodeError:
                return ()
            return row.keys() if isinstance(row, dict) else ()
    return ()


def _tell_answers(looks: Sequence[_Look], screen: Screen) -> None:
    """Say which files of answers are left out, and which are taken as they are named."""
    out = [each.source for each in looks if each.is_left_out]
    taken = [each.source for each in looks if not each.is_left_out]
    if out:
        screen.notice(
            f"{_some(out)} left out: these are answers of an earlier run",
            f"to take them, too, name them: {shlex.quote(shown_source(out[0].source))}",
        )
    if taken:
        screen.notice(f"{_some(taken)} taken as named, though these are answers of an earlier run")


def _some(sources: Sequence[Input]) -> str:
    first = shown_source(sources[0].source)
    if not sources[1:]:
        return f"{first} is"
    return f"{first} and {counted(len(sources) - 1, 'other file')} are"


_MOST_LOOKED_AT = 20
"""Files that were added to the inputs, and that are looked into."""


def added_note(
    names: Sequence[str], folder: str, known: Container[str], settings: Settings, screen: Screen
) -> str:
    """Return that files were added to the inputs of a run `folder`, if there are any."""
    try:
        added = [each for each in find_inputs(names, folder) if each.source not in known]
        with copies_shown(screen, settings.options) as copies:
            looks = [_look(each, copies, settings) for each in added[:_MOST_LOOKED_AT]]
    except ClaudeBatchError:  # they may be gone, and are not needed
        return ""
    are_none = [each.source for each in looks if each.is_empty or each.are_answers]
    added = [each for each in added if each not in are_none]
    if not added:
        return ""
    verb = "was" if len(added) == 1 else "were"
    return (
        f"{counted(len(added), 'file')} {verb} added to the inputs since: "
        f"{shown_source(added[0].source)}{', ...' if added[1:] else ''}"
    )


def _refuse_all_bad(few: Path, name: str, defaults: Defaults) -> None:
    try:
        report = check(few, defaults)
    except UsageError as error:  # the user does not know the name of the copy
        message, hint = (text.replace(str(few), name) for text in (error.message, error.hint))
        raise type(error)(message, hint=hint) from error
    if report.invalid and not report.requests:
        cause = report.causes[0]
        raise UsageError(f"{name}: line {cause.lines[0]}: {cause.what}", hint=cause.remedy)


_MANY_FILES, _FEW_ROWS = 50, 100
"""More files than that, with fewer rows than that on average, take much longer than one file."""

_BYTES_PER_ROW = 500
"""What is assumed of files whose rows nobody has counted."""

_JOIN_LINES, _JOIN_TABLES = "awk 1", "awk 'FNR > 1 || NR == 1'"
"""Commands that join files; a last line without a newline gets one. Of headers the first stays."""

_JOINED_BY = {
    ".jsonl": _JOIN_LINES,
    ".ndjson": _JOIN_LINES,
    ".txt": _JOIN_LINES,
    ".csv": _JOIN_TABLES,
    ".tsv": _JOIN_TABLES,
}


def small_files_note(shards: Sequence[Shard], *, headers: bool = True) -> str:
    """Return what to do about a run folder of many small files, which wait for each other.

    "" where there is nothing to gain. `headers`: the first row of a table names its columns.
    """
    sources = [*dict.fromkeys(each.source for each in shards)]
    rows = sum(each.lines or max(1, each.size // _BYTES_PER_ROW) for each in shards)
    mean = rows / len(sources)
    if len(sources) <= _MANY_FILES or mean >= _FEW_ROWS:
        return ""
    return (
        f"{len(sources):,} files with about {counted(max(1, round(mean)), 'row')} each: every file "
        "is a run of its own, and waits for the last answer of the one before. All rows in one "
        f"file are much faster{_how_to_join(sources, headers=headers)}"
    )


def _how_to_join(sources: Sequence[str], *, headers: bool) -> str:
    """Return the commands that join files and run them; "" where they are of several kinds."""
    folder, suffix = os.path.split(sources[0])[0], os.path.splitext(sources[0])[1]  # noqa: PTH122  # maybe a URL
    if is_url(sources[0]) or suffix not in _JOINED_BY:
        return ""
    if {*sources} != {str(each) for each in Path(folder).glob(f"*{suffix}")}:
        return ""
    command = _JOINED_BY[suffix] if headers else _JOIN_LINES
    names = (Path(f"all{number}{suffix}") for number in ("", *range(2, 100)))
    name = next((each for each in names if not each.exists()), "NEW")
    pattern = f"{shlex.quote(shown(Path(folder)))}/*{suffix}"
    return f": {command} {pattern} > {name}, then run {name} with the same options and a new --out"
