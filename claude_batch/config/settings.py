"""What a settings file holds beside options: endpoints and pool; and all that is in force."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from claude_batch.config.declaration import (
    Choice,
    Models,
    Number,
    Switch,
    Table,
    Text,
    Time,
    Url,
    VariableName,
    seconds,
    setting,
)
from claude_batch.config.options import Options, Tier

if TYPE_CHECKING:
    from claude_batch.core.catalog.routing import Route

Provider = Literal["anthropic", "aws", "google-cloud", "bedrock", "vertex", "foundry", "openai"]
Auth = Literal["bearer", "x-api-key", "both"]
Strategy = Literal["headroom", "round_robin", "random", "priority"]


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One [[endpoint]]: where requests go, and the names of the variables that hold its secrets."""

    name: str = setting(
        Text(empty=False), "What it is called in results.", '"main"', default="default"
    )
    provider: Provider = setting(
        Choice("anthropic", "aws", "google-cloud", "bedrock", "vertex", "foundry", "openai"),
        "anthropic, aws, google-cloud, bedrock, vertex, foundry, or openai (Chat Completions).",
        '"anthropic"',
        default="anthropic",
    )
    base_url: str | None = setting(
        Url(),
        "A relay, a gateway or a local server, without /v1.",
        '"https://gateway.example.com"',
    )
    api_key_env: str | None = setting(
        VariableName(),
        "The NAME of a variable with the key.",
        '"ANTHROPIC_API_KEY"',
    )
    auth_token_env: str | None = setting(
        VariableName(), "The NAME of a variable with a token instead.", '"GATEWAY_TOKEN"'
    )
    auth: Auth = setting(
        Choice("bearer", "x-api-key", "both"),
        "How the key is sent: bearer, x-api-key or both; some servers read only one.",
        '"bearer"',
        default="bearer",
    )
    limit_group: str | None = setting(
        Text(empty=False),
        "Endpoints of one group share limits. By default the organization in the response headers "
        "is the group.",
        '"org-a"',
    )
    tier: Tier | None = setting(
        Choice("start", "build", "scale"),
        "The tier to assume, and maximums per minute, for this endpoint alone.",
        '"build"',
    )
    rpm: float | None = setting(Number(above=0), "", "500")
    itpm: float | None = setting(Number(above=0), "", "1_000_000")
    otpm: float | None = setting(Number(above=0), "", "200_000")
    role: Literal["primary", "fallback"] = setting(
        Choice("primary", "fallback"),
        "A fallback takes requests only while no primary endpoint can.",
        '"fallback"',
        default="primary",
    )
    models: Mapping[str, str] = setting(
        Models(),
        "The models it is asked for, as a list, or with what it calls them.",
        '{ "claude-haiku-5-5" = "qwen3" }',
        default={},
    )
    serves_any: bool = setting(
        Switch(),
        "Of several endpoints: ask this one for any model, whatever its name.",
        "false",
        default=False,
    )
    headers_env: Mapping[str, str] = setting(
        Table(VariableName()),
        "Extra headers; the values are NAMES of variables.",
        '{ "x-team" = "TEAM_TOKEN" }',
        default={},
    )


@dataclass(frozen=True, kw_only=True)
class Pool:
    """[pool]: which of several endpoints a request goes to."""

    strategy: Strategy = setting(
        Choice("headroom", "round_robin", "random", "priority"),
        "Which endpoint a request goes to: headroom (where it can go soonest), round_robin, random "
        "or priority (the first that can).",
        '"headroom"',
        default="headroom",
    )
    fallback_after: str = setting(
        Time(),
        "A fallback endpoint is used when no primary one could take requests for this long.",
        '"30s"',
        default="30s",
    )

    @property
    def fallback_after_s(self) -> float:
        """`fallback_after` in seconds."""
        return seconds(self.fallback_after)


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What a run's journal keeps of its options, to be in force again when it is continued.

    `flags` and `variables` are options by name, None where one was unset; `adjusted` are those that
    were changed while the run went, as they are since; `config` is the settings file, `endpoints`
    are the names of its endpoints.
    """

    flags: Mapping[str, Any] = field(default_factory=dict)
    variables: Mapping[str, Any] = field(default_factory=dict)
    adjusted: Mapping[str, Any] = field(default_factory=dict)
    config: str | None = None
    endpoints: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All that is in force, and where it came from.

    `given` are the options that this command was given, with the place of each (a flag, a variable,
    a line of the settings file); `typed` those that are flags; `resumed` those that only the run's
    journal gave; `overruled` those flags that say what the run began with, and was adjusted since.
    `of_run` is what the journal should hold from now on.
    """

    options: Options
    endpoints: tuple[Endpoint, ...]
    pool: Pool
    routes: tuple[Route, ...]
    file: Path | None
    given: Mapping[str, str] = field(default_factory=dict)
    typed: frozenset[str] = frozenset()
    resumed: tuple[str, ...] = ()
    overruled: Mapping[str, Any] = field(default_factory=dict)
    of_run: RunSettings = RunSettings()

    @property
    def endpoint(self) -> Endpoint:
        """The first endpoint."""
        return self.endpoints[0]
