"""How a setting is declared: its kind, its help, and whose it is. All else follows from that.

A kind reads a value from any source (a flag, a variable, TOML) and raises ValueError
with the rest of the sentence that the name begins: "must be greater than 0 (got -1)".
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

from claude_batch.core.model.typos import did_you_mean, quoted, refuse_unknown
from claude_batch.errors import SettingsError

T = TypeVar("T")

NONE = "none"
"""What unsets an option of a run: `--rpm none`."""

REDACTED = "***@"
"""What stands in a journaled URL for its user and password."""

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_TIME = re.compile(r"\d+(\.\d+)?[smhd]")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TRUTHS = {
    **dict.fromkeys(("1", "t", "true", "y", "yes", "on"), True),
    **dict.fromkeys(("0", "f", "false", "n", "no", "off"), False),
}


class Kind(Protocol):
    """What values a setting takes."""

    def parse(self, value: Any) -> Any:
        """Return `value` as the program uses it. Raises ValueError."""
        ...


class Text:
    """Any text; `empty` if it may have no character."""

    def __init__(self, *, empty: bool = True) -> None:
        self.empty = empty

    def parse(self, value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError("must be a text in quotes")  # noqa: TRY004  # a sentence for the user
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise ValueError("must be UTF-8") from error
        if not (value or self.empty):
            raise ValueError("must not be empty")
        return value


class Number:
    """A number: greater than `above`, at least `low`, at most `high`; `whole`: an integer."""

    def __init__(
        self,
        *,
        above: float | None = None,
        low: float | None = None,
        high: float | None = None,
        whole: bool = False,
    ) -> None:
        self.above, self.low, self.high, self.whole = above, low, high, whole

    def parse(self, value: Any) -> Any:
        number = self._read(value)
        if number is None:
            kind = "a whole number" if self.whole else "a number"
            raise ValueError(f"must be {kind} (got {quoted(str(value))})")
        if self.above is not None and number <= self.above:
            raise ValueError(f"must be greater than {self.above:g} (got {quoted(str(value))})")
        if self.low is not None and number < self.low:
            raise ValueError(f"must be at least {self.low:,g} (got {quoted(str(value))})")
        if self.high is not None and number > self.high:
            raise ValueError(f"must be at most {self.high:,.0f} (got {quoted(str(value))})")
        return number

    def _read(self, value: Any) -> float | int | None:
        """Return the number that `value` is or spells; None if it is none."""
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            return None
        try:
            number = float(value)
            if not math.isfinite(number):
                return None
            if not self.whole:
                return number
            return int(value) if isinstance(value, int | str) else _integer(number)
        except (ValueError, OverflowError):
            return None


def _integer(number: float) -> int | None:
    return int(number) if number.is_integer() else None


class Fraction:
    """A share of something: greater than 0, at most 1."""

    def parse(self, value: Any) -> float:
        try:
            number: float = Number(above=0, high=1).parse(value)
        except ValueError as error:
            raise ValueError(
                f"takes a fraction from 0 to 1, such as 0.8 (got {quoted(str(value))})"
            ) from error
        return number


class Time:
    """A time such as 90s, 5m, 2h or 1d; a bare number, as TOML knows them, is in seconds."""

    def parse(self, value: Any) -> str:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        text = f"{value}s" if is_number else value
        if not (isinstance(text, str) and _TIME.fullmatch(text)):
            raise ValueError(f"takes a time, such as 90s, 5m, 2h or 1d (got {quoted(str(value))})")
        return text


def seconds(time: str) -> float:
    """Return the seconds of a time such as 90s, 5m, 2h or 1d."""
    return float(time[:-1]) * _UNITS[time[-1]]


class Choice:
    """One of a few words."""

    def __init__(self, *words: str) -> None:
        self.words = words

    def parse(self, value: Any) -> str:
        if value in self.words:
            return cast("str", value)
        *others, last = self.words
        words = f"{', '.join(others)} or {last}" if others else last
        near = did_you_mean(str(value), self.words)
        raise ValueError(
            f"must be {words} (got {quoted(str(value))})" + (f"; {near}" if near else "")
        )


class Switch:
    """True or false."""

    def parse(self, value: Any) -> bool:
        truth = _TRUTHS.get(value.lower()) if isinstance(value, str) else value
        if not isinstance(truth, bool):
            raise ValueError(f"must be true or false (got {quoted(str(value))})")  # noqa: TRY004  # as above
        return truth


class File:
    """A path."""

    def parse(self, value: Any) -> Path:
        if not isinstance(value, str | Path) or not str(value):
            raise ValueError(f"must be a path (got {quoted(str(value))})")
        return Path(value)


class Place(File):
    """A path; the command looks at how it was typed, for one that ends in / is a folder."""


class Names:
    """Names, or some of a few words, each given by an option of its own: repeatable."""

    def __init__(self, *words: str) -> None:
        self.words = words

    def parse(self, value: Any) -> tuple[str, ...]:
        names = (value,) if isinstance(value, str) else value
        if not isinstance(names, list | tuple):
            raise ValueError(f"must be a list of names (got {value})")  # noqa: TRY004  # as above
        if not all(isinstance(each, str) and each for each in names):
            raise ValueError("must be a name")
        if self.words:
            names = map(Choice(*self.words).parse, names)
        return tuple(dict.fromkeys(names))


class JsonObject:
    """A JSON object, or a file that holds one; kept as JSON text."""

    def parse(self, value: Any) -> str:
        import orjson  # noqa: PLC0415  # not for --help

        text = str(value)
        if not text.lstrip().startswith("{"):
            try:
                text = Path(text).read_text(encoding="utf-8-sig")
            except (OSError, ValueError) as error:
                why = "no such file" if isinstance(error, FileNotFoundError) else "not readable"
                raise ValueError(
                    f"must be a JSON object in quotes, or a file that holds one ({value}: {why})"
                ) from error
        try:
            found = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise ValueError(f"is not JSON: {error}") from error
        if not isinstance(found, dict):
            raise ValueError("must be a JSON object: {...}")  # noqa: TRY004  # as above
        return orjson.dumps(found).decode()


class Url:
    """The URL of an HTTP endpoint. A wrong one is not repeated: it may hold a password."""

    def parse(self, value: Any) -> str:
        if not (isinstance(value, str) and value.startswith(("http://", "https://"))):
            raise ValueError("must begin with http:// or https://")
        return value


class StoreUrl:
    """The URL of a store; which ones there are is for the store to say."""

    def parse(self, value: Any) -> str:
        return Text(empty=False).parse(value)


class VariableName:
    """The name of an environment variable that holds a secret."""

    def parse(self, value: Any) -> str:
        if not (isinstance(value, str) and _VARIABLE.fullmatch(value)):
            raise ValueError("must be the NAME of an environment variable, never the secret itself")
        return value


class Table:
    """A table from names to values of one kind."""

    def __init__(self, values: Kind) -> None:
        self.values = values

    def parse(self, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise ValueError('must be a table: { name = "value" }')  # noqa: TRY004  # as above
        return {name: self.values.parse(each) for name, each in value.items()}


class Models(Table):
    """Models: a table from names to what they are called there, or a list of names."""

    def __init__(self) -> None:
        super().__init__(Text(empty=False))

    def parse(self, value: Any) -> dict[str, Any]:
        if isinstance(value, list):
            return {name: name for name in map(self.values.parse, value)}
        if not isinstance(value, dict):
            raise ValueError(  # noqa: TRY004  # as above
                'must be a list, ["name"], or a table: { name = "what it is called there" }'
            )
        return super().parse(value)


def journaled(kind: Kind, value: Any) -> Any:
    """Return a parsed value as a journal keeps it: JSON, without secrets, paths absolute."""
    if isinstance(kind, File):
        return str(value.absolute())
    return _without_secret(value) if isinstance(kind, StoreUrl) else value


def _without_secret(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    if separator and scheme == "sqlite":
        return f"sqlite://{Path(rest).absolute()}"
    from urllib.parse import urlsplit, urlunsplit  # noqa: PLC0415  # not for --help

    parts = urlsplit(url)
    if "@" not in parts.netloc and "password" not in parts.query:
        return url
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, f"{REDACTED}{host}", parts.path, "", ""))


class Owner(StrEnum):
    """Whose an option is."""

    RUN = "run"
    """In force again when the run is continued, unless overridden; `none` unsets it."""
    RESULTS = "results"
    """It shapes the results: the same from the beginning of a run to its end."""
    COMMAND = "command"
    """It counts for one command."""


@dataclass(frozen=True, kw_only=True)
class Declared:
    """What is known of one setting but its name and type.

    `sample` is its value in the template of a settings file ("" for what does not stand there), an
    `example` one for who has typed something wrong;
    `shown` is the default as help shows it; `effect` says without what it does nothing.
    """

    kind: Kind
    help: str
    default: Any = None
    sample: str = ""
    example: str = ""
    shown: str = ""
    metavar: str = ""
    flags: tuple[str, ...] = ()
    group: str = ""
    owner: Owner = Owner.COMMAND
    commands: frozenset[str] = frozenset()
    variable: bool = True
    effect: str = ""

    @property
    def help_with_default(self) -> str:
        """The help, with the default that the option has: "Attempts per request [6]."."""
        has_default = self.default not in (None, ()) and not isinstance(self.default, bool)
        shown = self.shown or (str(self.default) if has_default else "")
        return f"{self.help.removesuffix('.')} [{shown}]." if shown else self.help


def setting(kind: Kind, help: str, sample: str, *, default: Any = None) -> Any:
    """Declare a field that only a settings file can set."""
    return declared(Declared(kind=kind, help=help, sample=sample, default=default))


def declared(what: Declared) -> Any:
    """Return a dataclass field that carries its declaration.

    URLs stay out of the class's repr: they may hold a password.
    """
    shown = not isinstance(what.kind, Url | StoreUrl)
    if isinstance(what.default, dict):
        return field(default_factory=what.default.copy, repr=shown, metadata={_KEY: what})
    return field(default=what.default, repr=shown, metadata={_KEY: what})


_KEY = "declared"


def declaration(each: Field[Any]) -> Declared:
    """Return the declaration that a field carries."""
    what: Declared = each.metadata[_KEY]
    return what


def declarations(of: type) -> dict[str, Declared]:
    """Return the declarations of a class by name, in their order."""
    return {each.name: declaration(each) for each in fields(of)}


_EXAMPLES = {"N": "10", "PORT": "9464", "JSON|FILE": "'{\"temperature\": 0}'"}
"""Values of options that are no settings, by what their help calls them."""


def parse_value(what: Declared, value: Any, place: str) -> Any:
    """Return `value` as its kind reads it. Raises SettingsError, beginning with `place`."""
    try:
        return what.kind.parse(value)
    except ValueError as error:
        name = place.rpartition(": ")[2].rpartition(".")[2]
        join = " " if name.startswith("-") else "=" if name.isupper() else " = "
        sample = what.sample or what.example or _EXAMPLES.get(what.metavar)
        example = f"for example: {name}{join}{sample}" if sample else f"change {name}"
        raise SettingsError(f"{place} {error}", hint=example) from error


def parse_table(of: Callable[..., T], table: Any, place: str, *, also: Sequence[str] = ()) -> T:
    """Return a table of a settings file as the dataclass `of`.

    Raises SettingsError for what is wrong with it, at `place`; for a key that is not known, naming
    the nearest of its own settings and of those that stand elsewhere (`also`).
    """
    if not isinstance(table, Mapping):
        raise SettingsError(
            f"{place} must be a table", hint="write [name] and below it its settings"
        )
    known = declarations(cast("type", of))
    refuse_unknown(table, [*known, *also], place)
    return of(
        **{key: parse_value(known[key], value, f"{place}.{key}") for key, value in table.items()}
    )


def option(  # noqa: PLR0913  # a declaration has as many parts as there are things to say
    kind: Kind,
    help: str,
    metavar: str = "",
    *,
    commands: Iterable[str],
    group: str,
    owner: Owner,
    default: Any = None,
    sample: str = "",
    example: str = "",
    shown: str = "",
    flags: tuple[str, ...] = (),
    variable: bool = True,
    effect: str = "",
) -> Any:
    """Declare an option: a field of `Options`."""
    return declared(
        Declared(
            kind=kind,
            help=help,
            default=default,
            metavar=metavar,
            commands=frozenset(commands),
            group=group,
            owner=owner,
            sample=sample,
            example=example,
            shown=shown,
            flags=flags,
            variable=variable,
            effect=effect,
        )
    )
