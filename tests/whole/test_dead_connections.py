"""The network forgets its connections for 8 s: over real sockets, in a process of its own."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from tests.support.doors import read_results
from tests.support.forgetful_proxy import forgetful_proxy
from tests.support.program import Program, served, wait_for

pytestmark = [pytest.mark.whole, pytest.mark.long]

AWAY_S, IN_FLIGHT, COUNT = 8.0, 150, 600

SLOW = """
[limits]
rpm = 0
itpm = 0
otpm = 0
[latency]
base_s = 2.5
per_output_token_s = 0.0
"""


def test_a_run_sends_again_soon_after_the_network_is_back_and_loses_nothing(
    tmp_path: Path,
) -> None:
    prompts = "".join(
        json.dumps({"custom_id": f"id-{number}", "prompt": f"Say {number}.", "max_tokens": 8000})
        + "\n"
        for number in range(COUNT)
    )
    (tmp_path / "p.jsonl").write_text(prompts)
    with served(tmp_path, SLOW) as sandbox, forgetful_proxy(sandbox.url) as proxy:
        variables = sandbox.variables | {"ANTHROPIC_BASE_URL": proxy.url}
        program = Program(folder=tmp_path, variables=variables)
        run = program.start(
            *("run", "p.jsonl", "--mode", "live", "--no-stdout", "--progress", "plain"),
            *("--concurrency", str(IN_FLIGHT)),
        )
        wait_for(lambda: sandbox.stats()["by_status"].get("200", 0) > 2 * IN_FLIGHT)
        proxy.go_away(AWAY_S)
        _, said = run.communicate()
    ids = Counter(line.custom_id for line in read_results(tmp_path / "p.results.jsonl"))
    assert run.returncode == 0, said.decode()
    assert proxy.forgotten >= IN_FLIGHT
    assert len(proxy.carried_at) >= IN_FLIGHT
    assert len(ids) == COUNT
    assert set(ids.values()) == {1}
    assert re.search(r"nothing heard for \d+ s, trying again", said.decode())
    assert "at least" in said.decode()
