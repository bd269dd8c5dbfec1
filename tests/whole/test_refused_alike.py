"""Runs that every request ends in the same way: the step that is printed does not end so again."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.odd_relay import Relay, odd_relay
from tests.support.program import Program
from tests.whole.test_next_steps import COMMAND, done, follow, next_step

pytestmark = pytest.mark.whole

MODELS = ("claude-haiku-5-5", "own-model")
RUN = "claude-batch run p.jsonl --no-stdout --allow-unknown-model"


def write_prompts(folder: Path, prompt: str, count: int = 25) -> None:
    lines = (json.dumps({"prompt": f"{prompt} {n}"}) + "\n" for n in range(count))
    (folder / "p.jsonl").write_text("".join(lines))


def at(relay: Relay, folder: Path, *, scheme: str = "http", key: str = "key") -> Program:
    variables = {"ANTHROPIC_BASE_URL": f"{scheme}://{relay.host}", "ANTHROPIC_API_KEY": key}
    return Program(folder=folder, variables=variables)


CASES = {
    "the model": ("--model haiku", "--model claude-haiku-5-5"),
    "a param": ("--model own-model --params '{\"temperature\": 0.5}'", "--drop temperature"),
    "max_tokens": ("--model own-model --max-tokens 200000", "--max-tokens 64000"),
}


@pytest.mark.parametrize("mode", ["live", "batch"])
@pytest.mark.parametrize("case", CASES)
def test_what_all_requests_are_refused_for_is_changed_by_the_step_that_is_printed(
    tmp_path: Path, case: str, mode: str
) -> None:
    options, said = CASES[case]
    write_prompts(tmp_path, "hi")
    with odd_relay(models=MODELS) as relay:
        program = at(relay, tmp_path)
        stopped = done(program, f"{RUN} {options} --mode {mode}")
        told = stopped.stderr.decode()
        status = done(program, "claude-batch status p.results.jsonl").stdout.decode()
        step = next_step(told, COMMAND)
        assert (stopped.returncode, said in step) == (4, True), told
        assert step in status
        follow(program, step, told, (0,))


@pytest.mark.parametrize("case", CASES)
def test_what_a_few_requests_failed_for_is_changed_by_the_retry_that_is_printed(
    tmp_path: Path, case: str
) -> None:
    options, said = CASES[case]
    write_prompts(tmp_path, "hi", count=3)
    with odd_relay(models=MODELS) as relay:
        program = at(relay, tmp_path)
        finished = done(program, f"{RUN} {options}")
        told = finished.stderr.decode()
        step = next_step(told, COMMAND)
        assert (finished.returncode, f"--retry-errored {said}" in step) == (3, True), told
        follow(program, step, told, (0,))


def test_rows_of_a_table_begin_again_with_another_model(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("topic\n" + "wind\n" * 25)
    with odd_relay(models=MODELS) as relay:
        program = at(relay, tmp_path)
        order = "in.csv --prompt 'On {{topic}}.' -o out.csv --no-stdout --allow-unknown-model"
        stopped = done(program, f"claude-batch run {order} --model haiku")
        told = stopped.stderr.decode()
        assert stopped.returncode == 4, told
        follow(program, next_step(told, COMMAND), told, (0,))
    rows = (tmp_path / "out.csv").read_text().splitlines()
    assert len(rows) == 26
    assert all(row.startswith("wind,Hello.,succeeded") for row in rows[1:])


def test_prompts_from_a_pipe_are_sent_again_by_hand(tmp_path: Path) -> None:
    write_prompts(tmp_path, "hi")
    with odd_relay(models=MODELS) as relay:
        program = at(relay, tmp_path)
        order = "cat p.jsonl | claude-batch run - -o r.jsonl --no-stdout --allow-unknown-model"
        stopped = done(program, f"{order} --model haiku")
        resumed = done(program, "claude-batch resume r.jsonl --model own-model")
        again = done(program, f"{order} --model own-model --fresh")
    assert (stopped.returncode, resumed.returncode, again.returncode) == (4, 2, 0)
    assert b"continue" not in stopped.stderr
    assert b"--fresh" in resumed.stderr


def test_prompts_that_are_all_refused_are_to_be_corrected_and_no_command_is_printed(
    tmp_path: Path,
) -> None:
    write_prompts(tmp_path, "refuse")
    with odd_relay(models=MODELS) as relay:
        program = at(relay, tmp_path)
        stopped = done(program, RUN)
        status = done(program, "claude-batch status p.results.jsonl").stdout
        write_prompts(tmp_path, "hi")
        again = done(program, RUN)
    assert stopped.returncode == 4
    assert b"first     correct the prompts" in stopped.stderr
    assert b"claude-batch resume" not in stopped.stderr + status
    assert again.returncode == 0, again.stderr.decode()


def test_a_credential_that_is_refused_is_to_be_corrected_first(tmp_path: Path) -> None:
    write_prompts(tmp_path, "hi", count=3)
    with odd_relay(models=MODELS, key="right") as relay:
        stopped = done(at(relay, tmp_path, key="wrong"), RUN)
        told = stopped.stderr.decode()
        assert stopped.returncode == 4
        assert "first     the key is wrong, expired or for another endpoint" in told
        follow(at(relay, tmp_path, key="right"), next_step(told, COMMAND), told, (0,))


@pytest.mark.parametrize("mode", ["live", "batch"])
def test_a_certificate_that_is_not_trusted_names_what_to_set(tmp_path: Path, mode: str) -> None:
    openssl = shutil.which("openssl") or pytest.skip("needs openssl")
    path = tmp_path / "own.pem"
    name = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost")
    key = ("-newkey", "rsa:2048", "-nodes", "-keyout", str(path.with_suffix(".key")))
    command = [openssl, "req", "-x509", *key, "-out", str(path), "-days", "2", *name]
    subprocess.run(command, check=True, capture_output=True)
    write_prompts(tmp_path, "hi", count=3)
    with odd_relay(models=MODELS, certificate=path) as relay:
        program = at(relay, tmp_path, scheme="https")
        stopped = done(program, f"{RUN} --mode {mode}")
        told = stopped.stderr.decode()
        trusting = Program(
            folder=tmp_path, variables={**program.variables, "SSL_CERT_FILE": str(path)}
        )
        assert stopped.returncode == 4, told
        assert "since the endpoint cannot be used" in told
        assert f"the certificate of {relay.host} is not trusted" in told
        assert "SSL_CERT_FILE" in told
        assert "SSL_CERT_DIR" in told
        assert "credential" not in told
        follow(trusting, next_step(told, COMMAND), told, (0,))
