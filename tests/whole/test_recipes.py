"""The guide's recipes, each run as it stands there, against the sandbox."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.support.program import Program, served

pytestmark = pytest.mark.whole

ROOT = Path(__file__).parents[2]
MARK = "<!-- recipes:"
PROMPTS = [
    {"custom_id": "a", "prompt": "Translate into French: good morning"},
    {"custom_id": "b", "prompt": "Which is larger, 9.9 or 9.11?", "model": "claude-opus-5-5"},
    {
        "custom_id": "c",
        "messages": [{"role": "user", "content": "hi"}],
        "model": "claude-unheard-of-1",
    },
    {"custom_id": "d", "prompt": "Tell me a long story.", "max_tokens": 5},
]
ANY_MODEL = {"CLAUDE_BATCH_ALLOW_UNKNOWN_MODEL": "true"}
QUICK_BATCHES = "[batches]\ntime_scale = 600\n"


def recipes() -> list[str]:
    text = (ROOT / "docs" / "guide.md").read_text().partition(MARK)[2]
    section = text.partition("\n## ")[0]
    indented = [line.strip() for line in section.splitlines() if line.startswith("    ")]
    return [line for line in indented if not line.startswith("#")]


def test_the_guide_has_recipes() -> None:
    assert len(recipes()) >= 6


@pytest.mark.parametrize("recipe", recipes())
def test_a_recipe_works_as_it_stands(tmp_path: Path, recipe: str) -> None:
    if shutil.which("jq") is None:
        pytest.skip("jq is not installed")
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(p) + "\n" for p in PROMPTS))
    with served(tmp_path) as sandbox:
        program = Program(folder=tmp_path, variables=sandbox.variables | ANY_MODEL)
        if " run " not in recipe:
            program.run("run", "prompts.jsonl", "--no-stdout")
        done = program.shell(recipe)
    # the run's own exit code comes through the pipe: 3, since one model does not exist; 141
    # where the reader goes away first
    assert done.returncode in {0, 3, 141}, done.stderr.decode()
    assert b"jq: error" not in done.stderr
    assert b"Traceback" not in done.stderr
    assert done.stdout.strip()


def about_results() -> list[str]:
    """Return the recipes whose answer does not depend on the mode: not those about cost."""
    return [r for r in recipes() if " run " not in r and "usd" not in r]


def test_the_recipes_say_the_same_of_both_modes(tmp_path: Path) -> None:
    if shutil.which("jq") is None:
        pytest.skip("jq is not installed")
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(p) + "\n" for p in PROMPTS))
    said = []
    with served(tmp_path, QUICK_BATCHES) as sandbox:
        variables = {**sandbox.variables, **ANY_MODEL, "CLAUDE_BATCH_FIRST_POLL": "0.2s"}
        program = Program(folder=tmp_path, variables=variables)
        for mode in (["--mode", "live"], ["--mode", "batch", "--no-canary"]):
            done = program.run("run", "prompts.jsonl", "--no-stdout", "--fresh", *mode)
            assert done.returncode == 3, done.stderr.decode()  # one model does not exist
            said.append([sorted(program.shell(r).stdout.splitlines()) for r in about_results()])
    assert all(said[0])
    assert said[0] == said[1]
