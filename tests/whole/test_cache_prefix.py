"""--cache-prefix auto: what prompts share is written to the cache once, and read after that."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.program import ENOUGH_S, Program, served

pytestmark = pytest.mark.whole

SHARED = "You sort letters into five drawers, and you never open one that is sealed. " * 300
LINES = 300
LETTERS = [{"prompt": f"Letter {number}: to whom?", "system": SHARED} for number in range(LINES)]
QUICK = """
[latency]
base_s = 0.3
per_output_token_s = 0.001

[output]
mean_tokens = 10
"""
A_TENTH_FITS = f"{QUICK}\n[limits]\nitpm = 150_000\n"


def ran(
    folder: Path, lines: Sequence[Any], cache_prefix: str, scenario: str = QUICK
) -> tuple[dict[str, Any], set[str], bytes]:
    """Run the lines; return what the sandbox has seen, the bodies it got, and stderr."""
    (folder / "p.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines))
    with served(folder, scenario) as sandbox:
        program = Program(folder=folder, variables=sandbox.variables)
        done = program.run("run", "p.jsonl", "--no-stdout", "--cache-prefix", cache_prefix)
        stats, bodies = sandbox.stats(), set(sandbox.requests())
    assert done.returncode == 0, done.stderr.decode()
    return stats, bodies, done.stderr


def input_cost(stats: dict[str, Any]) -> float:
    """Return what all input has cost, in the price of plain input tokens."""
    written, read = stats["cache_written_tokens"], stats["cache_read_tokens"]
    plain = stats["input_tokens"]
    return float(plain + 1.25 * written + 0.1 * read)


def test_only_the_first_request_pays_the_write(tmp_path: Path) -> None:
    stats, _, _ = ran(tmp_path, LETTERS, "auto")
    each = stats["cache_written_tokens"]
    assert each > 4_000
    assert stats["cache_read_tokens"] == (LINES - 1) * each


def test_the_input_costs_a_fifth_at_most(tmp_path: Path) -> None:
    for name in ("auto", "off"):
        (tmp_path / name).mkdir()
    cached, _, _ = ran(tmp_path / "auto", LETTERS, "auto")
    plain, _, _ = ran(tmp_path / "off", LETTERS, "off")
    assert plain["cache_read_tokens"] == 0
    assert input_cost(cached) <= 0.2 * input_cost(plain)


def test_what_is_read_from_the_cache_does_not_wait_for_input_tokens(tmp_path: Path) -> None:
    # uncached, 1.5 million tokens would take nine minutes at 150,000 a minute
    assert ENOUGH_S < 8 * 60
    ran(tmp_path, LETTERS, "auto", A_TENTH_FITS)


def test_the_screen_tells_what_is_saved(tmp_path: Path) -> None:
    _, _, stderr = ran(tmp_path, LETTERS[:20], "auto")
    assert "one prefix shared by 20 prompts will be cached" in " ".join(stderr.decode().split())


def test_lines_that_say_themselves_what_to_cache_are_sent_as_they_are(tmp_path: Path) -> None:
    own = [{**each, "cache_control": {"type": "ephemeral"}} for each in LETTERS[:20]]
    bodies = []
    for name in ("auto", "off"):
        (tmp_path / name).mkdir()
        bodies.append(ran(tmp_path / name, own, name)[1])
    assert bodies[0] == bodies[1]
