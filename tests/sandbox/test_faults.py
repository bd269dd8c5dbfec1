from __future__ import annotations

from collections import Counter

import pytest

from claude_batch.sandbox.wire import Answer, Trouble
from tests.sandbox.asking import HEADERS, an_api, ask, call, error_of, params, stats_of

STORM = """
[faults]
rate_limit = 0.05
overloaded = 0.05
server_error = 0.05
reset = 0.05
cut_body = 0.05
hang = 0.05
html_502 = 0.05
invalid_json = 0.05
slow = 0.05
"""


def seen(answer: Answer) -> tuple[int, str, bytes]:
    return answer.status, answer.trouble.value, answer.body[:9]


def test_the_same_seed_brings_the_same_faults() -> None:
    one, other = an_api(STORM), an_api(STORM)
    for n in range(200):
        assert seen(ask(one, params(str(n)))) == seen(ask(other, params(str(n))))


def test_the_order_of_arrival_does_not_matter() -> None:
    forth, back = an_api(STORM), an_api(STORM)
    one = {n: seen(ask(forth, params(str(n)))) for n in range(100)}
    other = {n: seen(ask(back, params(str(n)))) for n in reversed(range(100))}
    assert one == other


def test_every_fault_comes_about_as_often_as_it_should() -> None:
    api = an_api(STORM)
    kinds: Counter[str] = Counter()
    for n in range(4_000):
        answer = ask(api, params(str(n)))
        html = answer.body.startswith(b"<!")
        kinds["invalid" if html else f"{answer.status} {answer.trouble}"] += 1
    names = [
        "429 none",
        "529 none",
        "500 none",
        "502 none",
        "invalid",
        "200 reset",
        "200 cut",
        "200 hang",
    ]
    assert all(150 <= kinds[name] <= 250 for name in names), kinds


def test_a_repeated_request_is_drawn_again() -> None:
    api = an_api("[faults]\noverloaded = 0.5")
    assert {ask(api).status for _ in range(20)} == {200, 529}


def test_a_storms_429_says_when_to_come_back_and_names_no_limit() -> None:
    answer = ask(an_api("[faults]\nrate_limit = 1\nrate_limit_retry_after_s = 3"))
    assert (answer.status, answer.headers["retry-after"]) == (429, "3")
    assert "per minute" not in error_of(answer)["message"]


@pytest.mark.parametrize(
    ("fault", "status", "kind"),
    [("overloaded", 529, "overloaded_error"), ("server_error", 500, "api_error")],
)
def test_errors_have_the_apis_shape(fault: str, status: int, kind: str) -> None:
    answer = ask(an_api(f"[faults]\n{fault} = 1"))
    assert answer.status == status
    assert answer.json()["type"] == "error"
    assert error_of(answer)["type"] == kind
    assert answer.json()["request_id"] == answer.headers["request-id"]


def test_a_gateways_page_is_html() -> None:
    answer = ask(an_api("[faults]\nhtml_502 = 1"))
    assert (answer.status, answer.headers["content-type"]) == (502, "text/html")


def test_an_invalid_answer_is_no_success() -> None:
    api = an_api("[faults]\ninvalid_json = 1")
    api.ended(ask(api))
    assert stats_of(api)["answered"] == 0


@pytest.mark.parametrize("fault", ["reset", "cut_body", "hang"])
def test_what_breaks_on_the_way_is_no_success(fault: str) -> None:
    api = an_api(f"[faults]\n{fault} = 1")
    answer = ask(api)
    api.ended(answer)
    assert answer.trouble is not Trouble.NONE
    assert stats_of(api)["answered"] == 0


def test_a_slow_answer_takes_ten_times_as_long() -> None:
    calm, slow = an_api(), an_api("[faults]\nslow = 1")
    assert ask(slow).delay_s == pytest.approx(10 * ask(calm).delay_s)


def test_an_overload_can_come_in_the_middle_of_a_stream() -> None:
    api = an_api("[faults]\noverloaded = 1")
    answers = [ask(api, params(str(n), stream=True)) for n in range(20)]
    midway = [answer for answer in answers if answer.status == 200]
    assert midway
    assert all(b"event: error" in answer.events[-1].data for answer in midway)
    assert {answer.status for answer in answers} == {200, 529}


def statuses(toml: str, *moments: float, headers: dict[str, str] | None = None) -> list[int]:
    api = an_api(toml)
    return [ask(api, now=now, headers=headers).status for now in moments]


def test_an_outage_lasts_from_its_beginning_to_its_end() -> None:
    toml = "[[outage]]\nstatus = 529\nfrom_s = 10\nuntil_s = 20"
    assert statuses(toml, 5.0, 14.9, 15.0, 24.9, 25.0) == [200, 200, 529, 529, 200]


def test_an_outage_can_concern_one_key() -> None:
    toml = "[[outage]]\nstatus = 401\nkey = 'sk-revoked'"
    revoked = {**HEADERS, "x-api-key": "sk-revoked"}
    assert statuses(toml, 0.0) == [200]
    assert statuses(toml, 0.0, headers=revoked) == [401]


def test_an_outage_can_concern_one_model() -> None:
    api = an_api("[[outage]]\nstatus = 403\nmodel = 'claude-opus-5'")
    assert (ask(api).status, ask(api, params(model="claude-opus-5")).status) == (200, 403)


def test_an_outage_concerns_every_endpoint() -> None:
    api = an_api("[[outage]]\nstatus = 529")
    assert call(api, "GET /v1/messages/batches").status == 529


def test_judges_are_served_during_an_outage() -> None:
    assert call(an_api("[[outage]]\nstatus = 529"), "GET /sandbox/stats").status == 200
