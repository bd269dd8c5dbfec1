"""The manifest of a run folder: made from the inputs of a command, or read and compared with it."""

from __future__ import annotations

import asyncio
import os
import shlex
import time
import uuid
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from claude_batch import __version__
from claude_batch.commands.api import Api, read_scenario
from claude_batch.commands.check import defaults_of
from claude_batch.commands.folder.check import (
    added_note,
    copies_shown,
    inputs_of,
    small_files_note,
    with_rows,
)
from claude_batch.commands.folder.ids import ids_of_shards
from claude_batch.commands.run.lease import refuse_lost_lease
from claude_batch.commands.run.messages import counted, shown
from claude_batch.commands.run.response_cache import refuse_bad_cache
from claude_batch.commands.run.retrying import retries
from claude_batch.commands.table import refuse_other_kind_of_table
from claude_batch.config.declaration import Owner
from claude_batch.config.options import OVERRIDING, owned_by
from claude_batch.config.reading import MODE, read_changes, read_settings, typed_options
from claude_batch.config.settings import RunSettings, Settings
from claude_batch.config.spelling import flag
from claude_batch.core.catalog.routing import routes_text
from claude_batch.core.model.typos import quoted
from claude_batch.errors import UsageError
from claude_batch.storage.folder.adjusted import FolderOptions, options_of
from claude_batch.storage.folder.copies import Copies
from claude_batch.storage.folder.cutting import cut_input
from claude_batch.storage.folder.files import FolderFiles
from claude_batch.storage.folder.inputs import Input, is_pattern, no_run_folder
from claude_batch.storage.folder.manifest import (
    Manifest,
    Shard,
    create_manifest,
    read_manifest,
    refuse_other,
)
from claude_batch.storage.folder.places import (
    folder_files,
    is_run_folder,
    local_folder,
    whole_name,
)
from claude_batch.storage.objects.locations import is_url, location_of
from claude_batch.storage.prompts.input import refuse_odd_name
from claude_batch.storage.prompts.options import input_options
from claude_batch.storage.tables.kinds import has_known_extension
from claude_batch.storage.tables.writing import EXTENSIONS
from claude_batch.ui.screen.screen import Screen

SHARD_SIZE = 50_000
"""Lines per shard: minutes to hours of work, and few enough to be checked in seconds."""

_FILES = frozenset({*EXTENSIONS, ".jsonl", ".json", ".txt", ".gz", ".zst"})
"""Endings of names that are those of files."""

_WHOLE_RUNS = ("limit", "random", "extend", "fresh")
"""Options that are for the run of one file."""

RAY_ADDRESS = "RAY_ADDRESS"
"""The variable that names a cluster to join; it may be set without --on ray."""

OF_THE_FOLDER = ("out", "shard", "shard_size", "on", "workers")
"""Options that its shards do not have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderPlace:
    """A run folder that is there. On this host its files, or copies of them, are below `path`."""

    path: Path
    files: FolderFiles
    manifest: Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFolder(FolderPlace):
    """A run folder as a command takes it up.

    `before` is what was in force for all of it, `given` what this command says, and `settings` what
    that comes to. The command `is_its_maker` if there was no folder before.
    """

    given: Mapping[str, Any]
    settings: Settings
    before: FolderOptions
    is_its_maker: bool = False

    def news(self, only: Container[str] | None = None, besides: Container[str] = ()) -> RunSettings:
        """Return what this command was given that is not in force for all of the folder yet.

        With `only` these, and without flags `besides`; they are as a journal would keep them.
        """

        def counts(name: str) -> bool:
            return only is None or name in only

        before, now = self.before.run, self.settings.of_run
        was, typed = {**before.flags, **before.adjusted}, self.settings.typed
        flags = {
            name: value
            for name, value in now.flags.items()
            if name in typed
            and counts(name)
            and not _is_in(was, name, value)
            and name not in besides
        }
        chosen = read_changes({name: self.given[name] for name in MODE if name in self.given})
        flags |= {
            name: value
            for name, value in chosen.items()  # which a journal keeps apart from other options
            if counts(name) and (name == "deadline" or value != (self.before.mode or "live"))
        }
        if counts("skip_invalid") and self.settings.options.skip_invalid > self.before.skip_invalid:
            flags["skip_invalid"] = True
        variables = {
            name: value
            for name, value in now.variables.items()
            if counts(name) and not _is_in(before.variables, name, value)
        }
        has_file = counts("config") and ("config" in typed or "config" in variables)
        if has_file and (now.config, now.endpoints) != (before.config, before.endpoints):
            return RunSettings(
                flags=flags, variables=variables, config=now.config, endpoints=now.endpoints
            )
        return RunSettings(flags=flags, variables=variables)


def _is_in(layer: Mapping[str, Any], name: str, value: object) -> bool:
    return name in layer and layer[name] == value


def existing_folder(name: str) -> FolderPlace:
    """Return the run folder of that name, or URL. Raises UsageError where there is none."""
    name = whole_name(name)
    files = folder_files(name)
    manifest = read_manifest(files, name)
    if manifest is None:
        raise no_run_folder(name)
    return FolderPlace(
        path=local_folder(files, name, manifest.run_id), files=files, manifest=manifest
    )


def run_folder_at(inputs: Sequence[str], given: Mapping[str, Any]) -> str | None:
    """Return the run folder that a command is about: its only input, or where results go."""
    if len(inputs) == 1 and is_run_folder(inputs[0]):
        return whole_name(inputs[0])
    return None if given.get("out") is None else whole_name(str(given["out"]))


def open_folder(
    inputs: Sequence[str], given: Mapping[str, Any], screen: Screen, *, resumes: bool = False
) -> RunFolder:
    """Return the run folder that a command means; it is made where there is none.

    What `resume` is given is in force whatever was adjusted before; `run` may be the command that
    began the folder, or a worker's, and keeps what was adjusted unless it says something else.

    Raises UsageError, and CheckpointMismatchError where it is another run's.
    """
    _refuse_options(given)
    name = run_folder_at(inputs, given)
    if name is None:
        raise _without_folder(inputs, given)
    _refuse_other_place(inputs, given, name)
    files = folder_files(name)
    manifest = read_manifest(files, name)
    is_its_maker = manifest is None
    is_input = len(inputs) == 1 and whole_name(inputs[0]) == name
    if manifest is None:
        if is_input:
            raise no_run_folder(name)
        if not is_url(name):
            _refuse_file_name(str(given["out"]))
        _refuse_others_folder(name, files, str(given["out"]))
        manifest = _create(name, files, inputs, given, screen)
    else:
        _refuse_other(name, manifest, [] if is_input else inputs, given)
    path = local_folder(files, name, manifest.run_id)
    files.learn_clock()
    before = options_of(manifest, files)
    settings = _settings(manifest, given, before, repeats=not resumes)
    if not (is_input or is_its_maker):
        known = {shard.source for shard in manifest.shards}
        if note := added_note(inputs, name, known, settings, screen):
            screen.notice(
                f"{note}; not part of this run",
                "to run them: name only them, with another --out DIR/",
            )
    return RunFolder(
        path=path,
        files=files,
        manifest=manifest,
        given=given,
        settings=settings,
        before=before,
        is_its_maker=is_its_maker,
    )


def _refuse_other_place(inputs: Sequence[str], given: Mapping[str, Any], name: str) -> None:
    """Refuse to write the results of a run folder elsewhere. Raises UsageError."""
    out = given.get("out")
    if out is None or len(inputs) != 1 or not is_run_folder(inputs[0]):
        return
    if whole_name(str(out)) == name:
        return
    folder, where = shlex.quote(f"{inputs[0].rstrip('/')}/"), shlex.quote(str(out))
    hint = f"to continue it: claude-batch resume {folder}\n"
    if has_known_extension(str(out)):
        hint += f"its results in one file: claude-batch results {folder} -o {where}"
    else:
        hint += f"for another run, name the files that it was made from, with --out {where}"
    raise UsageError(f"{inputs[0]} is a run folder, which has its results in itself", hint=hint)


def _refuse_options(given: Mapping[str, Any]) -> None:
    typed, out = typed_options(given, os.environ), str(given.get("out", ""))
    if is_url(out) and not out.endswith("/") and has_known_extension(out):
        folder, name = out[: out.rindex(".")], out.rpartition("/")[2]
        raise UsageError(
            f"{out}: in object storage, results go into a folder",
            hint=f"--out {shlex.quote(folder)}/; afterwards claude-batch results "
            f"{shlex.quote(folder)}/ -o {shlex.quote(name)}",
        )
    if typed.workers is not None and typed.on is None:
        raise UsageError("--workers is for a cluster", hint="add --on ray, or leave it out")
    if typed.on is not None and typed.shard is not None:
        raise UsageError(
            "--shard works on one shard here, and --on ray on all of them on a cluster",
            hint="leave one of them out",
        )
    for name in _WHOLE_RUNS:
        if getattr(typed, name):
            raise UsageError(
                f"{flag(name)} is for the run of one file", hint="leave it out for a run folder"
            )


def _without_folder(inputs: Sequence[str], given: Mapping[str, Any]) -> UsageError:
    """Return the error that inputs of a run folder come without one."""
    if len(inputs) == 1 and not is_pattern(inputs[0]):
        if "shard" in given:
            return UsageError(
                f"--shard is for run folders, and {inputs[0]} is none",
                hint="claude-batch run DIR/ --shard N, where DIR/ was given as --out before",
            )
        if "on" in given or "workers" in given:
            return UsageError(
                f"--on ray is for run folders, and {inputs[0]} is none",
                hint=f"name one: claude-batch run {shlex.quote(inputs[0])} --out DIR/ --on ray",
            )
        is_folder = is_url(inputs[0]) and location_of(inputs[0]).is_folder
        if not (is_folder or Path(inputs[0]).is_dir()):
            return UsageError("--shard-size is for run folders", hint="name one: --out DIR/")
    return UsageError(
        "several files: where should their results go?",
        hint="name a folder for all of them: add --out DIR/",
    )


def _refuse_file_name(out: str) -> None:
    """Refuse the name of a file for a run folder that is to be made. Raises UsageError."""
    name = Path(out)
    if out.endswith("/") or name.is_dir():
        return
    file = str(name.with_suffix(".jsonl")) if name.suffix.lower() == ".json" else out
    refuse_other_kind_of_table(Path(file))
    if name.suffix.lower() not in _FILES:
        return
    folder = shlex.quote(f"{name.with_suffix('')}/")
    hint = f"the same command with --out {folder} instead of -o {shlex.quote(out)}"
    hint += f"\nthen all results in one file: claude-batch results {folder} -o {shlex.quote(file)}"
    raise UsageError(f"-o {out} is a file, and this run has a folder for its results", hint=hint)


def _refuse_others_folder(name: str, files: FolderFiles, out: str) -> None:
    """Refuse to make a run folder of one that holds other files. Raises UsageError."""
    try:
        found = files.any_name()
    except OSError:  # no folder, or one that cannot be read: making it shows what is wrong
        return
    if found is None or read_manifest(files, name) is not None:  # another process was quicker
        return
    numbers = (f"{out.rstrip('/')}/run{number}" for number in count(1))
    new = next(each for each in numbers if is_url(each) or not Path(each).exists())
    raise UsageError(
        f"{out.rstrip('/')}/ is no run folder, and it is not empty: {quoted(found)} is in it",
        hint=f"name a new folder: --out {shlex.quote(new)}/",
    )


def _settings(
    manifest: Manifest, given: Mapping[str, Any], before: FolderOptions, *, repeats: bool = False
) -> Settings:
    """Return what is in force for a run folder, where that was in force `before`."""
    of_command = {
        name: value
        for name, value in given.items()
        if name not in {*OF_THE_FOLDER, "prompt_file", "system_file", *owned_by(Owner.RESULTS)}
    }
    if before.mode is not None:
        of_command.setdefault("mode", before.mode)
    if before.deadline_at is not None:
        left_s = max(1, round(before.deadline_at - time.time()))
        of_command.setdefault("deadline", f"{left_s}s")
    return read_settings(
        of_command,
        os.environ,
        run=before.run,
        fixed={
            **{name: getattr(manifest.options, name) for name in owned_by(Owner.RESULTS)},
            "skip_invalid": before.skip_invalid or "skip_invalid" in given,
        },
        repeats=repeats,
    )


def _create(
    name: str, files: FolderFiles, inputs: Sequence[str], given: Mapping[str, Any], screen: Screen
) -> Manifest:
    """Cut the inputs into shards, and create the manifest."""
    path = Path(name)  # of a URL it means nothing, and is no folder
    if not is_url(name) and path.exists() and not path.is_dir():
        raise UsageError(f"{path}: is no folder", hint="name another one with --out DIR/")
    refuse_odd_name(path)
    manifest = _wanted(inputs, given)
    found = inputs_of("run", inputs, name)
    settings = _settings(manifest, given, FolderOptions.since(manifest, ()))
    if not ("on" in given and os.environ.get(RAY_ADDRESS)):  # others' hosts have keys of their own
        _refuse_unusable(settings)
    with copies_shown(screen, manifest.options) as copies:
        found = with_rows(found, copies, settings, screen)
        shards = tuple(_cut(found, copies, manifest, screen))
        ids = ids_of_shards(shards, found, copies, manifest.options, screen)
    manifest = replace(manifest, shards=shards, ids=ids.columns)
    if not create_manifest(files, manifest):  # another process was quicker
        there = read_manifest(files, name)
        assert there is not None  # noqa: S101  # a manifest is never removed
        refuse_other(name, there, manifest)
        return there
    rows = sum(shard.lines or 0 for shard in shards)
    known = all(shard.lines is not None for shard in shards)
    about = f", {rows:,} lines{'' if known else ' and more'}" if rows else ""
    screen.notice(
        f"{name if is_url(name) else shown(path)}/: {counted(len(shards), 'shard')}{about}"
    )
    for note in (ids.note, small_files_note(shards, headers=manifest.options.headers)):
        if note:
            screen.notice(note)
    return manifest


def _refuse_unusable(settings: Settings) -> None:
    """Refuse what no shard could be sent with: a missing key, extra, scenario or Redis server.

    Raises UsageError.
    """
    options = settings.options
    refuse_lost_lease(options, has_begun=False)
    refuse_bad_cache(options)
    if options.uses_sandbox:
        read_scenario(options.scenario)
        return
    with Api(options=options, endpoints=settings.endpoints, sandbox=False, scenario=None) as api:
        api.open()
        asyncio.run(api.close())


def _wanted(inputs: Sequence[str], given: Mapping[str, Any]) -> Manifest:
    """Return the manifest that a command asks for, without shards."""
    settings = read_settings(
        {name: value for name, value in given.items() if name not in OF_THE_FOLDER}, os.environ
    )
    defaults_of(settings, ".")  # what the options of rows say is looked at first
    options = settings.options
    return Manifest(
        run_id=uuid.uuid4().hex[:12],
        version=__version__,
        created_at=time.time(),
        inputs=tuple(each if is_url(each) else whole_name(each) for each in inputs),
        shard_size=typed_options(given, os.environ).shard_size or SHARD_SIZE,
        options=replace(options.only(Owner.RESULTS), sandbox=options.uses_sandbox),
        settings=settings.of_run,
        routes=routes_text(settings.routes),
        mode=options.mode,
        deadline=options.deadline,
        shards=(),
    )


def _cut(
    found: Sequence[Input],
    copies: Copies,
    manifest: Manifest,
    screen: Screen,
) -> Iterator[Shard]:
    how, number = input_options(manifest.options), 0
    try:
        for source in found:
            refuse_odd_name(Path(source.source))

            def progress(done: int, source: Input = source) -> None:
                screen.checking(source.name, done, source.size, "reading")

            pieces = cut_input(source, how, copies, lines=manifest.shard_size, progress=progress)
            for piece, is_whole in pieces:
                number += 1
                yield Shard(
                    shard=number,
                    source=source.source,
                    name=source.name,
                    start=piece.start,
                    end=None if is_whole else piece.end,
                    first_line=piece.first_line,
                    lines=piece.lines or None,
                    size=piece.end - piece.start,
                    sha256=piece.sha256 if source.pinned is None else "",
                    etag=None if source.pinned is None else source.pinned.etag,
                )
    finally:
        screen.checked()


def _refuse_other(
    name: str, manifest: Manifest, inputs: Sequence[str], given: Mapping[str, Any]
) -> None:
    """Refuse a command that says other things than the one that made the folder.

    What it does not say is as it was. Bad lines may be left out later.
    """
    if not manifest.options.skip_invalid:
        given = {name: value for name, value in given.items() if name != "skip_invalid"}
    shaping = {*owned_by(Owner.RESULTS), "prompt_file", "system_file", "config"}
    if retries(given):
        shaping -= {*OVERRIDING}
        given = {name: value for name, value in given.items() if name not in OVERRIDING}
    said = {name: value for name, value in given.items() if name in shaping}
    if not inputs and not said and "shard_size" not in given:
        return
    wanted = _wanted(inputs, given)
    options = wanted.options
    if not inputs:  # only what it says counts
        spoken = {name.removesuffix("_file") if name.endswith("_file") else name for name in said}
        kept = {
            name: getattr(manifest.options, name)
            for name in owned_by(Owner.RESULTS)
            if name not in spoken
        }
        options = replace(options, **kept)
    refuse_other(
        name,
        manifest,
        replace(
            wanted,
            options=options,
            inputs=wanted.inputs if inputs else manifest.inputs,
            routes=wanted.routes if inputs else manifest.routes,
            shard_size=wanted.shard_size if "shard_size" in given else manifest.shard_size,
        ),
    )
