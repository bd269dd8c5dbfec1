"""Statistics for tests: GET /sandbox/stats and GET /sandbox/requests.

/sandbox/stats is one JSON object:

    sent                    attempts at the Messages API that arrived (refused ones, too)
    by_status               attempts by the status they got: {"200": 12, "429": 1}
    troubles                answers that did not arrive whole by design: {"reset": 1, "cut": 2}
    rate_limited            429s by what limited: requests, input_tokens, output_tokens, in_flight,
                            ramp, spend, storm, count_tokens, batches, batch_queue
    in_flight               attempts that have arrived and not ended
    max_in_flight           the most there were at once
    answered                200s that went out whole, to a client that was still there
    abandoned               attempts whose client went away before their answer
    bodies                  distinct request bodies (by SHA-256)
    most_attempts_of_one    the most often one body arrived
    succeeded_bodies        bodies answered 200 at least once
    succeeded_twice         bodies answered 200 more than once
    arrivals                [[second, n], ...]: attempts per second since the first
    input_tokens, cache_written_tokens, cache_read_tokens, output_tokens    charged, live
    count_tokens, batch_calls, other_calls    calls of the other endpoints
    batches                 batches created
    batch_requests          requests in batches by final type (those of ended batches)
    batch_ids_succeeded_twice    custom_ids that succeeded in more than one batch
    batch_bodies_succeeded       distinct params that succeeded in a batch
    batch_bodies_succeeded_twice    distinct params that succeeded more than once

/sandbox/requests maps the SHA-256 of a body to [arrived, answered 200]; ?repeated=1: only bodies
that arrived more than once. A client that goes away before its answer: arrived, not answered.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import orjson


@dataclass(slots=True, kw_only=True)
class Stats:
    """Counters; times are arguments."""

    by_status: Counter[int] = field(default_factory=Counter)
    troubles: Counter[str] = field(default_factory=Counter)
    rate_limited: Counter[str] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)
    tokens: Counter[str] = field(default_factory=Counter)
    in_flight: int = 0
    max_in_flight: int = 0
    abandoned: int = 0
    answered_count: int = 0
    arrived: dict[bytes, int] = field(default_factory=dict)
    answered: dict[bytes, int] = field(default_factory=dict)
    arrivals: Counter[int] = field(default_factory=Counter)

    def arrive(self, body_digest: bytes, elapsed_s: float) -> int:
        """Count a Messages API attempt; return how often this body has arrived."""
        attempts = self.arrived.get(body_digest, 0) + 1
        self.arrived[body_digest] = attempts
        self.arrivals[int(elapsed_s)] += 1
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        return attempts

    def end(self, body_digest: bytes, status: int, *, whole: bool, gone: bool) -> None:
        """Count the end of an attempt: response sent in full, or client disconnected."""
        self.in_flight -= 1
        if gone:
            self.abandoned += 1
        elif whole and status == 200:  # noqa: PLR2004  # HTTP's own number
            self.answered_count += 1
            self.answered[body_digest] = self.answered.get(body_digest, 0) + 1

    def requests_json(self, *, repeated: bool) -> bytes:
        """Return the answer of GET /sandbox/requests."""
        return orjson.dumps(
            {
                digest.hex(): [arrived, self.answered.get(digest, 0)]
                for digest, arrived in self.arrived.items()
                if arrived > 1 or not repeated
            }
        )

    def stats_json(self, batches: dict[str, object]) -> bytes:
        """Return the answer of GET /sandbox/stats; `batches` are the figures of batch mode."""
        return orjson.dumps(
            {
                "sent": self.arrivals.total(),
                "by_status": {str(status): n for status, n in sorted(self.by_status.items())},
                "troubles": self.troubles,
                "rate_limited": self.rate_limited,
                "in_flight": self.in_flight,
                "max_in_flight": self.max_in_flight,
                "answered": self.answered_count,
                "abandoned": self.abandoned,
                "bodies": len(self.arrived),
                "most_attempts_of_one": max(self.arrived.values(), default=0),
                "succeeded_bodies": len(self.answered),
                "succeeded_twice": sum(1 for times in self.answered.values() if times > 1),
                "arrivals": sorted(self.arrivals.items()),
                "input_tokens": self.tokens["input"],
                "cache_written_tokens": self.tokens["cache_written"],
                "cache_read_tokens": self.tokens["cache_read"],
                "output_tokens": self.tokens["output"],
                "count_tokens": self.calls["count_tokens"],
                "batch_calls": self.calls["batches"],
                "other_calls": self.calls["other"],
                **batches,
            }
        )
