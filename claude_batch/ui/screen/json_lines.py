"""JSON objects for scripts (`--progress json`): one line each on stderr, about one a second.

Every object has `type`; fields are only ever added. Unknown figures are null.

    type "checking"   doing, path, done_bytes, total_bytes, elapsed_s: a pass over the prompts;
                      doing says which, in words
    type "notice"     message, hint: what a person would read
    type "problem"    message: a line of the input that cannot be sent
    type "progress"   the figures below
    type "end"        the figures below (unless nothing was begun), phase finished, interrupted or
                      stopped, and exit_code, message, resume_command (null: nothing is left),
                      look_command (null: nothing to look at), table (null: none was asked for),
                      first (what to do before resuming; empty: nothing);
                      the last line

    run_id, prompts, results      which run; its files
    phase                         starting, running, stopping; at the end finished, interrupted (by
                                  a signal) or stopped
    sandbox                       true: answers are simulated
    host                          where requests go
    total, done                   requests in the file; with a final result
    resumed                       of those done, how many were done before this process
    succeeded, errored, canceled, expired, failed
    degraded                      of those done, how many a fallback endpoint has answered
    cached                        done in this process at no cost: by the response cache, or since
                                  an equal prompt was answered
    retrying, in_flight           requests waiting for another attempt; attempts under way
    attempts, rate_limited        attempts ended in this process; those that met a 429
    elapsed_s, eta_s
    grace_s                       while stopping: how long requests in flight may still take
    wait                          why nothing more is sent (null: it is): kind (first_reply,
                                  finding_pace, limit, pace, concurrency, rate_limited, outage,
                                  silence, retry, prefix, budget, last_replies, input, disk,
                                  paused, share), limit, limit_per_minute, source, seconds, asked_s,
                                  cause, in_flight, lane, fallback_in_s, probing
    input_tokens, output_tokens   of all results
    requests_per_minute, input_tokens_per_minute, output_tokens_per_minute
                                  null in batch mode, like eta_s: no counts before the end
    adjusted                      options changed while this process ran (adjust): name, value
                                  (null: unset), at (seconds since 1970)
    paused_at                     since when the run is paused; null: it is not
    stop_reasons                  successes that are not what was asked for, by reason: refusal,
                                  max_tokens, pause_turn, model_context_window_exceeded
    output_errors                 answers that break their schema
    cost_usd, projected_cost_usd
    unreported, unreported_usd    attempts that may have been charged though they reported no usage:
                                  cost_usd is at least; at most so much more (with --max-cost)
    lanes                         name, in_flight, queued, concurrency, waiting_for, waiting_s,
                                  wait and limits: kind, limit_per_minute, available, full_in_s,
                                  source (api; assumed: by the tier; ceiling, share: the user's own)
                                  and sharing (null without --shared-limits): share, others (name,
                                  share), lost (Redis does not answer), silent (no limits reported)
    chunks                        batches of the run: chunk, batch_id, requests, state (submitting,
                                  unsettled, waiting, canceling, ended, collected, missing) and
                                  created_at, expires_at, ended_at (seconds since 1970); null: not
                                  known. in_flight counts their requests without a result
    endpoints                     name, state (up, failing, standby, out), in_flight, attempts that
                                  succeeded and failed, why (it is not up; null: it is)
    fallback                      the endpoint that has taken over from those of first choice; null:
                                  none has
    folder                        the run folder (null: the run is no part of one): path, shards and
                                  of these finished, running, failed, interrupted, waiting; total,
                                  done, succeeded, errored, canceled, expired, output_errors,
                                  left_out, degraded, unreported, input_tokens, output_tokens,
                                  cost_usd, max_cost_usd, requests_per_minute, elapsed_s and eta_s
                                  of all of them; errors
                                  and stop_reasons by type; shard and shard_name: which one the
                                  other figures are about (null: all of them); at_work: other
                                  shards with shard, name, holder, silent_s and figures of each
    failures                      recent errors: at (seconds since 1970), custom_id, line, what,
                                  retry_in_s (null: final)
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from claude_batch.core.model.snapshot import LaneView, Snapshot
from claude_batch.ui.output_stream import OutputStream
from claude_batch.ui.screen.screen import Checking, Message, RunSummary, end_phase

EVERY_S = 1.0


@dataclass(slots=True, kw_only=True)
class JsonRenderer:
    """Writes objects; `monotonic` says when one is due."""

    stream: OutputStream
    monotonic: Callable[[], float] = time.monotonic
    _due_at: float | None = None
    _check_due_at: float = 0.0

    def check(self, checking: Checking | None) -> None:
        """Write how far a pass over the prompts is, once a second."""
        now = self.monotonic()
        if checking is not None and now >= self._check_due_at:
            self._check_due_at = now + EVERY_S
            self._write({"type": "checking", **asdict(checking)})

    def say(self, message: Message) -> None:
        """Write a message."""
        if message.problem:
            self._write({"type": "problem", "message": message.message})
        else:
            self._write({"type": "notice", "message": message.message, "hint": message.hint})

    def show(self, snapshot: Snapshot) -> None:
        """Write the figures when a second has passed."""
        now = self.monotonic()
        if self._due_at is None or now >= self._due_at:
            self._due_at = max(now, (self._due_at or now) + EVERY_S)
            if self._due_at <= now:
                self._due_at = now + EVERY_S
            self._write({"type": "progress", **figures(snapshot)})

    def end(self, snapshot: Snapshot | None, summary: RunSummary | None) -> None:
        """Write the last figures and how it ended."""
        value: dict[str, Any] = {"type": "end"}
        if snapshot is not None:
            value |= figures(snapshot)
        if summary is not None:
            value |= asdict(summary) | {"phase": end_phase(summary.exit_code)}
        if snapshot is not None or summary is not None:
            self._write(value)

    def _write(self, value: dict[str, Any]) -> None:
        line = orjson.dumps(_encodable(value), option=orjson.OPT_APPEND_NEWLINE)
        self.stream.write(line.decode())


def figures(snapshot: Snapshot) -> dict[str, Any]:
    """Return the figures of a snapshot under their documented names."""
    value = {name: getattr(snapshot, name) for name in _PLAIN_FIELDS}
    value["wait"] = None if snapshot.wait is None else asdict(snapshot.wait)
    value["lanes"] = [_lane(lane) for lane in snapshot.lanes]
    value["chunks"] = [asdict(chunk) for chunk in snapshot.chunks]
    value["endpoints"] = [asdict(endpoint) for endpoint in snapshot.endpoints]
    value["adjusted"] = [asdict(each) for each in snapshot.adjusted]
    value["failures"] = [asdict(failure) for failure in snapshot.failures]
    folder = snapshot.folder
    value["folder"] = None if folder is None else asdict(folder) | {"done": folder.done}
    return value


_PLAIN_FIELDS = (
    "run_id",
    "prompts",
    "results",
    "phase",
    "sandbox",
    "host",
    "total",
    "done",
    "resumed",
    "succeeded",
    "errored",
    "canceled",
    "expired",
    "failed",
    "retrying",
    "in_flight",
    "attempts",
    "rate_limited",
    "elapsed_s",
    "eta_s",
    "input_tokens",
    "output_tokens",
    "requests_per_minute",
    "input_tokens_per_minute",
    "output_tokens_per_minute",
    "cost_usd",
    "projected_cost_usd",
    "degraded",
    "cached",
    "fallback",
    "unreported",
    "unreported_usd",
    "stop_reasons",
    "output_errors",
    "grace_s",
    "paused_at",
)


def _lane(lane: LaneView) -> dict[str, Any]:
    return {
        "name": lane.name,
        "in_flight": lane.in_flight,
        "queued": lane.queued,
        "concurrency": lane.concurrency,
        "waiting_for": lane.waiting_for,
        "waiting_s": lane.waiting_s,
        "wait": None if lane.wait is None else asdict(lane.wait),
        "limits": [asdict(gauge) for gauge in lane.gauges],
        "sharing": None if lane.sharing is None else asdict(lane.sharing),
    }


def _encodable(value: Any) -> Any:
    """Return `value` with text that UTF-8 can hold: a file's name may be any bytes."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {key: _encodable(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_encodable(part) for part in value]
    return value
