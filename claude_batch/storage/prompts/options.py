"""What the input options of a command mean: how its file is read, and what its rows become."""

from __future__ import annotations

import orjson

from claude_batch.config.declaration import NONE
from claude_batch.config.options import Options
from claude_batch.errors import UsageError
from claude_batch.storage.prompts.columns import CUSTOM_ID, Columns, Template
from claude_batch.storage.prompts.params import PARAMS, BadPromptError, refuse_mistyped
from claude_batch.storage.tables.kinds import InputOptions

_NEEDED = frozenset({"messages", "prompt", "custom_id", "params"})


def input_options(options: Options) -> InputOptions:
    """Return how the file of a command is to be read."""
    return InputOptions(
        format=options.input_format,
        field=options.field,
        delimiter=options.delimiter,
        encoding=options.encoding,
        headers=options.headers,
        sheet=options.sheet,
    )


def columns_of(options: Options) -> Columns:
    """Return what the rows of a command's file become. Raises UsageError."""
    if options.prompt is not None and options.prompt_column is not None:
        raise UsageError(
            "--prompt and --prompt-column both say what is asked",
            hint=f"leave one out; in --prompt, {{{{{options.prompt_column}}}}} is that column",
        )
    for name in _NEEDED.intersection(options.drop):
        raise UsageError(f"--drop {name}: no request is without it", hint="leave it out")
    params = orjson.loads(options.params) if options.params else {}
    try:
        refuse_mistyped(params, PARAMS, "in --params")
    except BadPromptError as error:
        raise UsageError(error.what, hint=error.remedy) from None
    for name in ("messages", "stream", "prompt"):
        if name in params:
            raise UsageError(
                f"--params cannot set {name!r}",
                hint="it is for params that all requests share, such as temperature or tools",
            )
    no_ids = options.id_column == NONE
    return Columns(
        prompt=None if options.prompt is None else Template(options.prompt, "--prompt"),
        prompt_column=options.prompt_column,
        system=None if options.system is None else Template(options.system, "--system"),
        id_column=None if no_ids else options.id_column,
        ids=() if no_ids else (CUSTOM_ID,),
        params=params,
        drop=frozenset(options.drop),
        attach=options.attach,
    )
