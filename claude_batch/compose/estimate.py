"""`estimate`, wired: what a file will take and cost, whichever way it is run, and what to do."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from claude_batch.compose.api import MOST_CONCURRENT
from claude_batch.compose.checking import at_hand, check_shown, defaults_of
from claude_batch.compose.estimate_asking import ASSUMED_TIER, Inquiry, Learned, ask
from claude_batch.compose.estimate_json import estimate_json
from claude_batch.compose.estimate_limits import limit_sets
from claude_batch.compose.terminal import print_json
from claude_batch.config import Options, Settings
from claude_batch.core.catalog import day_of, retirement_notice
from claude_batch.core.count_sample import LineSample
from claude_batch.core.plan import Circumstances, Pace, plan
from claude_batch.core.plan_cost import costs_of
from claude_batch.core.recommendation import recommend
from claude_batch.core.workload import calibrated
from claude_batch.errors import InvalidPromptsError
from claude_batch.storage.prompt_check import ignore
from claude_batch.storage.prompts import CheckReport, Defaults
from claude_batch.storage.run_files import default_results, is_regular
from claude_batch.storage.workload import Expectation, Found, Question, mean_output, read_workload
from claude_batch.ui.estimate_table import Estimated, estimate_table
from claude_batch.ui.screen import open_screen
from claude_batch.ui.tables import print_table


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimateOrder:
    """`estimate`, as it was typed.

    `sample` lines are counted exactly; `learn`: one cheap request per model class tells limits.
    """

    prompts: str
    settings: Settings
    expect_output: int | None
    sample: int
    compare: tuple[str, ...]
    learn: bool
    sandbox: bool
    scenario: Path | None
    as_json: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """What the file holds, and what it was read with."""

    defaults: Defaults
    report: CheckReport
    found: Found


def estimate(order: EstimateOrder) -> None:
    """Print what the file will take. Raises InvalidPromptsError, UsageError, SettingsError."""
    settings = order.settings
    defaults = defaults_of(settings)
    sample = LineSample(size=order.sample, draw=random.random) if order.sample else None
    with at_hand(order.prompts) as path:
        read = _read(order, path, defaults, sample)
        inquiry = Inquiry(
            settings=settings,
            sandbox=order.sandbox,
            scenario=order.scenario,
            prompts=path,
            defaults=defaults,
            chosen=sample.choose() if sample else (),
            models=tuple(read.report.models) if order.learn else (),
        )
        estimated = _estimated(order, read, ask(inquiry))
    if order.as_json:
        print_json(estimate_json(estimated))
    else:
        print_table(estimate_table(estimated), to_stdout=True)


def _read(order: EstimateOrder, path: Path, defaults: Defaults, sample: LineSample | None) -> _Read:
    """Check the file and read what it amounts to, shown on the screen."""
    options, name = order.settings.options, order.prompts
    question = Question(
        defaults=defaults, expectation=_expectation(order), compare=order.compare, sample=sample
    )
    screen = open_screen(options.progress, quiet=options.quiet)
    try:
        report = check_shown(path, name, defaults, screen, ignore)
        if report.invalid:
            raise InvalidPromptsError(
                f"{name}: {report.invalid:,} bad lines: nothing was estimated",
                hint="mend them, or take them out",
            )
        found = read_workload(
            path, question, progress=lambda done: screen.checking(name, done, report.size)
        )
    finally:
        screen.checked()
        screen.close(None, None)
    return _Read(defaults=defaults, report=report, found=found)


def _expectation(order: EstimateOrder) -> Expectation:
    """Return what is known of answers: said by the user, or in the results of an earlier run."""
    if order.expect_output is not None:
        return Expectation(stated=order.expect_output)
    if not is_regular(order.prompts):
        return Expectation()
    results = default_results(Path(order.prompts), sandbox=order.sandbox)
    return Expectation(mean=mean_output(results))


def _estimated(order: EstimateOrder, read: _Read, learned: Learned) -> Estimated:
    options, catalog, found = order.settings.options, read.defaults.catalog, read.found
    sets, current = limit_sets(order.settings, learned.limits, catalog)
    planned = plan(
        calibrated(found.workload, learned.counts.calibrations()),
        found.prefixes,
        Circumstances(
            limit_sets=sets, current=current, pace=_pace(options, learned), catalog=catalog
        ),
    )
    assumed = current == ASSUMED_TIER and options.tier is None
    return Estimated(
        prompts=order.prompts,
        plan=planned,
        recommendation=recommend(planned, deadline_s=options.deadline_s),
        counted=learned.counts.lines,
        compared={model: costs_of(load, (), catalog) for model, load in found.compared.items()},
        routed=tuple(
            (rule or "(none)", model, requests)
            for (rule, model), requests in read.report.routed.items()
        ),
        notes=(*learned.notes, *_notes(read, assumed=assumed)),
    )


def _pace(options: Options, learned: Learned) -> Pace:
    pace = Pace(share=options.share, concurrency=options.concurrency or MOST_CONCURRENT)
    if learned.first_token_s is None:
        return pace
    return replace(pace, first_token_s=learned.first_token_s)


def _notes(read: _Read, *, assumed: bool) -> Iterator[str]:
    """Yield what to know before believing the figures, and before sending."""
    if assumed:
        yield f"nobody has said the tier: {ASSUMED_TIER} is assumed; --tier says it, --learn asks"
    today = day_of(time.time())
    for model in dict.fromkeys((*read.report.models, *read.found.compared)):
        if read.defaults.catalog.card(model) is None:
            yield f"{model} is not in the catalog: --prices FILE can tell its price"
        notice = retirement_notice(model, today, read.defaults.catalog)
        if notice and model not in read.report.models:
            yield notice
    yield from read.report.warnings
