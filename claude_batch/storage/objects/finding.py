"""Objects that a URL stands for: one of them, a folder, or a glob."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from claude_batch.core.model.typos import nearest
from claude_batch.errors import UsageError
from claude_batch.storage.objects.errors import StoreError, StoreProblem
from claude_batch.storage.objects.store import ObjectStore, StoredObject

_MOST_LISTED = 1_000
"""Objects of a folder among which a similar name is looked for."""


def find_object(store: ObjectStore, key: str) -> StoredObject:
    """Return an object. Raises UsageError, with what may be meant, where there is none."""
    found = store.head(key) if key else None
    if found is not None:
        return found
    missing = f"{store.url(key)}: no such object"
    folder, _, name = key.rpartition("/")
    parent = f"{folder}/" if folder else ""
    try:  # which also shows that there is no such bucket
        folders, objects = store.list_folder(parent)
    except StoreError as error:
        if error.problem is StoreProblem.NO_BUCKET:
            raise
        raise UsageError(missing, hint="look at its name") from error
    if f"{key}/" in folders:
        url = shlex.quote(f"{store.url(key)}/")
        raise UsageError(
            f"{store.url(key)}: is a folder",
            hint=f"write {url} for all that is in it; results of a run go to a folder: --out DIR/",
        )
    keys = (*folders, *(each.key for each in objects[:_MOST_LISTED]))
    names = {each.removeprefix(parent).rstrip("/"): each for each in keys}
    near = nearest(name, [*names], most=1)
    hint = f"did you mean {store.url(names[near[0]])}?" if near else _listed(store, parent, objects)
    raise UsageError(missing, hint=hint)


def _listed(store: ObjectStore, parent: str, objects: object) -> str:
    where = store.url(parent)
    return f"look at what is in {where}" if objects else f"there are no objects in {where}"


def folder_nearest(store: ObjectStore, key: str) -> str | None:
    """Return the URL of a folder with a similar name as one that is empty; None without one."""
    parent, _, name = key.rstrip("/").rpartition("/")
    parent = f"{parent}/" if parent else ""
    others = (each for each in store.list_folder(parent)[0] if each.rstrip("/") != key.rstrip("/"))
    names = {each.removeprefix(parent)[:-1]: each for each in others}
    near = nearest(name, [*names], most=1)
    return store.url(names[near[0]]) if near else None


def is_folder(store: ObjectStore, key: str) -> bool:
    """Return whether a key that is no object's is that of a folder."""
    folder, _, _ = key.rpartition("/")
    return f"{key}/" in store.list_folder(f"{folder}/" if folder else "")[0]


def matching(store: ObjectStore, pattern: str) -> Iterator[StoredObject]:
    """Yield the objects that a glob matches, as in a shell: * stays within a folder, ** does not.

    Only what is below the folders before the first * is listed.
    """
    before = re.split(r"[*?\[]", pattern, maxsplit=1)[0]
    folder = before[: before.rfind("/") + 1]
    matches = re.compile(_regex(pattern)).fullmatch
    rest = pattern[len(folder) :]
    deep = "/" in rest or "**" in rest
    objects = store.list(folder) if deep else iter(store.list_folder(folder)[1])
    return (each for each in objects if matches(each.key))


def _regex(pattern: str) -> str:
    """Return a glob as a regular expression; what begins with a dot is matched by no * or ?."""
    parts = []
    segments = pattern.split("/")
    for number, segment in enumerate(segments):
        last = number == len(segments) - 1
        if segment == "**":
            parts.append(r"(?:[^/.][^/]*/)*" if not last else r"(?:[^/.][^/]*/)*[^/.][^/]*")
            continue
        hidden = r"(?!\.)" if segment[:1] in {"*", "?", "["} else ""
        parts.append(hidden + _segment(segment) + ("" if last else "/"))
    return "".join(parts)


def _segment(segment: str) -> str:
    regex, at = "", 0
    while at < len(segment):
        char = segment[at]
        end = segment.find("]", at + 2) if char == "[" else -1
        if char == "*":
            regex += "[^/]*"
        elif char == "?":
            regex += "[^/]"
        elif end > 0:
            inner = segment[at + 1 : end].replace("\\", "\\\\")
            inner = f"^{inner[1:]}" if inner[0] == "!" else inner.replace("^", "\\^", 1)
            regex += f"[{inner}]"
            at = end
        else:
            regex += re.escape(char)
        at += 1
    return regex
