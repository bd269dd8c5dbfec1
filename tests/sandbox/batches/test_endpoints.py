from __future__ import annotations

from collections import Counter
from typing import Any

import orjson
import pytest
from anthropic.types.messages import (
    DeletedMessageBatch,
    MessageBatch,
    MessageBatchIndividualResponse,
)
from pydantic import TypeAdapter

from claude_batch.sandbox.api import SandboxApi
from claude_batch.sandbox.batches import frame
from claude_batch.sandbox.wire import Answer, Trouble
from tests.sandbox.asking import HEADERS, OLD_HEADERS, an_api, ask, call, error_of, params, stats_of

PATH = "/v1/messages/batches"
STEADY = "[batches]\nduration_s = 100\nspread = 0\n"
BATCH: TypeAdapter[MessageBatch] = TypeAdapter(MessageBatch)
LINE: TypeAdapter[MessageBatchIndividualResponse] = TypeAdapter(MessageBatchIndividualResponse)


def requests(count: int, **more: Any) -> list[dict[str, Any]]:
    return [{"custom_id": f"r-{n}", "params": params(f"Say {n}.", **more)} for n in range(count)]


def create(
    api: SandboxApi, items: Any = None, now: float = 0.0, headers: dict[str, str] | None = None
) -> Answer:
    body = {"requests": requests(10) if items is None else items}
    return call(api, f"POST {PATH}", now, body=body, headers=headers)


def created(api: SandboxApi, items: Any = None, now: float = 0.0) -> str:
    """Create a batch and return its id."""
    answer = create(api, items, now)
    assert answer.status == 200, answer.body
    batch_id: str = answer.json()["id"]
    return batch_id


def show(api: SandboxApi, batch_id: str, now: float) -> dict[str, Any]:
    batch: dict[str, Any] = call(api, f"GET {PATH}/{batch_id}", now).json()
    return batch


def fetch(api: SandboxApi, batch_id: str, now: float, **headers: str) -> Answer:
    return call(api, f"GET {PATH}/{batch_id}/results", now, headers=headers)


def whole(answer: Answer) -> bytes:
    return answer.body or b"".join(answer.chunks or ())


def results(api: SandboxApi, batch_id: str, now: float) -> dict[str, Any]:
    """Return the results by custom_id."""
    lines = whole(fetch(api, batch_id, now)).splitlines()
    return {line["custom_id"]: line["result"] for line in map(orjson.loads, lines)}


def types(api: SandboxApi, batch_id: str, now: float) -> Counter[str]:
    return Counter(result["type"] for result in results(api, batch_id, now).values())


def test_a_new_batch_is_one_of_the_sdks() -> None:
    batch = BATCH.validate_json(create(an_api()).body, strict=True)
    assert not batch.model_extra
    assert (batch.processing_status, batch.request_counts.processing) == ("in_progress", 10)
    assert batch.results_url is None


def test_all_counts_stay_in_processing_until_the_end() -> None:
    api = an_api(STEADY)
    batch_id = created(api)
    told = show(api, batch_id, 99.0)
    assert told["request_counts"]["processing"] == 10
    assert told["processing_status"] == "in_progress"


def test_a_batch_ends_when_its_work_is_done() -> None:
    api = an_api(STEADY)
    batch = BATCH.validate_python(show(api, created(api), 100.0))
    assert (batch.processing_status, batch.request_counts.succeeded) == ("ended", 10)
    assert batch.ended_at is not None
    assert (batch.ended_at - batch.created_at).total_seconds() == 100


def test_the_results_url_is_absolute() -> None:
    api = an_api(STEADY)
    batch_id = created(api)
    url = show(api, batch_id, 100.0)["results_url"]
    assert url == f"http://127.0.0.1:1{PATH}/{batch_id}/results"


def test_the_results_url_can_name_another_origin() -> None:
    api = an_api(STEADY + "results_origin = 'http://elsewhere.invalid'")
    url = show(api, created(api), 100.0)["results_url"]
    assert url.startswith("http://elsewhere.invalid/v1/")


def test_there_is_one_result_for_each_request_in_another_order() -> None:
    api = an_api(STEADY)
    told = list(results(api, created(api, requests(50)), 100.0))
    assert told != sorted(told)
    assert sorted(told) == sorted(item["custom_id"] for item in requests(50))


def test_every_result_is_one_of_the_sdks() -> None:
    api = an_api(STEADY + "expired = 0.2\nerrored = 0.2")
    batch_id = created(api, requests(40))
    for line in whole(fetch(api, batch_id, 100.0)).splitlines():
        assert not LINE.validate_json(line, strict=True).result.model_extra


def test_a_batch_says_what_the_messages_api_says() -> None:
    api = an_api(STEADY)
    result = results(api, created(api, requests(1)), 100.0)["r-0"]["message"]
    live = ask(api, requests(1)[0]["params"]).json()
    assert result["content"] == live["content"]
    assert result["usage"] == {**live["usage"], "service_tier": "batch"}


def test_there_are_no_results_before_the_end() -> None:
    api = an_api(STEADY)
    assert fetch(api, created(api), 50.0).status == 404


def test_parameters_are_checked_late() -> None:
    api = an_api(STEADY)
    bad = [
        {"custom_id": "bad", "params": params(max_tokens=-1)},
        {"custom_id": "stream", "params": params(stream=True)},
        {"custom_id": "warm", "params": params(max_tokens=0)},
        {"custom_id": "model", "params": params(model="nope")},
    ]
    told = results(api, created(api, [*requests(1), *bad]), 100.0)
    errors = {name: told[name]["error"]["error"] for name in ("bad", "stream", "warm", "model")}
    assert told["r-0"]["type"] == "succeeded"
    assert errors["bad"]["message"].startswith("max_tokens: Input should be greater")
    assert errors["model"]["type"] == "not_found_error"
    assert {error["type"] for error in errors.values()} == {
        "invalid_request_error",
        "not_found_error",
    }


def test_sampling_in_a_batch_needs_the_old_version() -> None:
    api = an_api(STEADY)
    items = requests(1, model="claude-opus-4-6", temperature=0.5)
    old = create(api, items, headers=OLD_HEADERS).json()["id"]
    assert types(api, created(api, items), 100.0) == {"errored": 1}
    assert types(api, old, 100.0) == {"succeeded": 1}


REFUSED: list[tuple[Any, str]] = [
    ([], "requests: List should have at least 1 item"),
    (3, "requests: Input should be a valid list"),
    ([{"params": params()}], "requests.0.custom_id: Field required"),
    ([{"custom_id": "a"}], "requests.0.params: Field required"),
    ([{"custom_id": "a", "params": 3}], "requests.0.params: Input should be a valid dictionary"),
    ([{"custom_id": "a b", "params": params()}], "requests.0.custom_id: String should match"),
    ([{"custom_id": "x" * 65, "params": params()}], "requests.0.custom_id: String should match"),
    ([*requests(2), *requests(1)], "requests.2.custom_id: r-0 is not unique"),
    (
        [{"custom_id": "a", "params": params(), "meta": 1}],
        "requests.0.meta: Extra inputs are not permitted",
    ),
]


@pytest.mark.parametrize(("items", "message"), REFUSED, ids=[m for _, m in REFUSED])
def test_the_frame_of_a_request_is_checked_at_once(items: Any, message: str) -> None:
    answer = create(an_api(), items)
    assert answer.status == 400
    assert error_of(answer)["message"].startswith(message)


def test_a_batch_takes_a_hundred_thousand_requests_and_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert frame.MOST_REQUESTS == 100_000
    monkeypatch.setattr(frame, "MOST_REQUESTS", 1_000)  # as many take seconds
    tiny = [{"custom_id": f"{n}", "params": {}} for n in range(1_001)]
    assert create(an_api(), tiny).status == 400
    assert create(an_api(), tiny[1:]).status == 200


def test_requests_can_expire() -> None:
    api = an_api(STEADY + "expired = 0.3")
    found = types(api, created(api, requests(400)), 100.0)
    assert 80 < found["expired"] < 160


def test_the_server_can_fail_at_requests() -> None:
    api = an_api(STEADY + "errored = 1")
    result = results(api, created(api, requests(1)), 100.0)["r-0"]
    assert result["error"]["error"] == {"type": "api_error", "message": "Internal server error"}


def test_a_request_in_another_batch_is_drawn_again() -> None:
    api = an_api(STEADY + "expired = 0.5")
    one, other = (
        {name for name, r in results(api, created(api, requests(50)), 100.0).items()
         if r["type"] == "expired"}
        for _ in range(2)
    )  # fmt: skip
    assert one != other


def test_what_is_not_done_after_24_hours_expires() -> None:
    api = an_api("[batches]\nduration_s = 172_800\nspread = 0")
    batch_id = created(api, requests(400))
    assert show(api, batch_id, 86_399.0)["processing_status"] == "in_progress"
    assert 150 < types(api, batch_id, 86_400.0)["expired"] < 250


def test_canceling_keeps_what_is_done() -> None:
    api = an_api(STEADY + "cancel_s = 5")
    batch_id = created(api, requests(400))
    canceling = call(api, f"POST {PATH}/{batch_id}/cancel", 50.0).json()
    assert canceling["processing_status"] == "canceling"
    assert show(api, batch_id, 54.0)["request_counts"]["processing"] == 400
    found = types(api, batch_id, 55.0)
    assert found.keys() == {"succeeded", "canceled"}
    assert 150 < found["succeeded"] < 250


def test_an_ended_batch_cannot_be_canceled() -> None:
    api = an_api(STEADY)
    assert call(api, f"POST {PATH}/{created(api)}/cancel", 100.0).status == 400


def test_only_an_ended_batch_can_be_deleted() -> None:
    api = an_api(STEADY)
    path = f"{PATH}/{created(api)}"
    assert call(api, f"DELETE {path}", 50.0).status == 400
    DeletedMessageBatch.model_validate_json(call(api, f"DELETE {path}", 100.0).body, strict=True)
    assert call(api, f"GET {path}", 101.0).status == 404


def test_results_are_gone_after_29_days() -> None:
    api = an_api(STEADY)
    batch_id = created(api)
    day_29 = 29 * 86_400.0
    assert fetch(api, batch_id, day_29 - 1).status == 200
    assert fetch(api, batch_id, day_29).status == 404
    assert show(api, batch_id, day_29)["archived_at"] is not None
    assert show(api, batch_id, day_29)["results_url"] is None


def test_a_fast_clock_makes_all_of_it_shorter() -> None:
    api = an_api(STEADY + "time_scale = 10")
    batch = BATCH.validate_python(show(api, created(api), 10.0))
    assert batch.processing_status == "ended"
    assert (batch.expires_at - batch.created_at).total_seconds() == 8_640


def ids(api: SandboxApi, now: float = 0.0, **query: str) -> tuple[list[str], bool]:
    page = call(api, f"GET {PATH}", now, query=query).json()
    return [batch["id"][-2:] for batch in page["data"]], page["has_more"]


def test_the_list_goes_from_new_to_old_page_by_page() -> None:
    api = an_api()
    made = [created(api, requests(1)) for _ in range(5)]
    assert ids(api) == (["05", "04", "03", "02", "01"], False)
    assert ids(api, limit="2") == (["05", "04"], True)
    assert ids(api, limit="2", after_id=made[3]) == (["03", "02"], True)
    assert ids(api, limit="2", after_id=made[1]) == (["01"], False)
    assert ids(api, limit="2", before_id=made[1]) == (["04", "03"], True)


def test_the_list_shows_no_batch_of_another_organization() -> None:
    api = an_api("[[organization]]\nid = 'o'\nkeys = ['sk-o']")
    batch_id = created(api)
    other = {"x-api-key": "sk-o"}
    assert call(api, f"GET {PATH}", headers=other).json()["data"] == []
    assert call(api, f"GET {PATH}/{batch_id}", headers=other).status == 404


def test_the_list_can_lag() -> None:
    api = an_api("[batches]\nlist_lag_s = 60")
    created(api)
    assert (ids(api, 59.0), ids(api, 60.0)) == (([], False), (["01"], False))


def test_a_batch_can_be_unknown_shortly_after_its_creation_and_its_end() -> None:
    api = an_api(STEADY + "not_found_s = 5")
    batch_id = created(api)
    found = [call(api, f"GET {PATH}/{batch_id}", now).status for now in (4.0, 5.0)]
    assert found == [404, 200]
    assert [fetch(api, batch_id, now).status for now in (104.0, 105.0)] == [404, 200]


def test_the_answer_of_a_create_can_be_lost_after_it_was_created() -> None:
    api = an_api("[batches]\nlost_creates = 1")
    assert create(api).trouble is Trouble.RESET
    assert len(ids(api)[0]) == 1


def test_a_create_can_be_refused_without_being_created() -> None:
    api = an_api("[batches]\nrefused_creates = 1")
    assert create(api).status == 529
    assert ids(api) == ([], False)


def test_the_first_download_can_be_cut() -> None:
    api = an_api(STEADY + "cut_results = 1")
    batch_id = created(api, requests(20))
    first = fetch(api, batch_id, 100.0)
    torn = whole(first)
    assert first.trouble is Trouble.CUT
    assert torn.count(b"\n") == 10
    assert not torn.endswith(b"\n")
    assert whole(fetch(api, batch_id, 100.0)).startswith(torn)


def test_a_download_can_go_on_where_it_was_cut() -> None:
    api = an_api(STEADY)
    batch_id = created(api)
    everything = whole(fetch(api, batch_id, 100.0))
    rest = fetch(api, batch_id, 100.0, range="bytes=500-")
    assert (rest.status, rest.body) == (206, everything[500:])
    last = len(everything) - 1
    assert rest.headers["content-range"] == f"bytes 500-{last}/{len(everything)}"


def test_ranges_can_be_unknown() -> None:
    api = an_api(STEADY + "ranges = false")
    assert fetch(api, created(api), 100.0, range="bytes=500-").status == 200


def test_a_full_queue_takes_no_more_until_a_batch_has_ended() -> None:
    api = an_api(STEADY + "[limits]\nbatch_queue = 15")
    created(api)
    refused = create(api)
    assert (refused.status, error_of(refused)["type"]) == (429, "rate_limit_error")
    assert create(api, now=100.0).status == 200


def test_all_batch_endpoints_share_a_limit() -> None:
    api = an_api("[limits]\nbatches_rpm = 2")
    created(api)
    assert [call(api, f"GET {PATH}").status for _ in range(2)] == [200, 429]


def test_batches_cost_no_requests_of_the_messages_api() -> None:
    api = an_api("[limits]\nrpm = 1")
    created(api)
    assert ask(api).status == 200


def test_a_server_without_batches_answers_404() -> None:
    api = an_api("[batches]\nsupported = false")
    assert (create(api).status, call(api, f"GET {PATH}").status) == (404, 404)


def test_caching_in_a_batch_is_best_effort() -> None:
    api = an_api(STEADY + "cache_hits = 0.5")
    mark = {"type": "ephemeral", "ttl": "1h"}
    system = [{"type": "text", "text": "Read this first. " * 200, "cache_control": mark}]
    told = results(api, created(api, requests(100, system=system)), 100.0).values()
    read = [r["message"]["usage"]["cache_read_input_tokens"] > 0 for r in told]
    written = [r["message"]["usage"]["cache_creation_input_tokens"] > 0 for r in told]
    assert 30 < sum(read) < 70
    assert all(one != other for one, other in zip(read, written, strict=True))


def test_judges_see_what_became_of_batches() -> None:
    api = an_api(STEADY)
    created(api)
    created(api, requests(3))
    stats = stats_of(api, 100.0)
    assert (stats["batches"], stats["batch_requests"]) == (2, {"succeeded": 13})
    assert stats["batch_ids_succeeded_twice"] == 3
    assert stats["batch_bodies_succeeded_twice"] == 3
    assert stats["batch_calls"] == 2


def test_headers_of_batch_calls_name_the_organization() -> None:
    headers = create(an_api(), headers=HEADERS).headers
    assert {"request-id", "anthropic-organization-id", "date"} <= headers.keys()
