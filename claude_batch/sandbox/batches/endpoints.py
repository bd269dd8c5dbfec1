"""The Message Batches endpoints: create, list, retrieve, results, cancel, delete.

Source: docs/claude-api.md#message-batches.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from hashlib import blake2b

import orjson

from claude_batch.sandbox import faults
from claude_batch.sandbox.batches.batch import TYPE_OF, Batch, BatchTimes, Outcome, batch_times
from claude_batch.sandbox.batches.frame import requests_in
from claude_batch.sandbox.batches.results import ResultWriter, cut_midway, in_chunks
from claude_batch.sandbox.chance import draws, seed_key
from claude_batch.sandbox.limits.limits import timestamp
from claude_batch.sandbox.messages.endpoint import REFUSAL_S, Call
from claude_batch.sandbox.paging import page_of
from claude_batch.sandbox.scenario import Scenario
from claude_batch.sandbox.stats import Stats
from claude_batch.sandbox.validation.params import Terms, check_message
from claude_batch.sandbox.wire import (
    JSON_TYPE,
    Answer,
    ApiRequest,
    Params,
    RefusedError,
    Trouble,
    invalid,
    not_found,
)

RANGE = re.compile(r"bytes=(\d+)-")
LIST_LIMIT = 20
LASTS, REFUSED, LOST = range(3)
"""Index of the random number that decides each property of a create."""


class BatchEndpoints:
    """All batches and the operations on them."""

    def __init__(self, scenario: Scenario, stats: Stats, epoch: float) -> None:
        self._scenario = scenario
        self._rules = scenario.batches
        self._stats = stats
        self._epoch = epoch
        self._key = seed_key(scenario.seed)
        self._writer = ResultWriter(scenario=scenario, key=self._key)
        self._batches: dict[str, Batch] = {}
        self._deleted: list[Batch] = []
        self._creates = 0

    def serve(self, request: ApiRequest, call: Call) -> Answer:
        """Return the answer of a batch endpoint."""
        if not self._rules.supported:
            raise not_found("Not found")
        self._stats.calls["batches"] += 1
        call.account.charge_batches(call.now)
        match request.method, request.path.strip("/").split("/")[3:]:
            case "POST", []:
                return self._create(request, call)
            case "GET", []:
                return self._list(request, call)
            case "GET", [batch_id]:
                return self._show(self._find(batch_id, call), request, call)
            case "GET", [batch_id, "results"]:
                return self._results(self._find(batch_id, call), request, call)
            case "POST", [batch_id, "cancel"]:
                return self._cancel(self._find(batch_id, call), request, call)
            case "DELETE", [batch_id]:
                return self._delete(self._find(batch_id, call), call)
            case _:
                raise not_found("Not found")

    def _create(self, request: ApiRequest, call: Call) -> Answer:
        """Create a batch. Invalid parameters are reported when the batch has ended."""
        self._creates += 1
        draw = draws(self._key, b"create %d" % self._creates)
        faults.check_spend(self._scenario.spend, call.account.answered)
        if draw[REFUSED] < self._rules.refused_creates:
            raise faults.status_refusal(529)
        count, requests = requests_in(call.body)
        self._check_queue(count, call)
        batch = self._new_batch(requests, call, batch_times(self._rules, draw[LASTS]))
        self._batches[batch.id] = batch
        answer = self._show(batch, request, call)
        if draw[LOST] < self._rules.lost_creates:
            answer.trouble = Trouble.RESET
            self._stats.troubles["lost_create"] += 1
        return answer

    def _check_queue(self, more: int, call: Call) -> None:
        waiting = sum(
            batch.size
            for batch in self._batches.values()
            if batch.account is call.account and not batch.has_ended(call.now)
        )
        most = self._scenario.limits.batch_queue
        if waiting + more > most:
            raise RefusedError(
                429,
                f"This request would exceed the limit of {most:,} batch requests in the processing "
                f"queue of your organization ({call.account.organization.id}).",
                retry_after_s=60,
                limiter="batch_queue",
            )

    def _new_batch(self, requests: Iterable[Params], call: Call, times: BatchTimes) -> Batch:
        terms = Terms(
            version=call.terms.version,
            betas=call.terms.betas,
            any_model=call.terms.any_model,
            in_batch=True,
        )
        batch = Batch(
            id=f"msgbatch_sandbox{self._creates:06d}",
            account=call.account,
            terms=terms,
            created_at=call.now,
            times=times,
            seed=self._key,
            custom_ids=[],
            params=[],
            digests=[],
            refusals={},
        )
        for request in requests:
            _pack(batch, request)
        return batch

    def _find(self, batch_id: str, call: Call) -> Batch:
        """Return a batch of the caller's organization, once it is visible."""
        batch = self._batches.get(batch_id)
        lag_s = self._rules.not_found_s / self._rules.time_scale
        hidden = batch is None or batch.account is not call.account
        if batch is None or hidden or call.now < batch.created_at + lag_s:
            raise not_found(f"Message batch {batch_id} not found")
        return batch

    def _list(self, request: ApiRequest, call: Call) -> Answer:
        lag_s = self._rules.list_lag_s / self._rules.time_scale
        listed = [
            self._object(batch, request, call.now)
            for batch in reversed(self._batches.values())
            if batch.account is call.account and call.now >= batch.created_at + lag_s
        ]
        return _json(page_of(listed, request.query, default_limit=LIST_LIMIT))

    def _show(self, batch: Batch, request: ApiRequest, call: Call) -> Answer:
        return _json(self._object(batch, request, call.now))

    def _cancel(self, batch: Batch, request: ApiRequest, call: Call) -> Answer:
        if batch.has_ended(call.now):
            raise invalid(f"Message batch {batch.id} has already ended and cannot be canceled")
        batch.cancel(call.now)
        return self._show(batch, request, call)

    def _delete(self, batch: Batch, call: Call) -> Answer:
        if not batch.has_ended(call.now):
            raise invalid(
                f"Message batch {batch.id} is still processing: cancel it before deleting it"
            )
        self._deleted.append(self._batches.pop(batch.id))
        return _json({"id": batch.id, "type": "message_batch_deleted"})

    def _results(self, batch: Batch, request: ApiRequest, call: Call) -> Answer:
        lag_s = self._rules.not_found_s / self._rules.time_scale
        if call.now < batch.ends_at + lag_s or batch.is_archived(call.now):
            raise not_found(f"Results of message batch {batch.id} are not available")
        batch.fetches += 1
        answer = Answer(status=200, delay_s=REFUSAL_S)
        answer.headers["content-type"] = "application/x-jsonl"
        lines = self._writer.lines(batch)
        if batch.fetches <= self._rules.cut_results:
            answer.trouble = Trouble.CUT
            self._stats.troubles["cut_results"] += 1
            lines = cut_midway(lines, batch.size)
        start = RANGE.fullmatch(request.headers.get("range", ""))
        if start and self._rules.ranges:
            _serve_range(answer, b"".join(lines), int(start[1]))
        else:
            answer.chunks = in_chunks(lines)
        return answer

    def _object(self, batch: Batch, request: ApiRequest, now: float) -> Params:
        """Return a batch as the API describes it."""
        ended, archived = batch.has_ended(now), batch.is_archived(now)
        status = "ended" if ended else "in_progress" if batch.canceled_at is None else "canceling"
        origin = self._rules.results_origin or f"http://{request.headers.get('host', 'localhost')}"
        url = f"{origin}/v1/messages/batches/{batch.id}/results"
        archived_at = batch.created_at + batch.times.results_kept_s
        return {
            "id": batch.id,
            "type": "message_batch",
            "processing_status": status,
            "request_counts": batch.counts(self._rules, now),
            "created_at": self._time(batch.created_at),
            "expires_at": self._time(batch.expires_at),
            "ended_at": self._time(batch.ends_at if ended else None),
            "cancel_initiated_at": self._time(batch.canceled_at),
            "archived_at": self._time(archived_at if archived else None),
            "results_url": url if ended and not archived else None,
        }

    def _time(self, at: float | None) -> str | None:
        return None if at is None else timestamp(round(self._epoch + at, 6))

    def figures(self, now: float) -> dict[str, object]:
        """Return statistics of batch mode for tests; see `stats`."""
        batches = [*self._batches.values(), *self._deleted]
        types: Counter[str] = Counter()
        ids: Counter[str] = Counter()
        bodies: Counter[bytes] = Counter()
        for batch in batches:
            if not batch.has_ended(now):
                continue
            outcomes = batch.outcomes(self._rules)
            types.update(TYPE_OF[Outcome(code)] for code in outcomes)
            succeeded = [at for at, code in enumerate(outcomes) if code == Outcome.SUCCEEDED]
            ids.update(batch.custom_ids[at] for at in succeeded)
            bodies.update(batch.digests[at] for at in succeeded)
        return {
            "batches": len(batches),
            "batch_requests": types,
            "batch_ids_succeeded_twice": sum(1 for times in ids.values() if times > 1),
            "batch_bodies_succeeded": len(bodies),
            "batch_bodies_succeeded_twice": sum(1 for times in bodies.values() if times > 1),
        }


def _pack(batch: Batch, request: Params) -> None:
    """Add a request to a batch as bytes, with its validation error if it has one."""
    try:
        check_message(request["params"], batch.terms)
    except RefusedError as refusal:
        batch.refusals[batch.size] = refusal
    raw = b"%b" % orjson.dumps(request["params"])  # what orjson returns takes 4 kB at least
    batch.custom_ids.append(request["custom_id"])
    batch.params.append(raw)
    batch.digests.append(blake2b(raw, digest_size=16).digest())


def _serve_range(answer: Answer, whole: bytes, start: int) -> None:
    """Answer a range request without an end."""
    if start >= len(whole):
        answer.status = 416
        answer.headers["content-range"] = f"bytes */{len(whole)}"
        return
    answer.status, answer.body = 206, whole[start:]
    answer.headers["content-range"] = f"bytes {start}-{len(whole) - 1}/{len(whole)}"


def _json(value: object) -> Answer:
    headers = {"content-type": JSON_TYPE}
    return Answer(status=200, body=orjson.dumps(value), headers=headers, delay_s=REFUSAL_S)
