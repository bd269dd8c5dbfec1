"""Settings: flag > environment (CLAUDE_BATCH_...) > claude-batch.toml > built-in. Read once, here.

A settings file never holds a key: it names the environment variable that does.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from platformdirs import user_config_path
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from claude_batch.errors import SettingsError

FILE_NAME = "claude-batch.toml"
PREFIX = "CLAUDE_BATCH_"

Tier = Literal["start", "build", "scale"]
ProgressMode = Literal["auto", "live", "plain", "json", "none"]
Format = Literal["full", "text"]

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


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
    patience: str = Field(default="1h", pattern=r"^\d+(\.\d+)?[smhd]$")
    progress: ProgressMode = "auto"
    quiet: bool = False
    stdout: bool | None = None
    format: Format = "full"

    @property
    def patience_s(self) -> float:
        """Seconds without a success after which a run gives up."""
        return float(self.patience[:-1]) * _UNITS[self.patience[-1]]


class Endpoint(BaseModel):
    """One [[endpoint]]: where requests go, and the names of the variables that hold its secrets."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(default="default", min_length=1)
    base_url: str | None = Field(default=None, pattern=r"^https?://")
    api_key_env: str | None = None
    auth_token_env: str | None = None
    auth: Literal["bearer", "x-api-key", "both"] = "bearer"
    headers_env: dict[str, str] = {}


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    defaults: dict[str, Any] = {}
    endpoint: list[Endpoint] = Field(default=[], max_length=1)


class Settings(BaseModel):
    """Everything that was said, by whatever means."""

    model_config = ConfigDict(frozen=True)

    options: Options
    endpoint: Endpoint
    file: Path | None


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
    given = {name: value for name, value in flags.items() if value is not None}
    merged = {**content.defaults, **variables, **given}
    try:
        options = Options.model_validate(merged)
    except ValidationError as error:
        raise _explain(error, path, variables, given) from error
    endpoint = content.endpoint[0] if content.endpoint else Endpoint()
    return Settings(options=options, endpoint=endpoint, file=path)


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


def _variable(option: str) -> str:
    return PREFIX + option.upper()


def _find_file() -> Path | None:
    here = Path(FILE_NAME)
    own = user_config_path("claude-batch", appauthor=False) / FILE_NAME
    return next((path for path in (here, own) if path.is_file()), None)


def _read_file(path: Path) -> _File:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(
            f"{path}: {error.strerror}", hint="give --config a settings file that can be read"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: not TOML: {error}", hint="mend that line") from error
    try:
        parsed = _File.model_validate(content)
        Options.model_validate(parsed.defaults)
    except ValidationError as error:
        raise _explain(error, path, {}, {}) from error
    return parsed


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
    if key == "endpoint" and first["type"] == "too_long":
        message = "this version uses one [[endpoint]]"
    else:
        message = re.sub(r"^Input", "it", first["msg"])
    return SettingsError(f"{place} = {first['input']!r}: {message}", hint=f"change {place}")


def _nearest(key: str, where: list[str]) -> str:
    known = {
        1: [*_File.model_fields, *Options.model_fields],
        2: list(Endpoint.model_fields),
    }.get(len(where), [])
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    if not close:
        return f"known settings: {', '.join(known)}"
    table = "[defaults] " if close[0] in Options.model_fields and len(where) == 1 else ""
    return f"did you mean {table}{close[0]!r}?"
