"""Metrics of a run: counted per attempt, read from its snapshots, served to who asks.

`open_metrics` serves them for Prometheus and, where the standard variables ask for it
(OTEL_EXPORTER_OTLP_ENDPOINT and its kin), sends them by OTLP. Loading OpenTelemetry takes a part of
a second: this module is imported only where metrics are wanted.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import MetricExportResult, MetricReader, MetricsData
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource

from claude_batch import __version__
from claude_batch.core.model.attempts import AttemptRecord
from claude_batch.core.model.snapshot import Snapshot
from claude_batch.errors import UsageError
from claude_batch.telemetry.histograms import Distribution, Histograms
from claude_batch.telemetry.instruments import (
    ATTEMPTS,
    DURATION,
    DURATIONS_S,
    RATE_LIMITED,
    READ,
    RETRIES,
    TOKEN_USAGE,
    TOKENS,
    Attributes,
    Instrument,
    Reading,
)

CLOSING_S = 2.0
"""How long the end of a run waits for a collector, in seconds."""

_OPERATION = "chat"
"""What the conventions call a request to a model for an answer."""


class Server(NamedTuple):
    """Where an endpoint is, as the conventions want it; `provider` is one of their names."""

    provider: str
    address: str
    port: str


@dataclass(slots=True, kw_only=True)
class _Model:
    """What an endpoint's attempts at a model have taken and used; durations by type of error."""

    common: Attributes
    input_tokens: Distribution
    output_tokens: Distribution
    durations: dict[str | None, Distribution] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Metrics:
    """Takes in attempts (it is an `Observe`) and snapshots; `close` ends it.

    `server_of` returns where an endpoint is. `sends`: there is a collector to send them to.
    """

    server_of: Callable[[str], Server]
    provider: MeterProvider
    histograms: Histograms
    sends: bool
    warn_undelivered: Callable[[], None]
    stop_serving: Callable[[], None]
    url: str | None
    _snapshot: Snapshot | None = None
    _attempts: Counter[tuple[str, str]] = field(default_factory=Counter)
    _retries: Counter[tuple[str]] = field(default_factory=Counter)
    _rate_limited: Counter[tuple[str, str]] = field(default_factory=Counter)
    _models: dict[tuple[str, str], _Model] = field(default_factory=dict)

    def __post_init__(self) -> None:
        meter = self.provider.get_meter("claude_batch", __version__)
        _observe(meter, ATTEMPTS, partial(_counted, ATTEMPTS, self._attempts))
        _observe(meter, RETRIES, partial(_counted, RETRIES, self._retries))
        _observe(meter, RATE_LIMITED, partial(_counted, RATE_LIMITED, self._rate_limited))
        for each in READ:
            _observe(meter, each, partial(self._read, each))

    def __call__(self, record: AttemptRecord, /) -> None:
        """Count an attempt that has ended."""
        endpoint, kind = record.endpoint, record.kind
        self._attempts[endpoint, "succeeded" if kind is None else kind.value] += 1
        if record.attempt > 1:
            self._retries[(endpoint,)] += 1
        if record.status == 429:  # noqa: PLR2004  # HTTP's own number
            limit = "none" if record.limit is None else record.limit.value
            self._rate_limited[endpoint, limit] += 1
        model = self._models.get((endpoint, record.model))
        if model is None:
            model = self._models[endpoint, record.model] = self._model(endpoint, record.model)
        if record.batch_id is None:
            durations = model.durations.get(record.error_type)
            if durations is None:
                durations = self._durations(model, record.error_type)
            durations.add(record.latency_s)
        usage = record.usage
        if usage.is_reported:
            model.input_tokens.add(usage.prompt_tokens)
            model.output_tokens.add(usage.output_tokens)

    def show(self, snapshot: Snapshot) -> None:
        """Take the latest figures of the run."""
        self._snapshot = snapshot

    def close(self) -> None:
        """Send the last figures to a collector, if there is one; serve no more."""
        self.stop_serving()
        if not self.sends:
            return
        sending = threading.Thread(target=self._send_last, name="metrics", daemon=True)
        sending.start()
        sending.join(CLOSING_S)
        if sending.is_alive():
            self.warn_undelivered()

    def _send_last(self) -> None:
        with suppress(Exception):  # whatever the library raises, the run is over
            self.provider.shutdown(timeout_millis=1_000 * CLOSING_S)

    def _read(self, instrument: Instrument) -> Iterator[Reading]:
        if self._snapshot is not None and instrument.read is not None:
            yield from instrument.read(self._snapshot)

    def _model(self, endpoint: str, model: str) -> _Model:
        server = self.server_of(endpoint)
        common = {
            "gen_ai.operation.name": _OPERATION,
            "gen_ai.provider.name": server.provider,
            "gen_ai.request.model": model,
            "server.address": server.address,
            "server.port": server.port,
            "endpoint": endpoint,
        }
        inputs, outputs = (
            self.histograms.open(TOKEN_USAGE, TOKENS, {**common, "gen_ai.token.type": kind})
            for kind in ("input", "output")
        )
        return _Model(common=common, input_tokens=inputs, output_tokens=outputs)

    def _durations(self, model: _Model, error_type: str | None) -> Distribution:
        """Return the distribution for a type of error; None: answered."""
        attributes = model.common
        if error_type is not None:
            attributes = {**attributes, "error.type": error_type}
        model.durations[error_type] = self.histograms.open(DURATION, DURATIONS_S, attributes)
        return model.durations[error_type]


def open_metrics(
    *,
    port: int | None,
    host: str,
    environment: Mapping[str, str],
    server_of: Callable[[str], Server],
    warn: Callable[[str, str], None],
) -> Metrics:
    """Serve metrics at `port` (0: a free one; None: nowhere), and send them where variables say so.

    `warn` is called once, with message and hint, if they cannot be sent. Raises UsageError.
    """
    warning = _Warning(warn)
    _route_messages(warning)
    readers: list[MetricReader] = []
    histograms = Histograms()
    stop, url = _nothing, None
    if port is not None:
        reader, stop, url = _serve(port, host, histograms)
        readers.append(reader)
    sends = asks_for_otlp(environment)
    if sends:
        readers.append(_otlp_reader(histograms))
    resource = Resource.create({SERVICE_NAME: "claude-batch", SERVICE_VERSION: __version__})
    provider = MeterProvider(
        metric_readers=readers,
        resource=resource,
        exemplar_filter=AlwaysOffExemplarFilter(),
        shutdown_on_exit=False,
    )
    return Metrics(
        server_of=server_of,
        provider=provider,
        histograms=histograms,
        sends=sends,
        warn_undelivered=warning.once,
        stop_serving=stop,
        url=url,
    )


def _serve(
    port: int, host: str, histograms: Histograms
) -> tuple[MetricReader, Callable[[], None], str]:
    """Return a reader for Prometheus that is served over HTTP, what ends that, and its URL."""
    from opentelemetry.exporter.prometheus import PrometheusMetricReader  # noqa: PLC0415  # as asked
    from prometheus_client import CollectorRegistry, start_http_server  # noqa: PLC0415  # as asked

    class Reader(PrometheusMetricReader):
        """Shows our histograms beside what the SDK has collected."""

        def _receive_metrics(
            self, metrics_data: MetricsData | None, *args: Any, **more: Any
        ) -> None:
            if metrics_data is not None:
                super()._receive_metrics(histograms.added_to(metrics_data), *args, **more)

    registry = CollectorRegistry()
    try:
        _refuse_taken(port, host)
        server, _thread = start_http_server(port, addr=host, registry=registry)
    except OSError as error:
        why = error.strerror or str(error)
        raise UsageError(
            f"--metrics-port {port}: cannot serve at {host}: {why}",
            hint="name another port, or 0 for any that is free; nothing was sent",
        ) from error
    reader = Reader(registry=registry, scope_info_enabled=False)
    shown = f"[{host}]" if ":" in host else host

    def stop() -> None:
        server.shutdown()  # takes half a second, and a run need not wait for it
        server.server_close()

    def stop_soon() -> None:
        threading.Thread(target=stop, name="metrics", daemon=True).start()

    return reader, stop_soon, f"http://{shown}:{server.server_port}/metrics"


def _refuse_taken(port: int, host: str) -> None:
    """Raise OSError if another program listens there: two can share a port on some Pythons."""
    family, kind, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)


def asks_for_otlp(environment: Mapping[str, str]) -> bool:
    """Return whether the standard variables of OpenTelemetry ask for metrics by OTLP."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    if uses_grpc(environment):
        return False
    exporters = environment.get("OTEL_METRICS_EXPORTER") or "otlp"
    names = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT")
    return "otlp" in exporters and any(environment.get(name) for name in names)


def uses_grpc(environment: Mapping[str, str]) -> bool:
    """Return whether the variables name gRPC, which is not supported, as the way to a collector."""
    names = ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
    return next((each for name in names if (each := environment.get(name))), "") == "grpc"


def _otlp_reader(histograms: Histograms) -> MetricReader:
    """Return a reader that sends over HTTP, to where the variables say."""
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import (  # noqa: PLC0415  # as asked
        OTLPMetricExporter,
    )
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader  # noqa: PLC0415  # as asked

    class Exporter(OTLPMetricExporter):
        """Sends our histograms beside what the SDK has collected."""

        def export(self, metrics_data: MetricsData, *args: Any, **more: Any) -> MetricExportResult:
            return super().export(histograms.added_to(metrics_data), *args, **more)

    return PeriodicExportingMetricReader(Exporter())


def _observe(meter: Meter, instrument: Instrument, read: Callable[[], Iterator[Reading]]) -> None:
    """Create an instrument whose values are read when somebody asks for them."""

    def callback(_options: CallbackOptions) -> Iterable[Observation]:
        return [Observation(value, attributes) for value, attributes in read()]

    create = {
        "counter": meter.create_observable_counter,
        "gauge": meter.create_observable_gauge,
    }[instrument.kind]
    create(instrument.name, [callback], unit=instrument.unit, description=instrument.description)


def _counted(instrument: Instrument, counter: Mapping[Any, int]) -> Iterator[Reading]:
    for key, number in list(counter.items()):  # the run counts on meanwhile
        yield number, dict(zip(instrument.attributes, key, strict=True))


class _Warning(logging.Handler):
    """Passes the first complaint of the library on, and keeps the others from the terminal."""

    def __init__(self, warn: Callable[[str, str], None]) -> None:
        super().__init__(logging.WARNING)
        self._warn = warn
        self._has_warned = False

    def emit(self, record: logging.LogRecord) -> None:
        """Warn; what the library says is not shown: it may hold the URL with its password."""
        del record
        self.once()

    def once(self) -> None:
        """Warn, the first time."""
        if not self._has_warned:
            self._has_warned = True
            self._warn(
                "metrics cannot be delivered; the run is not affected",
                "does a collector listen where OTEL_EXPORTER_OTLP_ENDPOINT says?",
            )


def _route_messages(handler: logging.Handler) -> None:
    logger = logging.getLogger("opentelemetry")
    logger.handlers[:] = [handler]
    logger.propagate = False


def _nothing() -> None:
    """Serve nothing."""
