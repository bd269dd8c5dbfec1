"""`estimate`: what a file will take and cost, whichever way it is run, and what to do.

What it asks the API: exact counts of some lines (--sample), the limits (--learn).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from claude_batch.commands.account.probing import Probe, counting_of, one_per_class, probe, remedy
from claude_batch.commands.api import MOST_CONCURRENT, Api
from claude_batch.commands.check import check_shown, defaults_of, refuse_random_alone
from claude_batch.commands.endpoints import ceilings, known_endpoints
from claude_batch.commands.terminal import print_json
from claude_batch.config.options import Options
from claude_batch.config.settings import Endpoint, Settings
from claude_batch.core.catalog.catalog import (
    Catalog,
    day_of,
    model_class,
    retirement,
    tier_of,
)
from claude_batch.core.history.tiers import tier_gains
from claude_batch.core.model.requests import LIMIT_NAMES, LimitKind, Request
from claude_batch.core.planning.costs import costs_of
from claude_batch.core.planning.count_sample import Chosen, Counted, LineSample, calibrate
from claude_batch.core.planning.limits import ASSUMED_TIER, PlanLimits, ReportedLimits, plan_limits
from claude_batch.core.planning.plan import (
    AtMost,
    Estimate,
    Plan,
    RoutedLines,
    RunSpeed,
    WholeFile,
    plan,
    recommend,
)
from claude_batch.core.planning.workload import Workload, calibrated
from claude_batch.engine.counting import Counts, count_lines
from claude_batch.errors import CheckpointError, InvalidPromptsError
from claude_batch.report.words import bound_title, tier_words
from claude_batch.storage.prompts.check import CheckReport, ignore
from claude_batch.storage.prompts.input import is_regular, rereadable
from claude_batch.storage.prompts.options import input_options
from claude_batch.storage.prompts.reading import read_requests
from claude_batch.storage.prompts.shapes import Defaults
from claude_batch.storage.prompts.workload import (
    Expectation,
    Found,
    Question,
    read_workload,
)
from claude_batch.storage.run.checkpoint import mean_output
from claude_batch.storage.run.history import read_history
from claude_batch.storage.run.limit import choose_lines
from claude_batch.storage.run.paths import default_results
from claude_batch.ui.plan_words import (
    limit_notes,
    plan_notes,
    recommendation_words,
    retirement_words,
)
from claude_batch.ui.screen.opening import open_screen
from claude_batch.ui.tables.estimate import estimate_table
from claude_batch.ui.tables.tables import print_table

if TYPE_CHECKING:
    from claude_batch.transport.opening import EndpointTransport


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimateRequest:
    """`estimate`, as it was typed.

    `sample` lines are counted exactly; `learn`: one cheap request per model class shows limits.
    `run_command` runs the same prompts with the same options.
    """

    prompts: str
    settings: Settings
    expect_output: int | None
    sample: int
    compare: tuple[str, ...]
    learn: bool
    sandbox: bool
    scenario: Path | None
    run_command: str
    as_json: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """What the file holds, and what it was read with."""

    defaults: Defaults
    report: CheckReport
    found: Found


def estimate(request: EstimateRequest) -> None:
    """Print what the file will take. Raises InvalidPromptsError, UsageError, SettingsError."""
    settings = request.settings
    refuse_random_alone(settings.options)
    defaults = defaults_of(settings, request.prompts)
    sample = LineSample(size=request.sample, draw=random.random) if request.sample else None
    with rereadable(request.prompts, options=input_options(settings.options)) as path:
        read = _read(request, path, defaults, sample)
        measurement = Measurement(
            settings=settings,
            sandbox=request.sandbox,
            scenario=request.scenario,
            prompts=path,
            defaults=defaults,
            chosen=sample.choose() if sample else (),
            models=tuple(read.report.models) if request.learn else (),
        )
        found = _estimate(request, read, measure(measurement))
    if request.as_json:
        print_json(found)
    else:
        print_table(estimate_table(found), to_stdout=True)


def _read(
    request: EstimateRequest, path: Path, defaults: Defaults, sample: LineSample | None
) -> _Read:
    """Check the file and add up its lines, shown on the screen."""
    options, name = request.settings.options, request.prompts
    screen = open_screen(options.progress, quiet=options.quiet)
    try:
        report = check_shown(path, name, defaults, screen, ignore)
        if report.invalid:
            lines = "1 invalid line" if report.invalid == 1 else f"{report.invalid:,} invalid lines"
            raise InvalidPromptsError(
                f"{name}: {lines}: nothing was estimated", hint="correct or remove them"
            )
        found = read_workload(
            path,
            Question(
                defaults=defaults,
                expectation=_expectation(request),
                compare=request.compare,
                sample=sample,
                only=None
                if options.limit is None
                else choose_lines(path, options.limit, left_out=(), at_random=options.random),
            ),
            progress=lambda done: screen.checking(name, done, report.size, "estimating"),
        )
    finally:
        screen.checked()
        screen.close(None, None)
    return _Read(defaults=defaults, report=report, found=found)


def _expectation(request: EstimateRequest) -> Expectation:
    """Return what is known of answers: stated by the user, or in the results of an earlier run."""
    if request.expect_output is not None:
        return Expectation(stated=request.expect_output)
    if not is_regular(request.prompts):
        return Expectation()
    results = default_results(Path(request.prompts), sandbox=request.sandbox)
    return Expectation(mean=mean_output(results))


def _estimate(request: EstimateRequest, read: _Read, measured: Measured) -> Estimate:
    options, catalog, report = request.settings.options, read.defaults.catalog, read.report
    settings = request.settings
    if request.sandbox:
        settings = replace(settings, endpoints=(Endpoint(name="sandbox"),))
    limits = plan_limits(
        known_endpoints(settings, measured.limits, catalog),
        ceilings(options),
        report.models,
        catalog,
    )
    calibrations = measured.counts.calibrations()
    planned = plan(
        calibrated(read.found.workload, calibrations),
        read.found.prefixes,
        limits,
        _speed(options, measured),
        catalog,
    )
    most = calibrated(read.found.most, calibrations)
    most_cost = costs_of(most, (), catalog)
    recommendation = recommend(planned, deadline_s=options.deadline_s)
    whole = None
    if read.found.whole.requests > planned.requests:
        load = calibrated(read.found.whole, calibrations)
        whole = _whole_file(plan(load, (), limits, _speed(options, measured), catalog))
    return Estimate(
        prompts=request.prompts,
        requests=planned.requests,
        input_tokens=planned.input_tokens,
        output_tokens=planned.output_tokens,
        output_basis=planned.output_basis,
        counted_lines=measured.counts.lines,
        models=planned.models,
        cost=planned.cost,
        at_most=AtMost(
            output_tokens=round(most.output_tokens),
            live=most_cost.live.high,
            batch=most_cost.batch.high,
        ),
        live=planned.live,
        batch=planned.batch,
        compared={
            model: costs_of(_as_counted(model, load, measured, catalog), (), catalog)
            for model, load in read.found.compared.items()
        },
        routed=tuple(
            RoutedLines(route=rule or "(none)", model=model, requests=requests)
            for (rule, model), requests in read.found.routed.items()
            if settings.routes
        ),
        prices_as_of=catalog.as_of,
        notes=(*_notes(read, measured, planned, limits), *_observed(request, catalog)),
        recommendation=recommendation_words(recommendation, request.run_command),
        whole=whole,
    )


def _whole_file(planned: Plan) -> WholeFile:
    return WholeFile(
        requests=planned.requests,
        input_tokens=planned.input_tokens,
        output_tokens=planned.output_tokens,
        live_usd=planned.cost.live.usd,
        batch_usd=None if planned.cost.fast else planned.cost.batch.usd,
        seconds=next((each.seconds for each in planned.live if each.current), None),
    )


def _speed(options: Options, measured: Measured) -> RunSpeed:
    speed = RunSpeed(share=options.share, concurrency=options.concurrency or MOST_CONCURRENT)
    if measured.first_token_s is None:
        return speed
    return replace(speed, first_token_s=measured.first_token_s)


def _as_counted(model: str, load: Workload, measured: Measured, catalog: Catalog) -> Workload:
    """Return what would go to `model`, corrected by all lines that its own tokenizer counted."""
    counted = _counted_alike(model, measured, catalog)
    return calibrated(load, {model: calibrate(counted)}) if counted else load


def _counted_alike(model: str, measured: Measured, catalog: Catalog) -> list[Counted]:
    tokenizer = model_class(model, catalog).tokenizer
    return [
        each
        for other, counted in measured.counts.by_model.items()
        if model_class(other, catalog).tokenizer is tokenizer
        for each in counted
    ]


def _notes(read: _Read, measured: Measured, planned: Plan, limits: PlanLimits) -> Iterator[str]:
    """Yield what to know before believing the figures, and before sending."""
    catalog, models = read.defaults.catalog, read.report.models
    yield from plan_notes(planned)
    yield from measured.notes
    yield from limit_notes(limits)
    for model in read.found.compared if measured.counts.lines else ():
        if not _counted_alike(model, measured, catalog):
            yield f"{model} has another tokenizer than what was counted: its figures are estimates."
    today = day_of(time.time())
    for model in dict.fromkeys((*models, *read.found.compared)):
        if catalog.card(model) is None:
            yield f"{model} is not in the catalog: set its price with --prices FILE."
        notice = retirement_words(retirement(model, today, catalog))
        if notice and model not in models:
            yield notice
    yield from read.report.warnings


def _observed(request: EstimateRequest, catalog: Catalog) -> Iterator[str]:
    """Yield what limited an earlier run of the same file, and what higher tiers would bring."""
    if not is_regular(request.prompts):
        return
    results = default_results(Path(request.prompts), sandbox=request.sandbox)
    try:
        history = read_history(results.absolute())
    except CheckpointError:
        return
    minutes = history.minutes
    if any(minute.lanes for minute in minutes):
        faster = tier_words(tier_gains(minutes, catalog), history.active_s)
        yield " ".join((f"Last run of this file: {bound_title(minutes)}.", *faster))


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What to measure: the tokens of the lines in `chosen`, and the limits of `models`."""

    settings: Settings
    sandbox: bool
    scenario: Path | None
    prompts: Path
    defaults: Defaults
    chosen: tuple[Chosen, ...]
    models: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What the API reported: counted lines, limits by endpoint, how fast it is.

    `notes` say what it did not report, and why.
    """

    counts: Counts = field(default_factory=Counts)
    limits: Mapping[str, ReportedLimits] = field(default_factory=dict)
    first_token_s: float | None = None
    notes: tuple[str, ...] = ()


def measure(wanted: Measurement) -> Measured:
    """Have the first endpoint count, the primary ones report limits; ask none without need."""
    if not (wanted.chosen or wanted.models):
        return Measured()
    settings = wanted.settings
    with Api(
        options=settings.options,
        endpoints=settings.endpoints,
        sandbox=wanted.sandbox,
        scenario=wanted.scenario,
    ) as api:
        api.open()
        requests = list(_chosen_requests(wanted))
        return asyncio.run(_measure(api, wanted, requests))


def _chosen_requests(wanted: Measurement) -> Iterator[Request]:
    lines = {each.line for each in wanted.chosen}
    if lines:
        yield from read_requests(
            wanted.prompts, wanted.defaults, skip=lambda line: line not in lines
        )


async def _measure(api: Api, wanted: Measurement, requests: Sequence[Request]) -> Measured:
    catalog = wanted.defaults.catalog
    try:
        counts, notes = await _count(api.transport, wanted, requests)
        models = one_per_class(wanted.models, catalog)
        probed = {transport.name: await probe(transport, models) for transport in _primary(api)}
    finally:
        await api.close()
    answered = [each for probes in probed.values() for each in probes if not each.failure]
    return Measured(
        counts=counts,
        limits={name: _reported(probes, catalog) for name, probes in probed.items()},
        first_token_s=min((each.seconds for each in answered), default=None),
        notes=(*notes, *_unreported(probed)),
    )


def _primary(api: Api) -> list[EndpointTransport]:
    """Return the primary endpoints; a sandbox replaces all endpoints."""
    fallback = {each.name for each in api.endpoints if each.role == "fallback"}
    return [each for name, each in api.transports.items() if name not in fallback]


def _reported(probes: Sequence[Probe], catalog: Catalog) -> ReportedLimits:
    return ReportedLimits(
        organization=next(filter(None, (each.headers.organization_id for each in probes)), None),
        limits={
            model_class(each.model, catalog).name: each.limits
            for each in probes
            if each.reports_limits
        },
    )


def _unreported(probed: Mapping[str, Sequence[Probe]]) -> Iterator[str]:
    """Yield which limits were not reported, and why."""
    for name, probes in probed.items():
        for each in probes:
            where = each.model if len(probed) == 1 else f"{name} {each.model}"
            missing = [LIMIT_NAMES[kind] for kind in LimitKind if each.limits.of(kind) is None]
            if each.failure is not None:
                yield f"{where}: {each.failure.message}: {remedy(each.failure)}"
            elif missing:
                what = " and ".join(missing) if each.reports_limits else "its limits"
                yield f"{where}: the endpoint does not report {what}: those of the tier are used"


async def _count(
    transport: EndpointTransport, wanted: Measurement, requests: Sequence[Request]
) -> tuple[Counts, tuple[str, ...]]:
    """Return the counted lines, and why some could not be counted."""
    if not requests:
        return Counts(), ()
    account = counting_of(transport)
    if account is None or not transport.abilities.count_tokens:
        return Counts(), ("this endpoint counts no tokens: the estimate is not calibrated",)
    tier = tier_of(wanted.settings.options.tier or ASSUMED_TIER)
    counts = await count_lines(
        requests,
        wanted.chosen,
        account.count_tokens,
        per_minute=tier.count_tokens_per_minute,
        draw=random.random,
    )
    if counts.failure is None:
        return counts, ()
    left = len(requests) - counts.lines
    what = f"{left:,} of {len(requests):,} lines could not be counted: {counts.failure.message}"
    return counts, (f"{what}: {remedy(counts.failure)}",)
