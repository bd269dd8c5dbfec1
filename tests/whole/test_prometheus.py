"""A real Prometheus server scrapes a run in progress, and answers the questions of docs/metrics.md.

Needs prometheus (a package of Debian and Ubuntu).
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.killing import write_prompts
from tests.support.program import ENOUGH_S, ROOT, Program, served, wait_for

pytestmark = [
    pytest.mark.services,
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs prometheus"),
]

LIMITED = """
[limits]
rpm = 600
itpm = 1_000_000
otpm = 1_000_000
[faults]
rate_limit = 0.05
overloaded = 0.05
"""
CONFIG = """
global:
  scrape_interval: 500ms
scrape_configs:
  - job_name: claude-batch
    static_configs:
      - targets: ["127.0.0.1:{port}"]
"""
PAGE = (ROOT / "docs" / "metrics.md").read_text()
QUESTIONS = re.findall(r"^\| [^|`]+ \| `([^`]+)` \|$", PAGE, re.MULTILINE)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def query(url: str, question: str) -> list[dict[str, Any]]:
    """Return what Prometheus answers; nothing while it does not answer yet."""
    encoded = urllib.parse.urlencode({"query": question})
    try:
        with urllib.request.urlopen(f"{url}/api/v1/query?{encoded}", timeout=ENOUGH_S) as answer:  # noqa: S310  # loopback
            found = json.load(answer)
    except OSError:
        return []
    assert found["status"] == "success", found
    result: list[dict[str, Any]] = found["data"]["result"]
    return result


def unanswered(url: str) -> list[str]:
    """Return the questions of the page to which there is no answer."""
    return [question for question in QUESTIONS if not query(url, question)]


@contextmanager
def prometheus(folder: Path, port: int) -> Iterator[str]:
    """Start Prometheus, to scrape that port; yield its URL."""
    (folder / "prometheus.yml").write_text(CONFIG.format(port=port))
    own = free_port()
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={folder}/prometheus.yml",
                f"--storage.tsdb.path={folder}/tsdb",
                f"--web.listen-address=127.0.0.1:{own}",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        yield f"http://127.0.0.1:{own}"
    finally:
        process.terminate()
        process.wait(ENOUGH_S)


def test_prometheus_scrapes_a_run_and_answers(tmp_path: Path) -> None:
    write_prompts(tmp_path / "p.jsonl", 5_000)
    port = free_port()
    with served(tmp_path, LIMITED) as sandbox, prometheus(tmp_path, port) as url:
        program = Program(folder=tmp_path, variables=sandbox.variables)
        process = program.start("run", "p.jsonl", "--no-stdout", "--metrics-port", str(port))
        try:
            wait_for(lambda: query(url, "rate(claude_batch_attempts_total[10s]) > 0"))
            wait_for(lambda: query(url, "claude_batch_rate_limited_total > 0"))
            (limit,) = query(url, 'claude_batch_limit{limit="requests",source="api"}')
            (named,) = query(url, "claude_batch_run")
            wait_for(lambda: len(unanswered(url)) <= 1)
            left = unanswered(url)
            assert process.poll() is None, "the run is still in progress"
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate()
        done = query(url, "max_over_time(claude_batch_requests_total{outcome='succeeded'}[1h])")
    assert float(limit["value"][1]) == 600
    assert named["metric"]["phase"] == "running"
    assert len(QUESTIONS) > 5
    assert left == ["claude_batch_endpoint_up == 0"]
    assert float(done[0]["value"][1]) > 0
