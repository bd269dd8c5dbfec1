"""`estimate`: what prompts will take and cost, whichever way they are run, and what to do.

What it asks the API: exact counts of some lines (--sample), the limits (--learn).
"""

from __future__ import annotations

import asyncio
import random
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from claude_batch.commands.account.probing import Probe, counting_of, one_per_class, probe, remedy
from claude_batch.commands.api import MOST_CONCURRENT, Api
from claude_batch.commands.check import check_shown, defaults_of, fetching, refuse_random_alone
from claude_batch.commands.endpoints import ceilings, known_endpoints
from claude_batch.commands.folder.check import copies_shown, inputs_of, with_rows
from claude_batch.commands.inputs import is_one_run
from claude_batch.commands.money import catalog_for
from claude_batch.commands.run.messages import shown_source
from claude_batch.commands.terminal import print_json
from claude_batch.config.options import Options
from claude_batch.config.settings import Endpoint, Settings
from claude_batch.config.spelling import as_typed
from claude_batch.core.catalog.catalog import (
    Catalog,
    day_of,
    meant_model,
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
from claude_batch.errors import CheckpointError, InvalidPromptsError, UsageError
from claude_batch.report.words import bound_title, tier_words
from claude_batch.storage.prompts.check import ignore
from claude_batch.storage.prompts.input import is_regular, rereadable
from claude_batch.storage.prompts.options import input_options
from claude_batch.storage.prompts.reading import read_requests
from claude_batch.storage.prompts.workload import (
    Expectation,
    Found,
    Question,
    WorkloadReader,
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
from claude_batch.ui.screen.screen import Screen
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

    inputs: Sequence[str]
    settings: Settings
    expect_output: int | None
    sample: int
    compare: tuple[str, ...]
    learn: bool
    sandbox: bool
    scenario: Path | None
    run_command: str
    as_json: bool

    @property
    def prompts(self) -> str | None:
        """The only file; None where there may be several."""
        return self.inputs[0] if is_one_run(self.inputs, {}) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """What the files hold, and what is to be known of them; `requests` are to be counted."""

    catalog: Catalog
    models: frozenset[str]
    warnings: tuple[str, ...]
    found: Found
    files: int
    chosen: tuple[Chosen, ...]
    requests: tuple[Request, ...]


def estimate(request: EstimateRequest) -> None:
    """Print what the prompts will take. Raises InvalidPromptsError, UsageError, SettingsError."""
    settings = request.settings
    refuse_random_alone(settings.options)
    screen = open_screen(settings.options.progress, quiet=settings.options.quiet)
    try:
        read = _Reading(request, screen).read()
    finally:
        screen.checked()
        screen.close(None, None)
    measurement = Measurement(
        settings=settings,
        sandbox=request.sandbox,
        scenario=request.scenario,
        catalog=read.catalog,
        chosen=read.chosen,
        requests=read.requests,
        models=tuple(read.models) if request.learn else (),
    )
    found = _estimate(request, read, measure(measurement))
    if request.as_json:
        print_json(found)
    else:
        print_table(estimate_table(found), to_stdout=True)


_FILES_APART = 1 << 40
"""Lines of different files have numbers that differ by more than any file has lines."""


class _Reading:
    """Checks files and adds up their lines, shown on the screen."""

    def __init__(self, request: EstimateRequest, screen: Screen) -> None:
        self._request, self._screen = request, screen
        self._settings, self._catalog = request.settings, catalog_for(request.settings.options)
        self._sample: LineSample | None = None
        if request.sample:
            self._sample = LineSample(size=request.sample, draw=random.random)
        self._models: set[str] = set()
        self._warnings: dict[str, None] = {}

    def read(self) -> _Read:
        """Read all of them."""
        request = self._request
        if request.prompts is None:
            if self._settings.options.limit is not None:
                raise UsageError("--limit is for one file", hint="leave it out for several")
            found = inputs_of("estimate", request.inputs)
            with copies_shown(self._screen, self._settings.options) as copies:
                found = with_rows(found, copies, self._settings, self._screen)
            sources = [each.source for each in found]
            reader = WorkloadReader(self._question(None))
            for number, source in enumerate(sources):
                with self._opened(source) as path:
                    self._read(reader, path, source, number)
            chosen = self._chosen()
            requests = [*self._requests_in(sources, {each.line for each in chosen})]
        else:
            sources = [request.prompts]
            with self._opened(request.prompts) as path:
                reader = WorkloadReader(self._question(path))
                self._read(reader, path, request.prompts, 0)
                chosen = self._chosen()
                lines = {each.line for each in chosen}
                requests = [*self._requests(path, request.prompts, lines, 0)] if lines else []
        return _Read(
            catalog=self._catalog,
            models=frozenset(self._models),
            warnings=tuple(self._warnings),
            found=reader.found(),
            files=len(sources),
            chosen=chosen,
            requests=tuple(requests),
        )

    def _opened(self, source: str) -> AbstractContextManager[Path]:
        name = shown_source(source)
        how, fetch = input_options(self._settings.options), fetching(name, self._screen)
        return rereadable(source, options=how, fetch=fetch)

    def _question(self, path: Path | None) -> Question:
        options = self._settings.options
        only = None
        if path is not None and options.limit is not None:
            only = choose_lines(path, options.limit, left_out=(), at_random=options.random)
        return Question(
            catalog=self._catalog,
            expectation=_expectation(self._request),
            compare=self._request.compare,
            sample=self._sample,
            only=only,
        )

    def _read(self, reader: WorkloadReader, path: Path, source: str, number: int) -> None:
        """Check a file, and add up its lines. Raises InvalidPromptsError."""
        name, screen = shown_source(source), self._screen
        defaults = defaults_of(self._settings, source)
        report = check_shown(path, name, defaults, screen, ignore)
        if report.invalid:
            lines = "1 invalid line" if report.invalid == 1 else f"{report.invalid:,} invalid lines"
            raise InvalidPromptsError(
                f"{name}: {lines}: nothing was estimated", hint="correct or remove them"
            )
        self._models.update(report.models)
        self._warnings |= dict.fromkeys(report.warnings)
        reader.read(
            path,
            defaults,
            before=number * _FILES_APART,
            progress=lambda done: screen.checking(name, done, report.size, "estimating"),
        )

    def _chosen(self) -> tuple[Chosen, ...]:
        return self._sample.choose() if self._sample else ()

    def _requests_in(self, sources: Sequence[str], lines: set[int]) -> Iterator[Request]:
        for number in sorted({line // _FILES_APART for line in lines}):
            source = sources[number]
            with self._opened(source) as path:
                yield from self._requests(path, source, lines, number * _FILES_APART)

    def _requests(self, path: Path, source: str, lines: set[int], before: int) -> Iterator[Request]:
        """Yield the requests of some lines, which are numbered after `before`."""
        defaults = defaults_of(self._settings, source)
        for each in read_requests(path, defaults, skip=lambda line: before + line not in lines):
            yield replace(each, line=before + each.line)


def _expectation(request: EstimateRequest) -> Expectation:
    """Return what is known of answers: stated by the user, or in the results of an earlier run."""
    if request.expect_output is not None:
        return Expectation(stated=request.expect_output)
    if request.prompts is None or not is_regular(request.prompts):
        return Expectation()
    results = default_results(Path(request.prompts), sandbox=request.sandbox)
    return Expectation(mean=mean_output(results))


def _estimate(request: EstimateRequest, read: _Read, measured: Measured) -> Estimate:
    options, catalog = request.settings.options, read.catalog
    settings = request.settings
    if request.sandbox:
        settings = replace(settings, endpoints=(Endpoint(name="sandbox"),))
    limits = plan_limits(
        known_endpoints(settings, measured.limits, catalog),
        ceilings(options),
        read.models,
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
        prompts=" ".join(map(shlex.quote, request.inputs)) if read.files > 1 else request.inputs[0],
        files=read.files,
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
        recommendation=recommendation_words(recommendation, _command(request, catalog)),
        whole=whole,
    )


def _command(request: EstimateRequest, catalog: Catalog) -> str:
    """Return the command that runs what was planned; of a model that is mistyped, that was meant.

    `run` refuses the other one.
    """
    options = request.settings.options
    if options.model is None or options.allow_unknown_model or catalog.card(options.model):
        return request.run_command
    meant = meant_model(options.model, catalog) or options.model
    typed, right = (as_typed("model", each) for each in (options.model, meant))
    return request.run_command.replace(typed, right)


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
    catalog, models = read.catalog, read.models
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
    yield from read.warnings


def _observed(request: EstimateRequest, catalog: Catalog) -> Iterator[str]:
    """Yield what limited an earlier run of the same file, and what higher tiers would bring."""
    if request.prompts is None or not is_regular(request.prompts):
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
    """What to measure: the tokens of `requests`, whose lines were `chosen`; limits of `models`."""

    settings: Settings
    sandbox: bool
    scenario: Path | None
    catalog: Catalog
    chosen: tuple[Chosen, ...]
    requests: Sequence[Request]
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
        return asyncio.run(_measure(api, wanted))


async def _measure(api: Api, wanted: Measurement) -> Measured:
    catalog = wanted.catalog
    try:
        counts, notes = await _count(api.transport, wanted)
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
    transport: EndpointTransport, wanted: Measurement
) -> tuple[Counts, tuple[str, ...]]:
    """Return the counted lines, and why some could not be counted."""
    requests = wanted.requests
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
