"""The limits of an organization in one model class: three buckets, their headers, their 429s."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from claude_batch.sandbox.limits.buckets import SECONDS_PER_MINUTE, Bucket
from claude_batch.sandbox.scenario import Change, Competitor, Limits, Organization, Override
from claude_batch.sandbox.wire import RefusedError

REQUESTS, INPUT, OUTPUT = "requests", "input_tokens", "output_tokens"

_ADVICE = (
    "For details, refer to: https://docs.claude.com/en/api/rate-limits. You can see the response "
    "headers for current usage. Please reduce the prompt length or the maximum tokens requested, "
    "or try again later. You may also contact sales at https://www.anthropic.com/contact-sales to "
    "discuss your options for a rate limit increase."
)
_THOUSAND = 1_000


@dataclass(slots=True, kw_only=True)
class LimitGroup:
    """What one organization may use of one model class; None: no limit of that kind."""

    organization: str
    requests: Bucket | None
    input: Bucket | None
    output: Bucket | None

    def admit(self, input_tokens: int, now: float) -> None:
        """Charge a request and its input tokens, or raise RefusedError with the wait."""
        self._require(self.requests, 1, "requests", now)
        self._require(self.input, input_tokens, "input tokens", now)
        self._require(self.output, 1, "output tokens", now)
        if self.requests is not None:
            self.requests.spend(1, now)
        if self.input is not None:
            self.input.spend(input_tokens, now)

    def _require(self, bucket: Bucket | None, amount: float, words: str, now: float) -> None:
        if bucket is None:
            return
        wait_s = bucket.wait_s(amount, now)
        if wait_s > 0:
            raise self.refusal(words, bucket.per_minute, wait_s)

    def refusal(self, words: str, per_minute: float, wait_s: float) -> RefusedError:
        """Return the 429 that names a limit."""
        return RefusedError(
            429,
            f"This request would exceed the rate limit for your organization "
            f"({self.organization}) of {per_minute:,.0f} {words} per minute. {_ADVICE}",
            retry_after_s=max(1, math.ceil(wait_s - 1e-6)),
            limiter=words.replace(" ", "_"),
        )

    def generate(self, tokens: int, *, start: float, end: float) -> None:
        """Charge output tokens as they are generated."""
        if self.output is not None:
            self.output.drain(tokens, start=start, end=end)

    def change(self, change: Change, now: float) -> None:
        """Apply new limits."""
        for bucket, per_minute in (
            (self.requests, change.rpm),
            (self.input, change.itpm),
            (self.output, change.otpm),
        ):
            if bucket is not None and per_minute:
                bucket.change(per_minute, now)

    def headers(self, now: float, wall: float, *, combined: bool = False) -> dict[str, str]:
        """Return the headers of docs/claude-api.md#response-headers at `now`, which is `wall`.

        `combined`: tokens are only reported together.
        """
        headers: dict[str, str] = {}
        if self.requests is not None:
            _add(headers, "requests", self.requests, now, wall)
        if self.input is not None and not combined:
            _add(headers, "input-tokens", self.input, now, wall)
        if self.output is not None and not combined:
            _add(headers, "output-tokens", self.output, now, wall)
        if self.input is not None and self.output is not None:
            _add_both(headers, (self.input, self.output), now, wall)
        return headers


def _add(headers: dict[str, str], family: str, bucket: Bucket, now: float, wall: float) -> None:
    full_in_s = bucket.full_in_s(now)
    left = max(0.0, bucket.level)
    stem = f"anthropic-ratelimit-{family}"
    headers[f"{stem}-limit"] = str(int(bucket.per_minute))
    headers[f"{stem}-remaining"] = str(int(left) if family == "requests" else _rounded(left))
    headers[f"{stem}-reset"] = timestamp(math.ceil(wall + full_in_s))


def _add_both(
    headers: dict[str, str], both: tuple[Bucket, Bucket], now: float, wall: float
) -> None:
    """Add the headers for input and output tokens combined."""
    left = sum(max(0.0, bucket.level) for bucket in both)
    full_in_s = max(bucket.full_in_s(now) for bucket in both)
    headers["anthropic-ratelimit-tokens-limit"] = str(int(sum(b.per_minute for b in both)))
    headers["anthropic-ratelimit-tokens-remaining"] = str(_rounded(left))
    headers["anthropic-ratelimit-tokens-reset"] = timestamp(math.ceil(wall + full_in_s))


def _rounded(tokens: float) -> int:
    """Return tokens rounded to the nearest thousand, as the API reports them."""
    return round(tokens / _THOUSAND) * _THOUSAND


@lru_cache(maxsize=4096)
def timestamp(wall: float) -> str:
    """Return seconds since 1970 as RFC 3339, in UTC."""
    return datetime.fromtimestamp(wall, UTC).isoformat().replace("+00:00", "Z")


def own_limits(limits: Limits, override: Override) -> Limits:
    """Return the limits with an override applied."""
    return Limits(
        rpm=limits.rpm if override.rpm is None else override.rpm,
        itpm=limits.itpm if override.itpm is None else override.itpm,
        otpm=limits.otpm if override.otpm is None else override.otpm,
        rpm_burst_s=limits.rpm_burst_s,
        rpm_window_s=limits.rpm_window_s,
        itpm_burst_s=limits.itpm_burst_s,
        otpm_burst_s=limits.otpm_burst_s,
        initial_fill=limits.initial_fill,
    )


def limits_of(limits: Limits, organization: Organization, model_class: str) -> Limits:
    """Return what an organization may use of a model class."""
    by_class = own_limits(limits, limits.classes.get(model_class, Override()))
    return own_limits(by_class, organization.limits)


def open_group(
    limits: Limits, organization: str, competitor: Competitor, *, began: float, now: float
) -> LimitGroup:
    """Return the limits of an organization and model class at their initial level."""
    group = LimitGroup(
        organization=organization,
        requests=_bucket(
            limits.rpm,
            limits.rpm_window_s or limits.rpm_burst_s,
            limits.initial_fill,
            now,
            windowed=limits.rpm_window_s > 0,
        ),
        input=_bucket(limits.itpm, limits.itpm_burst_s, limits.initial_fill, now),
        output=_bucket(limits.otpm, limits.otpm_burst_s, limits.initial_fill, now),
    )
    start, end = max(now, began + competitor.from_s), began + competitor.until_s
    for bucket in (group.requests, group.input, group.output):
        if bucket is not None and competitor.share and end > start:
            bucket.share(competitor.share, start=start, end=end)
    return group


def _bucket(
    per_minute: float, burst_s: float, fill: float, now: float, *, windowed: bool = False
) -> Bucket | None:
    if not per_minute:
        return None
    bucket = Bucket(per_minute=per_minute, burst_s=burst_s, level=0.0, at=now, windowed=windowed)
    bucket.level = bucket.capacity * fill
    return bucket


@dataclass(slots=True, kw_only=True)
class RampLimit:
    """How fast usage may grow: a doubling RPM (docs/claude-api.md#other-causes-of-429)."""

    start_rpm: float
    doubles_every_s: float
    burst_s: float
    level: float = math.nan
    at: float = 0.0

    def admit(self, elapsed_s: float) -> None:
        """Charge a request, or refuse it if usage grows too fast."""
        per_second = self.start_rpm / SECONDS_PER_MINUTE * 2.0 ** (elapsed_s / self.doubles_every_s)
        capacity = max(1.0, per_second * self.burst_s)
        if math.isnan(self.level):
            self.level = capacity
        self.level = min(capacity, self.level + per_second * (elapsed_s - self.at))
        self.at = elapsed_s
        if self.level < 1.0:
            raise RefusedError(
                429,
                "Your organization's usage has grown too quickly. Please ramp up your traffic "
                "more gradually and try again later.",
                code="ramp_limit_exceeded",
                retry_after_s=max(1, math.ceil((1.0 - self.level) / per_second)),
                limiter="ramp",
            )
        self.level -= 1.0
