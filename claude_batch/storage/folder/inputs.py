"""The inputs of a run folder, found: files, globs, and folders with all the tables in them."""

from __future__ import annotations

import glob
import os
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from claude_batch.core.model.typos import nearest
from claude_batch.errors import UsageError
from claude_batch.storage.objects.locations import is_url
from claude_batch.storage.prompts.input import STDIN, is_regular, refuse_unreadable
from claude_batch.storage.run.journal import journal_path
from claude_batch.storage.run.paths import MANIFEST, has_manifest
from claude_batch.storage.tables.kinds import has_known_extension

_RESULTS = ".results.jsonl"


def is_pattern(name: str) -> bool:
    """Return whether a name stands for several files: it has *, ? or [ in it, and is no file."""
    return glob.has_magic(name) and not Path(name).exists()


def find_inputs(names: Sequence[str], leave_out: Path | None = None) -> list[Path]:
    """Return the files that are meant, each once, from the root on, in order.

    Those below the folder `leave_out`, where results go, are none. Raises UsageError.
    """
    found: dict[Path, None] = {}
    for name in names:
        paths = [*_files_of(name)]
        if leave_out is not None:
            paths = [path for path in paths if not path.is_relative_to(leave_out)]
        if not paths:
            raise UsageError(
                f"{name}: no file of prompts or rows there",
                hint="name files, folders, or quoted globs such as 'in/*.jsonl'",
            )
        found |= dict.fromkeys(paths)
    return list(found)


def _files_of(name: str) -> Iterator[Path]:
    if name == STDIN or "://" in name:
        what = "stdin" if name == STDIN else name
        raise UsageError(
            f"{what}: the inputs of a run folder are files",
            hint="copy it into a file first, and name that",
        )
    if is_pattern(name):
        paths = sorted(glob.glob(name, recursive=True))  # noqa: PTH207  # also from the root on
        yield from (_absolute(path) for path in paths if Path(path).is_file())
        return
    path = Path(name)
    if path.is_dir():
        yield from _below(_absolute(name))
        return
    refuse_unreadable(name)
    if not is_regular(name):
        raise UsageError(f"{name}: is no regular file", hint="copy it into a file first")
    yield _absolute(name)


def _below(folder: Path) -> Iterator[Path]:
    """Yield the files in and below a folder whose extensions are those of inputs.

    Hidden ones, run folders, and results of runs are left out.
    """
    for place, folders, names in os.walk(folder):
        here = Path(place)
        folders[:] = sorted(
            each for each in folders if not each.startswith(".") and not has_manifest(here / each)
        )
        for name in sorted(names):
            path = here / name
            is_ours = name.endswith(_RESULTS) or journal_path(path).exists()
            if not (name.startswith(".") or is_ours) and has_known_extension(name):
                yield path


def _absolute(name: str) -> Path:
    return Path(os.path.abspath(name))  # noqa: PTH100  # resolve() would follow links


def no_run_folder(name: str) -> UsageError:
    """Return the error that a folder of that name, or URL, is no run folder."""
    if is_url(name):
        return UsageError(
            f"{name}/: is no run folder: it has no {MANIFEST}",
            hint=f"to make one: claude-batch run PROMPTS --out {shlex.quote(name)}/",
        )
    folder = Path(name)
    names = [each.name for each in folder.parent.glob("*") if has_manifest(each)]
    near = nearest(folder.name, names, most=1)
    make = f"to make one: claude-batch run {shlex.quote(str(folder))} --out DIR/"
    hint = f"did you mean {folder.with_name(near[0])}?" if near else make
    return UsageError(f"{folder}: is no run folder: it has no {MANIFEST}", hint=hint)
