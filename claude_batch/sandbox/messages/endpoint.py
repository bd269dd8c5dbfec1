"""The Messages endpoint: one request in, one answer or refusal out, everything charged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from claude_batch.sandbox import faults
from claude_batch.sandbox.chance import draws, seed_key
from claude_batch.sandbox.faults import Caller, Fault
from claude_batch.sandbox.limits.limits import LimitGroup, RampLimit
from claude_batch.sandbox.limits.organizations import Account
from claude_batch.sandbox.messages.answers import answer
from claude_batch.sandbox.messages.caching import PromptCache
from claude_batch.sandbox.messages.message import (
    Pace,
    PromptUsage,
    error_event,
    message_object,
    stream_events,
    usage_object,
)
from claude_batch.sandbox.messages.tokens import input_tokens, scale
from claude_batch.sandbox.models.models import Model
from claude_batch.sandbox.scenario import Latency, Scenario
from claude_batch.sandbox.stats import Stats
from claude_batch.sandbox.validation.params import Terms, check_message, too_large
from claude_batch.sandbox.wire import (
    JSON_TYPE,
    Answer,
    Params,
    TimedEvent,
    Trouble,
    error_object,
    invalid,
)

MOST_BYTES = 32_000_000
REFUSAL_S = 0.05
FAULT, JITTER, OUTAGE, MIDWAY = range(4)
"""Index of the random number that decides each property of an attempt."""

IN_MIDSTREAM = 0.5
"""Share of the overloads of streamed requests that come after HTTP 200, as an event."""

EARLY = {Fault.OVERLOADED: 529, Fault.SERVER_ERROR: 500, Fault.RATE_LIMIT: 429}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call that has been let in: who, under what terms, with what, when."""

    account: Account
    key: str
    terms: Terms
    body: bytes
    began: float
    now: float
    request_id: str

    @property
    def elapsed_s(self) -> float:
        """Seconds since the first request that arrived."""
        return self.now - self.began


@dataclass(slots=True, kw_only=True)
class Ledger:
    """What remains to be recorded about a response on its way."""

    body_digest: bytes
    group: LimitGroup | None = None
    spoiled: bool = False
    is_let_in: bool = False


def parse(body: bytes, most_bytes: int) -> Any:
    """Return the JSON of a body that is not too large."""
    if len(body) > most_bytes:
        raise too_large(most_bytes)
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise invalid(f"The request body is not valid JSON: {error}") from error


def pace(latency: Latency, tokens: int, draw: float, factor: float) -> Pace:
    """Return when an answer of `tokens` tokens begins and ends."""
    jitter = factor * (1.0 + latency.jitter * (2.0 * draw - 1.0))
    first_s = latency.base_s * jitter
    return Pace(first_s=first_s, last_s=first_s + tokens * latency.per_output_token_s * jitter)


class Live:
    """Serves POST /v1/messages."""

    def __init__(self, scenario: Scenario, stats: Stats) -> None:
        self._scenario = scenario
        self._stats = stats
        self._key = seed_key(scenario.seed)
        self._faults = faults.fault_table(scenario.faults)
        self._cache = PromptCache(enabled=scenario.caching.enabled)
        ramp = scenario.ramp
        self._new_ramp: Callable[[], RampLimit] | None = None
        if ramp.start_rpm:
            self._new_ramp = lambda: RampLimit(
                start_rpm=ramp.start_rpm,
                doubles_every_s=ramp.doubles_every_s,
                burst_s=ramp.burst_s,
            )
        self._ramps: dict[str, RampLimit] = {}

    def serve(self, call: Call, body_digest: bytes, attempt: int, ledger: Ledger) -> Answer:
        """Return the answer to an attempt; raise RefusedError for a refusal."""
        draw = draws(self._key, body_digest + attempt.to_bytes(4, "little"))
        params = parse(call.body, MOST_BYTES)
        self._check_outages(call, params, draw[OUTAGE])
        fault = faults.drawn_fault(self._faults, draw[FAULT])
        streamed = isinstance(params, dict) and params.get("stream") is True
        midway = fault is Fault.OVERLOADED and streamed and draw[MIDWAY] < IN_MIDSTREAM
        if fault in EARLY and not midway:
            wait = self._scenario.faults.rate_limit_retry_after_s
            status = EARLY[fault]
            raise faults.status_refusal(status, wait if fault is Fault.RATE_LIMIT else None)
        if fault is Fault.HTML_502:
            return _foreign(502, faults.HTML_502, ledger)
        model = check_message(params, call.terms)
        faults.check_spend(self._scenario.spend, call.account.answered)
        return self._answer(call, params, model, fault, draw, ledger)

    def _check_outages(self, call: Call, params: Any, draw: float) -> None:
        if self._scenario.outage:
            model = params.get("model") if isinstance(params, dict) else None
            caller = Caller(
                organization=call.account.organization.id, key=call.key, model=str(model)
            )
            faults.check_outages(self._scenario.outage, caller, call.elapsed_s, draw)

    def _admit(self, call: Call, model: Model, prompt: PromptUsage, ledger: Ledger) -> LimitGroup:
        """Charge the request and its input."""
        group = call.account.group(model.model_class, began=call.began, now=call.now)
        ledger.group = group
        if self._new_ramp is not None:
            organization = call.account.organization.id
            if organization not in self._ramps:
                self._ramps[organization] = self._new_ramp()
            self._ramps[organization].admit(call.elapsed_s)
        group.admit(prompt.charged, call.now)
        return group

    def _answer(
        self,
        call: Call,
        params: Params,
        model: Model,
        fault: Fault | None,
        draw: tuple[float, ...],
        ledger: Ledger,
    ) -> Answer:
        """Return the answer to a request that can be served, if the limits bear it."""
        scenario = self._scenario
        tokens = input_tokens(
            params,
            scale(model, scenario.input.error),
            high_resolution=not model.old_tokenizer,
        )
        if tokens > model.context_tokens:
            raise invalid(f"prompt is too long: {tokens} tokens > {model.context_tokens} maximum")
        use = self._cache.look_up(
            params, model, call.account.organization.id, tokens, body=call.body, now=call.now
        )
        group = self._admit(call, model, use.usage, ledger)
        said = answer(params, model, scenario.output, self._key)
        slow = scenario.faults.slow_factor if fault is Fault.SLOW else 1.0
        times = pace(scenario.latency, said.output_tokens, draw[JITTER], slow)
        self._cache.write(use, readable_at=call.now + times.first_s, now=call.now)
        start, end = call.now + times.first_s, call.now + times.last_s
        group.generate(said.output_tokens, start=start, end=end)
        call.account.answered += 1
        self._count(use.usage, said.output_tokens)
        usage = usage_object(said, use.usage, params, "standard")
        message_id = f"msg_sandbox{call.request_id[-16:]}"
        message = message_object(said, params, message_id=message_id, usage=usage)
        if params.get("stream"):
            events = stream_events(message, times)
            reply = Answer(status=200, events=events, delay_s=times.first_s)
            reply.headers["content-type"] = "text/event-stream; charset=utf-8"
        else:
            reply = Answer(status=200, body=orjson.dumps(message), delay_s=times.last_s)
            reply.headers["content-type"] = JSON_TYPE
        return self._spoiled(reply, fault, call, ledger)

    def _count(self, prompt: PromptUsage, output_tokens: int) -> None:
        tokens = self._stats.tokens
        tokens["input"] += prompt.input_tokens
        tokens["output"] += output_tokens
        if prompt.read or prompt.charged > prompt.input_tokens:
            tokens["cache_written"] += prompt.charged - prompt.input_tokens
            tokens["cache_read"] += prompt.read

    def _spoiled(self, reply: Answer, fault: Fault | None, call: Call, ledger: Ledger) -> Answer:
        """Return the answer with its fault applied."""
        match fault:
            case Fault.RESET:
                reply.trouble = Trouble.RESET
            case Fault.CUT_BODY:
                reply.trouble = Trouble.CUT
            case Fault.HANG:
                reply.trouble, reply.hang_s = Trouble.HANG, self._scenario.faults.hang_s
            case Fault.INVALID_JSON:
                reply = _foreign(200, faults.NOT_JSON, ledger, delay_s=reply.delay_s)
            case Fault.OVERLOADED:
                reply.events = _broken_off(reply.events, call.request_id)
                ledger.spoiled = True
            case _:
                return reply
        ledger.spoiled = True
        return reply


def _foreign(status: int, body: bytes, ledger: Ledger, *, delay_s: float = REFUSAL_S) -> Answer:
    """Return the response of an intermediary between client and API."""
    ledger.spoiled = True
    reply = Answer(status=status, body=body, delay_s=delay_s)
    reply.headers["content-type"] = "text/html"
    return reply


def _broken_off(events: tuple[TimedEvent, ...], request_id: str) -> tuple[TimedEvent, ...]:
    """Return half of a stream, then an error event."""
    kept = events[: max(1, len(events) // 2)]
    error = error_event(error_object(529, faults.MESSAGES[529]), request_id)
    return (*kept, TimedEvent(kept[-1].after_s, error))
