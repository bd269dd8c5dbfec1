"""The simulated Claude API as a state machine: no clock, no sockets; time is an argument.

    api = PretendApi(scenario)
    answer = api.message(body, headers, now)     # the response and its timing: see `wire.Answer`
    api.sending(answer, later)                   # its headers leave: limits are sampled now
    api.ended(answer)                            # it went out, or its client went away

`now` is any clock in seconds that never runs backwards; `epoch` is the wall time (seconds since
1970) at which that clock was 0. Requests and input tokens are charged as a request is let in,
output tokens as they are generated, from the first to the last, whether or not the client stays
for them. A refused attempt costs nothing.
Without `sending` the headers are those of the arrival; `ended` is for the statistics.
"""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import formatdate
from functools import lru_cache
from hashlib import sha256

import orjson

from claude_batch.sandbox.batches.endpoints import BatchEndpoints
from claude_batch.sandbox.chance import draws, seed_key
from claude_batch.sandbox.faults import Caller, check_outages
from claude_batch.sandbox.limits.organizations import ADMIN_PREFIX, Accounts, key_of
from claude_batch.sandbox.limits.rate_limit_list import rate_limits_page
from claude_batch.sandbox.messages.endpoint import MOST_BYTES, REFUSAL_S, Call, Ledger, Live, parse
from claude_batch.sandbox.messages.tokens import input_tokens, scale
from claude_batch.sandbox.models import model_list
from claude_batch.sandbox.scenario import Scenario
from claude_batch.sandbox.stats import Stats
from claude_batch.sandbox.validation.params import Terms, check_count, check_version
from claude_batch.sandbox.wire import (
    JSON_TYPE,
    Answer,
    ApiRequest,
    RefusedError,
    Trouble,
    error_body,
    error_object,
    not_found,
)

MESSAGES_PATH = "/v1/messages"
EPOCH = 1_795_478_400.0
"""2026-11-24 00:00 UTC, for clocks that begin at 0."""


@lru_cache(maxsize=64)
def http_date(second: int) -> str:
    """Return a second since 1970 as an HTTP date."""
    return formatdate(second, usegmt=True)


class SandboxApi:
    """The state of the simulated API and its endpoints."""

    def __init__(self, scenario: Scenario, *, epoch: float = EPOCH) -> None:
        self._scenario = scenario
        self._epoch = epoch
        self._key = seed_key(scenario.seed)
        self._accounts = Accounts(scenario)
        self._stats = Stats()
        self._live = Live(scenario, self._stats)
        self._batches = BatchEndpoints(scenario, self._stats, epoch)
        self._changes = sorted(scenario.change, key=lambda change: change.at_s)
        self._began: float | None = None
        self._requests = 0
        self._being_answered = 0

    def handle(self, request: ApiRequest, now: float) -> Answer:
        """Return the answer to any request."""
        if request.path == MESSAGES_PATH and request.method == "POST":
            return self.message(request.body, request.headers, now)
        if request.path.startswith("/sandbox/"):
            return self._for_judges(request, now)
        request_id = self._next_id(now)
        try:
            call = self._let_in(request.body, request.headers, now, request_id)
            self._check_outages(call, request_id)
            answer = self._other(request, call)
        except RefusedError as refusal:
            answer = self._refused(refusal, request_id)
        else:
            self._add_headers(answer, call.account.organization.id, request_id, now)
        return answer

    def message(self, body: bytes, headers: Mapping[str, str], now: float) -> Answer:
        """Return the answer to POST /v1/messages; header names are in lower case."""
        request_id = self._next_id(now)
        elapsed_s = now - (self._began or 0.0)
        digest = sha256(body).digest()
        attempt = self._stats.arrive(digest, elapsed_s)
        ledger = Ledger(body_digest=digest)
        organization: str | None = None
        try:
            call = self._let_in(body, headers, now, request_id)
            organization = call.account.organization.id
            self._check_in_flight()
            answer = self._live.serve(call, digest, attempt, ledger)
            ledger.is_let_in = True
            self._being_answered += 1
        except RefusedError as refusal:
            answer = self._refused(refusal, request_id)
        answer.ledger = ledger
        self._add_headers(answer, organization, request_id, now)
        self._add_limits(answer, now)
        self._stats.by_status[answer.status] += 1
        if answer.trouble is not Trouble.NONE:
            self._stats.troubles[answer.trouble.value] += 1
        return answer

    def sending(self, answer: Answer, now: float) -> None:
        """Sample the limits for an answer whose headers leave now."""
        if self._scenario.headers.sampled_at == "end":
            self._add_limits(answer, now)
        answer.headers["date"] = http_date(int(self._epoch + now))

    def ended(self, answer: Answer, *, gone: bool = False) -> None:
        """Count a response; `gone`: the client disconnected before it was sent."""
        ledger = answer.ledger
        if ledger is not None:
            self._being_answered -= ledger.is_let_in
            whole = answer.trouble is Trouble.NONE and not ledger.spoiled
            self._stats.end(ledger.body_digest, answer.status, whole=whole, gone=gone)

    def _check_in_flight(self) -> None:
        """Refuse a message while as many as may be are being answered."""
        most = self._scenario.limits.in_flight
        if most and self._being_answered >= most:
            message = f"Too many concurrent requests: at most {most} at once."
            raise RefusedError(429, message, retry_after_s=1, limiter="in_flight")

    def _next_id(self, now: float) -> str:
        """Return the id of a new request, after applying scenario changes that are due."""
        if self._began is None:
            self._began = now
        while self._changes and self._changes[0].at_s <= now - self._began:
            change = self._changes.pop(0)
            for account in self._accounts.all:
                if change.organization in {None, account.organization.id}:
                    for group in account.groups.values():
                        group.change(change, self._began + change.at_s)
        self._requests += 1
        return f"req_sandbox{self._requests:016d}"

    def _let_in(self, body: bytes, headers: Mapping[str, str], now: float, request_id: str) -> Call:
        """Return the call of a known key that uses a known API version."""
        key = key_of(headers)
        account = self._accounts.find(key)
        version = headers.get("anthropic-version")
        check_version(version)
        betas = headers.get("anthropic-beta")
        terms = Terms(
            version=version or "",
            betas=frozenset(betas.replace(" ", "").split(",")) if betas else frozenset(),
            any_model=self._scenario.any_model,
        )
        return Call(
            account=account,
            key=key,
            terms=terms,
            body=body,
            began=now if self._began is None else self._began,
            now=now,
            request_id=request_id,
        )

    def _check_outages(self, call: Call, request_id: str) -> None:
        """Refuse a call to another endpoint during an outage."""
        if self._scenario.outage:
            caller = Caller(organization=call.account.organization.id, key=call.key, model="")
            draw = draws(self._key, request_id.encode())[0]
            check_outages(self._scenario.outage, caller, call.elapsed_s, draw)

    def _refused(self, refusal: RefusedError, request_id: str) -> Answer:
        """Return a refusal in the API's shape."""
        if refusal.limiter is not None:
            self._stats.rate_limited[refusal.limiter] += 1
        error = error_object(refusal.status, refusal.message, refusal.code)
        shown = request_id if self._scenario.headers.request_id else None
        answer = Answer(status=refusal.status, body=error_body(error, shown), delay_s=REFUSAL_S)
        answer.headers["content-type"] = JSON_TYPE
        if refusal.retry_after_s is not None and self._scenario.headers.retry_after:
            answer.headers["retry-after"] = str(refusal.retry_after_s)
        return answer

    def _add_headers(
        self, answer: Answer, organization: str | None, request_id: str, now: float
    ) -> None:
        headers, wanted = answer.headers, self._scenario.headers
        headers["date"] = http_date(int(self._epoch + now))
        if wanted.request_id:
            headers["request-id"] = request_id
        if wanted.organization and organization is not None:
            headers["anthropic-organization-id"] = organization

    def _add_limits(self, answer: Answer, now: float) -> None:
        ledger, headers = answer.ledger, self._scenario.headers
        if ledger is None or ledger.group is None or not headers.rate_limits:
            return
        combined = headers.tokens == "combined"
        wall = self._epoch + now
        answer.headers.update(ledger.group.headers(now, wall, combined=combined))

    def _for_judges(self, request: ApiRequest, now: float) -> Answer:
        """Return the recorded statistics; needs no key."""
        headers = {"content-type": JSON_TYPE}
        match request.path:
            case "/sandbox/stats":
                body = self._stats.stats_json(self._batches.figures(now))
                return Answer(status=200, body=body, headers=headers)
            case "/sandbox/requests":
                repeated = request.query.get("repeated") == "1"
                body = self._stats.requests_json(repeated=repeated)
                return Answer(status=200, body=body, headers=headers)
            case _:
                error = error_object(404, "there are /sandbox/stats and /sandbox/requests")
                return Answer(status=404, body=error_body(error, None), headers=headers)

    def _other(self, request: ApiRequest, call: Call) -> Answer:
        """Return the answer of an endpoint that is not the Messages one."""
        match request.method, request.path.strip("/").split("/"):
            case "POST", ["v1", "messages", "count_tokens"]:
                return self._count_tokens(call)
            case _, ["v1", "messages", "batches", *_]:
                return self._batches.serve(request, call)
            case "GET", ["v1", "models"]:
                return model_list.list_models(request.query)
            case "GET", ["v1", "models", model_id]:
                return model_list.show_model(model_id)
            case "GET", ["v1", "organizations", "rate_limits"]:
                return self._rate_limits(request, call)
            case _:
                raise not_found("Not found")

    def _count_tokens(self, call: Call) -> Answer:
        if not self._scenario.count_tokens:
            raise not_found("Not found")
        self._stats.calls["count_tokens"] += 1
        call.account.charge_count_tokens(call.now)
        params = parse(call.body, MOST_BYTES)
        model = check_count(params, call.terms)
        tokens = input_tokens(
            params,
            scale(model, self._scenario.input.error),
            high_resolution=not model.old_tokenizer,
        )
        return _json({"input_tokens": tokens}, delay_s=REFUSAL_S)

    def _rate_limits(self, request: ApiRequest, call: Call) -> Answer:
        if not call.key.startswith(ADMIN_PREFIX):
            raise RefusedError(401, "invalid x-api-key: this endpoint needs an Admin API key")
        organization = call.account.organization
        return _json(rate_limits_page(self._scenario.limits, organization, request.query))


def _json(value: object, *, delay_s: float = 0.0) -> Answer:
    return Answer(
        status=200,
        body=orjson.dumps(value),
        headers={"content-type": JSON_TYPE},
        delay_s=delay_s,
    )
