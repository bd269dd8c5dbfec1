"""How a row becomes a request: its template, its id, and what the command line adds or drops.

A placeholder that equals a column's name is that column, before Jinja sees it. Values are inserted
once and never rendered again. The template language is Jinja's, as minijinja has it, strict:
docs/decisions/ says why.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from claude_batch.core.model.typos import nearest
from claude_batch.storage.prompts.params import BadPromptError, quoted

CUSTOM_ID, ID, PROMPT = "custom_id", "id", "prompt"

LONGEST_ID = 256
ID_PREFIX = "line-"

_ROW = "_row_"
"""What a template calls the whole row, for columns whose name is no identifier."""

_RAW = re.compile(r"(\{%-?\s*raw\s*-?%\}.*?\{%-?\s*endraw\s*-?%\})", re.DOTALL)
_PLACEHOLDER = re.compile(r"\{\{(-?)\s*(.*?)\s*(-?)\}\}", re.DOTALL)
_WORDS = re.compile(r"(?!(?:.* )?(?:if|else|is|in|not|and|or) )\w+(?: \w+)+")
"""A column's name of several words, and no expression of Jinja."""

_DASHES = re.compile(r"\w+(?:-\w+)+")
"""A column's name with dashes. A difference is written with spaces: `price - tax`."""

_UNDEFINED = re.compile(r"`([^`]+)` is undefined")
_MOST_NAMED = 12
_WHOLE = 2.0**53
_LITERAL = "literal {{ or {# must stand between {% raw %} and {% endraw %}"


class TemplateError(BadPromptError):
    """A template that no row can be rendered with."""


class UnknownColumnError(BadPromptError):
    """A row lacks a column that was asked for."""


class Template:
    """A prompt with placeholders, rendered once per row; `place` is the option it came from."""

    def __init__(self, text: str, place: str) -> None:
        self.text = text
        self._place = place
        self._parts = _RAW.split(text)  # every other one is raw
        placeholders = (_PLACEHOLDER.findall(part) for part in self._parts[::2])
        self._names = frozenset(name for found in placeholders for _, name, _ in found)
        self._compiled: dict[frozenset[str], Callable[[Mapping[str, Any]], str]] = {}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Template) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Template({self.text!r})"

    @property
    def is_constant(self) -> bool:
        """Whether it renders to the same text for every row."""
        return not any("{{" in part or "{%" in part for part in self._parts[::2])

    def render(self, row: Mapping[str, Any]) -> str:
        """Return the text for a row. Raises BadPromptError."""
        columns = frozenset(self._names & row.keys())
        compiled = self._compiled.get(columns)
        if compiled is None:
            compiled = self._compiled[columns] = self._compile(columns, row)
        try:
            return compiled(row)
        except Exception as error:  # noqa: BLE001  # minijinja's own, and what its filters raise
            raise self._error(error, row) from None

    def uses(self, name: str) -> bool:
        """Return whether a name occurs in the template."""
        return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", self.text) is not None

    def _compile(
        self, columns: frozenset[str], row: Mapping[str, Any]
    ) -> Callable[[Mapping[str, Any]], str]:
        import minijinja  # noqa: PLC0415  # only where there is a template

        def named(match: re.Match[str]) -> str:
            before, name, after = match.groups()
            if name not in columns:
                return match[0]
            return f"{{{{{before} {_ROW}[{orjson.dumps(name).decode()}] {after}}}}}"

        source = "".join(
            part if number % 2 else _PLACEHOLDER.sub(named, part)
            for number, part in enumerate(self._parts)
        )
        environment = minijinja.Environment(undefined_behavior="strict", finalizer=as_text)
        try:
            environment.add_template(_ROW, source)
            used = tuple(environment.undeclared_variables_in_str(source))
        except minijinja.TemplateError as error:
            raise self._error(error, row) from None
        render = environment.render_template
        if set(used) <= {_ROW}:
            return lambda row: render(_ROW, **{_ROW: row})
        return lambda row: render(
            _ROW, **{name: row[name] for name in used if name in row}, **{_ROW: row}
        )

    def _error(self, error: Exception, row: Mapping[str, Any]) -> BadPromptError:
        """Return what is wrong, in words that name the column or the option."""
        kind, detail = getattr(error, "kind", ""), getattr(error, "detail", None) or str(error)
        undefined = _UNDEFINED.search(detail)
        if undefined:
            return unknown_column(self._with_dashes(undefined[1], row), row, f"{self._place}: ")
        if kind == "SyntaxError":
            for name in sorted(self._names - row.keys()):
                near = nearest(name, row, most=1)
                if near or _WORDS.fullmatch(name):
                    return unknown_column(name, near or row, f"{self._place}: ")
            line = getattr(error, "line", None)
            where = f" in line {line}" if line else ""
            return TemplateError(
                f"{self._place}: {detail}{where}",
                f"a placeholder is {{{{column}}}} (columns: {_listed(row)}); {_LITERAL}",
            )
        if kind in {"UnknownFilter", "UnknownFunction", "UnknownTest", "UnknownMethod"}:
            return TemplateError(f"{self._place}: {detail}", f"see Jinja's filters; {_LITERAL}")
        return BadPromptError(f"{self._place}: {detail}", "correct the template, or the row")

    def _with_dashes(self, part: str, row: Mapping[str, Any]) -> str:
        """Return the column that is meant where Jinja has read `ticket-id` as a difference."""
        names = sorted(name for name in self._names - row.keys() if _DASHES.fullmatch(name))
        return next((name for name in names if part in name.split("-")), part)


def as_text(value: Any) -> str:
    """Return a value as it stands in a prompt: null is empty, 3.0 is 3, the rest is JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if type(value) is float and value.is_integer() and abs(value) < _WHOLE:
        value = int(value)
    return orjson.dumps(value, default=str).decode()


def unknown_column(name: str, columns: Collection[str], place: str) -> UnknownColumnError:
    """Return the error of a column that is not there, which names the nearest ones."""
    near = nearest(name, columns)
    only = next(iter(columns), "") if len(columns) == 1 else ""
    if any(each in only for each in ",;\t|"):
        remedy = f"the only column is {quoted(only)}: is it the right --delimiter?"
    elif near:
        remedy = f"did you mean {' or '.join(map(repr, near))}?"
    else:
        remedy = f"columns: {_listed(columns)}"
    return UnknownColumnError(f"{place}there is no column {quoted(name)}", remedy)


def _listed(columns: Collection[str]) -> str:
    names = list(columns)
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more:,} more" if more > 0 else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """How rows become requests, as the command line says.

    `prompt` and `system` are templates; `prompt_column` is the column that is the prompt.
    `id_column` was named; `ids` are the columns that an id is taken from, the first that has one
    (without any, ids that lines bring along are not looked at);
    `id_prefix` is what the ids of the other lines begin with, before their numbers.
    `params` apply to requests that do not set them; `drop` are params that are left out. `attach`
    are columns with a path or URL of a picture or PDF.
    """

    prompt: Template | None = None
    prompt_column: str | None = None
    system: Template | None = None
    id_column: str | None = None
    ids: tuple[str, ...] = (CUSTOM_ID,)
    id_prefix: str = ID_PREFIX
    params: Mapping[str, Any] = field(default_factory=dict)
    drop: frozenset[str] = frozenset()
    attach: tuple[str, ...] = ()

    @property
    def are_data(self) -> bool:
        """Whether every line is a row whose columns are data, whatever they are called."""
        return self.prompt is not None or self.prompt_column is not None

    @property
    def change_params(self) -> bool:
        """Whether params are added or left out."""
        return bool(self.params or self.drop)

    @property
    def option(self) -> str:
        """The option that says that lines are rows."""
        return "--prompt" if self.prompt is not None else "--prompt-column"

    def prompt_of(self, row: Mapping[str, Any]) -> str | list[Any]:
        """Return what a row asks: a text, or messages. Raises BadPromptError."""
        if self.prompt is not None:
            text = self.prompt.render(row)
            where = ""
        else:
            name = PROMPT if self.prompt_column is None else self.prompt_column
            if name not in row:
                raise self._no_prompt(name, row)
            value = row[name]
            if _are_messages(value):
                return list(value)
            text = as_text(value)
            where = f": column {quoted(name)}"
        if not text or text.isspace():
            raise BadPromptError(f"the prompt is empty{where}", "fill it in, or leave the row out")
        return text

    def system_of(self, row: Mapping[str, Any]) -> str | None:
        """Return the system prompt of a row; None where there is none, or an empty one."""
        if self.system is None:
            return None
        text = self.system.render(row)
        return text if text and not text.isspace() else None

    def _no_prompt(self, name: str, row: Mapping[str, Any]) -> BadPromptError:
        if self.prompt_column is not None:
            return unknown_column(name, row, "--prompt-column: ")
        return no_prompt_column(row)


def no_prompt_column(row: Mapping[str, Any]) -> UnknownColumnError:
    """Return the error of a row of which nobody knows what it asks."""
    likely = _likeliest(row)
    return UnknownColumnError(
        f"there is no column 'prompt' (columns: {_listed(row)})",
        f"name the column that is the prompt: --prompt-column {_shell(likely)}; or write one: "
        f"--prompt 'TEXT {{{{{likely}}}}}'",
    )


_LIKELY = ("question", "instruction", "text", "input", "query", "content", "message", "body")


def _likeliest(row: Mapping[str, Any]) -> str:
    """Return the column that is probably the prompt: by its name, else the longest text."""
    lower = {name.lower(): name for name in row}
    for name in _LIKELY:
        if name in lower:
            return lower[name]
    return max(row, key=lambda name: len(as_text(row[name])), default="NAME")


def _shell(name: str) -> str:
    return name if re.fullmatch(r"[\w.-]+", name) else f"'{name}'"


def _are_messages(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(each, dict) and "role" in each and "content" in each for each in value)
    )


def row_id(row: Mapping[str, Any], columns: tuple[str, ...]) -> Any:
    """Return what a row has as its id, a whole number as a text; None where it has none."""
    for name in columns:
        value = row.get(name)
        if value is None or value == "":
            continue
        if type(value) is int or (type(value) is float and value.is_integer()):
            return str(int(value))
        return value
    return None


def own_id(value: Any, columns: tuple[str, ...]) -> str | None:
    """Return the id that a line, parsed, brings along; None where it has none that may be used."""
    if not columns or not isinstance(value, dict):
        return None
    given = row_id(value, columns)
    if given is None and "modelInput" in value:
        given = value.get("recordId")
    return given if isinstance(given, str) else None


def named(columns: Collection[str]) -> Iterator[str]:
    """Yield the names of columns, quoted."""
    return map(quoted, columns)
