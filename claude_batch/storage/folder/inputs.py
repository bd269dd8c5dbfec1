"""The inputs of a run folder, found: files, objects, globs, folders with all the tables in them."""

from __future__ import annotations

import glob
import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from claude_batch.core.model.typos import nearest
from claude_batch.core.shards.names import names_below
from claude_batch.errors import UsageError
from claude_batch.storage.objects.locations import Location, Pinned, is_url, location_of
from claude_batch.storage.prompts.input import STDIN, is_regular, refuse_unreadable
from claude_batch.storage.run.journal import journal_path
from claude_batch.storage.run.paths import MANIFEST, has_manifest, is_manifest
from claude_batch.storage.tables.kinds import has_known_extension

if TYPE_CHECKING:
    from claude_batch.storage.objects.store import ObjectStore, StoredObject

_RESULTS = ".results.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """A file of prompts or rows: `source` is its path from the root on, or an object's URL.

    `name` is what it is called in ids; `size` is in bytes; `pinned` is what an object is now, None
    for a file. It `is_named` itself, or else found in a folder or by a glob.
    """

    source: str
    name: str
    size: int
    pinned: Pinned | None = None
    is_named: bool = False


def is_pattern(name: str) -> bool:
    """Return whether a name stands for several files: it has *, ? or [ in it, and is no file."""
    return glob.has_magic(name) and not Path(name).exists()


def find_inputs(names: Sequence[str], leave_out: str | None = None) -> list[Input]:
    """Return the files and objects that are meant, each once, in order.

    Those below the folder `leave_out`, a path or a URL, where results go, are none. Raises
    UsageError.
    """
    found: dict[str, Input] = {}
    open_store = cache(_open_store)
    for name in names:
        inputs = [*(_objects_of(name, open_store) if is_url(name) else map(_file, _files_of(name)))]
        if leave_out is not None:
            below = leave_out.rstrip("/") + "/"
            inputs = [each for each in inputs if not each.source.startswith(below)]
        if not inputs:
            near = _folder_nearest(name, open_store) if is_url(name) else None
            named = "name files, folders, or quoted globs such as 'in/*.jsonl'"
            raise UsageError(
                f"{name}: no file of prompts or rows there",
                hint=named if near is None else f"did you mean {near}?",
            )
        if [each.source for each in inputs] == [_from_the_root(name)]:
            inputs = [replace(inputs[0], is_named=True)]
        found |= {each.source: each for each in inputs if each.is_named or each.source not in found}
    below_common = names_below([*found])
    return [
        replace(each, name=name) for each, name in zip(found.values(), below_common, strict=True)
    ]


def _from_the_root(name: str) -> str:
    return name if is_url(name) else str(_absolute(name))


def _file(path: Path) -> Input:
    return Input(source=str(path), name=path.name, size=path.stat().st_size)


def _open_store(root: str) -> ObjectStore:
    from claude_batch.storage.objects.store import ObjectStore  # noqa: PLC0415  # for URLs only

    return ObjectStore(location_of(root))


def _objects_of(url: str, open_store: Callable[[str], ObjectStore]) -> Iterator[Input]:
    """Yield the objects that a URL stands for: one, those of a folder, or those of a glob."""
    from claude_batch.storage.objects.finding import (  # noqa: PLC0415  # for URLs only
        find_object,
        is_folder,
        matching,
    )

    place = location_of(url)
    store = open_store(place.root)
    head = None if place.is_folder else store.head(place.key)
    objects: Iterator[StoredObject]
    if head is not None:
        objects = iter((head,))
    elif glob.has_magic(place.key):
        objects = iter(sorted(matching(store, place.key), key=lambda each: each.key))
    elif place.is_folder or is_folder(store, place.key):
        objects = _objects_below(store, place)
    else:
        objects = iter((find_object(store, place.key),))  # says what may be meant
    for each in objects:
        yield Input(
            source=store.url(each.key),
            name=each.key,
            size=each.size,
            pinned=Pinned(size=each.size, etag=each.etag),
        )


def _folder_nearest(url: str, open_store: Callable[[str], ObjectStore]) -> str | None:
    from claude_batch.storage.objects.finding import folder_nearest  # noqa: PLC0415  # for URLs only

    place = location_of(url)
    return folder_nearest(open_store(place.root), place.key) if place.key else None


def _objects_below(store: ObjectStore, folder: Location) -> Iterator[StoredObject]:
    """Yield the objects below a folder that are inputs, as `_below` does."""
    below = f"{folder.key.rstrip('/')}/" if folder.key else ""
    objects = {each.key: each for each in store.list(below)}
    manifests = (key for key in objects if key.rpartition("/")[2] == MANIFEST)
    run_folders = tuple(
        key.removesuffix(MANIFEST) for key in manifests if is_manifest(store.read(key) or b"")
    )
    for key in sorted(objects):
        names = key.removeprefix(below).split("/")
        is_ours = key.endswith(_RESULTS) or f"{key}.journal" in objects
        is_ours = is_ours or (bool(run_folders) and key.startswith(run_folders))
        is_hidden = any(name.startswith(".") for name in names)
        if not (is_hidden or is_ours) and has_known_extension(names[-1]):
            yield objects[key]


def _files_of(name: str) -> Iterator[Path]:
    if name == STDIN:
        raise UsageError(
            "stdin: the inputs of a run folder are files",
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
