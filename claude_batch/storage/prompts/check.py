"""The checking pass: every line is checked before anything is sent, in constant memory.

Only ids are kept, as eight bytes each. Ids that a file gives twice are found by those, and
confirmed by a second pass.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from claude_batch.core.catalog.catalog import DEFAULT_MAX_TOKENS, DEFAULT_MODEL
from claude_batch.core.catalog.refusals import Refusal, Rule, refusals
from claude_batch.core.model.schemas import problems
from claude_batch.errors import NoRowsError
from claude_batch.storage.by_line import repeated
from claude_batch.storage.prompts.columns import CUSTOM_ID, Columns
from claude_batch.storage.prompts.lines import Lines, PromptLines
from claude_batch.storage.prompts.params import quoted
from claude_batch.storage.prompts.parse import (
    BOM,
    InvalidLine,
    generated_id,
    input_tokens,
    parsed_lines,
    read_line,
)
from claude_batch.storage.prompts.quick import Destination, Names, QuickLook
from claude_batch.storage.prompts.rows import plan_rows, refuse_all_alike
from claude_batch.storage.prompts.shapes import Defaults, Shape

_ALL_ESTIMATED = 2_000
_ONE_IN = 61
"""Tokens are estimated for the first 2,000 lines, then for one line in 61: a prime, so that the
sample does not fall into step with a file that repeats a pattern."""

_MOST_FINDINGS = 50
"""Of each sort: causes of bad lines, unknown keys, refusals. Further ones are not kept."""

_LINES_NAMED = 3
"""Lines that a finding names: the first ones it is about."""

_VARIES = re.compile(
    r"(?<![\w'.-])\d[\d,]*(?![\w-])"
    r"|(?<=custom_id )'.*?'|(?<=the id )'.*?'|(?<=the text )'.*?'|(?<=would be )'.*?'"
    r"|(?<=the file )'.*?'"
)
"""What may differ between two lines that are bad for the same cause: numbers and some values."""

ReadInFull = Callable[[bytes | None, int], Names | None]
"""Reads a line that is not plain; None when it is blank or bad."""


@dataclass(slots=True)
class Finding:
    """Something that is the case for `count` lines, of which `lines` are the first few."""

    what: str
    remedy: str
    lines: list[int]
    count: int

    @property
    def also(self) -> str:
        """The lines besides the first, in words: `lines 4, 5 and 4,994 more`; "" for none."""
        others = self.lines[1:]
        if not others:
            return ""
        more = self.count - len(self.lines)
        named = ", ".join(f"{line}" for line in others) + (f" and {more:,} more" if more else "")
        return f"line{'s' if self.count > _ONE_AND_ANOTHER else ''} {named}"


_ONE_AND_ANOTHER = 2

_KEYS_NAMED = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """What was found in a file of prompts.

    `causes` are why lines are bad. `models` counts the good lines by model, those that name none
    under the default; `routed`, if there are [[route]] rules, by the rule they follow (None: by
    none) and model. `unnamed_model` counts lines that name no model, `unset` those of them that
    set no max_tokens either. `input_tokens` is estimated, in files of more than 2,000 lines from
    a sample. `size` (bytes) and `sha256` are the whole file's. `warnings` name unknown params,
    and what models will probably refuse. `ids` are the columns that ids are taken from; `notes`
    say what else was decided.
    """

    requests: int
    invalid: int
    causes: tuple[Finding, ...]
    size: int
    sha256: str
    models: Mapping[str, int]
    unnamed_model: int
    unset: int
    input_tokens: int
    warnings: tuple[str, ...]
    routed: Mapping[tuple[str | None, str], int]
    ids: tuple[str, ...] = (CUSTOM_ID,)
    notes: tuple[str, ...] = ()


def ignore(_: object) -> None:
    """Do nothing."""


def check(
    path: Path,
    defaults: Defaults,
    *,
    note: Callable[[InvalidLine], None] = ignore,
    progress: Callable[[int], None] = ignore,
) -> CheckReport:
    """Check every line of `path`; return what was found.

    `note` is called with every bad line: in file order, but duplicate ids at the end. `progress` is
    called with the bytes read so far, block by block. Raises UsageError when the file cannot be
    read, is of another kind, or holds no prompt at all.
    """
    defaults, ids_note = plan_rows(path, defaults)
    pass_ = _CheckingPass(defaults, note)
    source = PromptLines(path)
    for numbers, lines in source:
        pass_.take(numbers, lines)
        progress(source.size)
    pass_.take_out_duplicates(path)
    if not pass_.requests and not pass_.invalid:
        raise NoRowsError(
            f"{path}: there are no prompts in it",
            hint='write one JSON value per line: "..." or {"prompt": "..."}; or a table with a '
            "header",
        )
    refuse_all_alike(path, defaults, pass_.requests)
    return pass_.report(source, ids_note)


class _CheckingPass:
    """What is counted while a file is checked."""

    def __init__(self, defaults: Defaults, note: Callable[[InvalidLine], None]) -> None:
        self.requests = 0
        self.invalid = 0
        self._defaults = defaults
        self._note = note
        self._duplicates = 0
        self._every = 1
        self._ids = _SeenIds(defaults.columns.id_prefix)
        self._went: Counter[Destination] = Counter()
        self._sample = _Sample()
        self._causes = _Findings()
        self._unknown = _Findings()
        self._refused = _Findings()
        self._data: dict[str, None] = {}
        columns = defaults.columns
        self._all_in_full = bool(defaults.routes or columns.attach) or columns.change_params
        self._quick = QuickLook(
            columns,
            are_data=defaults.are_data,
            wrapping=defaults.wrapping,
            usual_tokens=defaults.max_tokens or DEFAULT_MAX_TOKENS,
            most_tokens=min(card.max_output_tokens for card in defaults.catalog.cards.values()),
        )

    def take(self, numbers: Sequence[int], lines: Lines) -> None:
        """Check the next lines."""
        given: list[str] = []
        unnamed: list[int] = []
        went: list[Destination] = []
        self._every = 1 if self._sample.lines < _ALL_ESTIMATED else _ONE_IN
        for number, (custom_id, destination) in self._good(numbers, lines, self._read):
            went.append(destination)
            if custom_id is None:
                unnamed.append(number)
            else:
                given.append(custom_id)
        self.requests += len(went)
        self._went.update(went)
        self._ids.add(given, unnamed)
        self._sample.all_bytes += sum(map(len, filter(None, lines)))

    def _read(self, raw: bytes | None, number: int) -> Names | None:
        """Read a line in full, counting what it shows; None when it is blank or bad."""
        shape = read_line(raw, number, self._defaults)
        if isinstance(shape, InvalidLine):
            self._refuse(shape)
        if not isinstance(shape, Shape):
            self._sample.all_bytes -= len(raw or b"")
            return None
        if not number % self._every:
            self._sample.lines += 1
            self._sample.bytes += len(raw or b"")
            self._sample.tokens += input_tokens(shape, self._defaults.catalog)
        if shape.data:
            self._quick.know(orjson.loads((raw or b"").removeprefix(BOM)))
            if len(self._data) < _MOST_FINDINGS:
                self._data.update(dict.fromkeys(shape.data))
        for key in shape.unknown:
            self._unknown.add(number, f"unknown key {quoted(key)} in params is passed on")
        for refused in refusals(
            shape.params["model"], shape.params, catalog=self._defaults.catalog
        ):
            self._refused.add(number, refusal_words(refused))
        if "output_config" in shape.params:
            self._check_format(shape.params["output_config"], number)
        return _names(shape)

    def _check_format(self, config: Mapping[str, Any], number: int) -> None:
        """Warn of what the API refuses in a schema that a line brings along."""
        form = config.get("format")
        if form is self._defaults.output_format or not isinstance(form, dict):
            return
        schema = form.get("schema")
        for each in problems(schema) if isinstance(schema, dict) else ():
            self._refused.add(number, f"output_config.format.schema, {each.where}: {each.what}")

    def _refuse(self, bad: InvalidLine) -> None:
        self.invalid += 1
        self._causes.add(bad.line, bad.what, bad.remedy)
        self._note(bad)

    def take_out_duplicates(self, path: Path) -> None:
        """Read the file again if ids look alike; refuse all but the first line of each."""
        suspects = self._ids.repeated()
        if not suspects:
            return
        uses = _FirstUses(suspects, self._defaults.columns)
        for numbers, lines in PromptLines(path):
            for number, (custom_id, destination) in self._good(numbers, lines, self._read_again):
                bad = uses.refuse(custom_id, number)
                if bad is not None:
                    self._refuse(bad)
                    self._duplicates += 1
                    self.requests -= 1
                    self._went[destination] -= 1

    def _read_again(self, raw: bytes | None, number: int) -> Names | None:
        shape = read_line(raw, number, self._defaults)
        return _names(shape) if isinstance(shape, Shape) else None

    def _good(
        self, numbers: Sequence[int], lines: Lines, read: ReadInFull
    ) -> Iterator[tuple[int, Names]]:
        """Yield number and names of the good lines.

        `read` is called for those that are not plain, and for the sample whose tokens are
        estimated; for all when there are rules, which may ask anything.
        """
        every = 1 if self._all_in_full else self._every
        look = self._quick.names
        for number, raw, value in zip(numbers, lines, parsed_lines(lines), strict=True):
            names = None
            if number % every:
                names = look(raw or b"", value)
            if names is None:
                names = read(raw, number)
            if names is not None:
                yield number, names

    def report(self, source: PromptLines, ids_note: str | None) -> CheckReport:
        """Return the figures of the whole pass."""
        default = self._defaults.model or DEFAULT_MODEL
        models: Counter[str] = Counter()
        routed: Counter[tuple[str | None, str]] = Counter()
        unnamed = unset = 0
        for (model, rule, sets_max_tokens), count in self._went.items():
            models[model or default] += count
            routed[rule, model or default] += count
            if model is None:
                unnamed += count
                unset += 0 if sets_max_tokens else count
        return CheckReport(
            requests=self.requests,
            invalid=self.invalid,
            causes=tuple(self._causes),
            size=source.size,
            sha256=source.sha256,
            models={name: count for name, count in models.most_common() if count},
            unnamed_model=unnamed,
            unset=unset,
            input_tokens=self._sample.total(self.requests, self._duplicates),
            warnings=tuple(map(_warning, (*self._unknown, *self._refused))),
            routed={went: count for went, count in routed.most_common() if count}
            if self._defaults.routes
            else {},
            ids=self._defaults.columns.ids,
            notes=tuple(filter(None, (self._data_note(), ids_note))),
        )

    def _data_note(self) -> str:
        """Return which keys of JSON rows were taken for data; "" where none was."""
        if not self._data:
            return ""
        named = ", ".join(list(self._data)[:_KEYS_NAMED])
        more = len(self._data) - _KEYS_NAMED
        return f"Kept as data, not sent: {named}" + (f" and {more} more" if more > 0 else "")


def _names(shape: Shape) -> Names:
    model = shape.params["model"] if shape.names_model else None
    return shape.custom_id, (model, shape.rule, shape.names_max_tokens)


class _SeenIds:
    """The ids of a file, given and generated, as hashes: eight bytes each.

    What looks alike by hash is read again and compared in full.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._given = array("q")
        self._unnamed = array("q")

    def add(self, given: Iterable[str], unnamed: Iterable[int]) -> None:
        """Add ids that lines give, and the numbers of lines that give none."""
        self._given.extend(map(hash, given))
        self._unnamed.extend(unnamed)

    def repeated(self) -> frozenset[int]:
        """Return the hashes that were seen more than once."""
        if not self._given:
            return frozenset()  # generated ids differ by their line
        generated = (hash(generated_id(line, self._prefix)) for line in self._unnamed)
        return repeated(self._given + array("q", generated))


class _FirstUses:
    """Where each id of a few suspects was used first; `suspects` are hashes."""

    def __init__(self, suspects: frozenset[int], columns: Columns) -> None:
        self._suspects = suspects
        self._column = columns.id_column
        self._prefix = columns.id_prefix
        self._lines: dict[str, int] = {}

    def refuse(self, custom_id: str | None, line: int) -> InvalidLine | None:
        """Return what is wrong with a line whose id was used before; remember it otherwise."""
        name = generated_id(line, self._prefix) if custom_id is None else custom_id
        if hash(name) not in self._suspects:
            return None
        first = self._lines.setdefault(name, line)
        if first == line:
            return None
        what = f"duplicate custom_id {name[:60]!r}: line {first} has it already"
        if custom_id is None:
            what = f"without a custom_id this would be {name!r}, which line {first} is already"
        elif self._column is not None:
            what = f"the id {name[:60]!r} is there twice: line {first} has it already"
            remedy = f"name a column of unique values, or leave out --id-column {self._column}"
            return InvalidLine(line=line, what=what, remedy=remedy)
        return InvalidLine(line=line, what=what, remedy="give every line an id of its own")


@dataclass(slots=True)
class _Sample:
    """The lines whose tokens were estimated, and how large all good ones are together."""

    lines: int = 0
    bytes: int = 0
    tokens: int = 0
    all_bytes: int = 0

    def total(self, requests: int, duplicates: int) -> int:
        """Return the tokens of `requests` lines, scaled by bytes when only some are known.

        The sample was drawn before `duplicates` more lines were taken out.
        """
        if not requests:
            return 0
        good = requests + duplicates
        known = self.lines == good
        tokens = self.tokens if known else self.tokens * self.all_bytes / self.bytes
        return round(tokens * requests / good)


class _Findings:
    """Findings by cause, in the order in which they were made first."""

    def __init__(self) -> None:
        self._found: dict[str, Finding] = {}

    def add(self, line: int, what: str, remedy: str = "") -> None:
        """Count a finding for one more line."""
        cause = _VARIES.sub("#", what)
        found = self._found.get(cause)
        if found is not None:
            found.count += 1
            if len(found.lines) < _LINES_NAMED:
                found.lines.append(line)
        elif len(self._found) < _MOST_FINDINGS:
            self._found[cause] = Finding(what, remedy, [line], 1)

    def __iter__(self) -> Iterator[Finding]:
        return iter(self._found.values())


def _warning(found: Finding) -> str:
    also = f" (and {found.also})" if found.also else ""
    return f"line {found.lines[0]}: {found.what}{also}"


_REFUSALS = {
    Rule.THINKING_TYPE: "refuses thinking.type {value!r} (instead: {instead})",
    Rule.THINKING_OFF: "refuses thinking.type {value!r} (leave it out: it always thinks)",
    Rule.THINKING_DEPRECATED: "will stop accepting thinking.type {value!r} (better: {instead})",
    Rule.THINKING_AT_EFFORT: "refuses thinking.type 'disabled' at effort {value!r}",
    Rule.BUDGET_TOO_SMALL: "requires a thinking.budget_tokens of at least {value}",
    Rule.BUDGET_TOO_LARGE: "requires max_tokens above thinking.budget_tokens",
    Rule.FORCED_TOOL: "refuses tool_choice {value!r} (instead: {instead}, and ask in the prompt)",
    Rule.FORCED_TOOL_WITH_BUDGET: (
        "refuses tool_choice {value!r} together with thinking.type 'enabled'"
    ),
    Rule.PREFILL: "refuses a last message from the assistant (prefill)",
    Rule.SAMPLING: "refuses {value}",
    Rule.MAX_TOKENS: "writes at most {value} tokens: max_tokens is more",
    Rule.GEO: "refuses inference_geo",
    Rule.NO_FAST_MODE: "has no fast mode",
    Rule.FAST_MODE_HEADER: (
        "accepts speed 'fast' only with the header anthropic-beta: {value} (see headers_env)"
    ),
}


def refusal_words(found: Refusal) -> str:
    """Return a refusal as a sentence, the same for all lines with the same fault."""
    what = _REFUSALS[found.rule].format(value=found.value, instead=found.instead)
    return f"{found.model} {what}"
