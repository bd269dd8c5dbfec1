"""`doctor`: what might keep a run from going well, with the remedy."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from claude_batch.commands.account.doctor import check_endpoints
from claude_batch.config.reading import read_settings
from claude_batch.core.catalog.catalog import BUNDLED
from claude_batch.storage.run.journal import journal_path
from claude_batch.ui.tables.doctor import State
from tests.cli.conftest import Serve, claude_batch


def found(*arguments: str) -> list[dict[str, Any]]:
    findings: list[dict[str, Any]] = claude_batch("doctor", "--json", *arguments).json()["findings"]
    return findings


def about(topic: str, *arguments: str) -> list[dict[str, Any]]:
    return [each for each in found(*arguments) if each["topic"] == topic]


def said(findings: list[dict[str, Any]], state: str) -> str:
    return " ".join(each["what"] for each in findings if each["state"] == state)


def test_all_is_well_at_a_good_endpoint(serve: Serve) -> None:
    with serve():
        done = claude_batch("doctor", "--json")
    assert {each["state"] for each in done.json()["findings"]} == {"ok"}
    assert done.exit_code == done.json()["exit_code"] == 0


def test_the_endpoint_is_asked_for_a_message_its_models_and_its_batches(serve: Serve) -> None:
    with serve():
        well = said(about("endpoint default"), "ok")
    for part in ("answers for claude-haiku-5-5", "reports its limits", "clock", "models available"):
        assert part in well


def test_the_table_names_the_host(serve: Serve) -> None:
    with serve() as url:
        assert url.removeprefix("http://") in claude_batch("doctor").out


def test_offline_sends_nothing(serve: Serve) -> None:
    with serve("any_key = false\n"):
        done = claude_batch("doctor", "--offline")
    assert done.exit_code == 0
    assert "nothing sent" in done.out


def test_a_missing_credential_is_a_problem_of_the_settings() -> None:
    done = claude_batch("doctor", "--json")
    assert "ANTHROPIC_API_KEY" in said(done.json()["findings"], "problem")
    assert done.exit_code == 2


def test_a_variable_that_is_not_set_is_named(home: Path) -> None:
    (home / "claude-batch.toml").write_text('[[endpoint]]\nname = "a"\napi_key_env = "NO_KEY"\n')
    assert "NO_KEY" in said(about("settings of a", "--offline"), "problem")


def test_a_refused_key_is_a_problem_of_the_endpoint(serve: Serve) -> None:
    with serve("any_key = false\n"):
        done = claude_batch("doctor", "--json")
    (problem,) = [each for each in done.json()["findings"] if each["state"] == "problem"]
    assert problem["topic"] == "endpoint default"
    assert "key" in problem["remedy"]
    assert done.exit_code == 4


def test_an_endpoint_that_is_down_is_a_problem(serve: Serve) -> None:
    with serve():
        pass
    done = claude_batch("doctor", "--json")
    assert done.exit_code == 4
    assert "network" in done.json()["findings"][-1]["remedy"]


def test_one_endpoint_that_is_down_does_not_hide_the_others(serve: Serve, home: Path) -> None:
    with serve() as url:
        (home / "claude-batch.toml").write_text(
            '[[endpoint]]\nname = "down"\nbase_url = "http://127.0.0.1:9"\n'
            f'[[endpoint]]\nname = "up"\nbase_url = "{url}"\n'
        )
        findings = found()
    assert said([each for each in findings if each["topic"] == "endpoint down"], "problem")
    assert not said([each for each in findings if each["topic"] == "endpoint up"], "problem")


def test_silence_about_limits_is_a_warning(serve: Serve) -> None:
    with serve("[headers]\nrate_limits = false\n"):
        assert "does not report its limits" in said(about("endpoint default"), "warning")


def test_no_batches_are_a_warning(serve: Serve) -> None:
    with serve("[batches]\nsupported = false\n"):
        assert "no Message Batches" in said(about("endpoint default"), "warning")


@pytest.mark.parametrize(("off_s", "words"), [(90, "s ahead of"), (-90, "s behind")])
def test_a_clock_that_is_wrong_is_a_warning(serve: Serve, off_s: float, words: str) -> None:
    with serve():
        settings = read_settings({}, {})
        findings = check_endpoints(
            settings, BUNDLED, offline=False, wall=lambda: time.time() + off_s
        )
        warned = [each.what for each in findings if each.state is State.WARNING]
    assert len(warned) == 1
    assert words in warned[0]


def test_a_wrong_setting_is_named_and_the_rest_is_looked_at(home: Path) -> None:
    (home / "claude-batch.toml").write_text("[defaults]\nmodell = 'x'\n")
    done = claude_batch("doctor", "--json")
    (problem,) = [each for each in done.json()["findings"] if each["state"] == "problem"]
    assert "'model'" in problem["remedy"]
    assert {"versions", "folder"} <= {each["topic"] for each in done.json()["findings"]}
    assert done.exit_code == 2


def test_a_model_nobody_knows_is_a_warning(home: Path) -> None:
    (home / "claude-batch.toml").write_text("[defaults]\nmodel = 'claude-haiku-55'\n")
    assert "claude-haiku-55" in said(about("settings", "--offline"), "warning")


def test_a_model_that_is_not_listed_is_a_warning(serve: Serve, home: Path) -> None:
    (home / "claude-batch.toml").write_text("[defaults]\nmodel = 'claude-haiku-3'\n")
    with serve("any_model = true\n"):
        warned = said(about("endpoint default"), "warning")
    assert "claude-haiku-3 is not listed" in warned
    assert "retired" in warned


def test_files_that_others_may_read_are_named(home: Path) -> None:
    results = home / "a.results.jsonl"
    for path, mode in ((results, 0o644), (journal_path(results), 0o600)):
        path.touch()
        path.chmod(mode)
    (warning,) = about("files of runs", "--offline")
    assert warning["remedy"] == "chmod 600 a.results.jsonl"


def test_private_files_are_fine(home: Path) -> None:
    results = home / "a.results.jsonl"
    for path in (results, journal_path(results)):
        path.touch(0o600)
    assert about("files of runs", "--offline")[0]["state"] == "ok"


def test_a_folder_that_cannot_be_written_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    (problem,) = about("folder", "--offline")
    assert problem["state"] == "problem"
    assert "--out" in problem["remedy"]


def test_few_open_files_are_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (512, 512))
    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)  # this process needs its files
    (warning,) = about("open files", "--offline")
    assert "312 requests in flight" in warning["what"]


def test_a_cache_that_is_down_is_a_warning(serve: Serve) -> None:
    with serve():
        (warning,) = about("cache", "--cache-url", "redis://127.0.0.1:1/0")
    assert warning["state"] == "warning"


def test_shared_limits_that_cannot_be_reached_are_a_problem(serve: Serve) -> None:
    with serve():
        (problem,) = about("shared limits", "--shared-limits", "redis://u:hush@127.0.0.1:1/0")
    assert (problem["state"], "hush" in problem["what"]) == ("problem", False)


def test_no_key_is_ever_shown(serve: Serve) -> None:
    with serve("any_key = false\n", key="hush-hush-hush"):
        done = claude_batch("doctor")
    assert "hush-hush-hush" not in done.out + done.err


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_certificates_that_are_not_there_are_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for each in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(each, raising=False)
    for path in (tmp_path / "none", tmp_path):
        monkeypatch.setenv(name, str(path))
        (finding,) = about("certificates", "--offline")
        assert (finding["state"], name in finding["remedy"]) == ("problem", True)
        assert str(path) in finding["what"]


def test_certificates_that_are_there_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "0a1b2c3d.0").touch()
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    openssl = shutil.which("openssl") or pytest.skip("needs openssl")
    key = ["-newkey", "rsa:2048", "-nodes", "-keyout", os.devnull, "-subj", "/CN=x"]
    command = [openssl, "req", "-x509", *key, "-out", str(tmp_path / "ca.pem")]
    subprocess.run(command, check=True, capture_output=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    assert [each["state"] for each in about("certificates", "--offline")] == ["ok", "ok"]
