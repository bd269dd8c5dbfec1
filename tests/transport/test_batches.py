"""Message Batches: a create is refused or lost but never repeated; results come from our origin."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import aiohttp
import anthropic
import httpx2
import orjson
import pytest
from aiohttp import web
from anthropic.types.messages import MessageBatch
from anthropic.types.messages.batch_create_params import BatchCreateParams
from pydantic import TypeAdapter

from claude_batch.core.batch.packing import TAIL, Packer
from claude_batch.core.model.batches import (
    AnswerLost,
    BatchCounts,
    BatchPage,
    BatchStatus,
    BatchView,
)
from claude_batch.core.model.requests import API_VERSION, Failure, FailureKind
from claude_batch.transport.batches import BatchesTransport, batch_view
from claude_batch.transport.clients import EndpointSettings
from claude_batch.transport.opening import open_client
from tests.support.fake_batches import data_of
from tests.support.fakes import UNBOUNDED
from tests.support.virtual_time import run_virtually
from tests.transport.wire import KEY, NEVER_S, Chunks, Wire, a_request, an_error, unreachable

pytestmark = pytest.mark.usefixtures("sender")

T = TypeVar("T")

A_BATCH: dict[str, Any] = {
    "id": "msgbatch_1",
    "type": "message_batch",
    "processing_status": "in_progress",
    "request_counts": {"processing": 2, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0},
    "created_at": "2026-11-24T10:00:00Z",
    "expires_at": "2026-11-25T10:00:00Z",
    "ended_at": None,
    "cancel_initiated_at": None,
    "archived_at": None,
    "results_url": None,
}
CREATED_AT = 1_795_514_400.0
VIEW = BatchView(
    id="msgbatch_1",
    status=BatchStatus.IN_PROGRESS,
    counts=BatchCounts(processing=2),
    created_at=CREATED_AT,
    expires_at=CREATED_AT + 86_400,
)
RESULTS = b"".join(b'{"custom_id":"r-1-%d"}\n' % n for n in range(100))


@dataclass(frozen=True)
class Body:
    """A body in pieces."""

    data: bytes = b'{"requests":[]}'
    piece: int = 5

    @property
    def size(self) -> int:
        return len(self.data)

    async def pieces(self) -> AsyncIterator[bytes]:
        for begin in range(0, len(self.data), self.piece):
            yield self.data[begin : begin + self.piece]


def a_batch(**changes: Any) -> httpx2.Response:
    return httpx2.Response(200, json={**A_BATCH, **changes})


def over(
    wire: Wire,
    use: Callable[[BatchesTransport], Awaitable[T]],
    settings: EndpointSettings | None = None,
) -> T:
    async def go() -> T:
        client = wire.client(settings)
        try:
            return await use(BatchesTransport(client))
        finally:
            await client.close()

    return run_virtually(go())


def created(answer: Any, body: Body | None = None) -> BatchView | Failure | AnswerLost:
    wire = Wire(answer=answer if callable(answer) else lambda _: answer)
    return over(wire, lambda api: api.create(body or Body(), api_version=API_VERSION))


def throwing(error: Exception | type[Exception]) -> Callable[[httpx2.Request], httpx2.Response]:
    def throw(_: httpx2.Request) -> httpx2.Response:
        raise error

    return throw


def test_a_batch_is_created_with_the_bytes_that_were_packed() -> None:
    wire = Wire(answers=[a_batch()])
    body = Body(b'{"requests":[{"custom_id":"r-1-1","params":{}}]}')
    assert over(wire, lambda api: api.create(body, api_version="2023-06-01")) == VIEW
    sent = wire.sent[0]
    assert (sent.method, sent.url.path, sent.content) == ("POST", "/v1/messages/batches", body.data)


def test_a_create_tells_its_length_and_its_version() -> None:
    wire = Wire(answers=[a_batch()])
    over(wire, lambda api: api.create(Body(), api_version="2023-06-01"))
    headers = wire.sent[0].headers
    assert headers["anthropic-version"] == "2023-06-01"
    assert headers["content-length"] == str(Body().size)
    assert headers["content-type"] == "application/json"
    assert "transfer-encoding" not in headers


def test_a_cloud_that_signs_requests_gets_the_body_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("ANTHROPIC_AWS_WORKSPACE_ID", "wrkspc_1")
    wire = Wire(answers=[a_batch()])
    settings = EndpointSettings(provider="aws", api_key=KEY)
    over(wire, lambda api: api.create(Body(), api_version=API_VERSION), settings)
    assert isinstance(wire.bodies[0], bytes)


def test_what_is_packed_is_what_the_sdk_would_send() -> None:
    packer = Packer("r", next_chunk=1, budget=UNBOUNDED)
    data = b"".join(data_of(packer.add(a_request(line=line))) for line in (1, 2)) + TAIL
    wire = Wire(answers=[a_batch()])
    over(wire, lambda api: api.create(Body(data), api_version=API_VERSION))
    value = TypeAdapter(BatchCreateParams).validate_json(wire.sent[0].content)
    requests: list[Any] = list(value["requests"])  # validated as they are drawn
    assert [request["custom_id"] for request in requests] == ["r-1-1", "r-1-2"]
    turns = [turn for request in requests for turn in request["params"]["messages"]]
    assert [turn["role"] for turn in turns] == ["user", "user"]


def test_the_sdk_reads_the_same_of_a_batch() -> None:
    sdks = MessageBatch.model_validate(A_BATCH)
    assert sdks.created_at.timestamp() == VIEW.created_at
    assert sdks.request_counts.processing == VIEW.counts.total


@pytest.mark.parametrize(
    ("status", "error_type"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (409, "conflict_error"),
        (413, "request_too_large"),
        (429, "rate_limit_error"),
        (529, "overloaded_error"),
    ],
)
def test_a_create_can_be_refused(status: int, error_type: str) -> None:
    outcome = created(an_error(status, error_type))
    assert isinstance(outcome, Failure)
    assert outcome.status == status


@pytest.mark.parametrize(
    "answer",
    [
        an_error(500, "api_error"),
        an_error(504, "timeout_error"),
        an_error(408, "timeout_error"),
        httpx2.Response(502, html="<html>bad gateway</html>"),
        httpx2.Response(503, text="try later"),
        httpx2.Response(529, text="a relay's own 529"),
        httpx2.Response(200, text="<html>"),
        httpx2.Response(200, json={"id": "msgbatch_1"}),
        httpx2.Response(200, stream=Chunks([b'{"id":'], httpx2.ReadError("reset"))),
        throwing(aiohttp.SocketTimeoutError("slow")),
        throwing(ConnectionResetError("reset")),
        throwing(aiohttp.ServerDisconnectedError),
    ],
)
def test_the_answer_to_a_create_can_be_lost(answer: Any) -> None:
    assert isinstance(created(answer), AnswerLost)


@pytest.mark.parametrize(
    "error",
    [
        aiohttp.ConnectionTimeoutError("no route"),
        unreachable(ConnectionRefusedError(111, "refused")),
    ],
)
def test_a_create_that_never_left_is_a_refusal(error: Exception) -> None:
    outcome = created(throwing(error))
    assert isinstance(outcome, Failure)
    assert outcome.kind is FailureKind.UNREACHABLE


def test_a_create_without_a_credential_is_a_refusal() -> None:
    outcome = created(throwing(anthropic.CredentialsError("no identity token")))
    assert isinstance(outcome, Failure)
    assert outcome.kind is FailureKind.ENDPOINT_REJECTED


def test_a_create_is_sent_once() -> None:
    wire = Wire(answer=lambda _: an_error(500, "api_error"))
    over(wire, lambda api: api.create(Body(), api_version=API_VERSION))
    assert len(wire.sent) == 1


def test_a_create_without_an_answer_is_lost_in_the_end() -> None:
    async def hang(_: httpx2.Request) -> httpx2.Response:
        await asyncio.sleep(NEVER_S)
        return a_batch()

    outcome = created(hang)
    assert isinstance(outcome, AnswerLost)
    assert outcome.failure.kind is FailureKind.TIMED_OUT


def test_a_batch_is_retrieved() -> None:
    ended = {
        "processing_status": "ended",
        "request_counts": {
            "processing": 0,
            "succeeded": 1,
            "errored": 2,
            "canceled": 3,
            "expired": 4,
        },
        "ended_at": "2026-11-24T10:00:10.5+00:00",
        "results_url": "https://elsewhere.example/results",
        "archived_at": "2026-11-24T10:01:00Z",
        "new": 1,
    }
    wire = Wire(answers=[a_batch(**ended)])
    assert over(wire, lambda api: api.retrieve("msgbatch_1")) == BatchView(
        id="msgbatch_1",
        status=BatchStatus.ENDED,
        counts=BatchCounts(succeeded=1, errored=2, canceled=3, expired=4),
        created_at=CREATED_AT,
        expires_at=CREATED_AT + 86_400,
        ended_at=CREATED_AT + 10.5,
        archived_at=CREATED_AT + 60,
        has_results=True,
    )
    assert wire.sent[0].url.path == "/v1/messages/batches/msgbatch_1"


def test_an_id_cannot_lead_elsewhere() -> None:
    wire = Wire(answers=[a_batch()])
    over(wire, lambda api: api.retrieve("../models?x"))
    assert wire.sent[0].url.raw_path == b"/v1/messages/batches/..%2Fmodels%3Fx"


@pytest.mark.parametrize(
    "changes",
    [
        {"created_at": None},
        {"created_at": "soon"},
    ],
)
def test_what_is_no_batch_is_an_invalid_response(changes: dict[str, Any]) -> None:
    wire = Wire(answers=[a_batch(**changes)])
    outcome = over(wire, lambda api: api.retrieve("msgbatch_1"))
    assert isinstance(outcome, Failure)
    assert outcome.kind is FailureKind.INVALID_RESPONSE


@pytest.mark.parametrize(
    ("changes", "view"),
    [
        ({"processing_status": "thinking"}, VIEW),
        ({"expires_at": None}, VIEW),
        ({"request_counts": None}, replace(VIEW, counts=BatchCounts(), counts_reported=False)),
        (
            {"request_counts": {**A_BATCH["request_counts"], "expired": None}},
            replace(VIEW, counts_reported=False),
        ),
    ],
)
def test_a_batch_is_one_though_some_of_it_is_odd(changes: dict[str, Any], view: BatchView) -> None:
    wire = Wire(answers=[a_batch(**changes)])
    assert over(wire, lambda api: api.retrieve("msgbatch_1")) == view


def test_an_odd_one_among_others_is_counted_and_left_out() -> None:
    page = {"data": [{**A_BATCH, "created_at": None}, A_BATCH, 1]}
    wire = Wire(answers=[httpx2.Response(200, json=page)])
    listed = over(wire, lambda api: api.list(limit=20, after_id=None))
    assert listed == BatchPage(batches=(VIEW,), has_more=False, last_id=None, unread=2)


def test_a_batch_that_is_not_there_says_so() -> None:
    wire = Wire(answers=[an_error(404, "not_found_error")])
    outcome = over(wire, lambda api: api.retrieve("msgbatch_1"))
    assert isinstance(outcome, Failure)
    assert outcome.status == 404


def test_batches_are_listed_newest_first_with_the_servers_time() -> None:
    page = {"data": [A_BATCH], "has_more": True, "last_id": "msgbatch_1"}
    date = {"date": "Tue, 24 Nov 2026 10:00:00 GMT"}
    wire = Wire(answers=[httpx2.Response(200, json=page, headers=date)])
    assert over(wire, lambda api: api.list(limit=50, after_id="msgbatch_9")) == BatchPage(
        batches=(VIEW,), has_more=True, last_id="msgbatch_1", server_time=CREATED_AT
    )
    assert wire.sent[0].url.query == b"limit=50&after_id=msgbatch_9"


@pytest.mark.parametrize("body", [b"[]", b"{}", b"<html>"])
def test_what_is_no_list_is_an_invalid_response(body: bytes) -> None:
    wire = Wire(answers=[httpx2.Response(200, content=body)])
    outcome = over(wire, lambda api: api.list(limit=20, after_id=None))
    assert isinstance(outcome, Failure)
    assert outcome.kind is FailureKind.INVALID_RESPONSE


def test_an_endpoint_without_batches_answers_404() -> None:
    wire = Wire(answers=[httpx2.Response(404, text="404 page not found")])
    outcome = over(wire, lambda api: api.list(limit=1, after_id=None))
    assert isinstance(outcome, Failure)
    assert outcome.status == 404


def test_a_batch_is_canceled() -> None:
    wire = Wire(answers=[a_batch(processing_status="canceling")])
    outcome = over(wire, lambda api: api.cancel("msgbatch_1"))
    assert isinstance(outcome, BatchView)
    assert outcome.status is BatchStatus.CANCELING
    assert wire.sent[0].url.path == "/v1/messages/batches/msgbatch_1/cancel"


def test_a_batch_is_deleted() -> None:
    gone = {"id": "msgbatch_1", "type": "message_batch_deleted"}
    wire = Wire(answers=[httpx2.Response(200, json=gone)])
    assert over(wire, lambda api: api.delete("msgbatch_1")) is None
    assert wire.sent[0].method == "DELETE"


def test_a_call_ends_at_its_deadline() -> None:
    async def hang(_: httpx2.Request) -> httpx2.Response:
        await asyncio.sleep(NEVER_S)
        return a_batch()

    outcome = over(Wire(answer=hang), lambda api: api.retrieve("msgbatch_1"))
    assert isinstance(outcome, Failure)
    assert outcome.kind is FailureKind.TIMED_OUT


def downloaded(
    wire: Wire, from_byte: int = 0, settings: EndpointSettings | None = None
) -> tuple[bytes, Failure | None]:
    """Return what came, and the failure it ended in."""

    async def use(api: BatchesTransport) -> tuple[bytes, Failure | None]:
        data = b""
        async for piece in api.results("msgbatch_1", from_byte=from_byte):
            if isinstance(piece, Failure):
                return data, piece
            data += piece
        return data, None

    return over(wire, use, settings)


def ranged(begin: int) -> httpx2.Response:
    told = {"content-range": f"bytes {begin}-{len(RESULTS) - 1}/{len(RESULTS)}"}
    return httpx2.Response(206, headers=told, stream=Chunks([RESULTS[begin:]]))


def test_results_come_as_they_are() -> None:
    wire = Wire(answers=[httpx2.Response(200, stream=Chunks([RESULTS[:70], RESULTS[70:]]))])
    assert downloaded(wire) == (RESULTS, None)


def test_results_are_fetched_below_our_base_url() -> None:
    wire = Wire(answers=[httpx2.Response(200, content=RESULTS)])
    downloaded(wire, settings=EndpointSettings(api_key=KEY, base_url="https://gate.example/a"))
    sent = wire.sent[0]
    assert str(sent.url) == "https://gate.example/a/v1/messages/batches/msgbatch_1/results"
    assert "range" not in sent.headers


@pytest.mark.parametrize(
    "answer",
    [
        ranged(500),
        ranged(300),
        httpx2.Response(200, stream=Chunks([RESULTS[:499], RESULTS[499:501], RESULTS[501:]])),
        httpx2.Response(206, content=RESULTS[500:]),
    ],
    ids=["range honoured", "range from earlier on", "range ignored", "range not told"],
)
def test_results_go_on_from_a_byte(answer: httpx2.Response) -> None:
    wire = Wire(answers=[answer])
    assert downloaded(wire, 500) == (RESULTS[500:], None)
    assert wire.sent[0].headers["range"] == "bytes=500-"
    assert wire.sent[0].headers["accept-encoding"] == "identity"


def test_a_range_with_a_gap_before_it_is_refused() -> None:
    data, failure = downloaded(Wire(answers=[ranged(600)]), 500)
    assert data == b""
    assert failure is not None


def test_a_range_beyond_the_end_is_the_end() -> None:
    assert downloaded(Wire(answers=[httpx2.Response(416)]), len(RESULTS)) == (b"", None)


def test_results_that_break_off_end_in_a_failure() -> None:
    cut = httpx2.Response(200, stream=Chunks([RESULTS[:70]], httpx2.ReadError("reset")))
    data, failure = downloaded(Wire(answers=[cut]))
    assert data == RESULTS[:70]
    assert failure is not None


def test_results_that_stand_still_end_in_a_failure() -> None:
    class Still(Chunks):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield RESULTS[:70]
            await asyncio.sleep(NEVER_S)

    data, failure = downloaded(Wire(answers=[httpx2.Response(200, stream=Still([]))]))
    assert data == RESULTS[:70]
    assert failure is not None
    assert failure.kind is FailureKind.TIMED_OUT


@pytest.mark.parametrize("status", [404, 410, 500])
def test_results_that_are_not_there_are_a_failure(status: int) -> None:
    data, failure = downloaded(Wire(answers=[an_error(status, "not_found_error")]))
    assert data == b""
    assert failure is not None
    assert failure.status == status


def test_results_that_lie_elsewhere_are_not_followed() -> None:
    moved = httpx2.Response(302, headers={"location": "https://elsewhere.example/results"})
    wire = Wire(answers=[moved])
    _, failure = downloaded(wire)
    assert failure is not None
    assert len(wire.sent) == 1


def test_a_batch_needs_its_times() -> None:
    with pytest.raises(KeyError):
        batch_view({})


def test_a_large_body_and_its_results_cross_a_real_network() -> None:
    body = Body(b'{"requests":[' + b" " * 3_000_000 + b"]}", piece=65_536)
    seen: dict[str, Any] = {}

    async def create(request: web.Request) -> web.Response:
        seen["length"] = request.headers.get("content-length")
        seen["body"] = await request.read()
        return web.json_response(A_BATCH)

    async def results(request: web.Request) -> web.StreamResponse:
        begin = request.http_range.start or 0
        told = {"content-range": f"bytes {begin}-{len(RESULTS) - 1}/{len(RESULTS)}"}
        return web.Response(status=206, body=RESULTS[begin:], headers=told)

    async def whole() -> tuple[Any, bytes]:
        app = web.Application(client_max_size=10_000_000)
        app.router.add_post("/v1/messages/batches", create)
        app.router.add_get("/v1/messages/batches/msgbatch_1/results", results)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0]
        settings = EndpointSettings(api_key=KEY, base_url=f"http://{host}:{port}")
        client = open_client(settings)
        api = BatchesTransport(client)
        view = await api.create(body, api_version=API_VERSION)
        pieces = [piece async for piece in api.results("msgbatch_1", from_byte=500)]
        await client.close()
        await runner.cleanup()
        return view, b"".join(piece for piece in pieces if isinstance(piece, bytes))

    view, data = asyncio.run(whole())
    assert view == VIEW
    assert seen == {"length": str(body.size), "body": body.data}
    assert data == RESULTS[500:]
    assert orjson.loads(seen["body"]) == {"requests": []}
