"""`check` of the inputs of a run folder: each file as its shards will be checked."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from claude_batch.commands.check import check_prompts
from claude_batch.commands.run.messages import shown
from claude_batch.config.settings import Settings
from claude_batch.core.shards.names import id_prefix, names_below
from claude_batch.errors import Exit, UsageError
from claude_batch.storage.folder.inputs import find_inputs
from claude_batch.storage.run.paths import has_manifest
from claude_batch.ui.messages import error_text


def check_inputs(inputs: Sequence[str], settings: Settings, *, show: int, as_json: bool) -> int:
    """Check file after file and print what was found in each; return the exit code.

    A file that cannot be read as it is does not keep the others from being checked. Raises
    UsageError where there are no files.
    """
    for name in inputs:
        if has_manifest(Path(name)):
            raise UsageError(
                f"{name}: is a run folder", hint="check takes the files that it was made from"
            )
    paths = find_inputs(inputs)
    codes = [Exit.SUCCEEDED]
    names = names_below([str(path) for path in paths])
    for number, (path, name) in enumerate(zip(paths, names, strict=True)):
        try:
            code = check_prompts(
                shown(path),
                settings,
                show=0 if number else show,
                as_json=as_json,
                prefix=id_prefix(name),
            )
        except UsageError as error:
            sys.stderr.write(error_text(error.message, error.hint))
            code = error.exit_code
        codes.append(Exit(code))
    return max(codes)
