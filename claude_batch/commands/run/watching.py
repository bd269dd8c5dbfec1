"""What watches a run for others: the log of its attempts (--log) and metrics (--metrics-port)."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claude_batch.commands.api import Api
from claude_batch.config.options import Options
from claude_batch.core.model.attempts import AttemptRecord
from claude_batch.core.model.snapshot import Snapshot
from claude_batch.errors import UsageError
from claude_batch.ports import Observe
from claude_batch.storage.attempt_log import AttemptLog
from claude_batch.storage.files import lock_path
from claude_batch.storage.run.opening import RunRequest
from claude_batch.storage.run.paths import files_of
from claude_batch.ui.messages import notice_text
from claude_batch.ui.screen.screen import Screen

if TYPE_CHECKING:
    from claude_batch.telemetry.metrics import Metrics, Server

_EXTRA = "pip install 'claude-batch[metrics]'"

_OTLP = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT")

_PROVIDERS = {
    "bedrock": "aws.bedrock",
    "google-cloud": "gcp.vertex_ai",
    "vertex": "gcp.vertex_ai",
    "foundry": "azure.ai.inference",
    "openai": "openai",
}
"""What OpenTelemetry calls the providers; all others are anthropic."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watchers:
    """Whom a run reports to: `observe` gets every attempt (None: nobody), `show` snapshots."""

    observe: Observe | None
    show: Callable[[Snapshot], None]


@contextmanager
def watched(request: RunRequest, api: Api, screen: Screen) -> Iterator[Watchers]:
    """Open what the command and the environment ask for. Raises UsageError, before all else."""
    warn = _Warn(screen=screen, options=request.options)
    log, metrics = _open_log(request, warn), None
    try:
        metrics = _open_metrics(request, api, screen, warn)
        yield Watchers(
            observe=_both(log, metrics), show=_ignore if metrics is None else metrics.show
        )
    finally:
        warn.is_over = True
        if metrics is not None:
            metrics.close()
        if log is not None:
            log.close()


@dataclass(slots=True, kw_only=True)
class _Warn:
    """Shows a warning: on the screen of the run, or below it once that `is_over`."""

    screen: Screen
    options: Options
    is_over: bool = False

    def __call__(self, message: str, hint: str) -> None:
        if not self.is_over:
            self.screen.notice(message, hint)
        elif not self.options.quiet and self.options.progress != "json":  # its end is the last line
            sys.stderr.write(notice_text(message, hint))


def _both(first: Observe | None, second: Observe | None) -> Observe | None:
    if first is None or second is None:
        return first or second

    def observe(record: AttemptRecord, /) -> None:
        first(record)
        second(record)

    return observe


def _open_log(request: RunRequest, warn: _Warn) -> AttemptLog | None:
    path = request.options.log
    if path is None:
        return None
    return AttemptLog(path, not_into=_files(request), warn=warn)


def _files(request: RunRequest) -> list[Path]:
    """Return the files that a run writes, whether they are there yet or not, and its prompts."""
    files = [*files_of(request.results), lock_path(request.results), Path(request.prompts)]
    return files if request.table is None else [*files, request.table]


def _open_metrics(request: RunRequest, api: Api, screen: Screen, warn: _Warn) -> Metrics | None:
    """Return metrics where they are asked for, by the command or by the standard variables.

    Raises UsageError if the command's wish cannot be met.
    """
    options = request.options
    named = next((name for name in _OTLP if os.environ.get(name)), None)
    if options.metrics_port is None and named is None:
        return None
    try:
        return _opened_metrics(request, api, screen, warn)
    except ImportError as error:
        missing = (error.name or "").partition(".")[0]
        if options.metrics_port is not None:
            raise UsageError(
                f"--metrics-port needs {missing}, which is not installed", hint=_EXTRA
            ) from error
        screen.notice(
            f"{named} is set, but {missing} is not installed: no metrics are sent", _EXTRA
        )
        return None


def _opened_metrics(request: RunRequest, api: Api, screen: Screen, warn: _Warn) -> Metrics | None:
    """Return metrics; None where the variables ask for none after all. Raises ImportError."""
    options = request.options
    telemetry: Any = import_module("claude_batch.telemetry.metrics")
    if telemetry.uses_grpc(os.environ):
        screen.notice(
            "no metrics are sent by gRPC, which OTEL_EXPORTER_OTLP_PROTOCOL asks for",
            "set it to http/protobuf (port 4318)",
        )
    if options.metrics_port is None and not telemetry.asks_for_otlp(os.environ):
        return None
    metrics: Metrics = telemetry.open_metrics(
        port=options.metrics_port,
        host=options.metrics_host,
        environment=os.environ,
        server_of=lambda endpoint: _server(telemetry.Server, api, endpoint),
        warn=warn,
    )
    if metrics.url is not None:
        screen.notice(f"metrics are at {metrics.url}")
    return metrics


def _server(make: type[Server], api: Api, endpoint: str) -> Server:
    """Return where an endpoint is."""
    address, _, port = api.transports[endpoint].host.rpartition(":")
    if not (address and port.isdigit()):
        address, port = api.transports[endpoint].host, "443"
    providers = {each.name: each.provider for each in api.endpoints}
    provider = _PROVIDERS.get(providers.get(endpoint, ""), "anthropic")
    return make(provider=provider, address=address, port=port)


def _ignore(_snapshot: Snapshot) -> None:
    """Ignore a snapshot: nobody watches."""
