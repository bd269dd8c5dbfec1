"""The file that a run's prompts come from, when the run is continued: same, gone, changed, grown.

A converted file is read again only if its bytes are others than they were; saved again without a
change of its rows, it is the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path

from claude_batch.storage.files import read_blocks
from claude_batch.storage.objects.locations import ANY, Fetch, is_url
from claude_batch.storage.prompts.input import is_regular, rereadable
from claude_batch.storage.prompts.lines import PromptLines, fingerprint, wrapping_of
from claude_batch.storage.run.journal import RunIdentity
from claude_batch.storage.run.paths import copied_prompts, prompts_part
from claude_batch.storage.tables.kinds import InputOptions, Part


def are_gone(prompts: str, results: Path, identity: RunIdentity) -> bool:
    """Return whether the prompts of a run can no longer be read: no file, and no copy of ours."""
    if not is_regular(prompts) or Path(prompts).exists():
        return False
    return not (identity.source_sha256 and copied_prompts(results).exists())


@contextmanager
def prompts_now(
    prompts: str,
    results: Path,
    identity: RunIdentity,
    options: InputOptions,
    part: Part | None = None,
    fetch: Fetch = ANY,
) -> Iterator[Path]:
    """Give the prompts of a run as they are now: our copy, where its source is the same or gone.

    Raises what `rereadable` raises.
    """
    kept = copied_prompts(results)
    if is_url(prompts) and fetch.pinned is not None and kept.exists():
        from claude_batch.storage.objects.fetching import (  # noqa: PLC0415  # rarely needed
            refuse_changed_object,
        )

        refuse_changed_object(prompts, fetch.pinned)
        yield kept
        return
    if identity.source_sha256 and kept.exists():
        is_copy = Path(prompts) == kept
        source = Path(identity.prompts) if is_copy else Path(prompts)
        known = identity.source_size, identity.source_sha256
        if not source.exists() or _fingerprint(source, part) == known:
            yield kept
            return
        prompts = str(source)
    elif Path(prompts) == kept:
        options = InputOptions()  # our own copy is always JSONL
    with rereadable(prompts, prompts_part(results), options, part, fetch) as path:
        yield path


def _fingerprint(source: Path, part: Part | None) -> tuple[int, str]:
    return fingerprint(source) if part is None else fingerprint(source, part.start, part.end)


def source_of(prompts: str, path: Path, part: Part | None = None) -> tuple[int, str]:
    """Return size and SHA-256 of what was converted to `path`; 0 and "" where nothing was."""
    if not is_regular(prompts) or Path(prompts).resolve() == path.resolve():
        return 0, ""
    return _fingerprint(Path(prompts), part)


def has_grown(path: Path, identity: RunIdentity) -> bool:
    """Return whether prompts are what they were, and rows at their end."""
    if path.stat().st_size <= identity.size:
        return False
    digest, last = hashlib.sha256(), b""
    for block in read_blocks(path, 0, identity.size):
        digest.update(block)
        last = block[-1:]
    if digest.hexdigest() != identity.sha256:
        return False
    following = next(read_blocks(path, identity.size, identity.size + 2), b"")
    return last == b"\n" or following.startswith((b"\n", b"\r\n"))


def change_of(path: Path, results: Path, identity: RunIdentity) -> str:
    """Return what has changed in prompts, as far as it can be seen."""
    if has_grown(path, identity):
        return "rows were added at its end"
    kept = copied_prompts(results)
    if identity.source_sha256 and kept.exists() and wrapping_of(path) is not None:
        return _first_difference(kept, path)
    now = path.stat().st_size
    return f"{identity.size:,} bytes then, {now:,} now"


def _first_difference(kept: Path, path: Path) -> str:
    for then, now in zip_longest(_rows(kept), _rows(path)):
        if then == now:
            continue
        if then is None or now is None:
            return "there are other rows at its end"
        line = then[0] if then[0] == now[0] else min(then[0], now[0])
        return f"it differs from line {line:,} on"
    return "its rows have other columns"


def _rows(path: Path) -> Iterator[tuple[int, bytes | None]]:
    for numbers, lines in PromptLines(path):
        yield from zip(numbers, lines, strict=True)
