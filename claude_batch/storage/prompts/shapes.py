"""The shapes of a prompt line, read into one: id, Messages API params, the user's meta.

A line is a request (of a Message Batches file, Messages params, of an OpenAI or a Bedrock batch
file), a text, or a row. A row of a table, and any row where a column option is given, is data; a
JSON row with a prompt keeps the keys that are params, and the others are data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

from claude_batch.core.catalog.catalog import (
    BUNDLED,
    DEFAULT_MAX_TOKENS,
    DEFAULT_MODEL,
    Catalog,
)
from claude_batch.core.catalog.routing import Route, route, sizes_matter
from claude_batch.core.tokens.estimator import estimate_input_tokens
from claude_batch.storage.attachments import Attachments
from claude_batch.storage.prompts.attached import attach, attach_columns
from claude_batch.storage.prompts.columns import (
    LONGEST_ID,
    Columns,
    no_prompt_column,
    row_id,
)
from claude_batch.storage.prompts.lines import Wrapping, error_of
from claude_batch.storage.prompts.openai import convert, is_openai_model
from claude_batch.storage.prompts.params import (
    PARAMS,
    BadPromptError,
    check_given,
    quoted,
    refuse_mistyped,
    refuse_unknown,
    unknown_params,
)

_BATCH = frozenset({"custom_id", "params", "meta"})
_ENVELOPE = frozenset({"custom_id", "meta"})
_SHORT = (PARAMS - {"messages"}) | _ENVELOPE | {"prompt"}
_FLAT = PARAMS | _ENVELOPE
_BEDROCK = frozenset({"recordId", "modelInput"})


_NO_OPTION = Columns()


_NO_FOLDER = Attachments()


def _none(_: str) -> bool:
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """What requests are sent with, whatever their lines say; `applies` to these ids."""

    model: str | None = None
    max_tokens: int | None = None
    drop: tuple[str, ...] = ()
    applies: Callable[[str], bool] = _none

    def of(self, shape: Shape, custom_id: str) -> Shape:
        """Return what a line asks for, changed if its request is one of them."""
        if not self.applies(custom_id):
            return shape
        params = {name: value for name, value in shape.params.items() if name not in self.drop}
        if self.model is not None:
            params["model"] = self.model
        if self.max_tokens is not None:
            params["max_tokens"] = self.max_tokens
        return replace(shape, params=params)


NO_OVERRIDES = Overrides()


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What applies to lines that do not set it themselves. None: the built-in default.

    Settings have been checked: `model` is not empty, `max_tokens` at least 1. `routes` come before
    the others. `output_format` is how answers are to be formatted. `catalog` says how models count
    tokens and what they refuse; which lines are good and where they go does not depend on it, so
    that a resumed run may have another. `columns` say how rows become requests; `wrapping` what
    kind of file the lines come from; `attachments` where files are that lines name; `overrides`
    what a retry sends in place of what lines say.
    """

    model: str | None = None
    max_tokens: int | None = None
    system: str | None = None
    routes: tuple[Route, ...] = ()
    output_format: Mapping[str, Any] | None = None
    catalog: Catalog
    columns: Columns = _NO_OPTION
    wrapping: Wrapping | None = None
    attachments: Attachments = _NO_FOLDER
    overrides: Overrides = NO_OVERRIDES

    @property
    def are_data(self) -> bool:
        """Whether each line is a row whose columns are data, whatever they are called."""
        return self.wrapping is Wrapping.ROWS or self.columns.are_data


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A line's content, whatever shape it came in, routed, its defaults filled in.

    `names_model`, `names_max_tokens`: the line does, or the [[route]] it follows, which is called
    `rule`. `unknown` are params that are passed on as they are; `data` are the keys of a JSON row
    that are no params. `attaches`: the params name files.
    """

    custom_id: str | None
    params: dict[str, Any]
    meta: dict[str, Any] | None
    names_model: bool
    names_max_tokens: bool
    rule: str | None = None
    unknown: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    attaches: bool = False


def read_shape(value: Any, defaults: Defaults) -> Shape:
    """Return what a line asks for. A null beside or among the params counts as absent.

    Raises BadPromptError when the line is of no known shape.
    """
    if defaults.are_data:
        return _row(value, defaults)
    if isinstance(value, str):
        return _shape({}, _ask(value), defaults)
    if not isinstance(value, dict):
        raise BadPromptError("a line must be a text or an object", _ONE_PER_LINE)
    drop = defaults.columns.drop
    given = {key: each for key, each in value.items() if each is not None and key not in drop}
    if "params" in given:
        return _batch(given, defaults)
    if "modelInput" in given:
        return _bedrock(given, defaults)
    if "prompt" in given:
        return _short(given, defaults)
    if not given.keys().isdisjoint(("body", "url", "method")) and "messages" not in given:
        return _openai(given, defaults)
    return _flat(given, defaults)


_ONE_PER_LINE = 'write "..." or {"prompt": "..."}, or one JSON array in the whole file'


def read_error(raw: bytes) -> BadPromptError | None:
    """Return what is wrong with a record that could not be converted; None for any other."""
    found = error_of(raw)
    return None if found is None else BadPromptError(*found)


def _row(value: Any, defaults: Defaults) -> Shape:
    """Return what a row asks for, all of whose columns are data."""
    columns = defaults.columns
    if isinstance(value, str):
        value = {"prompt": value}
    if not isinstance(value, dict):
        raise BadPromptError("a row must be an object", 'write {"column": ...}')
    if defaults.wrapping is not Wrapping.ROWS:
        _refuse_request(value, columns)
    asked = columns.prompt_of(value)
    # what is put into a source is not for the meta, which the row becomes
    messages = [{"role": "user", "content": asked}] if isinstance(asked, str) else deepcopy(asked)
    params: dict[str, Any] = {"messages": messages}
    system = columns.system_of(value)
    if system is not None:
        params["system"] = system
    return _shape({"custom_id": row_id(value, columns.ids), "meta": value}, params, defaults)


def _refuse_request(value: Mapping[str, Any], columns: Columns) -> None:
    """Refuse column options for a line that is a request already."""
    is_batch = isinstance(value.get("params"), dict) and "messages" in value["params"]
    is_openai = isinstance(value.get("body"), dict) and "url" in value
    is_flat = isinstance(value.get("messages"), list) and value.keys() <= _FLAT
    if is_flat and (
        columns.prompt_column == "messages" or (columns.prompt and columns.prompt.uses("messages"))
    ):
        return
    if is_batch or is_openai or is_flat or isinstance(value.get("modelInput"), dict):
        raise BadPromptError(
            f"the line is a request already: {columns.option} is for rows",
            f"leave {columns.option} out; --system, --params and --drop change requests",
        )


def _batch(given: Mapping[str, Any], defaults: Defaults) -> Shape:
    refuse_unknown(given, _BATCH, "beside params")
    if not isinstance(given["params"], dict):
        raise BadPromptError("params must be an object", 'write "params": {...}')
    return _shape(given, _present(given["params"], defaults), defaults)


def _present(params: Mapping[str, Any], defaults: Defaults) -> dict[str, Any]:
    """Return params without nulls, and without those that are to be dropped."""
    drop = defaults.columns.drop
    return {key: each for key, each in params.items() if each is not None and key not in drop}


def _bedrock(given: Mapping[str, Any], defaults: Defaults) -> Shape:
    """Return a line of a Bedrock batch file, whose version stands for an API of its own."""
    refuse_unknown(given, _BEDROCK | {"meta"}, "in a Bedrock batch line")
    if not isinstance(given["modelInput"], dict):
        raise BadPromptError("modelInput must be an object", 'write "modelInput": {...}')
    params = _present(given["modelInput"], defaults)
    params.pop("anthropic_version", None)
    return _shape({"custom_id": given.get("recordId"), "meta": given.get("meta")}, params, defaults)


def _openai(given: Mapping[str, Any], defaults: Defaults) -> Shape:
    given = dict(given)
    if isinstance(given.get("body"), dict):
        given["body"] = _present(given["body"], defaults)
    shape = _shape(given, convert(given), defaults)
    if not shape.names_model and defaults.model is None:
        model = given["body"].get("model")
        raise BadPromptError(
            f"body: model {quoted(model)} is not one of Claude's", "name one with --model"
        )
    return shape


def _short(given: Mapping[str, Any], defaults: Defaults) -> Shape:
    """Return a JSON row with a prompt."""
    if "messages" in given:
        raise BadPromptError("both prompt and messages are given", "leave one out")
    params = {**_ask(given["prompt"]), **_params_of(given)}
    return _with_data(given, params, _SHORT, defaults)


def _flat(given: Mapping[str, Any], defaults: Defaults) -> Shape:
    """Return a line that is Messages params; data may stand beside them."""
    if "messages" not in given:
        refuse_mistyped(given, _FLAT | {"prompt"}, "in the line")
        if given.keys() - _FLAT:
            raise no_prompt_column(given)
    params = _params_of(given)
    model = params.get("model")
    if isinstance(model, str) and is_openai_model(model) and not defaults.routes:
        if defaults.model is None:
            raise BadPromptError(
                f"model {quoted(model)} is not one of Claude's",
                "name one with --model, which replaces it",
            )
        del params["model"]
    return _with_data(given, params, _FLAT, defaults)


def _with_data(
    given: Mapping[str, Any], params: dict[str, Any], known: frozenset[str], defaults: Defaults
) -> Shape:
    """Return a JSON row whose keys that are not `known` are data, kept in meta."""
    data = {key: each for key, each in given.items() if key not in known}
    if not data:
        return _shape(_identified(given, given, defaults), params, defaults)
    refuse_mistyped(data, known.difference(given), "beside prompt" if "prompt" in given else "")
    meta = given.get("meta")
    if meta is not None and not isinstance(meta, dict):
        data["meta"] = meta
        meta = None
    row = {**data, **(meta or {})}
    shape = _shape(_identified(given, row, defaults), params, defaults)
    return replace(shape, data=tuple(data))


def _identified(
    given: Mapping[str, Any], meta: Mapping[str, Any], defaults: Defaults
) -> dict[str, Any]:
    own = meta if meta is not given else given.get("meta")
    empty = given.get("custom_id") == ""  # which is refused: it was meant as an id
    return {"custom_id": "" if empty else row_id(given, defaults.columns.ids), "meta": own}


def _params_of(given: Mapping[str, Any]) -> dict[str, Any]:
    return {key: each for key, each in given.items() if key in PARAMS}


def _ask(prompt: object) -> dict[str, Any]:
    """Return the messages of a prompt that is one text."""
    if not isinstance(prompt, str):
        raise BadPromptError("prompt must be a text", 'write "prompt": "..."')
    if not prompt or prompt.isspace():
        raise BadPromptError("the prompt is empty", "ask something, or leave the line out")
    return {"messages": [{"role": "user", "content": prompt}]}


def _shape(given: Mapping[str, Any], params: dict[str, Any], defaults: Defaults) -> Shape:
    meta = given.get("meta")
    if meta is not None and not isinstance(meta, dict):
        raise BadPromptError("meta must be an object", 'write "meta": {...}')
    rule = None
    for name, value in defaults.columns.params.items():
        if name not in defaults.columns.drop:
            params.setdefault(name, value)
    if defaults.columns.attach and meta is not None:
        attach_columns(params, meta, defaults.columns.attach)
    attaches = attach(params, defaults.attachments)
    if defaults.routes:
        params, rule = _follow_routes(params, meta, defaults)
    names_model, names_max_tokens = "model" in params, "max_tokens" in params
    params.setdefault("model", DEFAULT_MODEL if defaults.model is None else defaults.model)
    params.setdefault(
        "max_tokens", DEFAULT_MAX_TOKENS if defaults.max_tokens is None else defaults.max_tokens
    )
    if defaults.system is not None and not defaults.are_data:  # there it is a template
        params.setdefault("system", defaults.system)
    if defaults.output_format is not None:
        _set_format(params, defaults.output_format)
    return Shape(
        custom_id=_custom_id(given.get("custom_id")) if defaults.columns.ids else None,
        params=params,
        meta=meta,
        names_model=names_model,
        names_max_tokens=names_max_tokens,
        rule=rule,
        unknown=() if params.keys() <= PARAMS else unknown_params(params),
        attaches=attaches,
    )


def _set_format(params: dict[str, Any], form: Mapping[str, Any]) -> None:
    """Ask for a format of the answer, unless the line has one of its own."""
    config = params.get("output_config")
    if config is None:
        config = {}
    if isinstance(config, dict) and config.get("format") is None:
        params["output_config"] = {**config, "format": form}


def _follow_routes(
    params: Mapping[str, Any], meta: Mapping[str, Any] | None, defaults: Defaults
) -> tuple[dict[str, Any], str | None]:
    """Return params as the first rule that applies sets them, and the name of the rule."""
    check_given(params)  # rules read params that have been checked
    model = DEFAULT_MODEL if defaults.model is None else defaults.model
    tokens = 0
    if sizes_matter(defaults.routes):
        whole = {"model": model, "system": defaults.system, **params}
        tokens = estimate_input_tokens(whole, BUNDLED)  # a resumed run may have another catalog
    routed = route(defaults.routes, params, meta, tokens, default_model=model)
    return dict(routed.params), routed.rule


def _custom_id(custom_id: object) -> str | None:
    if custom_id is None:
        return None
    if not isinstance(custom_id, str):
        raise BadPromptError(
            "the id must be a text or a whole number",
            'write it in quotes: "custom_id": "17"; or name another column with --id-column',
        )
    if not custom_id:
        raise BadPromptError("custom_id is empty", "give one, or leave it out")
    if len(custom_id) > LONGEST_ID:
        raise BadPromptError(
            f"custom_id has {len(custom_id):,} characters", f"at most {LONGEST_ID} may be used"
        )
    return custom_id
