"""`limits`: what each endpoint allows now, and plain words where it reports none."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Serve, claude_batch

SMALL = "[limits]\nrpm = 6\nitpm = 50000\notpm = 20000\n"
SILENT = "[headers]\nrate_limits = false\n"


def test_the_limits_and_what_is_left_of_them_are_told(serve: Serve) -> None:
    with serve(SMALL):
        rows = claude_batch("limits", "--json").json()["limits"]
    assert [(row["limit"], row["per_minute"]) for row in rows] == [
        ("requests", 6),
        ("input_tokens", 50_000),
        ("output_tokens", 20_000),
    ]
    assert rows[0]["remaining"] == 5


def test_the_table_is_on_stdout(serve: Serve) -> None:
    with serve(SMALL):
        done = claude_batch("limits")
    assert "Haiku 5.5" in done.out
    assert "50,000" in done.out
    assert done.exit_code == 0


def test_models_of_one_class_are_asked_once(serve: Serve) -> None:
    with serve(SMALL):
        models = ("--model", "claude-opus-4-8", "--model", "claude-opus-4-7")
        rows = claude_batch("limits", "--json", *models).json()["limits"]
    assert {row["lane"] for row in rows} == {"Opus 4.x"}
    assert len(rows) == 3


def test_an_endpoint_that_tells_no_limits_is_named(serve: Serve) -> None:
    with serve(SILENT):
        done = claude_batch("limits")
    assert "default Haiku 5.5: the reply reports no limits" in done.err
    assert "not reported" in done.out
    assert done.exit_code == 0


def test_a_refused_key_is_said_with_its_remedy(serve: Serve) -> None:
    with serve("any_key = false\n"):
        done = claude_batch("limits", "--json")
    (problem,) = done.json()["problems"]
    assert problem["endpoint"] == "default"
    assert "key" in problem["hint"]
    assert done.exit_code == 4


def test_a_model_that_is_not_served_leaves_the_others(serve: Serve) -> None:
    with serve(SMALL):
        done = claude_batch("limits", "--json", "--model", "claude-opus-5-5", "--model", "nope")
    assert {row["lane"] for row in done.json()["limits"]} == {"Opus 5.5"}
    assert "nope" in done.err
    assert done.exit_code == 4


def test_an_endpoint_that_is_down_is_no_traceback(serve: Serve) -> None:
    with serve():
        pass
    done = claude_batch("limits")
    assert "check the network" in done.err
    assert done.exit_code == 4


def test_a_limit_that_is_used_up_is_said_and_shown(serve: Serve) -> None:
    with serve("[limits]\nrpm = 1\n"):
        claude_batch("limits")
        done = claude_batch("limits", "--json")
    assert done.json()["limits"][0]["per_minute"] == 1
    assert "used up" in done.err
    assert done.exit_code == 4


def test_an_admin_key_reads_what_is_configured(serve: Serve) -> None:
    with serve(SMALL, key="sk-ant-admin-pretend"):
        done = claude_batch("limits", "--json")
    rows = {(row["lane"], row["limit"]): row for row in done.json()["limits"]}
    assert rows["Claude Opus 5.5", "input_tokens"]["per_minute"] == 50_000
    assert rows["Claude Opus 5.5", "input_tokens"]["remaining"] is None


def test_without_a_key_the_sandbox_is_offered() -> None:
    done = claude_batch("limits")
    assert "ANTHROPIC_API_KEY" in done.err
    assert done.exit_code == 2


def test_the_sandbox_needs_no_key(home: Path) -> None:
    (home / "small.toml").write_text(SMALL)
    done = claude_batch("limits", "--scenario", "small.toml", "--json")
    assert {row["endpoint"] for row in done.json()["limits"]} == {"sandbox"}
    assert done.json()["limits"][0]["per_minute"] == 6


def test_every_endpoint_of_the_settings_is_asked(serve: Serve, home: Path) -> None:
    with serve(SMALL) as url:
        (home / "claude-batch.toml").write_text(
            f'[[endpoint]]\nname = "one"\nbase_url = "{url}"\napi_key_env = "ANTHROPIC_API_KEY"\n'
            f'[[endpoint]]\nname = "two"\nbase_url = "{url}"\napi_key_env = "ANTHROPIC_API_KEY"\n'
        )
        rows = claude_batch("limits", "--json").json()["limits"]
    assert [row["endpoint"] for row in rows] == ["one"] * 3 + ["two"] * 3


def test_a_missing_scenario_is_named() -> None:
    done = claude_batch("limits", "--scenario", "nowhere.toml")
    assert "nowhere.toml" in done.err
    assert done.exit_code == 2


def test_what_the_sandbox_does_not_use_is_said() -> None:
    done = claude_batch("limits", "--sandbox", "--shared-limits", "redis://127.0.0.1:1")
    assert "--shared-limits" in done.err
    assert done.exit_code == 0
