"""Over real sockets on loopback: what only a connection shows, and the SDK as a client."""

from __future__ import annotations

import asyncio
import errno
import json
import subprocess
import sys
import textwrap
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import anthropic
import pytest
from anthropic import AsyncAnthropic, DefaultAioHttpClient
from anthropic.types.messages import MessageBatch

from claude_batch.sandbox.in_process import running
from claude_batch.sandbox.server import TooManyConnections
from tests.sandbox.asking import a_scenario, params
from tests.support.program import ENOUGH_S, wait_for

QUICK = "[latency]\nbase_s = 0.01\nper_output_token_s = 0\njitter = 0\n"
NO_FILES_LEFT = OSError(errno.EMFILE, "Too many open files")
TOOL = {
    "name": "look_up",
    "input_schema": {"type": "object", "properties": {"n": {"type": "integer"}}},
}


@contextmanager
def sandbox(toml: str = "") -> Iterator[str]:
    with running(a_scenario(f"{toml}\n{QUICK}")) as url:
        yield url


@asynccontextmanager
async def sdk(url: str) -> AsyncIterator[AsyncAnthropic]:
    async with AsyncAnthropic(
        api_key="sk-test",
        base_url=url,
        max_retries=0,
        timeout=ENOUGH_S,
        http_client=DefaultAioHttpClient(),
    ) as client:
        yield client


async def _create(url: str, **more: Any) -> anthropic.types.Message:
    async with sdk(url) as client:
        message: anthropic.types.Message = await client.messages.create(**params(**more))
        return message


async def _stream(url: str, **more: Any) -> anthropic.types.Message:
    async with sdk(url) as client, client.messages.stream(**params(**more)) as stream:
        message: anthropic.types.Message = await stream.get_final_message()
        return message


def stats(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{url}/sandbox/stats", timeout=ENOUGH_S) as answer:  # noqa: S310  # loopback
        told: dict[str, Any] = json.load(answer)
    return told


def test_the_sdk_gets_an_answer() -> None:
    with sandbox() as url:
        message = asyncio.run(_create(url))
    assert message.content[-1].type == "text"


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"thinking": {"type": "adaptive", "display": "summarized"}},
        {"tools": [TOOL], "tool_choice": {"type": "any"}},
        {"max_tokens": 10},
    ],
    ids=str,
)
def test_a_stream_ends_as_the_same_message(more: dict[str, Any]) -> None:
    with sandbox() as url:
        plain, streamed = asyncio.run(_create(url, **more)), asyncio.run(_stream(url, **more))
    fields = {"content", "stop_reason", "stop_sequence", "model", "role"}
    one, other = (
        m.model_dump(include=fields, exclude={"content": {"__all__": {"parsed_output"}}})
        for m in (plain, streamed)
    )
    assert one == other
    assert plain.usage.output_tokens == streamed.usage.output_tokens


async def _twice(url: str) -> None:
    async with sdk(url) as client:
        for _ in range(2):
            await client.messages.create(**params())


ERRORS = [
    ("[limits]\nrpm = 1", anthropic.RateLimitError),
    ("[faults]\noverloaded = 1", anthropic.OverloadedError),
    ("[faults]\nserver_error = 1", anthropic.InternalServerError),
    ("[faults]\nreset = 1", anthropic.APIConnectionError),
    ("[faults]\nhtml_502 = 1", anthropic.InternalServerError),
    ("[ramp]\nstart_rpm = 1\nburst_s = 1", anthropic.RampLimitExceededError),
    ("[spend]\nafter_requests = 1", anthropic.EnforcedSpendLimitReachedError),
    ("[spend]\nafter_requests = 0\nanswer = 'credit'", anthropic.BadRequestError),
    ("[spend]\nafter_requests = 0\nanswer = 'billing'", anthropic.PaymentRequiredError),
    ("[spend]\nafter_requests = 0\nanswer = 'on_hold'", anthropic.OrganizationOnHoldError),
    ("any_key = false", anthropic.AuthenticationError),
    ("[[outage]]\nstatus = 403", anthropic.PermissionDeniedError),
]


@pytest.mark.parametrize(("toml", "error"), ERRORS, ids=[t for t, _ in ERRORS])
def test_the_sdk_raises_what_it_raises_for_the_real_api(toml: str, error: type[Exception]) -> None:
    with sandbox(toml) as url, pytest.raises(error):
        asyncio.run(_twice(url))


def test_a_cut_body_is_noticed() -> None:
    with sandbox("[faults]\ncut_body = 1") as url, pytest.raises(anthropic.APIConnectionError):
        asyncio.run(_create(url))


def test_a_cut_stream_is_noticed() -> None:
    with (
        sandbox("[faults]\ncut_body = 1") as url,
        pytest.raises(Exception, match=r"(?i)payload|peer|stop"),
    ):
        asyncio.run(_stream(url))


async def _give_up(url: str) -> None:
    async with sdk(url) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await client.messages.create(**params())


def test_a_client_that_goes_away_is_noticed() -> None:
    with sandbox("[faults]\nhang = 1") as url:
        asyncio.run(_give_up(url))
        told = _settled(url)
    assert (told["abandoned"], told["answered"]) == (1, 0)


def test_a_blackout_carries_nothing_on_old_connections_even_afterwards() -> None:
    async def ask(url: str) -> list[str]:
        said = []
        async with sdk(url) as client:
            try:
                async with asyncio.timeout(0.7):  # the blackout is over long before
                    await client.messages.create(**params())
            except TimeoutError:
                said.append("nothing")
            said.append((await client.messages.create(**params())).type)
        return said

    with sandbox("[[blackout]]\nuntil_s = 0.3") as url:
        assert asyncio.run(ask(url)) == ["nothing", "message"]


def _settled(url: str) -> dict[str, Any]:
    """Return the statistics once nothing is in flight: a closed socket is noticed a bit later."""
    wait_for(lambda: not stats(url)["in_flight"])
    return stats(url)


async def _ended(client: AsyncAnthropic, requests: list[Any]) -> MessageBatch:
    """Return a batch of these, once it has ended."""
    batch = await client.messages.batches.create(requests=requests)
    while batch.processing_status != "ended":
        await asyncio.sleep(0.02)
        batch = await client.messages.batches.retrieve(batch.id)
    return batch


async def _batch(url: str) -> tuple[str, list[str]]:
    async with sdk(url) as client:
        requests = [{"custom_id": f"r-{n}", "params": params(f"{n}")} for n in range(5)]
        batch = await _ended(client, requests)
        lines = [line async for line in await client.messages.batches.results(batch.id)]
        return batch.id, sorted(f"{line.custom_id} {line.result.type}" for line in lines)


def test_the_sdk_takes_a_batch_through_its_life() -> None:
    with sandbox("[batches]\nduration_s = 0.1") as url:
        _, lines = asyncio.run(_batch(url))
    assert lines == [f"r-{n} succeeded" for n in range(5)]


async def _downloads(url: str) -> list[bool]:
    """Return of each of two downloads whether it came whole."""
    whole = []
    async with sdk(url) as client:
        requests = [{"custom_id": f"r-{n}", "params": params(f"{n}")} for n in range(200)]
        batch = await _ended(client, requests)
        for _ in range(2):
            try:
                lines = [line async for line in await client.messages.batches.results(batch.id)]
                whole.append(len(lines) == 200)
            except Exception:  # noqa: BLE001  # however the SDK says it: it did not come whole
                whole.append(False)
    return whole


def test_a_cut_download_is_noticed() -> None:
    with sandbox("[batches]\nduration_s = 0.01\ncut_results = 1") as url:
        assert asyncio.run(_downloads(url)) == [False, True]


async def _lists(url: str) -> tuple[int, int]:
    async with sdk(url) as client:
        models = [model.id async for model in client.models.list(limit=5)]
        requests = [{"custom_id": "a", "params": params()}]
        for _ in range(3):
            await client.messages.batches.create(requests=requests)  # type: ignore[arg-type]
        batches = [batch.id async for batch in client.messages.batches.list(limit=2)]
        return len(models), len(batches)


def test_the_sdk_pages_through_lists() -> None:
    with sandbox() as url:
        models, batches = asyncio.run(_lists(url))
    assert (models > 15, batches) == (True, 3)


async def _many(url: str) -> None:
    """Send requests until more than fifty are in flight."""
    async with sdk(url) as client:
        sending = [asyncio.create_task(client.messages.create(**params(str(n)))) for n in range(99)]
        while (await asyncio.to_thread(stats, url))["in_flight"] <= 50:  # noqa: ASYNC110  # there
            await asyncio.sleep(0.02)
        for each in sending:
            each.cancel()
        await asyncio.gather(*sending, return_exceptions=True)


def test_many_requests_are_served_at_once() -> None:
    with running(a_scenario("[latency]\nbase_s = 900\nper_output_token_s = 0")) as url:
        asyncio.run(_many(url))


SERVE = """
    from claude_batch.sandbox.scenario import Scenario
    from claude_batch.sandbox.server import serve
    serve(Scenario(), port=0, announce=lambda url: print(url, flush=True))
"""


def test_a_server_of_its_own_process_ends_on_sigterm() -> None:
    command = [sys.executable, "-c", textwrap.dedent(SERVE)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        url = process.stdout.readline().decode().strip()
        assert stats(url)["sent"] == 0
        process.terminate()
        assert process.wait(ENOUGH_S) == 0


def test_a_server_out_of_open_files_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.new_event_loop()
    say = TooManyConnections()
    for _ in range(3):
        say(loop, {"message": "socket.accept() out of system resource", "exception": NO_FILES_LEFT})
    loop.close()
    assert [record.getMessage()[:18] for record in caplog.records] == ["no open files left"]
