"""Settings are read here: flag > environment (CLAUDE_BATCH_...) > file > built-in.

When a run is continued, its journal comes in between: what was given to it by flag counts as if
typed again, below the flags of this command; what it had from a variable counts below this
command's variables. An option that was changed while the run went (adjust) stays as it was left,
also where the same command is given again: a flag counts only if it says something else than then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claude_batch.config.declaration import (
    NONE,
    REDACTED,
    Owner,
    journaled,
    parse_table,
    parse_value,
)
from claude_batch.config.options import OPTIONS, SETTINGS, Options, owned_by
from claude_batch.config.settings import Endpoint, Pool, RunSettings, Settings
from claude_batch.config.spelling import PREFIX, flag, variable
from claude_batch.core.model.typos import nearest, refuse_unknown
from claude_batch.errors import CheckpointError, SettingsError

if TYPE_CHECKING:
    from claude_batch.core.catalog.routing import Route

FILE_NAME = "claude-batch.toml"

MODE = {"mode", "deadline"}
"""Options of a run that its journal keeps as `mode_chosen`: a deadline is a moment, not a time."""

Layer = Mapping[str, Any]
"""Options by name; None where one was unset with `none`."""

_TABLES = ("defaults", "endpoint", "pool", "route")


def read_settings(
    flags: Layer,
    environment: Mapping[str, str],
    *,
    run: RunSettings | None = None,
    fixed: Layer | None = None,
    repeats: bool = False,
) -> Settings:
    """Return what is in force for a command with these flags (only those that were given).

    `run` is what the journal of a run that is continued has kept; `fixed` are options that this run
    cannot change. A command that `repeats` the one that began the run leaves in force what was
    adjusted since, unless it says something else than before. Raises SettingsError.
    """
    _refuse_mistyped(environment)
    before = RunSettings() if run is None else _parsed(run)
    said, variables = _typed(flags), _variables(environment)
    typed = _news(said, before) if repeats else said
    adjusted = {name: value for name, value in before.adjusted.items() if name not in typed}
    path = _settings_file(typed, variables, before)
    content = _read_file(path)
    defaults = _defaults(content, path)
    if typed.get("quiet"):  # what is typed now beats what was written down before
        variables.pop("progress", None)
        defaults.pop("progress", None)
    fixed = fixed or {}
    layers = (fixed, typed, adjusted, before.flags, variables, before.variables, defaults)
    values = _merged(layers)
    without_journal = _merged((fixed, typed, variables, defaults))
    resumed = tuple(
        name
        for name, value in values.items()
        if any(name in layer for layer in (adjusted, before.flags, before.variables))
        and value != without_journal.get(name)
    )
    values = {name: _with_password(name, value, layers) for name, value in values.items()}
    for name in ("prompt", "system"):
        _read_text(name, values)
    if fixed.get("sandbox") is False:  # a scenario asks for the sandbox, too
        values["scenario"] = None
    options = Options(**{name: value for name, value in values.items() if value is not None})
    endpoints = _endpoints(content, path)
    if run is not None and "config" not in typed and not options.uses_sandbox:
        _refuse_missing(run.endpoints, endpoints, path)
    return Settings(
        options=options,
        endpoints=endpoints,
        pool=parse_table(Pool, content.get("pool", {}), f"{path}: pool"),
        routes=_routes(content.get("route", []), path),
        file=path,
        given={
            **{name: f"{path}: {name}" for name in defaults},
            **{name: variable(name) for name in variables},
            **{name: flag(name) for name in typed},
        },
        typed=frozenset(typed),
        resumed=resumed,
        overruled={name: value for name, value in said.items() if name not in typed},
        of_run=RunSettings(
            flags={**_kept(before.flags), **_kept(typed)},
            variables={**_kept(before.variables), **_kept(variables)},
            adjusted=_kept(adjusted),
            config=str(path.absolute()) if path else None,
            endpoints=tuple(each.name for each in endpoints),
        ),
    )


def _read_text(name: str, values: dict[str, Any]) -> None:
    """Replace an option that names a file by the one that holds its text: that is journaled."""
    path = values.pop(f"{name}_file", None)
    if path is None:
        return
    if values.get(name) is not None:
        raise SettingsError(
            f"{flag(name)} and {flag(f'{name}_file')} are both given",
            hint="leave one of them out",
        )
    try:
        values[name] = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise SettingsError(
            f"{flag(f'{name}_file')} {path}: cannot be read: {why}", hint="give a text file"
        ) from error


def typed_options(flags: Layer, environment: Mapping[str, str]) -> Options:
    """Return what flags and variables alone say. Raises SettingsError."""
    said = {**_variables(environment), **_typed(flags)}
    return Options(**{name: value for name, value in said.items() if value is not None})


def _news(typed: dict[str, Any], before: RunSettings) -> dict[str, Any]:
    """Return what was typed, without what was said before of options that were adjusted since."""
    return {
        name: value
        for name, value in typed.items()
        if not (name in before.adjusted and name in before.flags and before.flags[name] == value)
    }


def read_changes(said: Layer) -> dict[str, Any]:
    """Return what is said of options of a run; None: unset. Raises SettingsError."""
    return {
        name: None if value is None else _parse(name, value, flag(name))
        for name, value in said.items()
    }


def _merged(layers: Sequence[Layer]) -> dict[str, Any]:
    """Return what the first layer that knows an option says of it, for each."""
    merged: dict[str, Any] = {}
    for layer in reversed(layers):
        merged.update(layer)
    return merged


def _typed(flags: Layer) -> dict[str, Any]:
    return {name: _parse(name, value, flag(name)) for name, value in flags.items()}


def _variables(environment: Mapping[str, str]) -> dict[str, Any]:
    return {
        name: _parse(name, environment[variable(name)], variable(name))
        for name, each in OPTIONS.items()
        if each.variable and environment.get(variable(name))
    }


def _defaults(content: Mapping[str, Any], path: Path | None) -> dict[str, Any]:
    table = content.get("defaults", {})
    place = f"{path}: defaults"
    if not isinstance(table, dict):
        raise SettingsError(
            f"{place} must be a table", hint="write [defaults] on a line of its own"
        )
    refuse_unknown(table, SETTINGS, place)
    return {name: _parse(name, value, f"{place}.{name}") for name, value in table.items()}


def _parse(name: str, value: Any, place: str) -> Any:
    """Return the value of an option; None where an option of a run is unset."""
    what = OPTIONS[name]
    if what.owner is Owner.RUN and value in (NONE, Path(NONE)):
        return None
    return parse_value(what, value, place)


def _kept(layer: Layer) -> dict[str, Any]:
    """Return what a journal keeps of a layer."""
    return {
        name: None if layer[name] is None else journaled(OPTIONS[name].kind, layer[name])
        for name in owned_by(Owner.RUN)
        if name in layer and name not in MODE
    }


def _parsed(run: RunSettings) -> RunSettings:
    """Return what a journal has kept, as this version reads it. Raises CheckpointError."""
    try:
        return replace(
            run,
            flags=_readable(run.flags),
            variables=_readable(run.variables),
            adjusted=_readable(run.adjusted),
        )
    except (SettingsError, AttributeError) as error:
        raise CheckpointError(
            f"the options in the journal cannot be read: {error}",
            hint="put the journal back from a copy; or start over with --fresh",
        ) from error


def _readable(layer: Layer) -> dict[str, Any]:
    return {
        name: None if value is None else parse_value(OPTIONS[name], value, name)
        for name, value in layer.items()
        if name in OPTIONS
    }


def _with_password(name: str, value: Any, layers: Sequence[Layer]) -> Any:
    """Return a URL of the journal with the password that this command has for it.

    Raises SettingsError where it has none.
    """
    if not isinstance(value, str) or REDACTED not in value:
        return value
    for layer in layers:
        url = layer.get(name)
        if url and url != value and journaled(OPTIONS[name].kind, url) == value:
            return url
    raise SettingsError(
        f"this run was started with {flag(name)} {value}; its password is not in the journal",
        hint=f"give the URL with its password again: {variable(name)}=... or {flag(name)} URL; or "
        f"{flag(name)} {NONE}",
    )


def _settings_file(typed: Layer, variables: Layer, before: RunSettings) -> Path | None:
    """Return the settings file that counts; None without one."""
    for layer in (typed, before.flags, variables, before.variables):
        if "config" in layer:
            path: Path | None = layer["config"]
            if path is not None and layer in (before.flags, before.variables):
                _refuse_gone(path)
            return path
    if before.config is not None:
        return _refuse_gone(Path(before.config))
    from platformdirs import user_config_path  # noqa: PLC0415  # not for --help

    here = Path(FILE_NAME)
    own = user_config_path("claude-batch", appauthor=False) / FILE_NAME
    return next((path for path in (here, own) if path.is_file()), None)


def _refuse_gone(path: Path) -> Path:
    """Return the settings file of a run; refuse to continue the run without it."""
    if not path.is_file():
        raise SettingsError(
            f"{path}, the settings file that this run was started with, is gone",
            hint="put it back; or name another with --config FILE, or --config none",
        )
    return path


def read_toml(path: Path, *, flag: str) -> dict[str, Any]:
    """Return what a TOML file holds that `flag` may name. Raises SettingsError."""
    import tomllib  # noqa: PLC0415  # not for --help

    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(
            f"{path}: {error.strerror}", hint=f"give {flag} a file that can be read"
        ) from error
    except RecursionError as error:
        raise SettingsError(
            f"{path}: not TOML: something is nested too deeply", hint="correct that"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: not TOML: {error}", hint="correct that line") from error


def _read_file(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    content = read_toml(path, flag="--config")
    for key in content:
        if key in OPTIONS:
            raise SettingsError(
                f"{path}: {key!r} stands in no table", hint=f"write [defaults] above {key}"
            )
    refuse_unknown(content, _TABLES, str(path))
    for key in ("endpoint", "route"):
        if not isinstance(content.get(key, []), list):
            raise SettingsError(
                f"{path}: {key} must be a list", hint=f"write [[{key}]], in double brackets"
            )
    return content


def _endpoints(content: Mapping[str, Any], path: Path | None) -> tuple[Endpoint, ...]:
    endpoints = tuple(
        parse_table(Endpoint, table, f"{path}: endpoint") for table in content.get("endpoint", [])
    )
    names = [endpoint.name for endpoint in endpoints]
    for name in names:
        if names.count(name) > 1:
            raise SettingsError(
                f"{path}: two endpoints are called {name!r}",
                hint='give each [[endpoint]] a name of its own: name = "..."',
            )
    return endpoints or (Endpoint(),)


def _routes(tables: Sequence[Mapping[str, Any]], path: Path | None) -> tuple[Route, ...]:
    from claude_batch.core.catalog.routing import parse_routes  # noqa: PLC0415  # the catalog

    try:
        return parse_routes(tables)
    except SettingsError as error:
        raise SettingsError(f"{path}: {error.message}", hint=error.hint) from error


def _refuse_missing(
    before: Sequence[str], endpoints: Sequence[Endpoint], path: Path | None
) -> None:
    """Refuse to continue a run at other endpoints than it was started with."""
    now = [each.name for each in endpoints]
    gone = [name for name in before if name not in now]
    if gone:
        where = f"{path} has" if path else "there is"
        raise SettingsError(
            f"this run was started with endpoint {', '.join(gone)}; {where} none of that name",
            hint="put it back, or name the settings to use: --config FILE (or none)",
        )


def _refuse_mistyped(environment: Mapping[str, str]) -> None:
    """Refuse a variable that was meant for us and would be passed over: it may bound the cost."""
    known = {variable(name): name for name, each in OPTIONS.items() if each.variable}
    for name, each in OPTIONS.items():
        if not each.variable and environment.get(variable(name)):
            raise SettingsError(
                f"{variable(name)}: this is not taken from a variable",
                hint=f"unset it, and give {flag(name)} to the command it is for",
            )
    for name in environment:
        if name.startswith(PREFIX) and name not in known:
            near = nearest(name.removeprefix(PREFIX), OPTIONS)
            if near:
                raise SettingsError(
                    f"{name}: there is no such setting",
                    hint=f"did you mean {' or '.join(map(variable, near))}? If not: unset {name}",
                )


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """Return variables that look like ours and are not."""
    known = {variable(name) for name in OPTIONS}
    return sorted(name for name in environment if name.startswith(PREFIX) and name not in known)


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
