"""How the simulated API behaves: a TOML file, read into one frozen `Scenario`.

Every section and key is optional; what is left out behaves calmly. Times (`at_s`, `from_s`,
`until_s`) count from the first request that arrives. `samples/scenarios/` has commented ones.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from claude_batch.sandbox.scenario_reading import ScenarioError, bounds, read_table

SpendAnswer = Literal[
    "spend_limit", "contract_spend_limit", "own_spend_limit", "credit", "on_hold", "billing"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """Limits per minute that override the general ones; absent: no override."""

    rpm: int | None = None
    itpm: int | None = None
    otpm: int | None = None


NO_OVERRIDE = Override()


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits per minute of an organization in each model class; 0: unlimited.

    A bucket holds `..._burst_s` seconds of its refill: 60 is a minute's worth, 1 means that the
    limit is enforced by the second. With `rpm_window_s` requests are counted per fixed window of
    so many seconds of the clock instead, as relays do. `in_flight` bounds the messages being
    answered at once, of everybody together; 0: any number. `classes` overrides by model class
    ("Haiku 5.5").
    """

    rpm: int = 10_000
    itpm: int = 10_000_000
    otpm: int = 2_000_000
    rpm_burst_s: float = field(default=60.0, metadata=bounds(least=0.001))
    itpm_burst_s: float = field(default=60.0, metadata=bounds(least=0.001))
    otpm_burst_s: float = field(default=60.0, metadata=bounds(least=0.001))
    rpm_window_s: float = 0.0
    initial_fill: float = field(default=1.0, metadata=bounds(most=1))
    in_flight: int = 0
    count_tokens_rpm: int = 8_000
    batches_rpm: int = 4_000
    batch_queue: int = 500_000
    classes: Mapping[str, Override] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """New limits from a given time, for one organization or all."""

    at_s: float
    rpm: int | None = None
    itpm: int | None = None
    otpm: int | None = None
    organization: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Competitor:
    """Another program that continuously uses a share of every limit."""

    share: float = field(default=0.0, metadata=bounds(most=1))
    from_s: float = 0.0
    until_s: float = math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Ramp:
    """The acceleration limit on requests per minute; 0: none."""

    start_rpm: float = 0.0
    doubles_every_s: float = field(default=60.0, metadata=bounds(least=0.001))
    burst_s: float = field(default=5.0, metadata=bounds(least=0.001))


@dataclass(frozen=True, slots=True, kw_only=True)
class Spend:
    """The account runs out after some answered requests; `answer` is the refusal after that."""

    after_requests: int | None = None
    answer: SpendAnswer = "spend_limit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Organization:
    """A further organization with its keys and limit overrides."""

    id: str
    keys: tuple[str, ...]
    limits: Override = NO_OVERRIDE


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """How long answers take: `base_s` to the first token, then a time per output token."""

    base_s: float = 0.3
    per_output_token_s: float = 0.002
    jitter: float = field(default=0.2, metadata=bounds(most=1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """Length of answers (log-normal; `spread` is its sigma); shares of thinking and refusals.

    `ignores_schemas` is the share of answers that are text although a JSON schema was asked for,
    as of an endpoint that does not know about schemas.
    """

    mean_tokens: float = field(default=60.0, metadata=bounds(least=1))
    spread: float = 0.5
    thinking_tokens: float = 30.0
    refusals: float = field(default=0.0, metadata=bounds(most=1))
    ignores_schemas: float = field(default=0.0, metadata=bounds(most=1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """`error` multiplies the count of input tokens, so that a client's estimate is off by it."""

    error: float = field(default=1.0, metadata=bounds(least=0.01))


@dataclass(frozen=True, slots=True, kw_only=True)
class Caching:
    """Whether `cache_control` has an effect."""

    enabled: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Headers:
    """Which headers are sent; a relay sends few.

    With `tokens` "combined", input and output tokens are only reported together.
    What is left of the limits is sampled as a request comes in, or as its answer leaves.
    """

    rate_limits: bool = True
    tokens: Literal["each", "combined"] = "each"
    retry_after: bool = True
    organization: bool = True
    request_id: bool = True
    sampled_at: Literal["start", "end"] = "end"


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """Shares of the Messages API attempts that fail; each attempt is drawn separately."""

    rate_limit: float = field(default=0.0, metadata=bounds(most=1))
    overloaded: float = field(default=0.0, metadata=bounds(most=1))
    server_error: float = field(default=0.0, metadata=bounds(most=1))
    reset: float = field(default=0.0, metadata=bounds(most=1))
    cut_body: float = field(default=0.0, metadata=bounds(most=1))
    hang: float = field(default=0.0, metadata=bounds(most=1))
    html_502: float = field(default=0.0, metadata=bounds(most=1))
    invalid_json: float = field(default=0.0, metadata=bounds(most=1))
    slow: float = field(default=0.0, metadata=bounds(most=1))
    slow_factor: float = 10.0
    hang_s: float = 3_600.0
    rate_limit_retry_after_s: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """A period in which a share of the attempts gets `status`.

    For everybody, or for one organization, key or model. A revoked key is an outage of status
    401, a forbidden model one of 403.
    """

    status: int = field(default=529, metadata=bounds(least=400, most=599))
    from_s: float = 0.0
    until_s: float = math.inf
    share: float = field(default=1.0, metadata=bounds(most=1))
    organization: str | None = None
    key: str | None = None
    model: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Blackout:
    """A period in which the network forgets its connections without closing them.

    Those that were open before, or are opened meanwhile, carry nothing any more, even afterwards.
    """

    from_s: float = 0.0
    until_s: float = math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Batches:
    """How the Message Batches API behaves.

    All times are divided by `time_scale`, a fast clock: at 60 a batch that takes an hour takes a
    minute, and expires after 24 minutes. `spread` varies `duration_s` by so much either way.
    """

    supported: bool = True
    duration_s: float = 30.0
    spread: float = field(default=0.2, metadata=bounds(most=1))
    cancel_s: float = 2.0
    expires_after_s: float = 86_400.0
    results_kept_s: float = 29 * 86_400.0
    time_scale: float = field(default=1.0, metadata=bounds(least=0.001))
    expired: float = field(default=0.0, metadata=bounds(most=1))
    errored: float = field(default=0.0, metadata=bounds(most=1))
    list_lag_s: float = 0.0
    not_found_s: float = 0.0
    refused_creates: float = field(default=0.0, metadata=bounds(most=1))
    lost_creates: float = field(default=0.0, metadata=bounds(most=1))
    cut_results: int = 0
    ranges: bool = True
    results_origin: str | None = None
    cache_hits: float = field(default=0.7, metadata=bounds(most=1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """All settings. The default has no faults.

    `any_model`: models of any name are served, as a relay or a local server does.
    `any_key`: a key that no organization lists belongs to the default organization.
    """

    seed: int = 1
    any_model: bool = False
    any_key: bool = True
    count_tokens: bool = True
    limits: Limits = Limits()
    change: tuple[Change, ...] = ()
    competitor: Competitor = Competitor()
    ramp: Ramp = Ramp()
    spend: Spend = Spend()
    organization: tuple[Organization, ...] = ()
    latency: Latency = Latency()
    output: Output = Output()
    input: Input = Input()
    caching: Caching = Caching()
    headers: Headers = Headers()
    faults: Faults = Faults()
    outage: tuple[Outage, ...] = ()
    blackout: tuple[Blackout, ...] = ()
    batches: Batches = Batches()


def parse_scenario(toml_text: str) -> Scenario:
    """Return the scenario that a TOML text describes; ScenarioError names what is wrong in it."""
    try:
        table = tomllib.loads(toml_text)
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError(f"the scenario is not TOML: {error}") from error
    return read_table(Scenario, table, "")


def load_scenario(path: Path | None) -> Scenario:
    """Return the scenario of a file; without a file, the default."""
    if path is None:
        return Scenario()
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ScenarioError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ScenarioError(f"{path}: is not UTF-8 text") from error
    try:
        return parse_scenario(text)
    except ScenarioError as error:
        raise ScenarioError(f"{path}: {error.message}") from error
