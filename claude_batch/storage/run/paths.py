"""The files of one run: where they lie, whether they fit together, and setting them aside."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

from claude_batch.config.declaration import Owner
from claude_batch.config.options import OVERRIDING, owned_by
from claude_batch.config.spelling import as_typed, difference, differences_text
from claude_batch.core.catalog.routing import are_alike
from claude_batch.errors import CheckpointMismatchError, UsageError
from claude_batch.storage.batch.bodies import remove_leftovers
from claude_batch.storage.files import beside, name_nearest, read_blocks, sync_directory
from claude_batch.storage.prompts.input import is_regular
from claude_batch.storage.run.checkpoint import read_lines
from claude_batch.storage.run.journal import RunIdentity, journal_path
from claude_batch.storage.tables.kinds import stem_of

MANIFEST = "manifest.json"
"""What makes a folder a run folder."""

SHARDS = "shards"

TABLES = "tables"
"""In a run folder, what stands for the results of a run in the journal of its tables."""

COPIES, URL = "run-folders", ".url"
"""Below a folder COPIES are copies of run folders that are elsewhere; URL in them says where."""

_BEGINS = b'{"format":'
"""What a manifest of ours begins with."""

_LOOKED_AT = 1_000
"""Lines of a results file among which there is a result, unless it is no such file."""
_NO_PLACE = {"dev", "proc"}
"""Where /dev/stdin, /dev/fd/63 and their like are."""
_FAMILY = (".journal", ".prompts", ".invalid.jsonl", ".damaged", ".retrying", ".retried")


def default_results(prompts: Path, *, sandbox: bool) -> Path:
    """Return prompts.results.jsonl, or prompts.sandbox.results.jsonl, beside the prompts.

    Raises UsageError where nothing should lie beside them.
    """
    if prompts.is_absolute() and not _NO_PLACE.isdisjoint(prompts.parts[1:2]):
        raise UsageError(
            f"{prompts}: where should the results go?", hint="name a file: --out results.jsonl"
        )
    stem = stem_of(prompts.name)
    return prompts.parent / f"{stem}{'.sandbox' if sandbox else ''}.results.jsonl"


def has_manifest(folder: Path) -> bool:
    """Return whether a folder is a run folder."""
    try:
        return is_manifest(next(read_blocks(folder / MANIFEST, 0, len(_BEGINS))))
    except (OSError, StopIteration):
        return False


def is_manifest(content: bytes) -> bool:
    """Return whether that is in a manifest of ours, by how it begins."""
    return content.startswith(_BEGINS)


def url_of(path: Path) -> str | None:
    """Return the URL of what `path` is a copy of; None where it is none."""
    if COPIES not in path.parts:
        return None
    for folder in (path, *path.parents):
        if folder.name == COPIES:
            break
        with suppress(OSError):
            return "/".join(((folder / URL).read_text(), *path.relative_to(folder).parts))
    return None


def run_folder_of(results: Path) -> Path | None:
    """Return the run folder of which `results` are those of a shard; None for any other run."""
    results = results.absolute()
    above = results.parent.parent
    is_shard = above.name == SHARDS and has_manifest(above.parent)
    return above.parent if is_shard else None


def copied_prompts(results: Path) -> Path:
    """Return where prompts that cannot be read twice are copied to."""
    return beside(results, ".prompts")


def refuse_own_prompts(prompts: str, *files: Path) -> None:
    """Refuse to write into the prompts, or to set them aside with the files of a run."""
    path = Path(prompts)
    if is_regular(prompts) and any(
        each.exists() and path.exists() and each.samefile(path) for each in files
    ):
        raise UsageError(
            f"{prompts} would be both prompts and results",
            hint="name another file for the results: --out FILE",
        )


def refuse_no_results(results: Path) -> None:
    """Refuse to read results from what is no results file: prompts, say, or a folder."""
    hint = "claude-batch status lists the runs in and below this folder"
    if results.is_dir():
        raise UsageError(f"{results}: is a folder", hint=hint)
    if not results.exists():
        raise UsageError(
            f"{results}: no such results file or run folder{name_nearest(results)}", hint=hint
        )
    if not os.access(results, os.R_OK):
        raise UsageError(f"{results}: no permission to read it", hint="chmod u+r, or another file")
    if not is_regular(str(results)):
        raise UsageError(f"{results}: is no regular file", hint=hint)
    lines = read_lines(results)
    if results.stat().st_size and not any(entry for _, entry in islice(lines, _LOOKED_AT)):
        beside = next((p for p in results_beside(results) if p.is_file()), None)
        raise UsageError(
            f"{results}: holds no results", hint=f"did you mean {beside}?" if beside else hint
        )


def results_beside(prompts: Path) -> list[Path]:
    """Return where the results of these prompts are unless a command says otherwise."""
    return [default_results(prompts, sandbox=sandbox) for sandbox in (False, True)]


def prompts_part(results: Path) -> Path:
    """Return where prompts are copied to until the copy is whole."""
    return beside(copied_prompts(results), ".part")


def keep_prompts(path: Path, results: Path) -> Path:
    """Return where the prompts of a run are read from now on: a new copy is put into its place."""
    if path != prompts_part(results):
        return path
    kept = copied_prompts(results)
    path.replace(kept)
    sync_directory(kept.parent)
    return kept


def files_of(results: Path) -> list[Path]:
    """Return where all files of a run may lie, but its lock."""
    return [results, *(beside(results, suffix) for suffix in _FAMILY)]


def set_aside(results: Path, stamp: str, *further: Path) -> list[Path]:
    """Rename all files of a run but its lock, so that a fresh one can begin; return new names.

    `further` are files beside them that a fresh run would replace.

    Bodies and downloads of its batches are removed: they can be had again.
    """
    for kind in ("body", "part"):
        remove_leftovers(results, kind)
    renamed = []
    files = [*files_of(results), *further]
    there = [path for path in files if path.exists() or path.is_symlink()]
    stamp = _unused(there, stamp)
    for path in there:
        aside = beside(path, f".{stamp}")
        path.rename(aside)
        renamed.append(aside)
    sync_directory(results.parent)
    return renamed


def _unused(paths: list[Path], stamp: str) -> str:
    """Return a stamp under which nothing has been set aside: a rename replaces what is there."""
    number, wanted = 1, stamp
    while any(beside(path, f".{stamp}").exists() for path in paths):
        number += 1
        stamp = f"{wanted}-{number}"
    return stamp


def refuse_foreign_results(results: Path) -> None:
    """Refuse to append to a results file that has no journal."""
    if results.exists() and results.stat().st_size:
        raise CheckpointMismatchError(
            f"{results} exists, but {journal_path(results).name} does not: "
            "which run the results belong to is unknown",
            hint="restore the journal, choose another file with --out, or start over with "
            "--fresh (which sets the old results aside)",
        )


def is_same_run(old: RunIdentity, new: RunIdentity) -> bool:
    """Return whether `new` continues the run `old`."""
    return not any(_differences(old, new))


def refuse_mismatch(
    old: RunIdentity, new: RunIdentity, *, change: str = "", has_grown: bool = False
) -> None:
    """Raise CheckpointMismatchError, naming what differs, unless `new` continues `old`.

    `change` says what is other in the prompts; `has_grown`: it is rows at their end only.
    """
    differences = list(_differences(old, new, change))
    if not differences:
        return
    if has_grown and len(differences) == 1:
        raise CheckpointMismatchError(
            differences_text(old.results, differences),
            hint=f"to take the new rows up: the same command with --extend; {_ANOTHER_RUN}",
        )
    same_prompts = (old.size, old.sha256) == (new.size, new.sha256)
    command = f"claude-batch resume {shlex.quote(old.results)}"
    resume = f"to continue it as it was started: {command}"
    other = [
        name for name in OVERRIDING if getattr(old.options, name) != getattr(new.options, name)
    ]
    if len(other) == len(differences) and all(getattr(new.options, name) for name in other):
        options = " ".join(as_typed(name, getattr(new.options, name)) for name in other)
        resume += f"; to retry what failed in that way: {command} --retry-errored {options}"
    raise CheckpointMismatchError(
        differences_text(old.results, differences),
        hint=f"{resume if same_prompts else 'put the prompts back as they were'}; {_ANOTHER_RUN}",
    )


_ANOTHER_RUN = (
    "for another run, name another file: --out FILE; to start over: --fresh (it sets the old "
    "results aside)"
)


def _differences(old: RunIdentity, new: RunIdentity, change: str = "") -> Iterator[str]:
    if old.options.sandbox != new.options.sandbox:
        kinds = {True: "the sandbox", False: "the real API"}
        now = kinds[new.options.sandbox]
        yield f"with {kinds[old.options.sandbox]}, but this command uses {now}"
    if (old.size, old.sha256) != (new.size, new.sha256):
        change = change or f"{old.size:,} bytes then, {new.size:,} now"
        yield f"with other prompts ({old.prompts}: {change})"
    for name in owned_by(Owner.RESULTS):
        was, now = getattr(old.options, name), getattr(new.options, name)
        if was != now and name != "sandbox":
            yield difference(name, was, now)
    if not are_alike(old.routes, new.routes):
        yield "with other [[route]] rules in its settings"


def refuse_as_stdout(fd: int, *paths: Path) -> None:
    """Refuse to print results into a file that is being read or written by the run itself."""
    try:
        target = os.fstat(fd)
    except OSError:
        return
    for path in paths:
        if path.exists() and os.path.samestat(path.stat(), target):
            raise UsageError(
                f"stdout is {path} itself",
                hint="results are written there anyway: leave the redirection out, or name "
                "another file",
            )
