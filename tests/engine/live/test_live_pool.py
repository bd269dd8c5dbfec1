"""A live run over several endpoints, in virtual time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

from claude_batch.core.model.requests import Failure, FailureKind, Reply, Request
from claude_batch.core.model.snapshot import EndpointState
from claude_batch.core.scheduling.decisions import Refusal, StopKind
from claude_batch.core.scheduling.pool import EndpointSpec, Role
from tests.support.fakes import ScriptedTransport, a_failure, a_reply
from tests.support.live_rig import Rig, some


def at(host: str, role: Role = Role.PRIMARY) -> EndpointSpec:
    return EndpointSpec(name=host, host=host, role=role)


def failing(kind: FailureKind, from_s: float, until_s: float) -> ScriptedTransport:
    """Return a transport that fails for a while."""

    def script(_request: Request, _tries: int) -> Reply | Failure:
        now = asyncio.get_running_loop().time()
        return a_failure(kind) if from_s <= now < until_s else a_reply()

    return ScriptedTransport(script)


def a_pool(count: int, transports: dict[str, ScriptedTransport], **changes: object) -> Rig:
    """Return a run whose endpoints each allow 25 requests a second."""
    served = {name: narrow(transport) for name, transport in transports.items()}
    endpoints = tuple(at(name) for name in transports)
    base: dict[str, object] = {"endpoints": endpoints}
    return Rig(some(count), others=served, **(base | changes))  # type: ignore[arg-type]


def narrow(transport: ScriptedTransport, most: int = 25) -> ScriptedTransport:
    """Let a transport refuse more than `most` requests in flight."""
    inner: Callable[[Request, int], Reply | Failure] = transport.script

    def script(request: Request, tries: int) -> Reply | Failure:
        if transport.in_flight > most:
            return a_failure(FailureKind.RATE_LIMITED, retry_after_s=1)
        return inner(request, tries)

    transport.script = script
    return transport


def results_per_s(rig: Rig, from_s: float, until_s: float) -> float:
    """Return the rate of results that were first sent within a span of time."""
    began = [result.started_at - 1_000_000 for result in rig.store.results]
    return sum(1 for each in began if from_s <= each < until_s) / (until_s - from_s)


FOREVER = 1e9


def three() -> Rig:
    """Return a run of 3,000 where one key goes bad, and one endpoint is overloaded a minute."""
    return a_pool(
        3_000,
        {
            "bad": failing(FailureKind.ENDPOINT_REJECTED, 10, FOREVER),
            "busy": failing(FailureKind.OVERLOADED, 10, 70),
            "good": ScriptedTransport(),
        },
    )


def test_one_bad_key_and_one_overload_lose_nothing_and_double_nothing() -> None:
    rig = three()
    assert rig.run() is None
    assert rig.ids == sorted(request.custom_id for request in some(3_000))
    assert {result.type.value for result in rig.store.results} == {"succeeded"}


def test_throughput_recovers_once_the_overload_is_over() -> None:
    rig = three()
    rig.run()
    during, after = results_per_s(rig, 30, 65), results_per_s(rig, 80, 90)
    assert after > 1.4 * during


def test_nothing_goes_to_a_key_that_was_rejected() -> None:
    rig = three()
    rig.run()
    assert max(rig.others["bad"].began) < 12


def test_results_say_which_endpoint_has_answered() -> None:
    rig = three()
    rig.run()
    count = Counter(result.endpoint for result in rig.store.results)
    assert set(count) == {"bad", "busy", "good"}
    assert count["good"] > count["busy"] > count["bad"]


def test_the_last_snapshot_has_each_endpoint() -> None:
    rig = three()
    rig.run()
    states = {view.name: view.state for view in rig.snapshots[-1].endpoints}
    assert states == {
        "bad": EndpointState.OUT,
        "busy": EndpointState.UP,
        "good": EndpointState.UP,
    }


def test_an_endpoint_that_cannot_be_reached_holds_up_nobody() -> None:
    rig = a_pool(
        1_000,
        {"gone": failing(FailureKind.UNREACHABLE, 0, FOREVER), "good": ScriptedTransport()},
    )
    assert rig.run() is None
    assert len(rig.ids) == 1_000
    assert sum(rig.others["gone"].tries.values()) < 100


def test_the_run_ends_when_no_key_is_left() -> None:
    transports = {
        name: failing(FailureKind.ENDPOINT_REJECTED, 5 * number, FOREVER)
        for number, name in enumerate(("one", "two"), start=1)
    }
    stop = a_pool(3_000, transports).run()
    assert stop is not None
    assert stop.kind is StopKind.ENDPOINT
    assert stop.refusals == (
        Refusal(endpoint="one", reason="no"),
        Refusal(endpoint="two", reason="no"),
    )


def test_a_fallback_takes_over_while_the_primary_is_down_and_says_so() -> None:
    rig = a_pool(
        2_000,
        {"main": failing(FailureKind.UNREACHABLE, 10, 100), "local": ScriptedTransport()},
        endpoints=(at("main"), at("local", Role.FALLBACK)),
        fallback_after_s=20.0,
    )
    assert rig.run() is None
    degraded = [result for result in rig.store.results if result.degraded]
    assert {result.endpoint for result in degraded} == {"local"}
    assert len(degraded) == sum(result.endpoint == "local" for result in rig.store.results) > 0
    began = rig.others["local"].began
    assert (began[0] > 29, began[-1] < 110) == (True, True)
