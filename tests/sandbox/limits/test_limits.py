from __future__ import annotations

import pytest

from claude_batch.sandbox.api import SandboxApi
from tests.sandbox.asking import an_api, ask, error_of, params, stats_of

FAST = "[latency]\nbase_s = 0\nper_output_token_s = 0\njitter = 0\n"


def granted(api: SandboxApi, upto: int, now: float) -> int:
    """Return how many of `upto` requests at one moment are answered."""
    return sum(ask(api, params(f"{now} {n}"), now).status == 200 for n in range(upto))


def test_a_full_bucket_grants_a_minutes_worth_and_not_one_more() -> None:
    assert granted(an_api("[limits]\nrpm = 10"), 20, 0.0) == 10


def test_an_empty_bucket_grants_what_has_dripped_in() -> None:
    api = an_api("[limits]\nrpm = 10")
    granted(api, 10, 0.0)
    assert granted(api, 10, 12.0) == 2


def test_a_limit_enforced_by_the_second_grants_no_minute_at_once() -> None:
    assert granted(an_api("[limits]\nrpm = 120\nrpm_burst_s = 1"), 20, 0.0) == 2


def test_buckets_start_as_full_as_the_scenario_says() -> None:
    assert granted(an_api("[limits]\nrpm = 10\ninitial_fill = 0.5"), 20, 0.0) == 5


def test_a_refused_request_costs_nothing() -> None:
    api = an_api("[limits]\nrpm = 60")
    granted(api, 60, 0.0)
    granted(api, 100, 0.5)
    assert granted(api, 10, 1.0) == 1


def test_a_429_names_limit_and_organization_and_how_long() -> None:
    api = an_api("[limits]\nrpm = 6")
    granted(api, 6, 0.0)
    answer = ask(api, now=0.5)
    message = error_of(answer)["message"]
    organization = answer.headers["anthropic-organization-id"]
    assert answer.headers["retry-after"] == "10"
    assert message.startswith(
        f"This request would exceed the rate limit for your organization ({organization}) of 6 "
        "requests per minute. For details"
    )


def test_what_retry_after_says_is_enough() -> None:
    api = an_api("[limits]\nrpm = 7")
    granted(api, 7, 0.0)
    wait_s = int(ask(api, now=0.1).headers["retry-after"])
    assert ask(api, now=0.1 + wait_s).status == 200


def test_input_tokens_are_charged_as_a_request_comes_in() -> None:
    api = an_api("[limits]\nitpm = 1000")
    used = ask(api, now=0).json()["usage"]["input_tokens"]
    text = "word " * 400
    answers = [ask(api, params(text), now=0) for _ in range(3)]
    big = answers[0].json()["usage"]["input_tokens"]
    assert [answer.status for answer in answers] == [200] + [429] * 2
    assert used + 2 * big > 1000
    assert "1,000 input tokens per minute" in error_of(answers[1])["message"]


def test_a_request_larger_than_the_bucket_goes_when_it_is_full() -> None:
    api = an_api("[limits]\nitpm = 100")
    assert ask(api, params("word " * 400)).status == 200
    assert ask(api, params("word"), now=30.0).status == 429


def test_output_tokens_are_charged_as_they_are_generated() -> None:
    api = an_api(
        "[limits]\notpm = 60\n[output]\nmean_tokens = 80\nspread = 0\nthinking_tokens = 20\n"
        "[latency]\nbase_s = 1\nper_output_token_s = 0.1\njitter = 0"
    )
    assert ask(api, params("first")).json()["usage"]["output_tokens"] == 100
    assert ask(api, params("before a token has come"), now=0.5).status == 200
    assert ask(api, params("when most have"), now=10.0).status == 429


def test_a_request_is_not_charged_for_its_max_tokens() -> None:
    api = an_api("[limits]\notpm = 1000\n" + FAST)
    answers = [ask(api, params(f"{n}", max_tokens=100_000)) for n in range(4)]
    assert [answer.status for answer in answers] == [200] * 4


def test_the_headers_tell_every_limit() -> None:
    headers = ask(an_api(), now=0.0).headers
    families = ("requests", "input-tokens", "output-tokens", "tokens")
    names = {
        f"anthropic-ratelimit-{f}-{p}" for f in families for p in ("limit", "remaining", "reset")
    }
    assert names <= headers.keys()


def test_the_headers_of_requests_are_exact() -> None:
    headers = ask(an_api("[limits]\nrpm = 60")).headers
    told = [
        headers[f"anthropic-ratelimit-requests-{part}"] for part in ("limit", "remaining", "reset")
    ]
    assert told == ["60", "59", "2026-11-24T00:00:01Z"]


def test_remaining_tokens_are_told_to_the_nearest_thousand() -> None:
    api = an_api("[limits]\nitpm = 10000")
    headers = ask(api, params("word " * 900)).headers
    assert headers["anthropic-ratelimit-input-tokens-remaining"] in {"8000", "9000"}


def test_reset_is_when_the_bucket_is_full_again() -> None:
    api = an_api("[limits]\nrpm = 60")
    granted(api, 30, 0.0)
    assert ask(api).headers["anthropic-ratelimit-requests-reset"] == "2026-11-24T00:00:31Z"


def test_limits_are_sampled_as_the_answer_leaves() -> None:
    api = an_api("[limits]\nrpm = 60")
    answer = ask(api)
    granted(api, 9, 0.0)
    api.sending(answer, 0.0)
    assert answer.headers["anthropic-ratelimit-requests-remaining"] == "50"


def test_limits_can_be_sampled_as_the_request_comes_in() -> None:
    api = an_api("[limits]\nrpm = 60\n[headers]\nsampled_at = 'start'")
    answer = ask(api)
    granted(api, 9, 0.0)
    api.sending(answer, 0.0)
    assert answer.headers["anthropic-ratelimit-requests-remaining"] == "59"


def test_a_limit_of_zero_is_none_and_is_not_told() -> None:
    headers = ask(an_api("[limits]\nrpm = 0\nitpm = 0\notpm = 0")).headers
    assert not [name for name in headers if name.startswith("anthropic-ratelimit")]


def test_a_relay_tells_no_limits_and_no_wait() -> None:
    api = an_api("[limits]\nrpm = 1\n[headers]\nrate_limits = false\nretry_after = false")
    granted(api, 1, 0.0)
    headers = ask(api).headers
    assert not [name for name in headers if name.startswith(("anthropic-ratelimit", "retry"))]


def test_model_classes_have_limits_of_their_own() -> None:
    api = an_api("[limits]\nrpm = 1")
    granted(api, 1, 0.0)
    assert ask(api, params(model="claude-sonnet-5")).status == 200


def test_models_of_one_class_share_their_limits() -> None:
    api = an_api("[limits]\nrpm = 1")
    ask(api, params(model="claude-opus-4-8"))
    assert ask(api, params(model="claude-opus-4-6")).status == 429


def test_a_class_can_have_other_limits() -> None:
    api = an_api('[limits]\nrpm = 50\n[limits.classes."Haiku 5.5"]\nrpm = 2')
    assert granted(api, 10, 0.0) == 2


def test_limits_change_when_the_scenario_says() -> None:
    api = an_api("[limits]\nrpm = 60\n[[change]]\nat_s = 10\nrpm = 600")
    granted(api, 60, 100.0)
    assert granted(api, 500, 115.0) == 10 + 50


def test_a_competitor_takes_its_share_of_what_drips_in() -> None:
    api = an_api("[limits]\nrpm = 60\n[competitor]\nshare = 0.5\nfrom_s = 0")
    granted(api, 60, 0.0)
    assert granted(api, 60, 20.0) == 10


def test_growing_too_fast_is_refused_by_code() -> None:
    api = an_api("[ramp]\nstart_rpm = 60\nburst_s = 5")
    answers = [ask(api, params(str(n))) for n in range(6)]
    assert [answer.status for answer in answers] == [200] * 5 + [429]
    assert error_of(answers[5])["details"] == {"error_code": "ramp_limit_exceeded"}
    assert int(answers[5].headers["retry-after"]) >= 1


def test_what_the_ramp_allows_doubles() -> None:
    api = an_api("[ramp]\nstart_rpm = 60\nburst_s = 5\ndoubles_every_s = 10")
    granted(api, 5, 0.0)
    assert granted(api, 100, 20.0) == 20


def test_every_429_is_counted_by_what_limited() -> None:
    api = an_api("[limits]\nrpm = 2")
    granted(api, 5, 0.0)
    assert stats_of(api)["rate_limited"] == {"requests": 3}


@pytest.mark.parametrize(
    ("answer", "status", "code", "text"),
    [
        ("spend_limit", 429, "enforced_spend_limit_reached", "spend limit"),
        ("contract_spend_limit", 429, "contract_spend_limit_reached", "spend limit"),
        ("own_spend_limit", 400, None, "You have reached your specified API usage limits"),
        ("credit", 400, None, "credit balance is too low"),
        ("on_hold", 400, "organization_on_hold", "on hold"),
        ("billing", 402, None, "billing"),
    ],
)
def test_a_spent_account_says_so(answer: str, status: int, code: str | None, text: str) -> None:
    api = an_api(f"[spend]\nafter_requests = 2\nanswer = '{answer}'")
    granted(api, 2, 0.0)
    refused = ask(api)
    error = error_of(refused)
    assert refused.status == status
    assert (error.get("details") or {}).get("error_code") == code
    assert text in error["message"]
    assert "retry-after" not in refused.headers


def test_a_window_of_the_clock_is_used_up_and_full_again_when_the_next_begins() -> None:
    api = an_api("[limits]\nrpm = 10\nrpm_window_s = 60")
    assert [granted(api, 20, now) for now in (50.0, 59.0, 60.5, 119.0, 120.0)] == [10, 0, 10, 0, 10]


def test_a_full_window_asks_to_wait_for_the_next() -> None:
    api = an_api("[limits]\nrpm = 10\nrpm_window_s = 60")
    granted(api, 10, 50.0)
    assert ask(api, now=52.0).headers["retry-after"] == "8"
