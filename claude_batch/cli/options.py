"""The options of a command as Typer takes them, made from their declarations (config.options)."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

import typer
from typer._coercion import RuntimeParam, build_runtime_param, resolve_type_descriptor
from typer.core import TyperCommand, TyperOption
from typer.models import OptionInfo

from claude_batch.config.declaration import Choice, Declared, File, Names, Switch
from claude_batch.config.options import OPTIONS
from claude_batch.config.spelling import flag, variable
from claude_batch.errors import SettingsError, UsageError

if TYPE_CHECKING:
    from claude_batch.config.settings import Settings

Given = Mapping[str, Any]
"""The declared options that a command line holds, by name. A command with a parameter `given` takes
all options that are declared for it."""

ManyPrompts = Annotated[
    list[str],
    typer.Argument(
        metavar="PROMPTS",
        help="A file of prompts or rows: JSONL, JSON, CSV, TSV, text, Parquet, Excel; - for stdin. "
        "Several files, folders or quoted globs are a run folder (--out DIR/); s3://BUCKET/KEY "
        "names objects.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="As JSON, for scripts.")]

_HELP = "Options"


class DeclaredOption(TyperOption):
    """An option as its declaration has it. What was typed is read by config, in its own words."""

    def __init__(self, name: str, declared: Declared) -> None:
        """Make it: a list, so that the same option given twice can be refused."""
        is_switch = isinstance(declared.kind, Switch)
        self._is_repeatable = isinstance(declared.kind, Names)
        off = [each for each in declared.flags if each.startswith("--no-")]
        short = [each for each in declared.flags if each not in off]
        kind = bool if is_switch else Path if type(declared.kind) is File else str
        super().__init__(
            param_decls=[name, *short, "/".join([flag(name), *off])],
            type_descriptor=resolve_type_descriptor(kind, OptionInfo()),
            is_flag=is_switch,
            multiple=not is_switch,
            metavar=declared.metavar or None,
            help=declared.help_with_default,
            rich_help_panel=declared.group,
            autocompletion=_words(declared),
        )

    def process_value(self, ctx: Any, value: Any) -> Any:
        """Return what was typed; None where nothing was. Typer's own way loads pydantic: 0.1 s."""
        if value is None or isinstance(value, bool):
            return value
        if self._is_repeatable:
            return tuple(value) or None
        first, *more = dict.fromkeys(value)
        if more:
            raise UsageError(
                f"{self.opts[-1]} is given twice: {first} and {more[0]}",
                hint="leave one of them out",
            )
        return first


class PlainValue(RuntimeParam):
    """What was typed for an argument or option that Typer made.

    Texts, words of a list and defaults are as they should be. Only the rest goes Typer's own way,
    which loads pydantic.
    """

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return the value that a command gets."""
        kind: Any = self.annotation
        if value is None:
            return () if param.multiple or param.nargs == -1 else None
        if kind == list[str]:
            return list(value)
        if isinstance(kind, type) and isinstance(value, kind):
            return value
        if get_origin(kind) is Literal and value in get_args(kind):
            return value
        return build_runtime_param(param.type_descriptor).coerce(value, param=param, ctx=ctx)

    def _coerce_value(self, value: Any, param: Any, ctx: Any) -> Any:
        raise NotImplementedError


def _words(declared: Declared) -> Callable[..., list[str]] | None:
    """Return what completes an option's value; None where the shell knows better."""
    words = declared.kind.words if isinstance(declared.kind, Choice | Names) else ()
    return (lambda *_: list(words)) if words else None


class GroupedCommand(TyperCommand):
    """A command whose help shows its options in groups, and that starts without pydantic."""

    def get_params(self, ctx: typer.Context) -> list[Any]:  # type: ignore[override]  # its base is private
        """Return its arguments and options, --help included."""
        parameters: list[Any] = super().get_params(ctx)
        for each in parameters:
            what = each.type_descriptor
            each._runtime_param = PlainValue(what.parameter_info, what.annotation)  # noqa: SLF001  # Typer has no other place for it
        return parameters

    def format_options(self, ctx: typer.Context, formatter: Any) -> None:  # type: ignore[override]  # its base is private
        """Write arguments, then each group of options under its heading."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            is_argument = parameter.param_type_name == "argument"
            group = getattr(parameter, "rich_help_panel", None) or _HELP
            if record is not None:
                sections.setdefault("Arguments" if is_argument else group, []).append(record)
        others = sections.pop(_HELP, [])
        for heading, records in (*sections.items(), (_HELP, others)):
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)


def make_command(name: str, function: Callable[..., None]) -> Any:
    """Return the command that a function is; its parameter `given` stands for declared options."""
    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    signature = inspect.signature(function, eval_str=True)
    function.__doc__ = (function.__doc__ or "").replace("\\b", "\b")  # keeps lines of examples
    if "given" not in signature.parameters:
        single.command(name, cls=GroupedCommand)(function)
        return typer.main.get_command(single)
    taken = {each: what for each, what in OPTIONS.items() if name in what.commands}

    def called(**values: Any) -> None:
        given = {each: values.pop(each) for each in taken}
        function(**values, given={each: said for each, said in given.items() if said is not None})

    own = [each for each in signature.parameters.values() if each.name != "given"]
    called.__signature__ = signature.replace(parameters=own)  # type: ignore[attr-defined]  # as PEP 362 has it
    called.__doc__ = function.__doc__
    single.command(name, cls=GroupedCommand)(called)
    command: Any = typer.main.get_command(single)
    command.params += [DeclaredOption(each, what) for each, what in taken.items()]
    command.callback = called
    return command


def settings_from(given: Given) -> Settings:
    """Return the settings for a command's options. Raises SettingsError."""
    from claude_batch.config.reading import read_settings  # noqa: PLC0415  # not for --help

    return read_settings(given, os.environ)


def refuse_sandbox(command: str) -> None:
    """Refuse to ask the real API where the environment asks for the sandbox."""
    from claude_batch.config.reading import typed_options  # noqa: PLC0415  # not for --help

    options = typed_options({}, os.environ)
    if options.uses_sandbox:
        asking = variable("sandbox" if options.sandbox else "scenario")
        raise SettingsError(
            f"{asking} asks for the sandbox, but {command} asks the real API",
            hint=f"unset {asking}; or serve a sandbox that stays (claude-batch sandbox) and point "
            "ANTHROPIC_BASE_URL to it",
        )
