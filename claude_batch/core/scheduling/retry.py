"""The retry policy: which failures count against a request, and how long it waits after one."""

from __future__ import annotations

from collections.abc import Callable

from claude_batch.core.model.requests import Failure, FailureKind, Request

COUNTED = frozenset({FailureKind.SERVER_ERROR, FailureKind.TIMED_OUT, FailureKind.INVALID_RESPONSE})
"""Failures that count against the request: they use up `--max-attempts`."""

OUTAGES = frozenset({FailureKind.OVERLOADED, FailureKind.UNREACHABLE})
"""Failures that hit every request at once: they do not count, only `--patience` bounds them."""

LIMITED = frozenset({FailureKind.RATE_LIMITED, FailureKind.RAMP_LIMITED})
"""429s: the lane waits, and nothing counts against the request."""

TRANSIENT = COUNTED | OUTAGES | LIMITED
"""Failures that another attempt may not have: the endpoint gives no answer now."""

_MAYBE_BILLED = frozenset({FailureKind.TIMED_OUT, FailureKind.INVALID_RESPONSE})
"""Failures where the API may have generated, and charged, an answer we did not get."""

_OK = 200

FIRST_BACKOFF_S = 0.5
"""The longest wait after a first failure, in seconds; it doubles with each further one."""

MAX_BACKOFF_S = 30.0
"""The longest wait of a request that keeps failing while others succeed, in seconds."""

PROBE_BACKOFF_S = 2.0
"""The longest wait during an outage, in seconds: its end should be noticed soon."""

DOUBT_SHARE = 1 / 6
"""After this share of the patience an outage is doubted, if all requests left have failed in it:
they may be what makes the server fail."""

SHORT_WAIT_S = 5.0
"""A 429 that asks for a wait of at most this many seconds may be about one request only."""

FULL_JITTER = (0.0, 1.0)
"""Range of the random factor for many clients that fail at once: from no wait to the full one."""

SLIGHT_JITTER = (0.8, 1.2)
"""The range for one client that polls: the wait, plus or minus a fifth."""


def backoff_s(  # noqa: PLR0913  # everything in which retries differ
    attempt: int,
    *,
    base_s: float,
    cap_s: float,
    rng: Callable[[], float],
    jitter: tuple[float, float] = FULL_JITTER,
    growth: float = 2.0,
    asked_s: float | None = None,
) -> float:
    """Return the wait after the `attempt`-th failure in a row (from 1), in seconds.

    min(cap, base * growth^(attempt - 1)), times a random factor in the range `jitter`; `rng`
    returns numbers in [0, 1). Never shorter than `asked_s`, what the answer asks for.
    Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    least, most = jitter
    grown_s = min(cap_s, base_s * growth ** min(attempt - 1, 30))
    return max(asked_s or 0.0, grown_s * (least + (most - least) * rng()))


def retry_delay_s(  # noqa: PLR0913  # everything in which retries differ
    kind: FailureKind,
    *,
    counts: bool,
    failures: int,
    asked_s: float | None,
    only_endpoint: bool,
    is_paused: bool,
    rng: Callable[[], float],
) -> float:
    """Return how long a failed request waits before it is queued again, in seconds.

    `counts`: the failure counts against the request; `failures` are those of that sort so far.
    After a 429 the request may go to another endpoint at once, unless there is none. A short wait
    is kept where it might return to the same endpoint: unless its lane `is_paused`.
    """
    if kind in LIMITED:
        wait_s = FIRST_BACKOFF_S if asked_s is None else asked_s
        stays = only_endpoint or (wait_s <= SHORT_WAIT_S and not is_paused)
        return wait_s if stays else 0.0
    cap_s = MAX_BACKOFF_S if counts else PROBE_BACKOFF_S
    return backoff_s(failures, base_s=FIRST_BACKOFF_S, cap_s=cap_s, rng=rng, asked_s=asked_s)


def may_be_billed(failure: Failure) -> bool:
    """Return whether the API may have charged an answer that we did not get.

    A connection that breaks before any answer is not counted: most often nothing was generated.
    """
    began = failure.kind is FailureKind.UNREACHABLE and failure.status == _OK
    return not failure.never_sent and (failure.kind in _MAYBE_BILLED or began)


def attempt_timeout_s(request: Request) -> float:
    """Return how long one attempt may take as a whole before it counts as hung, in seconds.

    Half a minute to start, twice the time the SDK expects for `max_tokens` (3600 s for 128,000
    output tokens, docs/claude-api.md#sdk-behaviour), and 1 s per 5,000 input tokens.
    """
    return 30.0 + 2 * 3600.0 * request.max_tokens / 128_000 + request.input_tokens / 5_000
