"""The options that several commands share; their names are fixed, scripts rely on them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from claude_batch.config import Options, Settings, read_settings, variable
from claude_batch.errors import SettingsError

_NO = {"", "0", "f", "false", "n", "no", "off"}

Prompts = Annotated[
    str, typer.Argument(metavar="PROMPTS", help="A JSONL file of prompts, or - for stdin.")
]
Out = Annotated[
    Path | None,
    typer.Option("-o", "--out", metavar="FILE", help="Results file.", show_default=False),
]
Model = Annotated[
    str | None, typer.Option("--model", metavar="ID", help="Model for lines that name none.")
]
MaxTokens = Annotated[
    int | None,
    typer.Option("--max-tokens", metavar="N", min=1, help="max_tokens for lines that say none."),
]
System = Annotated[
    str | None, typer.Option("--system", metavar="TEXT", help="System prompt for lines without.")
]
Rpm = Annotated[
    float | None, typer.Option("--rpm", metavar="N", help="Never more requests a minute.")
]
Itpm = Annotated[
    float | None, typer.Option("--itpm", metavar="N", help="Never more input tokens a minute.")
]
Otpm = Annotated[
    float | None, typer.Option("--otpm", metavar="N", help="Never more output tokens a minute.")
]
Tier = Annotated[
    str | None,
    typer.Option(
        "--tier", metavar="start|build|scale", help="First guess of the limits, until told."
    ),
]
Share = Annotated[
    float | None, typer.Option("--share", metavar="0..1", help="Use at most this share of them.")
]
Concurrency = Annotated[
    int | None,
    typer.Option("--concurrency", metavar="N", help="At most N in flight [found by itself]."),
]
MaxAttempts = Annotated[
    int | None, typer.Option("--max-attempts", metavar="N", help="Per request [6].")
]
Patience = Annotated[
    str | None,
    typer.Option(
        "--patience", metavar="TIME", help="Give up after this long without a success [1h]."
    ),
]
Cache = Annotated[
    bool | None,
    typer.Option("--cache", help="Keep answers, and take kept ones.", show_default=False),
]
Dedupe = Annotated[
    bool | None,
    typer.Option("--dedupe", help="Send equal prompts once.", show_default=False),
]
CachePrefix = Annotated[
    str | None,
    typer.Option(
        "--cache-prefix",
        metavar="auto|off",
        help="Let the API cache what prompts begin with alike [off].",
    ),
]
MaxCost = Annotated[
    float | None,
    typer.Option("--max-cost", metavar="USD", help="Stop, resumable, before spending more."),
]
ConfirmAbove = Annotated[
    float | None,
    typer.Option("--confirm-above", metavar="USD", help="Ask before spending more [10]."),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing.")]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="Settings [./claude-batch.toml].",
        envvar=variable("config"),
        show_envvar=False,
    ),
]
ProgressOption = Annotated[
    str | None,
    typer.Option(
        "--progress", metavar="auto|live|plain|json|none", help="How progress is shown [auto]."
    ),
]
Quiet = Annotated[
    bool | None, typer.Option("--quiet", help="Nothing but errors on stderr.", show_default=False)
]
Stdout = Annotated[
    bool | None,
    typer.Option("--stdout/--no-stdout", help="Results also to stdout [if it is no terminal]."),
]
Format = Annotated[
    str | None,
    typer.Option("--format", metavar="full|text", help="What goes to stdout [full]."),
]
NewOnly = Annotated[
    bool, typer.Option("--new-only", help="To stdout only what this command finishes.")
]
RetryErrored = Annotated[
    bool, typer.Option("--retry-errored", help="Try what did not succeed again.")
]
RetryDegraded = Annotated[
    bool, typer.Option("--retry-degraded", help="Ask again what a fallback has answered.")
]
Json = Annotated[bool, typer.Option("--json", help="As JSON, for scripts.")]
Sandbox = Annotated[
    bool,
    typer.Option(
        "--sandbox",
        help="Against the built-in pretend API: no key, no cost.",
        envvar=variable("sandbox"),
        show_envvar=False,
    ),
]
Scenario = Annotated[
    Path | None,
    typer.Option(
        "--scenario",
        metavar="FILE",
        help="How the sandbox should behave.",
        envvar=variable("scenario"),
        show_envvar=False,
    ),
]
Prices = Annotated[
    Path | None,
    typer.Option("--prices", metavar="FILE", help="Models and prices of your own (TOML)."),
]
Deadline = Annotated[
    str | None, typer.Option("--deadline", metavar="TIME", help="When it should be done, as 2h.")
]
Mode = Annotated[
    str | None,
    typer.Option(
        "--mode", metavar="live|batch|auto", help="Batches cost half, and take up to a day [live]."
    ),
]
BatchSize = Annotated[
    int | None, typer.Option("--batch-size", metavar="N", help="Requests per batch [100000].")
]
Detach = Annotated[
    bool, typer.Option("--detach", help="Submit batches and leave; resume collects them.")
]
Canary = Annotated[
    bool | None,
    typer.Option(
        "--canary/--no-canary",
        help="One line of each shape goes live before its batch [yes].",
        show_default=False,
    ),
]
CacheUrl = Annotated[
    str | None,
    typer.Option("--cache-url", metavar="URL", help="redis://HOST:PORT/0 or sqlite:///PATH."),
]
CacheTtl = Annotated[
    str | None,
    typer.Option("--cache-ttl", metavar="TIME", help="How long an answer is good [for ever]."),
]


def settings_from(arguments: Mapping[str, Any]) -> Settings:
    """Return the settings for a command's arguments (None: not given)."""
    flags = {name: arguments.get(name) for name in Options.model_fields}
    return read_settings(flags, os.environ, config=arguments.get("config"))


def asking_for_sandbox() -> str | None:
    """Return the variable that asks for the sandbox; None if there is none."""
    sandbox, scenario = variable("sandbox"), variable("scenario")
    if os.environ.get(sandbox, "").lower() not in _NO:
        return sandbox
    return scenario if os.environ.get(scenario) else None


def refuse_sandbox(command: str) -> None:
    """Refuse to ask the real API where the environment asks for the sandbox."""
    if asking := asking_for_sandbox():
        raise SettingsError(
            f"{asking} asks for the sandbox, but {command} asks the real API",
            hint=f"unset {asking}; or serve a sandbox that stays (claude-batch sandbox) and point "
            "ANTHROPIC_BASE_URL to it",
        )
