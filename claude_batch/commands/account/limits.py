"""`limits`: what each endpoint allows now, by lane, and how much of it is left."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from claude_batch.commands.account.probing import (
    Probe,
    counting_of,
    models_of,
    one_per_class,
    probe,
    remedy,
)
from claude_batch.commands.api import Api
from claude_batch.commands.endpoints import endpoint_spec
from claude_batch.commands.money import catalog_for
from claude_batch.commands.run.options import unused
from claude_batch.commands.terminal import print_json
from claude_batch.config.options import WITH_SANDBOX
from claude_batch.config.reading import secret
from claude_batch.config.settings import Endpoint, Settings
from claude_batch.core.catalog.catalog import Catalog, model_class
from claude_batch.core.model.account import ConfiguredLimits
from claude_batch.core.model.requests import Failure, LimitKind
from claude_batch.core.model.sharing import Sharer
from claude_batch.core.scheduling.pool import lane_key
from claude_batch.errors import Exit
from claude_batch.ui.messages import error_text, notice_text
from claude_batch.ui.sharing import shared_text
from claude_batch.ui.tables.tables import LimitRow, limits_table, print_table

if TYPE_CHECKING:
    from claude_batch.transport.opening import EndpointTransport

ADMIN_PREFIX = "sk-ant-admin"
"""Such a key reads configured limits and sends no messages (docs/claude-api.md#rate-limits-api)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsRequest:
    """`limits`, as it was typed. `models`: whose limits; empty: those that the settings name."""

    settings: Settings
    models: tuple[str, ...]
    sandbox: bool
    scenario: Path | None
    as_json: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What an endpoint did not report, why, and what to do."""

    endpoint: str
    model: str | None
    error: str
    hint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneSharers:
    """The programs that share a lane by --shared-limits, and their parts."""

    endpoint: str
    lane: str
    programs: tuple[Sharer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsReport:
    """What `limits --json` prints."""

    limits: tuple[LimitRow, ...]
    problems: tuple[Problem, ...]
    sharing: tuple[LaneSharers, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointLimits:
    """What one endpoint reports. `silent` are lanes whose replies report no limits.

    `organizations` are lanes with the organization that their replies name.
    """

    rows: tuple[LimitRow, ...] = ()
    silent: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    organizations: tuple[tuple[str, str | None], ...] = ()


def show_limits(request: LimitsRequest) -> int:
    """Send a probe to every endpoint, print what it allows; return the exit code."""
    settings = request.settings
    catalog = catalog_for(settings.options)
    models = one_per_class(request.models or models_of(settings), catalog)
    endpoints = settings.endpoints[:1] if request.sandbox else settings.endpoints
    found = []
    for endpoint in endpoints:
        with Api(
            options=settings.options,
            endpoints=(endpoint,),
            sandbox=request.sandbox,
            scenario=request.scenario,
        ) as api:
            api.open()
            admin = not request.sandbox and _is_admin(endpoint)
            found.append(asyncio.run(_probe_limits(api.transport, models, catalog, admin=admin)))
    report = LimitsReport(
        limits=tuple(row for each in found for row in each.rows),
        problems=tuple(problem for each in found for problem in each.problems),
        sharing=_sharing(request, list(zip(endpoints, found, strict=True)), catalog),
    )
    if request.as_json:
        print_json(report)
    elif report.limits:
        print_table(limits_table(report.limits), to_stdout=True)
    if not request.as_json:
        for shared in report.sharing:
            sys.stdout.write(f"{shared.endpoint} {shared.lane}: {shared_text(shared.programs)}\n")
    for message in unused(settings, WITH_SANDBOX) if request.sandbox else ():
        sys.stderr.write(notice_text(message))
    for lane in chain.from_iterable(each.silent for each in found):
        sys.stderr.write(notice_text(*_silence(lane)))
    for problem in report.problems:
        where = " ".join(filter(None, (problem.endpoint, problem.model)))
        sys.stderr.write(error_text(f"{where}: {problem.error}", problem.hint))
    return Exit.STOPPED if report.problems else Exit.SUCCEEDED


def _sharing(
    request: LimitsRequest, found: list[tuple[Endpoint, EndpointLimits]], catalog: Catalog
) -> tuple[LaneSharers, ...]:
    """Return who shares each lane; nothing without --shared-limits."""
    options = request.settings.options
    if options.shared_limits is None or request.sandbox:
        return ()
    from claude_batch.storage.limit_lease import RedisLease  # noqa: PLC0415  # loads redis

    lease = RedisLease(options.shared_limits, name="")

    async def ask() -> tuple[LaneSharers, ...]:
        try:
            shared = []
            for endpoint, limits in found:
                spec = endpoint_spec(endpoint, options, catalog, None)
                for lane, organization in limits.organizations:
                    programs = await lease.sharers(lane_key(spec, lane, organization))
                    shared.append(LaneSharers(endpoint=endpoint.name, lane=lane, programs=programs))
            return tuple(shared)
        finally:
            await lease.close()

    return asyncio.run(ask())


def _is_admin(endpoint: Endpoint) -> bool:
    key = secret(endpoint.api_key_env, os.environ) or os.environ.get("ANTHROPIC_API_KEY", "")
    return key.startswith(ADMIN_PREFIX)


def _silence(lane: str) -> tuple[str, str]:
    return (
        f"{lane}: the reply reports no limits",
        "a run finds the pace by itself; set ceilings with --rpm, --itpm and --otpm",
    )


async def _probe_limits(
    transport: EndpointTransport, models: tuple[str, ...], catalog: Catalog, *, admin: bool
) -> EndpointLimits:
    try:
        if admin:
            return await _configured(transport)
        probes = await probe(transport, models)
        return _reported(transport.name, probes, catalog, time.time())
    finally:
        await transport.close()


async def _configured(transport: EndpointTransport) -> EndpointLimits:
    """Return the organization's configured limits: all that an admin key may read."""
    account = counting_of(transport)
    groups = None if account is None else await account.rate_limits()
    if groups is None or isinstance(groups, Failure):
        problem = Problem(
            endpoint=transport.name,
            model=None,
            error=groups.message if groups else "this admin key may not see the limits",
            hint=remedy(groups) if groups else "use an API key: its replies report the limits",
        )
        return EndpointLimits(problems=(problem,))
    rows = [row for group in groups for row in _configured_rows(transport.name, group)]
    return EndpointLimits(rows=tuple(rows))


def _configured_rows(endpoint: str, group: ConfiguredLimits) -> Iterator[LimitRow]:
    if group.group != "model_group":
        return
    lane = group.name or ", ".join(group.models)
    for kind in LimitKind:
        limit = group.per_minute.of(kind)
        yield LimitRow(
            endpoint=endpoint,
            lane=lane,
            limit=kind,
            per_minute=limit,
            remaining=None,
            full_in_s=None,
        )


def _reported(endpoint: str, probes: list[Probe], catalog: Catalog, wall: float) -> EndpointLimits:
    """Return what the headers of the replies report; those of a 429 do, too."""
    rows: list[LimitRow] = []
    silent: list[str] = []
    problems: list[Problem] = []
    for each in probes:
        lane = model_class(each.model, catalog).name
        if each.failure is not None:
            problems.append(
                Problem(
                    endpoint=endpoint,
                    model=each.model,
                    error=each.failure.message,
                    hint=remedy(each.failure),
                )
            )
        if each.headers.limits or each.failure is None:
            rows += _rows(endpoint, lane, each, wall)
        if not each.headers.limits and each.failure is None:
            silent.append(f"{endpoint} {lane}")
    return EndpointLimits(
        rows=tuple(rows),
        silent=tuple(silent),
        problems=tuple(problems),
        organizations=tuple(
            (model_class(each.model, catalog).name, each.headers.organization_id) for each in probes
        ),
    )


def _rows(endpoint: str, lane: str, probe: Probe, wall: float) -> Iterator[LimitRow]:
    readings = {reading.kind: reading for reading in probe.headers.limits}
    clock = probe.headers.server_time or wall
    for kind in LimitKind:
        reading = readings.get(kind)
        full_at = reading.full_at if reading else None
        yield LimitRow(
            endpoint=endpoint,
            lane=lane,
            limit=kind,
            per_minute=reading.limit_per_minute if reading else None,
            remaining=reading.remaining if reading else None,
            full_in_s=None if full_at is None else max(0.0, full_at - clock),
        )
