"""No secret is written: every byte on disk and on the screen is searched for marked ones.

The relay echoes all headers it gets, in messages, errors of every shape, and pages.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.echo_relay import echoing
from tests.support.program import Program

pytestmark = pytest.mark.whole

SECRETS = {
    "ANTHROPIC_API_KEY": "sk-ant-api03-MARKED-own-key-0123456789",
    "RELAY_KEY": "MARKED-relay-key-0123456789",
    "RELAY_TOKEN": "MARKED-bearer-0123456789",
    "TEAM_TOKEN": "MARKED-team-0123456789",
    "ANTHROPIC_CUSTOM_HEADERS": "X-Custom-Token: MARKED-custom-0123456789",
}
PASSWORD = "MARKED-password-01"  # a mark
MARKS = (b"MARKED", base64.b64encode(f"user:{PASSWORD}".encode()).rstrip(b"=")[:-1])
SETTINGS_NAME = "claude-batch.toml"
SETTINGS = """
[defaults]
max_attempts = 2
patience = "5s"
[[endpoint]]
name = "relay"
base_url = "http://{host}"
{credential}
headers_env = {{ "x-team" = "TEAM_TOKEN" }}
"""
CREDENTIALS = {
    "a key": 'api_key_env = "RELAY_KEY"',
    "a key in both headers": 'api_key_env = "RELAY_KEY"\nauth = "both"',
    "a token": 'auth_token_env = "RELAY_TOKEN"',
    "the SDK's own": "",
    "an OpenAI key": 'api_key_env = "RELAY_KEY"\nprovider = "openai"\n',
}
COMMANDS = (
    ("doctor", "--json"),
    ("limits", "--json"),
    ("models", "--live"),
    ("estimate", "p.jsonl", "--sample", "2", "--json"),
    ("batches", "list"),
    ("status", "--json"),
    ("results", "p.results.jsonl", "--format", "text"),
)


def marked_bytes(folder: Path, *shown: bytes) -> Iterator[str]:
    """Yield where a mark stands: in what was shown, or in files other than the user's own."""
    for text in shown:
        if any(mark in text for mark in MARKS):
            yield f"shown: {text.decode()}"
    for path in folder.rglob("*"):
        if path.is_file() and path.name != SETTINGS_NAME:
            content = path.read_bytes()
            found = [content[max(0, content.find(m) - 200) :][:400] for m in MARKS if m in content]
            if found or any(mark in str(path).encode() for mark in MARKS):
                yield f"{path.name}: {found}"


def a_program(folder: Path, host: str, credential: str, **more: str) -> Program:
    """Return the program with marked secrets, all its files below `folder`."""
    (folder / "p.jsonl").write_text("".join(f'"prompt {number}"\n' for number in range(14)))
    (folder / "tmp").mkdir()
    (folder / SETTINGS_NAME).write_text(SETTINGS.format(host=host, credential=credential))
    return Program(folder=folder, variables={**SECRETS, "TMPDIR": str(folder / "tmp"), **more})


@pytest.mark.parametrize("credential", CREDENTIALS.values(), ids=CREDENTIALS.keys())
def test_a_run_through_a_relay_that_echoes_secrets_writes_none(
    tmp_path: Path, credential: str
) -> None:
    with echoing() as host:
        program = a_program(tmp_path, host, credential)
        ran = program.run("run", "p.jsonl", "--cache", "--progress", "json")
    assert ran.returncode in {0, 3}, ran.stderr.decode()
    assert b"[secret]" in ran.stdout
    assert list(marked_bytes(tmp_path, ran.stdout, ran.stderr)) == []


def test_the_commands_around_a_run_write_none(tmp_path: Path) -> None:
    with echoing() as host:
        program = a_program(tmp_path, host, CREDENTIALS["a key"])
        ran = program.run("run", "p.jsonl", "--no-stdout")
        results = tmp_path / "p.results.jsonl"
        results.write_bytes(b"damaged\n" + results.read_bytes())
        retried = program.run("resume", str(results), "--retry-errored", "--progress", "plain")
        done = [program.run(*command) for command in COMMANDS]
    shown = [text for each in (ran, retried, *done) for text in (each.stdout, each.stderr)]
    assert (tmp_path / "p.results.jsonl.damaged").exists()
    assert list(marked_bytes(tmp_path, *shown)) == []


@pytest.mark.parametrize("mode", ["live", "batch"])
def test_a_refused_credential_is_not_repeated(tmp_path: Path, mode: str) -> None:
    with echoing(only="unauthorized") as host:
        program = a_program(tmp_path, host, CREDENTIALS["a key"])
        ran = program.run("run", "p.jsonl", "--mode", mode, "--progress", "live")
    assert ran.returncode == 4, ran.stderr.decode()
    assert list(marked_bytes(tmp_path, ran.stdout, ran.stderr)) == []


@pytest.mark.parametrize("provider", ["anthropic", "openai"])
def test_a_password_in_a_base_url_is_refused_and_not_repeated(
    tmp_path: Path, provider: str
) -> None:
    credential = f'api_key_env = "RELAY_KEY"\nprovider = "{provider}"'
    program = a_program(tmp_path, f"user:{PASSWORD}@127.0.0.1:9", credential)
    done = [program.run(*command) for command in (("run", "p.jsonl"), ("doctor",))]
    assert done[0].returncode == 2, done[0].stderr.decode()
    assert b"headers_env" in done[0].stderr
    shown = [text for each in done for text in (each.stdout, each.stderr)]
    assert list(marked_bytes(tmp_path, *shown)) == []


@pytest.mark.parametrize("bad", ["{}\n", "{}\r\nX-More: 1", "caf\u00e9-{}", "{}\x01"])
def test_a_credential_that_fits_into_no_header_is_not_repeated(tmp_path: Path, bad: str) -> None:
    with echoing() as host:
        key = bad.format(SECRETS["RELAY_KEY"])
        program = a_program(tmp_path, host, CREDENTIALS["a key"], RELAY_KEY=key)
        ran = program.run("run", "p.jsonl", "--no-stdout")
    assert ran.returncode in {0, 2, 3, 4}, ran.stderr.decode()
    assert b"Traceback" not in ran.stderr
    assert list(marked_bytes(tmp_path, ran.stdout, ran.stderr)) == []


def test_the_log_of_a_bug_holds_no_secret(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import os, claude_batch.storage.run.results as results\n"
        "def broken(*_): raise RuntimeError('a bug that knows ' + os.environ['RELAY_KEY'])\n"
        "results.encode_result = broken\n"
    )
    with echoing(only="message") as host:
        program = a_program(tmp_path, host, CREDENTIALS["a key"])
        ran = program.run("run", "p.jsonl", "--no-stdout", PYTHONPATH=str(tmp_path))
    (tmp_path / "sitecustomize.py").unlink()
    logs = list((tmp_path / "tmp").glob("claude-batch-*.log"))
    assert ran.returncode == 1, ran.stderr.decode()
    assert len(logs) == 1
    assert list(marked_bytes(tmp_path, ran.stdout, ran.stderr)) == []
