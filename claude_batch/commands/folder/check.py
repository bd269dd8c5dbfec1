"""`check` of the inputs of a run folder: each file as its shards will be checked."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from claude_batch.commands.check import check_prompts, defaults_of
from claude_batch.commands.folder.ids import find_ids
from claude_batch.commands.run.messages import counted, shown, shown_source
from claude_batch.config.options import Options
from claude_batch.config.settings import Settings
from claude_batch.core.shards.names import id_prefix
from claude_batch.errors import Exit, InvalidPromptsError, NoRowsError, UsageError
from claude_batch.storage.folder.copies import Copies
from claude_batch.storage.folder.ids import ID_KEYS
from claude_batch.storage.folder.inputs import Input, find_inputs
from claude_batch.storage.folder.manifest import Shard
from claude_batch.storage.folder.places import is_run_folder
from claude_batch.storage.objects.locations import is_url
from claude_batch.storage.prompts.check import check
from claude_batch.storage.prompts.input import first_rows
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
            ids = find_ids(found, copies, settings.options, screen)
        if ids.note:
            screen.notice(ids.note)
    except InvalidPromptsError as error:
        screen.problem(error_text(error.message, error.hint).rstrip())
        codes.append(error.exit_code)
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


def inputs_of(command: str, names: Sequence[str]) -> list[Input]:
    """Return the inputs that a command is about. Raises UsageError; for a run folder, too."""
    for name in names:
        if is_run_folder(name):
            raise UsageError(
                f"{name}: is a run folder", hint=f"{command} takes the files that it was made from"
            )
    return find_inputs(names)


def copies_shown(screen: Screen, options: Options) -> Copies:
    """Return copies of objects, in which ids are looked for; the screen shows how far they are."""

    def progress(source: Input, done: int, size: int) -> None:
        screen.checking(source.name, done, size, "reading")

    keys = filter(None, (*ID_KEYS, options.id_column))
    return Copies(progress, keys)


def with_rows(found: Sequence[Input], copies: Copies, settings: Settings) -> frozenset[Input]:
    """Return the inputs with rows in them. Raises UsageError where the first rows cannot be used.

    A file of the wrong kind would otherwise be noticed when its turn comes, hours later perhaps.
    """
    errors: list[UsageError] = []
    usable: set[Input] = set()
    how = input_options(settings.options)
    for each in found:
        try:
            with first_rows(copies.first_rows(each, how), each.source, how) as few:
                name = shown_source(each.source)
                _refuse_all_bad(few, name, defaults_of(settings, each.source))
                usable.add(each)
        except NoRowsError:
            continue
        except UsageError as error:
            errors.append(error)
    if not errors:
        return frozenset(usable)
    first = errors[0]
    more = f"; {counted(len(errors) - 1, 'other file')} cannot be used either" if errors[1:] else ""
    raise UsageError(f"{first.message}{more}", hint=first.hint)


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
