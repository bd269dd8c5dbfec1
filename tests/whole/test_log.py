"""--log FILE over real sockets: what the server counts is what the log holds."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from tests.support.program import Program, served

pytestmark = pytest.mark.whole

REFUSING = """
[faults]
overloaded = 0.2
"""


def write_prompts(folder: Path, count: int) -> None:
    lines = [json.dumps({"custom_id": f"p{n}", "prompt": f"hi {n}"}) for n in range(count)]
    (folder / "p.jsonl").write_text("\n".join(lines) + "\n")


def test_every_attempt_is_logged_across_a_resume(tmp_path: Path) -> None:
    write_prompts(tmp_path, 60)
    with served(tmp_path, REFUSING) as sandbox:
        program = Program(folder=tmp_path, variables=sandbox.variables)
        command = ("run", "p.jsonl", "--no-stdout", "--log", "a.jsonl")
        assert program.run(*command, "--limit", "20").returncode == 6
        assert program.run(*command).returncode == 0
        stats = sandbox.stats()
    log = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert Counter(str(each["status"]) for each in log) == stats["by_status"]
    succeeded = [each["custom_id"] for each in log if each["error_type"] is None]
    assert sorted(succeeded) == sorted(f"p{n}" for n in range(60))
    assert "hi 1" not in (tmp_path / "a.jsonl").read_text()
