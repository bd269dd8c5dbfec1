"""What a command's inputs are: one file, or several, which are the run of a folder."""

from __future__ import annotations

import glob
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from claude_batch.errors import UsageError
from claude_batch.storage.objects.locations import is_url, location_of
from claude_batch.storage.run.paths import default_results, has_manifest

_STDIN = "-"


def is_folder(name: str) -> bool:
    """Return whether a name is that of a folder: on this host, or by its form in object storage."""
    return (is_url(name) and location_of(name).is_folder) or Path(name).is_dir()


def is_of_folder(results: str) -> bool:
    """Return whether what a command calls RESULTS is a run folder: all that is elsewhere are."""
    return is_url(results) or Path(results).is_dir()


def file_to_write(name: str | None, example: str) -> Path | None:
    """Return the path of the file that `-o` names; None without. Raises UsageError for a folder."""
    if name is None or not (name.endswith("/") or Path(name).is_dir()):
        return None if name is None else Path(name)
    raise UsageError(
        f"-o {name} is the name of a folder, and one file is written",
        hint=f"name a file in it: -o {shlex.quote(str(Path(name) / example))}",
    )


def is_one_run(inputs: Sequence[str], given: Mapping[str, Any]) -> bool:
    """Return whether a command is about one file with one results file, not about a run folder."""
    out = given.get("out")
    return (
        len(inputs) == 1
        and not (glob.has_magic(inputs[0]) and not Path(inputs[0]).exists())
        and not (inputs[0] != _STDIN and is_folder(inputs[0]))
        and (
            out is None
            or not (is_url(str(out)) or str(out).endswith("/") or has_manifest(Path(out)))
        )
        and not any(name in given for name in ("shard", "shard_size", "on", "workers"))
    )


def results_of(inputs: Sequence[str]) -> list[str]:
    """Return where a run has to be asked to write its results; nothing where that is clear."""
    if not is_one_run(inputs, {}):
        return ["--out", "out/"]
    if is_url(inputs[0]):
        name = default_results(Path(Path(inputs[0]).name), sandbox=False).name
        return ["--out", shlex.quote(name)]
    return []
