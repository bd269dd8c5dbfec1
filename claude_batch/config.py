"""Settings: flag > environment (CLAUDE_BATCH_...) > claude-batch.toml > built-in. Read once, here.

A settings file never holds a key: it names the environment variable that does.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from platformdirs import user_config_path
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from claude_batch.core.routing import Route, parse_routes
from claude_batch.errors import SettingsError

FILE_NAME = "claude-batch.toml"
PREFIX = "CLAUDE_BATCH_"

Tier = Literal["start", "build", "scale"]
Mode = Literal["live", "batch", "auto"]
ProgressMode = Literal["auto", "live", "plain", "json", "none"]
Format = Literal["full", "text"]
Provider = Literal["anthropic", "aws", "google-cloud", "bedrock", "vertex", "foundry", "openai"]
Strategy = Literal["headroom", "round_robin", "random", "priority"]

_TIME = r"^\d+(\.\d+)?[smhd]$"
_URL = r"^https?://"
_VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


VariableName = Annotated[str, Field(pattern=_VARIABLE)]


def seconds(time: str) -> float:
    """Return the seconds of a time such as 90s, 5m, 2h or 1d."""
    return float(time[:-1]) * _UNITS[time[-1]]


class Options(BaseModel):
    """What a run can be told by flag, variable or [defaults]. None: nobody has said."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str | None = Field(default=None, min_length=1)
    max_tokens: int | None = Field(default=None, ge=1)
    system: str | None = None
    rpm: float | None = Field(default=None, gt=0)
    itpm: float | None = Field(default=None, gt=0)
    otpm: float | None = Field(default=None, gt=0)
    tier: Tier | None = None
    share: float = Field(default=1.0, gt=0, le=1)
    concurrency: int | None = Field(default=None, ge=1, le=20_000)
    max_attempts: int = Field(default=6, ge=1)
    max_cost: float | None = Field(default=None, gt=0)
    confirm_above: float = Field(default=10.0, ge=0)
    patience: str = Field(default="1h", pattern=_TIME)
    mode: Mode = "live"
    deadline: str | None = Field(default=None, pattern=_TIME)
    batch_size: int | None = Field(default=None, ge=1, le=100_000)
    canary: bool = True
    list_lag: str = Field(default="5m", pattern=_TIME)
    first_poll: str = Field(default="5s", pattern=_TIME)
    cache: bool = False
    cache_url: str | None = Field(default=None, repr=False)
    cache_ttl: str | None = Field(default=None, pattern=_TIME)
    dedupe: bool = False
    cache_prefix: Literal["auto", "off"] = "off"
    prices: Path | None = None
    progress: ProgressMode = "auto"
    quiet: bool = False
    stdout: bool | None = None
    format: Format = "full"

    @property
    def patience_s(self) -> float:
        """Seconds without a success after which a run gives up."""
        return seconds(self.patience)

    @property
    def deadline_s(self) -> float | None:
        """Seconds within which the run should be over; None: whenever."""
        return None if self.deadline is None else seconds(self.deadline)

    @property
    def list_lag_s(self) -> float:
        """Seconds after which a batch that was created is certainly listed."""
        return seconds(self.list_lag)

    @property
    def first_poll_s(self) -> float:
        """Seconds until a new batch is first asked after."""
        return seconds(self.first_poll)

    @property
    def cache_ttl_s(self) -> float | None:
        """Seconds for which a kept answer is good; None: for ever."""
        return None if self.cache_ttl is None else seconds(self.cache_ttl)


class Endpoint(BaseModel):
    """One [[endpoint]]: where requests go, and the names of the variables that hold its secrets.

    `limit_group` names whose limits it draws on; without it the organization in the response
    headers does. `models` maps a model to what this endpoint calls it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(default="default", min_length=1)
    provider: Provider = "anthropic"
    base_url: str | None = Field(default=None, pattern=_URL, repr=False)
    api_key_env: VariableName | None = None
    auth_token_env: VariableName | None = None
    auth: Literal["bearer", "x-api-key", "both"] = "bearer"
    limit_group: str | None = Field(default=None, min_length=1)
    tier: Tier | None = None
    rpm: float | None = Field(default=None, gt=0)
    itpm: float | None = Field(default=None, gt=0)
    otpm: float | None = Field(default=None, gt=0)
    role: Literal["primary", "fallback"] = "primary"
    models: dict[str, str] = {}
    headers_env: dict[str, VariableName] = {}


class Pool(BaseModel):
    """[pool]: which of several endpoints a request goes to.

    Fallback endpoints take requests once no primary one has been able to for `fallback_after`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    strategy: Strategy = "headroom"
    fallback_after: str = Field(default="30s", pattern=_TIME)

    @property
    def fallback_after_s(self) -> float:
        """`fallback_after` in seconds."""
        return seconds(self.fallback_after)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    defaults: dict[str, Any] = {}
    endpoint: list[Endpoint] = []
    pool: Pool = Pool()
    route: list[dict[str, Any]] = []


class Settings(BaseModel):
    """Everything that was said, by whatever means; `routes` are the [[route]] rules, in order."""

    model_config = ConfigDict(frozen=True)

    options: Options
    endpoints: tuple[Endpoint, ...]
    pool: Pool
    routes: tuple[Route, ...]
    file: Path | None

    @property
    def endpoint(self) -> Endpoint:
        """The first endpoint."""
        return self.endpoints[0]


def read_settings(
    flags: Mapping[str, Any], environment: Mapping[str, str], *, config: Path | None
) -> Settings:
    """Merge flags (None: not given), variables and the settings file. Raises SettingsError."""
    path = config or _find_file()
    content = _read_file(path) if path else _File()
    variables = {
        name: environment[_variable(name)]
        for name in Options.model_fields
        if environment.get(_variable(name))
    }
    _refuse_mistyped(environment)
    _refuse_no_url(environment)
    given = {name: value for name, value in flags.items() if value is not None}
    merged = {**content.defaults, **variables, **given}
    try:
        options = Options.model_validate(merged)
    except ValidationError as error:
        raise _explain(error, path, variables, given) from error
    _refuse_equal_names(content.endpoint, path)
    return Settings(
        options=options,
        endpoints=tuple(content.endpoint) or (Endpoint(),),
        pool=content.pool,
        routes=_routes(content, path),
        file=path,
    )


def _refuse_equal_names(endpoints: list[Endpoint], path: Path | None) -> None:
    names = [endpoint.name for endpoint in endpoints]
    for name in names:
        if names.count(name) > 1:
            raise SettingsError(
                f"{path}: two endpoints are called {name!r}",
                hint='give each [[endpoint]] a name of its own: name = "..."',
            )


def secret(variable: str | None, environment: Mapping[str, str]) -> str | None:
    """Return what the named variable holds; None without a name. Raises SettingsError."""
    if variable is None:
        return None
    value = environment.get(variable)
    if not value:
        raise SettingsError(
            f"the environment variable {variable}, named in {FILE_NAME}, is not set",
            hint=f"export {variable}=..., or name another variable",
        )
    return value


def _refuse_mistyped(environment: Mapping[str, str]) -> None:
    """Refuse a variable that was meant for us and would be passed over: it may bound the cost."""
    known = {_variable(name) for name in Options.model_fields}
    for name in environment:
        close = name.startswith(PREFIX) and difflib.get_close_matches(name, known, n=1, cutoff=0.9)
        if close and name not in known:
            raise SettingsError(
                f"{name}: there is no such setting",
                hint=f"did you mean {close[0]}? If not: unset {name}",
            )


def _refuse_no_url(environment: Mapping[str, str]) -> None:
    """Refuse a base URL that the SDK would take, and never reach."""
    url = environment.get("ANTHROPIC_BASE_URL")
    if url and not re.match(_URL, url):
        raise SettingsError(
            f"ANTHROPIC_BASE_URL: {_PATTERNS[_URL]}",
            hint="export ANTHROPIC_BASE_URL=https://...",
        )


def _variable(option: str) -> str:
    return PREFIX + option.upper()


def _find_file() -> Path | None:
    here = Path(FILE_NAME)
    own = user_config_path("claude-batch", appauthor=False) / FILE_NAME
    return next((path for path in (here, own) if path.is_file()), None)


def read_toml(path: Path, *, flag: str) -> dict[str, Any]:
    """Return what a TOML file holds that `flag` may name. Raises SettingsError."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(
            f"{path}: {error.strerror}", hint=f"give {flag} a file that can be read"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: not TOML: {error}", hint="mend that line") from error


def _read_file(path: Path) -> _File:
    content = read_toml(path, flag="--config")
    try:
        parsed = _File.model_validate(content)
        Options.model_validate(parsed.defaults)
    except ValidationError as error:
        raise _explain(error, path, {}, {}) from error
    return parsed


def _routes(content: _File, path: Path | None) -> tuple[Route, ...]:
    try:
        return parse_routes(content.route)
    except SettingsError as error:
        raise SettingsError(f"{path}: {error.message}", hint=error.hint) from error


def _explain(
    error: ValidationError,
    path: Path | None,
    variables: Mapping[str, Any],
    flags: Mapping[str, Any],
) -> SettingsError:
    """Say the first thing that is wrong, and where it was said."""
    first = error.errors()[0]
    where = [str(part) for part in first["loc"] if not isinstance(part, int)]
    key = where[-1] if where else ""
    if key in flags:
        place = "--" + key.replace("_", "-")
    elif key in variables:
        place = _variable(key)
    else:
        place = f"{path}: {'.'.join(where)}"
    if first["type"] == "extra_forbidden":
        return SettingsError(f"{path}: there is no setting {key!r}", hint=_nearest(key, where))
    said = f" = {first['input']!r}"
    if first.get("ctx", {}).get("pattern") in {_VARIABLE, _URL}:
        said = ""  # it may be the key itself, or hold a password
    return SettingsError(f"{place}{said}: {_in_words(first)}", hint=f"change {place}")


_WORDS = {
    "string_type": "it should be a text in quotes",
    "string_too_short": "it should not be empty",
    "float_parsing": "it should be a number",
    "int_parsing": "it should be a whole number",
    "int_from_float": "it should be a whole number",
    "bool_parsing": "it should be true or false",
    "list_type": "it should begin with [[...]], in double brackets",
    "dict_type": 'it should be a table: { name = "value" }',
}
_PATTERNS = {
    _TIME: "it should be a time, such as 90s, 5m, 2h or 1d",
    _URL: "it should begin with http:// or https://",
    _VARIABLE: "it should be the NAME of an environment variable, never the secret itself",
}


def _in_words(error: ErrorDetails) -> str:
    """Return what a value should have been."""
    pattern = error.get("ctx", {}).get("pattern", "")
    known = _PATTERNS.get(pattern) or _WORDS.get(error["type"])
    return known or re.sub(r"^Input", "it", error["msg"])


_TABLES: Mapping[str, type[BaseModel]] = {"endpoint": Endpoint, "pool": Pool}


def _nearest(key: str, where: list[str]) -> str:
    """Name the setting that was meant: of the table it stands in, or else of [defaults]."""
    if len(where) == 1:
        known = [*_File.model_fields, *Options.model_fields]
    else:
        known = list(_TABLES.get(where[0], Options).model_fields)
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    if not close:
        return f"known settings: {', '.join(known)}"
    table = "[defaults] " if close[0] in Options.model_fields and len(where) == 1 else ""
    return f"did you mean {table}{close[0]!r}?"
