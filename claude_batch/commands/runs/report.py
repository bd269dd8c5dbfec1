"""`report`: a run as one HTML page, from its journal, results and prompts."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import orjson

from claude_batch import __version__
from claude_batch.commands.check import defaults_of
from claude_batch.commands.find_run import journal_of
from claude_batch.commands.run.messages import shown
from claude_batch.commands.runs.status import ShownRun
from claude_batch.commands.table import checkpoint_of
from claude_batch.config.declaration import Owner
from claude_batch.config.options import owned_by
from claude_batch.config.reading import read_settings
from claude_batch.core.catalog.catalog import Catalog
from claude_batch.core.catalog.model_card import BATCH_PRICE
from claude_batch.core.history.results import Sampled
from claude_batch.core.history.run import RunHistory
from claude_batch.core.history.tiers import tier_gains
from claude_batch.core.model.answers import text_of
from claude_batch.errors import CheckpointWriteError, ClaudeBatchError, UsageError
from claude_batch.report.data import ReportData
from claude_batch.report.page import page_html
from claude_batch.storage.files import refuse_dash, refuse_missing_folder, replace_file
from claude_batch.storage.prompts.columns import Columns
from claude_batch.storage.prompts.reading import read_requests
from claude_batch.storage.prompts.shapes import Defaults
from claude_batch.storage.run.history import read_history
from claude_batch.storage.run.journal import Journal, RunIdentity
from claude_batch.storage.run.paths import copied_prompts, files_of
from claude_batch.storage.run.sample import read_results, shorten
from claude_batch.storage.run.status import status_from
from claude_batch.ui.messages import notice_text

PAGE = ".report.html"
"""What the name of a page ends with, after that of the results, unless it is given."""

_MARK = b'<meta name="generator" content="claude-batch">'
_MARKED_WITHIN = 400
"""Bytes at the beginning of a page within which it says whose it is."""


def write_report(results: Path, out: Path | None) -> None:
    """Write the report of a run. Raises UsageError, CheckpointError, CheckpointWriteError."""
    named, results = results, checkpoint_of(results).absolute()
    page = out or page_path(named)
    refuse_foreign(page, files_of(results))
    write_page(page, report_data(results))


def write_page(page: Path, data: ReportData) -> None:
    """Write a report. Raises CheckpointWriteError."""
    html = page_html(data)
    try:
        replace_file(page.absolute(), [html.encode("utf-8", "replace")])
    except OSError as error:
        raise CheckpointWriteError(
            f"{page}: cannot be written: {error.strerror}", hint="name another file: -o FILE"
        ) from error
    sys.stderr.write(notice_text(f"the report is in {shown(page.absolute())}"))


def page_path(results: Path) -> Path:
    """Return where a report goes by itself: labeled.report.html beside labeled.csv."""
    stem = results.name
    for suffix in (".jsonl", ".results", *([results.suffix] if results.suffix != ".jsonl" else [])):
        stem = stem.removesuffix(suffix) if suffix else stem
    return results.parent / f"{stem or results.name}{PAGE}"


def refuse_foreign(page: Path, files: Sequence[Path]) -> None:
    """Refuse to replace what is no report of ours, or a file of the run."""
    refuse_dash(page, "name another file: -o report.html")
    refuse_missing_folder(page)
    if page.absolute() in files:
        raise UsageError(f"{page} is a file of the run", hint="name another file: -o report.html")
    try:
        with page.open("rb") as file:
            ours = _MARK in file.read(_MARKED_WITHIN)
    except FileNotFoundError:
        return
    except OSError as error:
        raise UsageError(
            f"{page}: cannot be written: {error.strerror}", hint="name another file: -o report.html"
        ) from error
    if not ours:
        raise UsageError(
            f"{page} exists, and is no report of claude-batch",
            hint="name another file: -o report.html",
        )


def report_data(results: Path) -> ReportData:
    """Return everything that a report shows. Raises CheckpointError."""
    journal, history = journal_of(results), read_history(results)
    identity = journal.identity
    read = read_results(results)
    status = status_from(results, journal, read.figures.tally, read.figures.endpoints)
    run, now = ShownRun(status), time.time()
    catalog, note = catalog_and_prompts(results, journal, read.sample)
    return ReportData(
        at=now,
        version=__version__,
        name=results.name,
        prompts=identity.prompts,
        results=str(results),
        run_id=identity.run_id,
        mode=run.mode,
        sandbox=identity.options.sandbox,
        state=run.state,
        sentence=run.sentence(now),
        next_command=run.next_command,
        total=identity.total,
        left_out=identity.invalid,
        figures=read.figures,
        history=history,
        expenses=status.tally.expenses,
        batch_saving_usd=batch_saving_usd(history, catalog),
        tier_gains=tier_gains(history.minutes, catalog),
        sample=read.sample,
        prompts_note=note,
    )


def batch_saving_usd(history: RunHistory, catalog: Catalog) -> float | None:
    """Return what live requests to models of Claude would have cost less in batches."""
    costs = [
        traffic.cost_usd
        for minute in history.minutes
        for traffic in minute.traffic
        if traffic.lane and traffic.cost_usd and catalog.card(traffic.model) is not None
    ]
    return (1.0 - BATCH_PRICE) * sum(costs) if costs else None


# prompts


def catalog_and_prompts(
    results: Path, journal: Journal, sample: Sequence[Sampled]
) -> tuple[Catalog, str]:
    """Put the prompts into the sample; return the run's catalog, and why prompts are missing."""
    identity = journal.identity
    settings = read_settings({}, os.environ, run=journal.settings)
    shaping = {name: getattr(identity.options, name) for name in owned_by(Owner.RESULTS)}
    settings = replace(settings, options=replace(settings.options, **shaping))
    defaults = defaults_of(settings, identity.prompts)
    defaults = replace(defaults, columns=_identified(defaults.columns, identity))
    copy = copied_prompts(results)
    path = copy if identity.source_sha256 and copy.exists() else Path(identity.prompts_path)
    wanted = {each.line: each for each in sample if each.line is not None}
    try:
        if path.stat().st_size != identity.size:
            return defaults.catalog, f"Prompts are missing: {path} has changed since the run."
        _add_prompts(path, defaults, wanted)
    except FileNotFoundError:
        return defaults.catalog, f"Prompts are missing: {path} is gone."
    except (OSError, ClaudeBatchError) as error:
        return defaults.catalog, f"Prompts are missing: {error}"
    return defaults.catalog, ""


def _identified(columns: Columns, identity: RunIdentity) -> Columns:
    return replace(columns, ids=identity.ids, id_prefix=identity.id_prefix)


def _add_prompts(path: Path, defaults: Defaults, wanted: Mapping[int, Sampled]) -> None:
    """Put into each result of the sample what it answers."""
    left = len(wanted)
    requests = read_requests(path, defaults, skip=lambda line: line not in wanted, estimated=False)
    for request in requests:
        each = wanted[request.line]
        if request.custom_id == each.custom_id or len(each.custom_id) > len(request.custom_id):
            each.prompt = shorten(_prompt_text(request.body))
        left -= 1
        if not left:
            return


def _prompt_text(body: bytes) -> str:
    """Return the messages of a request as text."""
    params = orjson.loads(body)
    messages = [each for each in params.get("messages") or () if isinstance(each, dict)]
    system = text_of(params.get("system"))
    if len(messages) == 1 and not system:
        return _content_text(messages[0].get("content"))
    parts = [f"system: {system}"] if system else []
    parts += [f"{each.get('role')}: {_content_text(each.get('content'))}" for each in messages]
    return "\n\n".join(parts)


def _content_text(content: object) -> str:
    """Return the text of a message; blocks of other kinds by their name."""
    if not isinstance(content, list):
        return text_of(content)
    return "\n".join(_block_texts(content))


def _block_texts(blocks: Sequence[object]) -> Iterator[str]:
    for block in blocks:
        if isinstance(block, dict) and block.get("type") != "text":
            yield f"[{block.get('type')}]"
        else:
            yield text_of([block])
