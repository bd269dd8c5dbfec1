"""`doctor`: what might keep a run from going well, checked before it starts.

Settings, this machine (versions, open files, the folder, the cache), then each endpoint: one cheap
message, its models, its batches.
"""

from __future__ import annotations

import asyncio
import os
import platform
import re
import resource
import shlex
import ssl
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from claude_batch import __version__
from claude_batch.commands.account.probing import (
    Probe,
    batches_of,
    counting_of,
    models_of,
    probe,
    remedy,
)
from claude_batch.commands.api import MOST_CONCURRENT, SPARE_FILES, Api
from claude_batch.commands.cache import cache_stats
from claude_batch.commands.money import catalog_for
from claude_batch.commands.run.lease import refuse_lost_lease
from claude_batch.commands.run.messages import counted, shown
from claude_batch.commands.terminal import print_json
from claude_batch.config.options import Options
from claude_batch.config.settings import Endpoint, Settings
from claude_batch.core.catalog.catalog import Catalog, day_of, retirement
from claude_batch.core.model.account import ModelFacts
from claude_batch.core.model.requests import Failure
from claude_batch.errors import Exit, SettingsError, UsageError
from claude_batch.storage.run.journal import journal_path
from claude_batch.storage.run.status import runs_below
from claude_batch.ui.plan_words import retirement_words
from claude_batch.ui.tables.doctor import Finding, State, doctor_table
from claude_batch.ui.tables.tables import print_table

if TYPE_CHECKING:
    from claude_batch.transport.opening import EndpointTransport

API = "endpoint"
"""Topics that start so are about an endpoint; their problems are the API's (exit 4)."""

Wall = Callable[[], float]
"""Our own clock: seconds since 1970."""

MOST_SKEW_S = 5.0
"""How far our clock may be from the server's: batches expire, and limits reset, by theirs."""

_NOT_FOUND = 404
_NO_BATCHES = "has no Message Batches: --mode batch goes live there"
_PACKAGES = ("anthropic", "aiohttp", "orjson", "pydantic", "rich", "typer")
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_MOST_NAMED = 5
_HASHED = re.compile(r"[0-9a-f]{8}\.\d+")
"""What OpenSSL looks for in a folder: a name's hash, as `openssl rehash` makes them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorRequest:
    """`doctor`, as it was typed. `read` reads the settings, which may themselves be wrong."""

    read: Callable[[], Settings]
    offline: bool
    as_json: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorReport:
    """What `doctor --json` prints."""

    findings: tuple[Finding, ...]
    exit_code: int


def examine(request: DoctorRequest) -> int:
    """Check everything, print what was found; return the exit code."""
    findings = tuple(_findings(request))
    exit_code = _exit_code(findings)
    if request.as_json:
        print_json(DoctorReport(findings=findings, exit_code=exit_code))
    else:
        print_table(doctor_table(findings), to_stdout=True)
    return exit_code


def _findings(request: DoctorRequest) -> Iterator[Finding]:
    try:
        settings = request.read()
        catalog = catalog_for(settings.options)
    except SettingsError as error:
        yield Finding(topic="settings", state=State.PROBLEM, what=error.message, remedy=error.hint)
        yield from check_machine(None, offline=request.offline)
        return
    yield from _settings(settings, catalog)
    yield from check_machine(settings.options, offline=request.offline)
    yield from check_endpoints(settings, catalog, offline=request.offline)


def _settings(settings: Settings, catalog: Catalog) -> Iterator[Finding]:
    where = "no claude-batch.toml: defaults" if not settings.file else str(settings.file)
    what = f"{where}; {counted(len(settings.endpoints), 'endpoint')}"
    if settings.routes:
        what += f", {counted(len(settings.routes), 'route')}"
    yield Finding(topic="settings", state=State.OK, what=what)
    for model in models_of(settings):
        if catalog.card(model) is None:
            yield Finding(
                topic="settings",
                state=State.WARNING,
                what=f"model {model} is not in the catalog: its price and limits are unknown",
                remedy="check for a typo, or set its price with --prices FILE",
            )


def _exit_code(findings: Iterable[Finding]) -> int:
    problems = [each for each in findings if each.state is State.PROBLEM]
    if any(not each.topic.startswith(API) for each in problems):
        return int(Exit.USAGE)
    return int(Exit.STOPPED if problems else Exit.SUCCEEDED)


def check_machine(options: Options | None, *, offline: bool) -> Iterator[Finding]:
    """Yield what was found on this machine; without `options` nothing of the cache."""
    yield _versions()
    yield _open_files()
    yield _folder()
    yield from _certificates()
    yield from _private_files()
    if options is not None:
        yield from _cache(options, offline=offline)
        yield from _shared_limits(options, offline=offline)


def _versions() -> Finding:
    packages = ", ".join(f"{name} {_version(name)}" for name in _PACKAGES)
    what = f"claude-batch {__version__}, Python {platform.python_version()}, {packages}"
    return Finding(topic="versions", state=State.OK, what=what)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(missing)"


def _open_files() -> Finding:
    """Return how many requests may be in flight: each takes a connection, each of them a file."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or hard >= MOST_CONCURRENT + SPARE_FILES:
        what = f"enough for {MOST_CONCURRENT:,} requests in flight"
        return Finding(topic="open files", state=State.OK, what=what)
    return Finding(
        topic="open files",
        state=State.WARNING,
        what=f"at most {hard:,}: no more than {max(16, hard - SPARE_FILES):,} requests in flight",
        remedy=f"ulimit -Hn {MOST_CONCURRENT + SPARE_FILES} (as root), if that limits a run",
    )


def _folder() -> Finding:
    here = Path.cwd()
    if os.access(here, os.W_OK | os.X_OK):
        return Finding(topic="folder", state=State.OK, what=f"{here} can be written to")
    return Finding(
        topic="folder",
        state=State.PROBLEM,
        what=f"{here} cannot be written to",
        remedy="results are written beside the prompts: choose another place with --out FILE",
    )


def _certificates() -> Iterator[Finding]:
    """Yield whether the certificates that variables name are there; nothing without variables."""
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        path = os.environ.get(name)
        if not path:
            continue
        found = _count_certificates(path, is_folder=name.endswith("DIR"))
        if found:
            what = f"{name}: {path} ({counted(found, 'certificate')})"
            yield Finding(topic="certificates", state=State.OK, what=what)
            continue
        what = f"{name} names {path}, where no certificate can be read"
        hint = f"point {name} at a file of PEM certificates, or unset it"
        if name.endswith("DIR"):
            hint = f"openssl rehash {shlex.quote(path)} names those in a folder; or unset {name}"
        yield Finding(topic="certificates", state=State.PROBLEM, what=what, remedy=hint)


def _count_certificates(path: str, *, is_folder: bool) -> int:
    """Return how many certificates are in a PEM file, or in a folder under their hashes."""
    try:
        if is_folder:
            return sum(_HASHED.fullmatch(each.name) is not None for each in Path(path).iterdir())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cafile=path)
        return context.cert_store_stats()["x509"]
    except OSError:
        return 0


def _private_files() -> Iterator[Finding]:
    """Yield the files of runs that other users may read: prompts and answers are private."""
    runs = runs_below(Path.cwd())
    files = [path for run in runs for path in (run, journal_path(run)) if path.exists()]
    open_to_others = [path for path in files if path.stat().st_mode & _OTHERS]
    if open_to_others:
        named = " ".join(shown(path) for path in open_to_others[:_MOST_NAMED])
        more = len(open_to_others) - _MOST_NAMED
        yield Finding(
            topic="files of runs",
            state=State.WARNING,
            what=f"other users may read {named}" + (f" and {more} more" if more > 0 else ""),
            remedy=f"chmod 600 {named}",
        )
    elif files:
        what = f"{counted(len(runs), 'run')} here; files readable only by you"
        yield Finding(topic="files of runs", state=State.OK, what=what)


def _cache(options: Options, *, offline: bool) -> Iterator[Finding]:
    if offline and options.cache_url is not None and not options.cache_url.startswith("sqlite"):
        return
    try:
        stats = cache_stats(options)
    except UsageError as error:
        yield Finding(topic="cache", state=State.WARNING, what=error.message, remedy=error.hint)
        return
    asked = options.cache or options.cache_url is not None
    use = "on" if asked else "off; turn it on with --cache"
    what = f"{stats.place}: {stats.entries:,} answers ({use})"
    yield Finding(topic="cache", state=State.OK, what=what)


def _shared_limits(options: Options, *, offline: bool) -> Iterator[Finding]:
    if options.shared_limits is None or offline:
        return
    topic = "shared limits"
    try:
        refuse_lost_lease(options, has_begun=False)
    except UsageError as error:
        yield Finding(topic=topic, state=State.PROBLEM, what=error.message, remedy=error.hint)
        return
    yield Finding(topic=topic, state=State.OK, what="the Redis server answers")


def check_endpoints(
    settings: Settings, catalog: Catalog, *, offline: bool, wall: Wall = time.time
) -> Iterator[Finding]:
    """Yield what was found at each endpoint, in their order; `offline`: send nothing."""
    for endpoint in settings.endpoints:
        yield from _EndpointCheck(settings, endpoint, catalog, wall).findings(offline=offline)


class _EndpointCheck:
    """The check of one endpoint."""

    def __init__(
        self, settings: Settings, endpoint: Endpoint, catalog: Catalog, wall: Wall
    ) -> None:
        self._settings = settings
        self._endpoint = endpoint
        self._catalog = catalog
        self._wall = wall
        self._models = models_of(settings)

    def findings(self, *, offline: bool) -> list[Finding]:
        """Open the endpoint and check it; what prevents that is a finding, too."""
        api = Api(
            options=self._settings.options,
            endpoints=(self._endpoint,),
            sandbox=False,
            scenario=None,
        )
        try:
            with api:
                api.open()
                check = self._offline if offline else self._online
                return asyncio.run(check(api.transport))
        except UsageError as error:
            found = self._finding(State.PROBLEM, error.message, error.hint, topic="settings of")
            return [found]

    async def _offline(self, transport: EndpointTransport) -> list[Finding]:
        await transport.close()
        return [self._finding(State.OK, f"{transport.host}: credential found; nothing sent")]

    async def _online(self, transport: EndpointTransport) -> list[Finding]:
        try:
            (first,) = await probe(transport, self._models[:1])
            found = [*self._about_answer(transport, first)]
            if first.failure is None or first.failure.status is not None:
                found += await self._about_models(transport)
                found += await self._about_batches(transport)
        finally:
            await transport.close()
        return found

    def _about_answer(self, transport: EndpointTransport, answer: Probe) -> Iterator[Finding]:
        own = "" if transport.is_anthropic else " (not Anthropic's own)"
        failure = answer.failure
        if failure is None:
            what = f"{transport.host}{own} answers for {answer.model} in {answer.seconds:.1f} s"
            role = ", as a fallback" if self._endpoint.role == "fallback" else ""
            yield self._finding(State.OK, what + role)
        else:
            what = f"{transport.host}{own}: {answer.model}: {failure.message}"
            yield self._finding(State.PROBLEM, what, remedy(failure))
        if answer.reports_limits:
            whose = answer.headers.organization_id
            of_whom = f" (organization {whose})" if whose else ""
            yield self._finding(State.OK, f"reports its limits{of_whom}: pacing follows them")
        elif failure is None:
            yield self._finding(
                State.WARNING,
                "does not report its limits: a run finds the pace by itself",
                "if you know them, set ceilings: --rpm, --itpm, --otpm",
            )
        yield from self._about_clock(answer)

    def _about_clock(self, answer: Probe) -> Iterator[Finding]:
        server = answer.headers.server_time
        if server is None:
            return
        skew_s = self._wall() - server
        if abs(skew_s) <= MOST_SKEW_S + answer.seconds:
            yield self._finding(State.OK, "its clock and this machine's agree")
            return
        ahead = "ahead of" if skew_s > 0 else "behind"
        yield self._finding(
            State.WARNING,
            f"this machine's clock is {abs(skew_s):,.0f} s {ahead} its own",
            "set this machine's clock (NTP)",
        )

    async def _about_models(self, transport: EndpointTransport) -> list[Finding]:
        account = counting_of(transport)
        if account is None or not transport.abilities.models:
            return []
        listed = await account.list_models()
        if isinstance(listed, Failure):
            missing = listed.status == _NOT_FOUND
            what = "has no list of models" if missing else f"models: {listed.message}"
            return [self._finding(State.WARNING, what, "" if missing else remedy(listed))]
        found = [self._finding(State.OK, f"{len(listed)} models available")]
        return [*found, *self._about_settings(listed)]

    def _about_settings(self, listed: tuple[ModelFacts, ...]) -> Iterator[Finding]:
        """Yield what is wrong with the models that the settings name."""
        there = {facts.id for facts in listed}
        known = {card.id for card in map(self._catalog.card, there) if card is not None}
        today = day_of(self._wall())
        for model in self._models:
            card = self._catalog.card(model)
            called = self._endpoint.models.get(model, model)
            if called not in there and (card is None or card.id not in known):
                yield self._finding(
                    State.WARNING, f"{called} is not listed", "see claude-batch models --live"
                )
            notice = retirement_words(retirement(model, today, self._catalog))
            if notice:
                yield self._finding(State.WARNING, notice)

    async def _about_batches(self, transport: EndpointTransport) -> list[Finding]:
        batches = batches_of(transport)
        if batches is None:
            return [self._finding(State.WARNING, _NO_BATCHES)]
        page = await batches.list(limit=1, after_id=None)
        if not isinstance(page, Failure):
            return [self._finding(State.OK, "accepts Message Batches")]
        if page.status == _NOT_FOUND:
            return [self._finding(State.WARNING, _NO_BATCHES)]
        return [self._finding(State.WARNING, f"batches: {page.message}", remedy(page))]

    def _finding(
        self, state: State, what: str, hint: str = "", *, topic: str = "endpoint"
    ) -> Finding:
        return Finding(topic=f"{topic} {self._endpoint.name}", state=state, what=what, remedy=hint)
