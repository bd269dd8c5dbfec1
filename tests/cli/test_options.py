"""Options as they are typed: refused in words that help, completed by shells, said if unused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from claude_batch.cli.app import COMMANDS
from claude_batch.config.options import OPTIONS
from tests.cli.conftest import Serve, claude_batch

PROMPT = '{"prompt": "hi"}\n'


@pytest.fixture(autouse=True)
def prompts(home: Path) -> Path:
    """Lay a file of one prompt into the folder."""
    path = home / "p.jsonl"
    path.write_text(PROMPT)
    return path


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (
            ("--max-cost", "-1"),
            "--max-cost must be greater than 0 (got -1)",
            "for example: --max-cost 25.0",
        ),
        (
            ("--share", "80%"),
            "--share takes a fraction from 0 to 1, such as 0.8 (got 80%)",
            "for example: --share 0.8",
        ),
        (("--workers", "0"), "--workers must be at least 1", "for example: --workers 1"),
        (("--shard", "0"), "--shard must be at least 1", "for example: --shard 1"),
        (("--shard-size", "0"), "--shard-size must be at least 1", ": --shard-size 50000"),
        (("--modle", "x"), "run has no option --modle", "--model or --mode?"),
        (("--lines", "5"), "run has no option --lines", "--help lists"),
        (("--rmp", "5"), "run has no option --rmp", "did you mean --rpm?"),
        (
            ("--model", "haiku", "--model", "opus"),
            "--model is given twice: haiku and opus",
            "leave one of them out",
        ),
        (("--mode", "bacth"), "--mode must be live, batch or auto (got bacth)", "--mode"),
    ],
)
def test_what_is_wrong_with_an_option_is_said_with_what_is_right(
    arguments: tuple[str, ...], message: str, hint: str
) -> None:
    refused = claude_batch("run", "p.jsonl", *arguments)
    error, advice = refused.err.splitlines()
    assert refused.exit_code == 2
    assert error.startswith(f"error: {message}")
    assert hint in advice


def test_the_same_value_twice_is_no_contradiction() -> None:
    done = claude_batch("run", "p.jsonl", "--sandbox", "--rpm", "500", "--rpm", "500")
    assert done.exit_code == 0, done.err


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--system", "it cannot change after a run was started"),
        ("--sandbox", "it cannot change after a run was started"),
        ("--scenario", "it cannot change after a run was started"),
        ("--out", "name the results file itself"),
        ("--fresh", "starts nothing over"),
    ],
)
def test_resume_explains_why_it_takes_no_such_option(option: str, said: str) -> None:
    refused = claude_batch("resume", option, "x")
    assert refused.exit_code == 2
    assert said in refused.err


UNUSED = [
    (("--cache-ttl", "1d"), "--cache-ttl 1d has no effect without --cache"),
    (("--metrics-host", "::1"), "--metrics-host ::1 has no effect without --metrics-port"),
    (("--batch-size", "5"), "--batch-size 5 has no effect in live mode"),
    (("--deadline", "2h"), "--deadline 2h has no effect in live mode"),
]


@pytest.mark.parametrize(("arguments", "said"), UNUSED)
def test_what_has_no_effect_is_said(arguments: tuple[str, ...], said: str) -> None:
    done = claude_batch("run", "p.jsonl", "--sandbox", *arguments)
    assert said in done.err


def test_a_setting_without_effect_is_said_as_it_was_understood(home: Path) -> None:
    (home / "claude-batch.toml").write_text("[defaults]\ndeadline = 2\n")
    done = claude_batch("run", "p.jsonl", "--sandbox")
    assert "claude-batch.toml: deadline = 2s has no effect in live mode" in done.err


def test_what_has_its_effect_is_not_said(home: Path) -> None:
    url = f"sqlite://{home}/answers.sqlite"
    done = claude_batch(
        "run", "p.jsonl", "--sandbox", "--cache-url", url, "--cache-ttl", "1d", "--mode", "batch",
        "--batch-size", "5", "--deadline", "5h",
    )  # fmt: skip
    assert "no effect" not in done.err


def test_a_variable_that_is_no_setting_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAUDE_BATCH_FOLDER", "x")
    done = claude_batch("run", "p.jsonl", "--sandbox")
    assert done.exit_code == 0
    assert "CLAUDE_BATCH_FOLDER is set, but there is no such setting" in done.err


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("[default]\n", "there is no setting 'default'", "'defaults'"),
        ("[defaults]\nmodle = 'm'\n", "defaults: there is no setting 'modle'", "'model' or 'mode'"),
        ("[defaults]\nout = 'm'\n", "defaults: there is no setting 'out'", "known settings: model"),
        ("rpm = 5\n", "'rpm' stands in no table", "write [defaults] above rpm"),
        ("[[endpoint]]\nurl = 'x'\n", "endpoint: there is no setting 'url'", "known settings"),
        ("[pool]\nstratgy = 'x'\n", "pool: there is no setting 'stratgy'", "'strategy'"),
        ("pool = 3\n", "pool must be a table", ""),
        ("defaults = 3\n", "defaults must be a table", ""),
        ("endpoint = [3]\n", "endpoint must be a table", ""),
        ("[defaults]\nrpm = 'x'\n", "defaults.rpm must be a number (got x)", "rpm = 500"),
    ],
)
def test_what_is_wrong_with_a_settings_file_is_named(
    home: Path, text: str, message: str, hint: str
) -> None:
    (home / "claude-batch.toml").write_text(text)
    refused = claude_batch("check", "p.jsonl")
    assert refused.exit_code == 2
    assert f"claude-batch.toml: {message}" in refused.err
    assert hint in refused.err


def test_an_empty_base_url_is_refused_and_a_row_of_doctor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "key")
    refused = claude_batch("run", "p.jsonl")
    assert refused.exit_code == 2
    assert "its base URL is empty" in refused.err
    assert "ANTHROPIC_BASE_URL" in refused.err
    findings = claude_batch("doctor", "--json").json()["findings"]
    assert any(
        each["state"] == "problem" and "its base URL is empty" in each["what"] for each in findings
    )


def completed(line: str, shell: str = "bash") -> list[str]:
    """Return what a shell is given to complete a command line with."""
    words = line.split(" ")
    variables = {
        "_CLAUDE_BATCH_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
        "_TYPER_COMPLETE_ARGS": line,
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    done = subprocess.run(
        [sys.executable, "-m", "claude_batch"],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.splitlines()


def test_a_shell_completes_commands() -> None:
    assert completed("claude-batch re") == ["resume", "results", "report"]


def test_a_shell_completes_options_and_their_values() -> None:
    assert completed("claude-batch run --max-") == ["--max-tokens", "--max-cost", "--max-attempts"]
    assert completed("claude-batch run p.jsonl --mode b") == ["batch"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_complete_too(shell: str) -> None:
    assert "--max-cost" in " ".join(completed("claude-batch run --max-c", shell))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_is_printed(shell: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "claude_batch", "--show-completion", shell],
        env={**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "_CLAUDE_BATCH_COMPLETE" in done.stdout


def test_the_groups_of_an_option_are_headings_of_the_help() -> None:
    text = claude_batch("run", "--help").out
    groups = [each.group for each in OPTIONS.values() if "run" in each.commands]
    at = [text.index(f"\n{group}:\n") for group in dict.fromkeys(groups)]
    assert at == sorted(at)
    assert text.count("  claude-batch run prompts.jsonl ") == 2


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_loads_nothing_heavy(command: str) -> None:
    if command == "results":
        pytest.skip("it imports what it does: there is little of it")
    program = (
        "import sys\n"
        "from claude_batch.__main__ import main\n"
        f"sys.argv = ['claude-batch', {command!r}, '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print('\\n'.join(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    loaded = {name.partition(".")[0] for name in done.stderr.splitlines()}
    assert not loaded & {"anthropic", "aiohttp", "pydantic", "orjson", "platformdirs", "tomllib"}


def test_an_endpoint_is_read_from_the_settings(serve: Serve, home: Path) -> None:
    with serve() as url:
        (home / "claude-batch.toml").write_text(f'[[endpoint]]\nname = "a"\nbase_url = "{url}"\n')
        assert claude_batch("run", "p.jsonl", "--no-stdout").exit_code == 0


@pytest.mark.parametrize("path", ["", ".", "/"])
@pytest.mark.parametrize("command", ["run", "resume", "status", "results", "report", "adjust"])
def test_a_folder_in_the_place_of_a_file_is_refused(command: str, path: str) -> None:
    options = ("--rpm", "3") if command == "adjust" else ()
    refused = claude_batch(command, path, *options)
    assert refused.exit_code in {2, 5}
    assert "error: " in refused.err
    assert "did you mean" not in refused.err


@pytest.mark.parametrize(
    "arguments",
    [("--out", "-"), ("--out", "x.jsonl", "--log", "-")],
)
def test_a_dash_is_no_file_to_write(arguments: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text('"hi"\n')
    refused = claude_batch("run", "p.jsonl", "--sandbox", *arguments)
    assert (refused.exit_code, "- is no file" in refused.err) == (2, True)
    assert not (tmp_path / "-").exists()


def test_a_table_at_the_root_is_refused() -> None:
    assert claude_batch("run", "p.jsonl", "--sandbox", "-o", "/").exit_code == 2


@pytest.mark.parametrize("command", ["results", "resume", "status", "report"])
def test_a_typo_in_the_name_of_results_is_named(home: Path, command: str) -> None:
    (home / "answers.csv").write_text("")
    refused = claude_batch(command, "answer.csv")
    assert refused.exit_code == 2
    assert "answers.csv?)" in refused.err
