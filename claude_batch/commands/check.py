"""The check of a prompts file, shown: its progress, why lines are bad, and what was found."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from claude_batch.commands.money import catalog_for
from claude_batch.commands.schema import output_format
from claude_batch.commands.terminal import print_json
from claude_batch.config.options import Options
from claude_batch.config.settings import Settings
from claude_batch.core.catalog.catalog import (
    DEFAULT_MAX_TOKENS,
    DEFAULT_MODEL,
    Catalog,
    day_of,
    meant_model,
    retirement,
)
from claude_batch.core.model.requests import Request
from claude_batch.errors import Exit, UsageError
from claude_batch.storage.attachments import Attachments, described
from claude_batch.storage.objects.locations import Fetch
from claude_batch.storage.prompts.check import CheckReport, check
from claude_batch.storage.prompts.columns import ID_PREFIX
from claude_batch.storage.prompts.input import is_regular, rereadable
from claude_batch.storage.prompts.options import columns_of, input_options
from claude_batch.storage.prompts.parse import InvalidLine
from claude_batch.storage.prompts.reading import read_requests
from claude_batch.storage.prompts.shapes import Defaults
from claude_batch.storage.run.limit import choose_lines
from claude_batch.ui.messages import invalid_line_text
from claude_batch.ui.plan_words import retirement_words
from claude_batch.ui.screen.opening import open_screen
from claude_batch.ui.screen.screen import Screen
from claude_batch.ui.tables.tables import check_table, print_table

MOST_SHOWN = 20
"""Causes of bad lines that are shown."""
MOST_LISTED = 1_000
"""Bad lines that --json lists one by one."""


def defaults_of(settings: Settings, prompts: str) -> Defaults:
    """Return what applies to lines that do not set it, and where they are routed.

    Files that lines name are looked for beside `prompts`, or from here where those come from a
    pipe; they must not be changed from now on.
    """
    options = settings.options
    folder = Path(prompts).resolve().parent if is_regular(prompts) else Path.cwd()
    return Defaults(
        model=options.model,
        max_tokens=options.max_tokens,
        system=options.system,
        routes=settings.routes,
        output_format=output_format(settings),
        catalog=catalog_for(options),
        columns=columns_of(options),
        attachments=Attachments(prompts=prompts, folder=folder, since_ns=time.time_ns()),
    )


def refuse_random_alone(options: Options) -> None:
    """Refuse to draw a sample of no size."""
    if options.random and options.limit is None:
        raise UsageError("--random draws a sample: how large?", hint="add --limit N")


def fetching(name: str, screen: Screen) -> Fetch:
    """Return how an object is copied: the screen shows how far that is."""

    def progress(done: int, size: int) -> None:
        if done < size:
            screen.checking(name, done, size, "reading")
        else:
            screen.checked()

    return Fetch(progress=progress)


def check_shown(
    path: Path,
    name: str,
    defaults: Defaults,
    screen: Screen,
    note: Callable[[InvalidLine], None],
) -> CheckReport:
    """Check `path` (called `name` on the screen); show progress, then why lines are bad."""
    size = path.stat().st_size if path.is_file() else None
    screen.checking(name, 0, size)
    try:
        report = check(
            path, defaults, note=note, progress=lambda done: screen.checking(name, done, size)
        )
    except UsageError as error:  # `path` may be a copy, whose name the user does not know
        message, hint = (text.replace(str(path), name) for text in (error.message, error.hint))
        raise UsageError(message, hint=hint) from error
    finally:
        screen.checked()
    _show_causes(report, name, screen)
    doubts = _doubts(report.models, defaults.catalog)
    return replace(report, warnings=(*report.warnings, *doubts))


def _show_causes(report: CheckReport, name: str, screen: Screen) -> None:
    """Show why lines are bad, each cause once, with the first lines that it is true of."""
    shown = report.causes[:MOST_SHOWN]
    for found in shown:
        also = f"; also {found.also}" if found.also else ""
        what = f"{found.what}{also}"
        screen.problem(invalid_line_text(name, found.lines[0], what, found.remedy))
    more = report.invalid - sum(found.count for found in shown)
    if more:
        screen.problem(f"... and {more:,} more bad {'line' if more == 1 else 'lines'}")


def default_note(report: CheckReport, defaults: Defaults) -> str:
    """Return which model and max_tokens apply to lines that set none; "" if there are none."""
    if not report.unnamed_model or defaults.model is not None:
        return ""
    tokens = f"max_tokens {defaults.max_tokens or DEFAULT_MAX_TOKENS}"
    lines = f"{report.unnamed_model:,} {'line' if report.unnamed_model == 1 else 'lines'}"
    change = "(change with --model, --max-tokens)"
    if report.unset == report.unnamed_model:
        sets = "sets" if report.unset == 1 else "set"
        return f"Using {DEFAULT_MODEL}, {tokens}, for {lines} that {sets} neither {change}"
    return f"Using {DEFAULT_MODEL} for {lines} without a model, {tokens} where none is set {change}"


def _doubts(models: Iterable[str], catalog: Catalog) -> Iterator[str]:
    """Yield warnings about the models that lines name: a likely typo, a retirement soon."""
    today = day_of(time.time())
    for model in models:
        card = catalog.card(model)
        meant = meant_model(model, catalog) if card is None else card.id
        if meant and (card is None or (model.startswith("claude-") and "." in model)):
            yield f"there is no model {model} that we know of: did you mean {meant}?"
        if notice := retirement_words(retirement(model, today, catalog)):
            yield notice


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Why lines are bad: how many, the first few of them, and what to do."""

    lines: int
    first: Sequence[int]
    error: str
    hint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LineError:
    """A bad line."""

    line: int
    error: str
    hint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptsReport:
    """What `check --json` prints; `errors` lists the first thousand bad lines."""

    prompts: str
    requests: int
    invalid: int
    models: Mapping[str, int]
    unnamed_model: int
    input_tokens: int
    size: int
    sha256: str
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    causes: tuple[Cause, ...]
    errors: tuple[LineError, ...]
    shown: tuple[ShownRequest, ...]
    limited: LimitedRows | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitedRows:
    """What the rows hold that --limit chose."""

    requests: int
    input_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownRequest:
    """A request as it would be sent."""

    custom_id: str
    line: int
    params: Any


def check_prompts(
    prompts: str,
    settings: Settings,
    *,
    show: int,
    as_json: bool,
    prefix: str = ID_PREFIX,
    ids: tuple[str, ...] | None = None,
) -> int:
    """Check a file and print what was found, and `show` requests; return the exit code.

    `prefix` begins the ids of lines that have none in the columns `ids`; None: as the file has it.
    """
    listed: list[InvalidLine] = []
    bad: set[int] = set()

    options = settings.options
    refuse_random_alone(options)

    def note(line: InvalidLine) -> None:
        if show or options.limit:
            bad.add(line.line)
        if len(listed) < MOST_LISTED:
            listed.append(line)

    defaults = defaults_of(settings, prompts)
    columns = replace(defaults.columns, id_prefix=prefix)
    defaults = replace(defaults, columns=columns if ids is None else replace(columns, ids=ids))
    screen = open_screen(options.progress, quiet=options.quiet)
    limited = None
    try:
        fetch = fetching(prompts, screen)
        with rereadable(prompts, options=input_options(options), fetch=fetch) as path:
            report = check_shown(path, prompts, defaults, screen, note)
            identified = replace(defaults, columns=replace(defaults.columns, ids=report.ids))
            if options.limit is None:
                requests = read_requests(path, identified, skip=bad.__contains__, estimated=False)
                shown = tuple(map(_shown, islice(requests, show)))
            else:
                lines = choose_lines(path, options.limit, left_out=bad, at_random=options.random)
                shown, limited = _limited(path, identified, lines, show)
    finally:
        screen.close(None, None)
    if as_json:
        print_json(replace(_report(prompts, report, listed, shown), limited=limited))
        return Exit.USAGE if report.invalid else Exit.SUCCEEDED
    for each in shown:
        print_json(each, indented=True)
    if not settings.options.quiet:
        chosen = "" if limited is None else _limited_note(limited, report)
        notes = tuple(filter(None, (default_note(report, defaults), *report.notes, chosen)))
        size = Path(prompts).stat().st_size if is_regular(prompts) else report.size
        print_table(check_table(prompts, replace(report, size=size), notes), to_stdout=True)
    return Exit.USAGE if report.invalid else Exit.SUCCEEDED


def _limited(
    path: Path, defaults: Defaults, lines: frozenset[int], show: int
) -> tuple[tuple[ShownRequest, ...], LimitedRows]:
    """Return the first requests of the lines that --limit chose, and what all of them hold."""
    shown: list[ShownRequest] = []
    requests = tokens = 0
    for request in read_requests(path, defaults, skip=lambda line: line not in lines):
        requests += 1
        tokens += request.input_tokens
        if len(shown) < show:
            shown.append(_shown(request))
    return tuple(shown), LimitedRows(requests=requests, input_tokens=tokens)


def _limited_note(limited: LimitedRows, report: CheckReport) -> str:
    return (
        f"--limit: {limited.requests:,} of {report.requests:,} requests for now, about "
        f"{limited.input_tokens:,} of {report.input_tokens:,} input tokens"
    )


def _shown(request: Request) -> ShownRequest:
    return ShownRequest(
        custom_id=request.custom_id,
        line=request.line,
        params=described(orjson.loads(request.body)),
    )


def _report(
    prompts: str,
    report: CheckReport,
    listed: Sequence[InvalidLine],
    shown: tuple[ShownRequest, ...],
) -> PromptsReport:
    return PromptsReport(
        prompts=prompts,
        requests=report.requests,
        invalid=report.invalid,
        models=report.models,
        unnamed_model=report.unnamed_model,
        input_tokens=report.input_tokens,
        size=report.size,
        sha256=report.sha256,
        warnings=report.warnings,
        notes=report.notes,
        causes=tuple(
            Cause(lines=found.count, first=found.lines, error=found.what, hint=found.remedy)
            for found in report.causes
        ),
        errors=tuple(
            LineError(line=each.line, error=each.what, hint=each.remedy) for each in listed
        ),
        shown=shown,
    )
