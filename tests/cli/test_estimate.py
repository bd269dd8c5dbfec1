"""`estimate`: tokens, money and time of a file, before anything is sent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Serve, claude_batch

HAIKU, OPUS = "claude-haiku-5-5", "claude-opus-5-5"
FILE = "prompts.jsonl"


@pytest.fixture(autouse=True)
def prompts(home: Path) -> Path:
    """Write forty prompts, ten of them for Opus."""
    path = home / FILE
    write(
        path,
        *({"prompt": f"Name a city in country {n}."} for n in range(30)),
        *({"prompt": f"Write a poem on {n}.", "model": OPUS} for n in range(10)),
    )
    return path


def write(path: Path, *lines: Any) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def estimated(*arguments: str) -> Any:
    done = claude_batch("estimate", FILE, "--json", *arguments)
    assert done.exit_code == 0, done.err
    return done.json()


def by_model(found: Any) -> dict[str, Any]:
    return {model["model"]: model for model in found["models"]}


def live(found: Any) -> dict[str, Any]:
    return {option["limits"]: option for option in found["live"]}


def test_requests_are_counted_by_model() -> None:
    models = by_model(estimated())
    assert {model: each["requests"] for model, each in models.items()} == {HAIKU: 30, OPUS: 10}


def test_without_better_knowledge_answers_are_a_quarter_of_max_tokens() -> None:
    found = estimated("--max-tokens", "4000")
    assert (found["output_tokens"], found["output_basis"]) == (40 * 1_000, "guessed")


def test_what_answers_can_have_at_most_is_told_too() -> None:
    found = estimated("--max-tokens", "4000")
    assert found["at_most"]["output_tokens"] == 40 * 4_000
    assert found["at_most"]["live"] > 3 * found["cost"]["live"]["usd"]


def test_fast_lines_have_no_batch_price(home: Path) -> None:
    params = {"model": OPUS, "max_tokens": 50, "speed": "fast"}
    write(home / FILE, {"params": {**params, "messages": [{"role": "user", "content": "hi"}]}})
    found = estimated()
    assert found["cost"]["batch"]["usd"] is None
    assert any("fast mode" in note for note in found["notes"])


def test_the_length_of_answers_can_be_stated() -> None:
    found = estimated("--expect-output", "50")
    assert (found["output_tokens"], found["output_basis"]) == (40 * 50, "stated")


def test_an_answer_is_never_longer_than_max_tokens() -> None:
    assert estimated("--expect-output", "500", "--max-tokens", "20")["output_tokens"] == 800


def test_replies_that_are_there_tell_how_long_answers_are(home: Path) -> None:
    lines = [
        {
            "custom_id": f"line-{n}",
            "result": {"type": "succeeded", "message": {"usage": {"output_tokens": 20 * n}}},
            "meta": {"line": n},
        }
        for n in (1, 2)
    ]
    write(home / "prompts.results.jsonl", *lines)
    found = estimated()
    assert (found["output_tokens"], found["output_basis"]) == (40 * 30, "sampled")


def test_a_batch_costs_half() -> None:
    cost = estimated("--expect-output", "50")["cost"]
    assert cost["batch"]["usd"] == pytest.approx(cost["live"]["usd"] / 2)


def test_what_no_one_knows_the_price_of_has_none() -> None:
    found = estimated("--model", "qwen3")
    assert found["cost"]["live"]["usd"] is None
    assert any("qwen3" in note for note in found["notes"])


def test_a_price_of_ones_own_is_used(home: Path) -> None:
    (home / "prices.toml").write_text("[models.qwen3]\ninput = 0\noutput = 10\n")
    arguments = ("--model", "qwen3", "--prices", "prices.toml", "--expect-output", "100")
    qwen = by_model(estimated(*arguments))["qwen3"]
    assert qwen["live"]["usd"] == pytest.approx(30 * 100 * 10 / 1e6)


def test_every_tier_is_planned_for() -> None:
    assert live(estimated()).keys() == {"start", "build", "scale"}


def test_the_stated_tier_is_the_current_one() -> None:
    assert live(estimated("--tier", "build"))["build"]["current"]


def test_without_a_tier_the_lowest_is_assumed_and_said() -> None:
    found = estimated()
    assert live(found)["start"]["current"]
    assert any("--tier" in note for note in found["notes"])


def test_the_limit_that_binds_is_named() -> None:
    own = live(estimated("--rpm", "10"))["stated limits"]
    assert (own["current"], own["binds"]) == (True, "RPM")


def test_time_follows_from_the_limit() -> None:
    own = live(estimated("--rpm", "10", "--expect-output", "1"))["stated limits"]
    assert own["seconds"] == pytest.approx(30 * 6, rel=0.05)


def test_a_share_of_the_limits_takes_longer(home: Path) -> None:
    write_endpoints(home, 'name = "a"\nrpm = 10')
    whole, half = (
        live(estimated("--share", share))["stated limits"]["seconds"] for share in ("1", "0.5")
    )
    assert half > 1.5 * whole


def test_other_models_can_be_compared() -> None:
    compared = estimated("--compare", f"{OPUS}, claude-haiku-4-5")["compared"]
    assert compared.keys() == {OPUS, "claude-haiku-4-5"}
    assert compared[OPUS]["live"]["usd"] > compared["claude-haiku-4-5"]["live"]["usd"]


def test_a_shared_system_prompt_shows_what_caching_saves(home: Path) -> None:
    system = "You grade essays on a scale of ten, and you are strict but fair. " * 100
    write(home / FILE, *({"prompt": f"Essay {n}", "model": OPUS} for n in range(50)))
    cost = estimated("--system", system, "--expect-output", "5")["cost"]
    assert cost["live_cached"]["usd"] < cost["live"]["usd"] * 0.3


def test_it_ends_with_what_to_do() -> None:
    done = claude_batch("estimate", FILE, "--deadline", "2h")
    assert (
        done.out.rstrip()
        .splitlines()[-1]
        .endswith("about 1 h: claude-batch run prompts.jsonl --mode batch --deadline 2h")
    )


def test_the_command_it_recommends_has_the_options_that_were_typed() -> None:
    found = estimated("--max-tokens", "50", "--rpm", "1e6", "--system", "Be brief.")
    assert found["recommendation"].endswith(
        "claude-batch run prompts.jsonl --max-tokens 50 --system 'Be brief.' --rpm 1000000 "
        "--mode batch"
    )


def test_routes_decide_where_lines_go(home: Path) -> None:
    (home / "claude-batch.toml").write_text(
        '[[route]]\nname = "poems"\nwhen = { model = "claude-opus-5-5" }\n'
        f'model = "{HAIKU}"\noverride = true\n'
    )
    found = estimated()
    assert {model["model"] for model in found["models"]} == {HAIKU}
    assert {"route": "poems", "model": HAIKU, "requests": 10} in found["routed"]


def test_what_a_model_will_refuse_is_said_before(home: Path) -> None:
    line = {"prompt": "hi", "model": OPUS, "tools": [], "tool_choice": {"type": "any"}}
    write(home / FILE, *[line] * 3)
    assert any("tool_choice" in note for note in estimated()["notes"])


def test_a_sample_is_counted_exactly(serve: Serve) -> None:
    with serve("[input]\nerror = 1.5\n"):
        found = estimated("--sample", "20")
        plain = estimated()
    assert found["counted_lines"] == 20
    assert 1.2 < found["input_tokens"] / plain["input_tokens"] < 1.8


def test_what_a_sample_tells_holds_for_compared_models_of_its_tokenizer(serve: Serve) -> None:
    arguments = ("--compare", OPUS, "--expect-output", "0")
    with serve("[input]\nerror = 1.5\n"):
        plain, sampled = estimated(*arguments), estimated(*arguments, "--sample", "20")
    ratio = sampled["compared"][OPUS]["live"]["usd"] / plain["compared"][OPUS]["live"]["usd"]
    assert 1.2 < ratio < 1.8


def test_a_compared_model_with_another_tokenizer_is_said_to_be_estimated(serve: Serve) -> None:
    with serve():
        found = estimated("--compare", "claude-haiku-4-5", "--sample", "5")
    assert any("another tokenizer" in note for note in found["notes"])


def test_a_sample_narrows_the_interval(serve: Serve) -> None:
    with serve():
        haiku = by_model(estimated("--sample", "30"))[HAIKU]
    assert haiku["input_high"] - haiku["input_low"] < 0.1 * haiku["input_tokens"]


def test_an_endpoint_that_counts_nothing_is_said(serve: Serve) -> None:
    with serve("count_tokens = false\n"):
        found = estimated("--sample", "5")
    assert found["counted_lines"] == 0
    assert any("could not be counted" in note for note in found["notes"])


def test_limits_are_learned_when_asked_for(serve: Serve) -> None:
    with serve("[limits]\nrpm = 20\n"):
        own = live(estimated("--learn"))["learned limits"]
    assert (own["current"], own["binds"]) == (True, "RPM")


def test_limits_that_are_not_told_are_the_tier_s(serve: Serve) -> None:
    with serve("[limits]\nrpm = 20\nitpm = 0\notpm = 0\n"):
        found = estimated("--learn")
    assert live(found)["learned limits"]["seconds"] > 0
    assert any("does not report ITPM and OTPM" in note for note in found["notes"])


def test_an_assumed_tier_is_said_even_if_one_limit_is_stated() -> None:
    assert any("--tier" in note for note in estimated("--rpm", "10")["notes"])


TWO_ORGANIZATIONS = """
[limits]
rpm = 10
itpm = 1000000
otpm = 1000000
[[organization]]
id = "org-1"
keys = ["key-a", "key-b"]
[[organization]]
id = "org-2"
keys = ["key-c"]
"""


def write_endpoints(home: Path, *endpoints: str) -> None:
    (home / "claude-batch.toml").write_text(
        "".join(f"[[endpoint]]\n{endpoint}\n" for endpoint in endpoints)
    )


def test_limits_of_all_primary_endpoints_are_added_up(home: Path) -> None:
    write_endpoints(
        home,
        'name = "a"\nlimit_group = "one"\nrpm = 5',
        'name = "b"\nlimit_group = "two"\nrpm = 15',
        'name = "c"\nrole = "fallback"\nrpm = 1000',
    )
    own = live(estimated("--expect-output", "1"))["stated limits of 2 groups"]
    assert own["seconds"] == pytest.approx((30 - 20) * 3, rel=0.1)


def test_endpoints_of_one_group_count_once(home: Path) -> None:
    write_endpoints(
        home,
        'name = "a"\nlimit_group = "one"\nrpm = 10',
        'name = "b"\nlimit_group = "one"\nrpm = 10',
    )
    own = live(estimated("--expect-output", "1"))["stated limits"]
    assert own["seconds"] == pytest.approx((30 - 10) * 6, rel=0.1)


def test_a_ceiling_is_over_all_endpoints(home: Path) -> None:
    write_endpoints(
        home,
        'name = "a"\nlimit_group = "one"\nrpm = 500',
        'name = "b"\nlimit_group = "two"\nrpm = 500',
    )
    own = live(estimated("--expect-output", "1", "--rpm", "10"))["stated limits of 2 groups"]
    assert own["seconds"] == pytest.approx(30 * 6, rel=0.1)


def test_the_organizations_behind_keys_are_learned(
    home: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    for letter in "abc":
        monkeypatch.setenv(f"KEY_{letter.upper()}", f"key-{letter}")
    with serve(TWO_ORGANIZATIONS) as url:
        write_endpoints(
            home,
            *(
                f'name = "{name}"\nbase_url = "{url}"\napi_key_env = "KEY_{name.upper()}"'
                for name in "abc"
            ),
        )
        found = estimated("--learn", "--expect-output", "1")
    assert live(found)["learned limits of 2 groups"]["current"]
    assert any("a+b, c" in note for note in found["notes"])


def test_the_sandbox_is_planned_for_by_its_own_limits(home: Path) -> None:
    (home / "slow.toml").write_text("[limits]\nrpm = 15\n")
    own = live(estimated("--scenario", "slow.toml"))["learned limits"]
    assert own["binds"] == "RPM"


def test_nothing_is_asked_without_need(serve: Serve) -> None:
    with serve("any_key = false\n"):
        assert estimated()["requests"] == 40


def test_a_bad_line_is_named_as_check_names_it(home: Path) -> None:
    write(home / FILE, {"prompt": "hi"}, {"promt": "hi"})
    done = claude_batch("estimate", FILE, "--progress", "plain")
    assert f"{FILE}:2: " in done.err
    assert done.exit_code == 2


def test_the_command_that_is_recommended_names_the_model_that_was_meant() -> None:
    command = estimated("--model", "claude-haiku-5-5x")["recommendation"]
    assert f"--model {HAIKU}" in command
    assert "5-5x" not in command


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nowhere.jsonl",), "nowhere.jsonl"),
        (("prompts.json",), "did you mean prompts.jsonl?"),
        (("nowhere/*.csv",), "no file of prompts or rows there"),
        (("-",), "there are no prompts in it"),
        ((FILE, "--tier", "gold"), "--tier"),
        ((FILE, "--share", "2"), "--share"),
        ((FILE, "--deadline", "tomorrow"), "--deadline"),
        ((FILE, "--sample", "-1"), "--sample"),
        ((FILE, "--expect-output", "few"), "--expect-output"),
        ((FILE, "--prices", "nowhere.toml"), "nowhere.toml"),
        ((FILE, "--scenario", "nowhere.toml"), "nowhere.toml"),
        ((FILE, "--sampel", "3"), "--sample"),
    ],
)
def test_what_is_wrong_is_named(arguments: tuple[str, ...], said: str) -> None:
    refused = claude_batch("estimate", *arguments)
    assert refused.exit_code == 2
    assert said in refused.err
    assert "Traceback" not in refused.err


def test_limit_asks_about_some_rows_and_says_what_the_whole_file_will_take() -> None:
    whole, part = estimated(), estimated("--limit", "10")
    assert (part["requests"], [*by_model(part)]) == (10, [HAIKU])
    assert part["whole"]["requests"] == 40
    assert part["whole"]["live_usd"] == whole["cost"]["live"]["usd"]
    assert part["whole"]["seconds"] == next(o["seconds"] for o in whole["live"] if o["current"])
    assert part["cost"]["live"]["usd"] < whole["cost"]["live"]["usd"] / 3
    assert f"claude-batch run {FILE} --limit 10" in part["recommendation"]
    assert whole["whole"] is None


def test_a_random_sample_is_the_one_that_run_takes(home: Path) -> None:
    models = by_model(estimated("--limit", "20", "--random"))
    claude_batch("run", FILE, "--sandbox", "--no-stdout", "--limit", "20", "--random")
    lines = (home / "prompts.sandbox.results.jsonl").read_text().splitlines()
    answers = [json.loads(line)["result"]["message"]["model"] for line in lines]
    assert {m: each["requests"] for m, each in models.items()} == {
        m: answers.count(m) for m in (HAIKU, OPUS)
    }


def test_the_page_names_both_the_rows_asked_about_and_the_file() -> None:
    page = claude_batch("estimate", FILE, "--limit", "10").out
    assert "10 of 40 requests" in page
    assert "The whole file, 40 requests: " in page


@pytest.mark.parametrize("command", ["estimate", "check", "run"])
def test_a_sample_of_no_size_is_refused(command: str) -> None:
    done = claude_batch(command, FILE, "--random")
    assert (done.exit_code, "add --limit N" in done.err) == (2, True)
