"""Rows become requests: templates, columns, ids, what is data and what is a parameter."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_batch.config.options import Options
from claude_batch.core.catalog.catalog import BUNDLED
from claude_batch.core.model.requests import Request
from claude_batch.errors import UsageError
from claude_batch.storage.prompts.check import CheckReport, check
from claude_batch.storage.prompts.columns import Template, own_id
from claude_batch.storage.prompts.input import rereadable
from claude_batch.storage.prompts.options import columns_of, input_options
from claude_batch.storage.prompts.params import BadPromptError
from claude_batch.storage.prompts.parse import InvalidLine, parse_line
from claude_batch.storage.prompts.quick import QuickLook
from claude_batch.storage.prompts.reading import read_requests
from claude_batch.storage.prompts.shapes import Defaults
from claude_batch.storage.run.recovery import id_of
from tests.storage.prompts.conftest import Write


def with_options(**options: Any) -> Defaults:
    these = Options(**options)
    return Defaults(
        model=these.model, system=these.system, columns=columns_of(these), catalog=BUNDLED
    )


def parsed(line: object, **options: Any) -> Request:
    request = parse_line(orjson.dumps(line), 7, with_options(**options))
    assert isinstance(request, Request), request
    return request


def refused(line: object, **options: Any) -> InvalidLine:
    bad = parse_line(orjson.dumps(line), 7, with_options(**options))
    assert isinstance(bad, InvalidLine), bad
    return bad


def asked(request: Request) -> Any:
    return orjson.loads(request.body)["messages"][0]["content"]


def requests_of(
    folder: Path, name: str, content: bytes, **options: Any
) -> tuple[CheckReport, list[Request]]:
    (folder / name).write_bytes(content)
    defaults = with_options(**options)
    with rereadable(str(folder / name), options=input_options(Options(**options))) as path:
        report = check(path, defaults)
        found = replace(defaults, columns=replace(defaults.columns, ids=report.ids))
        return report, list(read_requests(path, found))


@pytest.mark.parametrize(
    ("template", "row", "text"),
    [
        ("Say {{text}}!", {"text": "hi"}, "Say hi!"),
        ("{{ Customer Name }}", {"Customer Name": "Ann"}, "Ann"),
        ("{{ticket-id}}", {"ticket-id": 7, "ticket": 9, "id": 2}, "7"),
        ("{{a.b}}{{ a.c[0] }}", {"a": {"b": "x", "c": ["y"]}}, "xy"),
        ("{{a.b}}", {"a.b": "whole", "a": {"b": "x"}}, "whole"),
        ("{{n}} {{f}} {{g}}", {"n": 3, "f": 3.0, "g": 0.5}, "3 3 0.5"),
        ("[{{x}}]", {"x": None}, "[]"),
        (
            "{{b}} {{l}} {{o}}",
            {"b": True, "l": [1, "é"], "o": {"a": None}},
            'true [1,"é"] {"a":null}',
        ),
        ("{{ text|upper }}", {"text": "hi"}, "HI"),
        ("{% if note %}{{note}}{% else %}none{% endif %}", {"note": ""}, "none"),
        ("{% if y is defined %}y{% endif %}x", {"x": 1}, "x"),
        ("{% raw %}{{text}}{% endraw %} {{text}}", {"text": "hi"}, "{{text}} hi"),
        ("{{text}}", {"text": "{{other}} {% x %}"}, "{{other}} {% x %}"),
        ("{{ not }} {{loop}} {{range}}", {"not": 1, "loop": 2, "range": 3}, "1 2 3"),
        ("<b>{{text}}</b>", {"text": "<&>"}, "<b><&></b>"),
        ('{{a "quoted" name}}', {'a "quoted" name': "x"}, "x"),
        ("{{template_name}}{{_row_}}", {"template_name": "t", "_row_": "r"}, "tr"),
    ],
)
def test_a_template_is_rendered(template: str, row: dict[str, Any], text: str) -> None:
    assert Template(template, "--prompt").render(row) == text


@pytest.mark.parametrize(
    ("template", "row", "what", "remedy"),
    [
        ("{{txt}}", {"text": 1}, "there is no column 'txt'", "'text'"),
        ("{{Custmer Name}}", {"Customer Name": 1}, "no column 'Custmer Name'", "'Customer Name'"),
        ("{{nothing}}", {"a": 1, "b": 2}, "no column 'nothing'", "columns: a, b"),
        ("{{a.b}}", {"a": {}}, "no column 'a.b'", "columns: a"),
        ("{{ticket-id}}", {"id": 1}, "no column 'ticket-id'", "columns: id"),
        ("{{ticket-id}}", {"text": 1}, "no column 'ticket-id'", "columns: text"),
        ("{{ticket-id}}", {"ticket_id": 1}, "no column 'ticket-id'", "'ticket_id'"),
        ("{{price - tax}}", {"price": 1}, "no column 'tax'", "columns: price"),
        ("{{price * tax}}", {"price": 1}, "no column 'tax'", "columns: price"),
        ("{{Full Name}}", {"a": 1, "Full": 2}, "no column 'Full Name'", "columns: a, Full"),
        ("{{a if b}}{{a not b}}", {"a": 1, "c": 2}, "--prompt: ", "{% raw %}"),
        ("{{ {", {"a": 1}, "--prompt: ", "{% raw %}"),
        ("{# a", {"a": 1}, "--prompt: ", "{% raw %}"),
        ("{{a|nofilter}}", {"a": 1}, "nofilter", "{% raw %}"),
        ("{{a / 0}}", {"a": 1}, "--prompt: ", "correct"),
    ],
)
def test_a_template_that_does_not_fit_names_what_does(
    template: str, row: dict[str, Any], what: str, remedy: str
) -> None:
    with pytest.raises(BadPromptError) as caught:
        Template(template, "--prompt").render(row)
    assert what in caught.value.what
    assert remedy in caught.value.remedy


@given(st.text(), st.text())
def test_a_value_is_inserted_as_it_is(name: str, value: str) -> None:
    name = name.replace("}", "").replace("{", "").strip() or "x"
    if name.startswith(("-", "+")) or name.endswith(("-", "+")):
        name = f"n{name}n"
    row = {name: value}
    assert Template(f"<{{{{ {name} }}}}>", "--prompt").render(row) == f"<{value}>"


def test_a_json_row_keeps_parameters_and_data_apart() -> None:
    request = parsed({"id": 4, "prompt": "x", "max_tokens": 9, "domain": "law", "meta": {"a": 1}})
    body = orjson.loads(request.body)
    assert (body["max_tokens"], request.max_tokens) == (9, 9)
    assert orjson.loads(request.meta or b"") == {"id": 4, "domain": "law", "a": 1}


def test_with_a_column_option_every_column_is_data() -> None:
    row = {"prompt": "p", "model": "iPhone 14", "max_tokens": "many"}
    request = parsed(row, prompt="About {{model}}: {{prompt}}")
    assert asked(request) == "About iPhone 14: p"
    assert request.model == "claude-haiku-5-5"
    assert orjson.loads(request.meta or b"") == row


def test_a_bare_text_is_the_column_prompt() -> None:
    assert asked(parsed("hi", prompt="Say {{prompt}}")) == "Say hi"


def test_a_column_may_be_the_prompt_or_hold_the_messages() -> None:
    assert asked(parsed({"question": 3.0}, prompt_column="question")) == "3"
    messages = [{"role": "user", "content": "hi"}]
    assert asked(parsed({"chat": messages}, prompt_column="chat")) == "hi"


def test_the_system_prompt_is_a_template_too_and_left_out_where_it_is_empty() -> None:
    given = {"prompt": "x", "system": "{{style}}"}
    assert orjson.loads(parsed({"style": "short"}, **given).body)["system"] == "short"
    assert "system" not in orjson.loads(parsed({"style": ""}, **given).body)
    plain = parsed({"prompt": "x"}, system="{{style}}")
    assert orjson.loads(plain.body)["system"] == "{{style}}"


@pytest.mark.parametrize(
    ("line", "options", "what", "remedy"),
    [
        ({"question": "x"}, {"prompt_column": "qestion"}, "no column 'qestion'", "'question'"),
        ({"q": " "}, {"prompt_column": "q"}, "the prompt is empty: column 'q'", "leave the row"),
        ({"q": None}, {"prompt": "{{q}}"}, "the prompt is empty", "leave the row"),
        (
            {"params": {"messages": []}},
            {"prompt": "{{x}}"},
            "the line is a request already: --prompt is for rows",
            "leave --prompt out",
        ),
        ({"messages": []}, {"prompt_column": "q"}, "a request already", "--prompt-column out"),
        ({"url": "/v1/responses", "body": {}}, {}, "url '/v1/responses' cannot", "/v1/chat"),
        ({"prompt": "x", "temprature": 1}, {}, "unknown key 'temprature'", "'temperature'"),
    ],
)
def test_a_row_that_is_none_says_which_option_helps(
    line: object, options: dict[str, Any], what: str, remedy: str
) -> None:
    bad = refused(line, **options)
    assert what in bad.what
    assert remedy in bad.remedy


BODY = {"max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}


@pytest.mark.parametrize(
    "line",
    [
        {"recordId": "r1", "modelInput": {"anthropic_version": "bedrock-2023-05-31", **BODY}},
        {
            "custom_id": "r1",
            "url": "/chat/completions",
            "body": {"model": "claude-haiku-5-5", **BODY},
        },
    ],
)
def test_lines_of_other_batch_files_are_requests(line: object) -> None:
    request = parsed(line)
    assert (request.custom_id, asked(request), request.max_tokens) == ("r1", "hi", 5)


def test_params_fill_in_and_dropped_ones_are_left_out() -> None:
    line = {"prompt": "x", "temperature": 5, "max_tokens": 9, "stop": 1}
    request = parsed(
        line, params='{"max_tokens":77,"metadata":{"user_id":"u"}}', drop=("temperature", "stop")
    )
    body = orjson.loads(request.body)
    assert (body["max_tokens"], body["metadata"]) == (9, {"user_id": "u"})
    assert body.keys().isdisjoint({"temperature", "stop"})


def test_a_model_of_openai_is_replaced_by_the_one_that_is_named() -> None:
    line = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}
    assert parsed(line, model="claude-opus-5").model == "claude-opus-5"


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"prompt": "x", "prompt_column": "y"}, "both say what is asked"),
        ({"drop": ("messages",)}, "no request is without it"),
        ({"params": '{"messages":[]}'}, "--params cannot set"),
    ],
)
def test_options_that_contradict_are_refused(options: dict[str, Any], what: str) -> None:
    with pytest.raises(UsageError, match=what):
        with_options(**options)


@pytest.mark.parametrize(
    ("rows", "options", "ids"),
    [
        (b"id,prompt\n1,a\n2,b\n", {}, ["1", "2"]),
        (b"id,prompt\n1,a\n1,b\n", {}, ["line-2", "line-3"]),
        (b"id,prompt\n1,a\n,b\n", {}, ["line-2", "line-3"]),
        (b"id,custom_id,prompt\n1,x,a\n1,y,b\n", {}, ["x", "y"]),
        (b"id,key,prompt\n1,x,a\n1,y,b\n", {"id_column": "key"}, ["x", "y"]),
        (b"id,custom_id,prompt\n1,x,a\n2,y,b\n", {"id_column": "none"}, ["line-2", "line-3"]),
    ],
)
def test_ids_come_from_a_column_that_has_them(
    tmp_path: Path, rows: bytes, options: dict[str, Any], ids: list[str]
) -> None:
    report, requests = requests_of(tmp_path, "t.csv", rows, **options)
    assert [each.custom_id for each in requests] == ids
    assert any("not unique" in note for note in report.notes) == (
        ids[0] == "line-2" and options == {}
    )


@pytest.mark.parametrize(
    "line",
    [
        {"custom_id": "x", "prompt": "a"},
        {"custom_id": 7, "prompt": "a"},
        {"custom_id": "x", "messages": [{"role": "user", "content": "a"}]},
        {"custom_id": "x", "params": {"messages": [{"role": "user", "content": "a"}]}},
        {"recordId": "x", "modelInput": {"messages": [{"role": "user", "content": "a"}]}},
        {"id": "x", "prompt": "a"},
        "a",
    ],
)
def test_without_an_id_column_requests_are_called_by_their_lines(line: object) -> None:
    raw, defaults = orjson.dumps(line), with_options(id_column="none")
    assert parsed(line, id_column="none").custom_id == "line-7"
    assert id_of(raw, 7, defaults.columns.ids) == "line-7"
    look = QuickLook(
        defaults.columns, are_data=False, wrapping=None, usual_tokens=10, most_tokens=10
    )
    assert (look.names(raw, line) or (None,))[0] is None


@pytest.mark.parametrize("ids", [(), ("custom_id",), ("custom_id", "id"), ("id", "custom_id")])
def test_ids_are_found_without_parsing_the_whole_line(ids: tuple[str, ...]) -> None:
    defaults = with_options()
    defaults = replace(defaults, columns=replace(defaults.columns, ids=ids))
    asked = {"messages": [{"role": "user", "content": "a"}]}
    for line in (
        {"id": 1, "custom_id": "x", "prompt": "a"},
        {"id": 1.0, "prompt": "a"},
        {"custom_id": "x", "params": asked},
        {"recordId": "r", "modelInput": asked},
        {"custom_id": "x", **asked},
        "a",
    ):
        request = parse_line(orjson.dumps(line), 7, defaults)
        assert isinstance(request, Request)
        assert (own_id(line, ids) or "line-7") == request.custom_id


def test_numbers_are_ids_in_json(tmp_path: Path) -> None:
    raw = b'[{"id": 7, "prompt": "a"}, {"id": 8, "prompt": "b"}]'
    report, requests = requests_of(tmp_path, "t.json", raw)
    assert [each.custom_id for each in requests] == ["7", "8"]
    assert report.notes == ("Kept as data, not sent: id",)


def test_an_id_twice_in_a_column_that_was_named_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"key,prompt\nx,a\nx,b\n")
    bad: list[InvalidLine] = []
    with rereadable(str(tmp_path / "t.csv")) as path:
        check(path, with_options(id_column="key"), note=bad.append)
    assert [(each.line, each.what) for each in bad] == [
        (3, "the id 'x' is there twice: line 2 has it already")
    ]
    assert "--id-column key" in bad[0].remedy


@pytest.mark.parametrize(
    ("raw", "options", "what", "hint"),
    [
        (b"question,a\nx,y\n", {}, "there is no column 'prompt'", "--prompt-column question"),
        (b"text\nx\n", {"prompt": "{{txt}}"}, "--prompt: there is no column 'txt'", "'text'"),
        (b"text\nx\ny\n", {"prompt": "Hi"}, "all 2 rows would ask the same", "{{text}}"),
        (b"text\nx\n", {"prompt": "{{text"}, "--prompt: ", "{% raw %}"),
        (b"prompt\nx\n", {"id_column": "ky"}, "--id-column: there is no column 'ky'", "prompt"),
        (b"prompt\n", {}, "no rows below the header", "--no-headers"),
    ],
)
def test_a_table_that_cannot_be_asked_is_refused_once(
    tmp_path: Path, raw: bytes, options: dict[str, Any], what: str, hint: str
) -> None:
    with pytest.raises(UsageError) as caught:
        requests_of(tmp_path, "t.csv", raw, **options)
    assert what in caught.value.message
    assert hint in caught.value.hint


def test_columns_of_a_table_are_never_parameters(tmp_path: Path) -> None:
    raw = b"prompt,model,max_tokens,params,url\nhi,iPhone 14,many,x,y\n"
    report, (request,) = requests_of(tmp_path, "t.csv", raw)
    assert (report.invalid, request.line, request.model) == (0, 2, "claude-haiku-5-5")
    assert orjson.loads(request.meta or b"")["model"] == "iPhone 14"


def test_a_row_that_does_not_fit_is_a_bad_line_at_its_place(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"prompt,b\nx,y\nz\n\nv,w\n")
    bad: list[InvalidLine] = []
    with rereadable(str(tmp_path / "t.csv")) as path:
        report = check(path, with_options(), note=bad.append)
    assert (report.requests, [each.line for each in bad]) == (2, [3])


_VALUES = st.one_of(
    st.none(),
    st.text(max_size=5),
    st.integers(-(2**63), 2**63),
    st.floats(allow_nan=False),
    st.booleans(),
)


@given(st.dictionaries(st.sampled_from(["id", "prompt", "custom_id", "x"]), _VALUES))
def test_the_quick_look_at_rows_says_what_the_full_one_says(row: dict[str, Any]) -> None:
    defaults = with_options(prompt="{{prompt}}", system="{{x}}")
    look = QuickLook(
        defaults.columns, are_data=True, wrapping=None, usual_tokens=1_024, most_tokens=64_000
    )
    names = look.names(orjson.dumps(row), row)
    request = parse_line(orjson.dumps(row), 7, defaults)
    if names is not None:
        assert isinstance(request, Request)
        assert request.custom_id == (names[0] or "line-7")


def test_a_converted_file_is_read_as_the_source_was(write: Write, tmp_path: Path) -> None:
    path = write(b'{"line":9,"row":{"error":"x","prompt":"a"}}', b'{"line":12,"error":["w","r"]}')
    bad: list[InvalidLine] = []
    report = check(path, with_options(), note=bad.append)
    assert (report.requests, [(each.line, each.what) for each in bad]) == (1, [(12, "w")])
    (request,) = read_requests(path, with_options(), skip={12}.__contains__)
    assert (request.line, asked(request)) == (9, "a")
    assert tmp_path.exists()
