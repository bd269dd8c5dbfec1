"""Metrics as Prometheus scrapes them and as a collector receives them; docs/metrics.md is true."""

from __future__ import annotations

import re
import socket
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

pytest.importorskip("opentelemetry.sdk.metrics")
pytest.importorskip("opentelemetry.exporter.prometheus")

from claude_batch.core.model.attempts import Attempted, AttemptRecord
from claude_batch.core.model.batches import ChunkState, ChunkView
from claude_batch.core.model.requests import Failure, FailureKind, LimitKind, Reply
from claude_batch.errors import UsageError
from claude_batch.telemetry.instruments import INSTRUMENTS
from claude_batch.telemetry.metrics import Metrics, Server, asks_for_otlp, open_metrics
from tests.support.fakes import a_failure, a_reply, a_request
from tests.support.program import ENOUGH_S
from tests.ui import pictures

PAGE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
ROWS = {
    cells[0].strip("`"): cells
    for line in PAGE.splitlines()
    if line.startswith(("| `gen_ai", "| `claude_batch"))
    and (cells := [cell.strip() for cell in line.strip("|").split("|")])
}
COLLECTOR = "OTEL_EXPORTER_OTLP_ENDPOINT"


@contextmanager
def metrics_of(
    warnings: list[str] | None = None,
    *,
    port: int | None = 0,
    environment: dict[str, str] | None = None,
) -> Iterator[Metrics]:
    warned: list[str] = [] if warnings is None else warnings
    metrics = open_metrics(
        port=port,
        host="127.0.0.1",
        environment=environment or {},
        server_of=lambda _endpoint: Server("anthropic", "api.anthropic.com", "443"),
        warn=lambda text, _hint: warned.append(text),
    )
    try:
        yield metrics
    finally:
        metrics.close()


def scraped(metrics: Metrics) -> str:
    assert metrics.url is not None
    with urllib.request.urlopen(metrics.url, timeout=ENOUGH_S) as answer:  # noqa: S310  # loopback
        text: str = answer.read().decode()
    return text


def feed(metrics: Metrics) -> None:
    """Count an answer after a 429, and show a run that has everything there is to show."""
    limited = a_failure(FailureKind.RATE_LIMITED, limit=LimitKind.INPUT_TOKENS)
    outcomes: tuple[Failure | Reply, ...] = (replace(limited, status=429), a_reply())
    for number, outcome in enumerate(outcomes, start=1):
        made = Attempted("default", number, 0.3, 0.1)
        metrics(AttemptRecord.of(a_request(1), outcome, at=0.0, attempt=made))
    chunk = ChunkView(chunk=1, batch_id=None, requests=3, state=ChunkState.WAITING)
    lanes = pictures.BUSY.lanes
    metrics.show(
        replace(
            pictures.POOL,
            lanes=lanes,
            chunks=(chunk,),
            wait=pictures.ASKED,
            cost_usd=1.5,
            eta_s=60.0,
        )
    )


def sample(text: str, name: str, **labels: str) -> float:
    for line in text.splitlines():
        if line.startswith(name) and all(
            f'{key}="{value}"' in line for key, value in labels.items()
        ):
            return float(line.rpartition(" ")[2])
    raise AssertionError(f"{name} {labels} is not there")


def test_attempts_are_counted_by_outcome_limit_and_endpoint() -> None:
    with metrics_of() as metrics:
        feed(metrics)
        text = scraped(metrics)
    assert sample(text, "claude_batch_attempts_total", outcome="succeeded") == 1
    assert sample(text, "claude_batch_attempts_total", outcome="rate_limited") == 1
    assert sample(text, "claude_batch_rate_limited_total", limit="input_tokens") == 1
    assert sample(text, "claude_batch_retries_total", endpoint="default") == 1


def test_durations_and_tokens_follow_the_conventions() -> None:
    with metrics_of() as metrics:
        feed(metrics)
        text = scraped(metrics)
    common = {
        "gen_ai_operation_name": "chat",
        "gen_ai_provider_name": "anthropic",
        "gen_ai_request_model": "claude-haiku-5-5",
        "server_address": "api.anthropic.com",
        "server_port": "443",
    }
    tokens, seconds = "gen_ai_client_token_usage", "gen_ai_client_operation_duration_seconds"
    assert sample(text, f"{tokens}_sum", gen_ai_token_type="input", **common) == 20
    assert sample(text, f"{tokens}_sum", gen_ai_token_type="output", **common) == 10
    assert sample(text, f"{tokens}_bucket", gen_ai_token_type="output", le="4.0") == 0
    assert sample(text, f"{tokens}_bucket", gen_ai_token_type="output", le="16.0") == 1
    assert sample(text, f"{seconds}_count", error_type="rate_limited", **common) == 1
    assert sample(text, f"{seconds}_bucket", error_type="", le="0.32") == 1


def test_figures_are_those_of_the_latest_snapshot() -> None:
    with metrics_of() as metrics:
        metrics.show(pictures.CALM)
        metrics.show(replace(pictures.CALM, succeeded=7, cost_usd=1.5))
        text = scraped(metrics)
    assert sample(text, "claude_batch_requests_total", outcome="succeeded") == 7
    assert sample(text, "claude_batch_cost_usd_total") == 1.5


def test_the_page_lists_every_metric_as_it_is() -> None:
    documented = {
        name: (kind, tuple(re.findall(r"`([^`]+)`", attributes)), what)
        for name, (_, _, kind, attributes, what) in ROWS.items()
    }
    assert documented == {
        each.name: (each.kind, each.attributes, each.description) for each in INSTRUMENTS
    }


def test_the_page_has_the_names_and_labels_that_prometheus_gets() -> None:
    with metrics_of() as metrics:
        feed(metrics)
        text = scraped(metrics)
    for name, (_, prometheus, _, attributes, _) in ROWS.items():
        lines = [each for each in text.splitlines() if each.startswith(prometheus.strip("`"))]
        assert lines, name
        labels = [each.replace(".", "_") for each in re.findall(r"`([^`]+)`", attributes)]
        assert all(f'{label}="' in lines[0] for label in labels), lines[0]


def test_a_port_that_is_taken_is_refused_with_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(UsageError, match=f"--metrics-port {port}") as refused,
            metrics_of(port=port),
        ):
            pass
    assert "another port" in refused.value.hint


def test_a_host_that_is_not_ours_is_refused() -> None:
    with pytest.raises(UsageError):
        open_metrics(
            port=0,
            host="192.0.2.1",
            environment={},
            server_of=lambda _endpoint: Server("", "", ""),
            warn=lambda _text, _hint: None,
        )


@pytest.mark.parametrize(
    ("environment", "asked"),
    [
        ({}, False),
        ({COLLECTOR: ""}, False),
        ({COLLECTOR: "http://127.0.0.1:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://127.0.0.1:4318/v1/metrics"}, True),
        ({COLLECTOR: "http://127.0.0.1:4318", "OTEL_METRICS_EXPORTER": "none"}, False),
        ({COLLECTOR: "http://127.0.0.1:4318", "OTEL_SDK_DISABLED": "true"}, False),
        ({COLLECTOR: "http://127.0.0.1:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, False),
    ],
)
def test_only_the_standard_variables_ask_for_a_collector(
    environment: dict[str, str], *, asked: bool
) -> None:
    assert asks_for_otlp(environment) is asked


def test_a_collector_gets_them_when_the_run_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    received: list[tuple[str, bytes]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            received.append((self.path, body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv(COLLECTOR, url)
        with metrics_of(port=None, environment={COLLECTOR: url}) as metrics:
            feed(metrics)
        server.shutdown()
        thread.join()
    (path, body), *_ = received
    assert path == "/v1/metrics"
    for name in (b"gen_ai.client.token.usage", b"claude_batch.requests", b"claude-batch"):
        assert name in body


def test_a_collector_that_is_not_there_is_reported_once(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    url = "http://user:secret@127.0.0.1:9"
    monkeypatch.setenv(COLLECTOR, url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    warnings: list[str] = []
    with metrics_of(warnings, port=None, environment={COLLECTOR: url}) as metrics:
        feed(metrics)
    assert warnings == ["metrics cannot be delivered; the run is not affected"]
    assert "secret" not in "".join(capfd.readouterr())
