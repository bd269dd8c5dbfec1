"""Figures of a run minute by minute, as the journal keeps them (docs/files.md)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from claude_batch.core.model.requests import LimitKind

_BUCKETS_PER_DOUBLING = 8
"""Latencies are kept to within 9 %."""

_LEAST_LATENCY_S = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Attempts of one lane, endpoint and model, and what they used. In a batch: no lane.

    `input_tokens` are those that are not read from the prompt cache, `cache_write_tokens` those of
    them that are written to it. `cost_usd` is None where no price is known.
    """

    lane: str = ""
    endpoint: str = ""
    model: str = ""
    attempts: int = 0
    succeeded: int = 0
    input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitFigures:
    """One limit of a lane: `least` is the smallest headroom, None without any sample of it."""

    kind: str = ""
    per_minute: float | None = None
    least: float | None = None
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneFigures:
    """Limits of one lane, the most attempts in flight, and seconds waited by reason.

    A reason is a WaitKind, for LIMIT and PACE with the limit: "limit:input_tokens".
    """

    lane: str = ""
    in_flight: int = 0
    limits: tuple[LimitFigures, ...] = ()
    waits: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureExample:
    """One failure of a kind: which request met it, and what the API said."""

    custom_id: str = ""
    what: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Minute:
    """Figures of the `seconds` up to `at` (wall time). Short while a run is young; see `length_s`.

    `attempts` have ended, `retried` of them are tried again; `failures` counts them by kind,
    `limited` 429s by the limit they name ("": none). `succeeded` and `failed` count results,
    `cached` those of them that were there already. Tokens and cost are those of results and of
    attempts without one. `latency` counts answers by bucket (`latency_bucket`).
    """

    at: float = 0.0
    seconds: float = 0.0
    attempts: int = 0
    retried: int = 0
    succeeded: int = 0
    failed: int = 0
    cached: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None
    failures: Mapping[str, int] = field(default_factory=dict)
    limited: Mapping[str, int] = field(default_factory=dict)
    examples: Mapping[str, FailureExample] = field(default_factory=dict)
    latency: Mapping[int, int] = field(default_factory=dict)
    traffic: tuple[Traffic, ...] = ()
    lanes: tuple[LaneFigures, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing has ended."""
        return not (self.attempts or self.succeeded or self.failed or self.failures)


def length_s(elapsed_s: float) -> float:
    """Return how many seconds of a run the next figures cover: a young run has finer ones."""
    if elapsed_s < 60:  # noqa: PLR2004  # a minute
        return 5.0
    return 15.0 if elapsed_s < 300 else 60.0  # noqa: PLR2004  # five minutes


def latency_bucket(seconds: float) -> int:
    """Return the bucket of a latency: bucket k begins at 2 ** (k / 8) seconds."""
    return math.floor(_BUCKETS_PER_DOUBLING * math.log2(max(seconds, _LEAST_LATENCY_S)))


def bucket_start_s(bucket: int) -> float:
    """Return the seconds at which a bucket of latencies begins."""
    return math.exp2(bucket / _BUCKETS_PER_DOUBLING)


def percentile_s(latency: Mapping[int, int], share: float) -> float | None:
    """Return the latency that `share` of the answers do not exceed, to within 9 %; None: none."""
    total = sum(latency.values())
    if not total:
        return None
    rank, seen = share * total, 0.0
    for bucket, count in sorted(latency.items()):
        if seen + count >= rank:
            start, end = bucket_start_s(bucket), bucket_start_s(bucket + 1)
            return start + (end - start) * max(0.0, rank - seen) / count
        seen += count
    return bucket_start_s(max(latency) + 1)


def merged_counts(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Return the sums of counts by name."""
    merged: dict[str, int] = {}
    for each in counts:
        for name, count in each.items():
            merged[name] = merged.get(name, 0) + count
    return merged


UNNAMED_LIMIT = ""
"""Stands for the limit of a 429 that names none."""

LIMIT_ORDER = (*(kind.value for kind in LimitKind), UNNAMED_LIMIT)
"""The limits in the order in which they are shown."""
