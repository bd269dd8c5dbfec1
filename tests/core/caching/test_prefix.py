"""Shared prefixes are found, marked once, and never change what the model sees."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_batch.core.caching.prefix import (
    REACH,
    PrefixCount,
    PrefixPlan,
    SharedPrefix,
    expected_writes,
)
from claude_batch.core.caching.prefix_gate import PrefixGate
from claude_batch.core.catalog.catalog import BUNDLED

OPUS = "claude-opus-5-5"
LONG = "You sort letters into five drawers, and you never open one that is sealed. " * 60
LONGER = "The archive of the harbour office, volume seven, with all its annexes. " * 80


def ask(content: Any = "hi", **more: Any) -> dict[str, Any]:
    return {
        "model": OPUS,
        "max_tokens": 10,
        "messages": [{"role": "user", "content": content}],
        **more,
    }


def counted(*lines: dict[str, Any], most: int = 50_000) -> PrefixCount:
    count = PrefixCount(most=most, catalog=BUNDLED)
    for line in lines:
        count.add(line)
    return count


def prefixes(*lines: dict[str, Any], lifetime: Any = "5m") -> list[SharedPrefix]:
    return list(counted(*lines).choose(lifetime).prefixes.values())


def marks(value: Any) -> list[Any]:
    """Return all cache_control values in it."""
    if isinstance(value, dict):
        own = [value["cache_control"]] if "cache_control" in value else []
        return own + [mark for each in value.values() for mark in marks(each)]
    return [mark for each in value for mark in marks(each)] if isinstance(value, list) else []


def seen_by_the_model(value: Any) -> Any:
    """Return params without cache_control, each lone text block as the text it is."""
    if isinstance(value, list):
        return [seen_by_the_model(each) for each in value]
    if not isinstance(value, dict):
        return value
    kept = {key: seen_by_the_model(each) for key, each in value.items() if key != "cache_control"}
    for key in ("system", "content"):
        match kept.get(key):
            case [{"type": "text", "text": text, **rest}] if not rest:
                kept[key] = text
    return kept


def test_a_shared_system_prompt_is_found() -> None:
    (found,) = prefixes(*(ask(f"letter {n}", system=LONG) for n in range(10)))
    assert (found.model, found.requests, found.sure) == (OPUS, 10, True)


def test_its_length_is_estimated() -> None:
    (found,) = prefixes(*(ask(f"letter {n}", system=LONG) for n in range(10)))
    assert 900 < found.tokens < 1_500


def test_a_prefix_too_short_for_the_model_is_not_worth_a_mark() -> None:
    assert not prefixes(*(ask(f"letter {n}", system="Sort." * 20) for n in range(10)))


def test_what_only_one_line_says_is_not_shared() -> None:
    assert not prefixes(ask(system=LONG), ask(system=LONGER))


def test_the_minimum_is_the_model_s_own() -> None:
    lines = [ask(f"letter {n}", system=LONG, model="claude-haiku-4-5") for n in range(10)]
    assert not prefixes(*lines)


def test_models_do_not_share_an_entry() -> None:
    assert not prefixes(ask("a", system=LONG), ask("b", system=LONG, model="claude-opus-5"))


@pytest.mark.parametrize(
    "other",
    [
        {"thinking": {"type": "adaptive"}},
        {"output_config": {"effort": "low"}},
        {"tools": [{"name": "clock", "input_schema": {"type": "object"}}]},
    ],
)
def test_params_that_shape_the_entry_must_be_alike(other: dict[str, Any]) -> None:
    assert not prefixes(ask("a", system=LONG), ask("b", system=LONG, **other))


@pytest.mark.parametrize("other", [{"max_tokens": 99}, {"metadata": {"user_id": "x"}}])
def test_params_that_do_not_may_differ(other: dict[str, Any]) -> None:
    assert prefixes(ask("a", system=LONG), ask("b", system=LONG, **other))


def test_a_system_prompt_is_the_same_as_text_and_as_block() -> None:
    (found,) = prefixes(ask("a", system=LONG), ask("b", system=[{"type": "text", "text": LONG}]))
    assert found.requests == 2


def test_the_same_words_in_another_place_are_not_the_same_prefix() -> None:
    assert not prefixes(ask("a", system=LONG), ask(LONG, system="a"))


def test_lines_that_say_themselves_what_to_cache_are_left_alone() -> None:
    lines = [ask(f"{n}", system=LONG, cache_control={"type": "ephemeral"}) for n in range(5)]
    assert not prefixes(*lines)


def document(text: str, question: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": text}, {"type": "text", "text": question}]


def test_a_document_before_differing_questions_is_found() -> None:
    plan = counted(*(ask(document(LONGER, f"q{n}")) for n in range(5))).choose("5m")
    marked, _ = plan.mark(ask(document(LONGER, "q9")))
    assert "cache_control" in marked["messages"][0]["content"][0]


def test_the_longer_of_two_shared_prefixes_is_marked() -> None:
    plan = counted(*(ask(document(LONGER, f"q{n}"), system=LONG) for n in range(5))).choose("5m")
    marked, _ = plan.mark(ask(document(LONGER, "q9"), system=LONG))
    assert marks(marked["system"]) == []


def test_a_document_that_few_share_does_not_cost_the_many_their_system_prompt() -> None:
    lines = [ask(f"letter {n}", system=LONG) for n in range(50)]
    few = [ask(document(LONGER, question), system=LONG) for question in "abc"]
    requests = sorted(found.requests for found in prefixes(*lines, *few))
    assert requests == [3, 50]


def test_pairs_that_barely_share_stay_with_the_common_prefix() -> None:
    tail = "A postscript. " * 4
    lines = [ask(document(f"{tail}{n // 2}", f"q{n}"), system=LONG) for n in range(40)]
    (found,) = prefixes(*lines)
    assert found.requests == 40


def test_a_prompt_that_is_asked_many_times_is_cached_whole() -> None:
    (found,) = prefixes(*(ask(LONG) for _ in range(6)))
    assert found.requests == 6


@pytest.mark.parametrize(("lines", "found"), [(3, 0), (4, 1)])
def test_an_hour_pays_only_if_enough_share_it(lines: int, found: int) -> None:
    asked = [ask(f"{n}", system=LONG) for n in range(lines)]
    assert len(prefixes(*asked, lifetime="1h")) == found


def test_memory_is_bounded_and_what_is_common_survives() -> None:
    lines = [ask(f"{n} {LONGER}", system=LONG) for n in range(500)]
    count = counted(*lines, most=100)
    (found,) = count.choose("5m").prefixes.values()
    assert (found.requests, len(count._found) <= 100) == (500, True)


def far_apart(gap: int) -> list[dict[str, Any]]:
    """Return ten requests that share a prefix, others between them."""
    return [ask(f"{n}", system=LONG if not n % gap else "s") for n in range(10 * gap)]


@pytest.mark.parametrize(("gap", "found"), [(REACH, 1), (REACH + 1, 0)])
def test_what_expires_between_two_requests_is_not_worth_a_mark(gap: int, found: int) -> None:
    assert len(prefixes(*far_apart(gap))) == found


def test_each_expiry_costs_another_write() -> None:
    lines = [ask(f"{n}", system=LONG) for n in range(5)]
    between = [ask("s")] * REACH
    (shared,) = prefixes(*lines, *between, *lines)
    assert (shared.requests, shared.writes) == (10, 2)


def test_in_an_hour_nothing_expires_in_between() -> None:
    lines = [ask(f"{n}", system=LONG) for n in range(5)]
    (shared,) = prefixes(*lines, *([ask("s")] * REACH), *lines, lifetime="1h")
    assert shared.writes == expected_writes(10, 1, "1h")


def the_plan(lifetime: Any = "5m") -> PrefixPlan:
    return counted(*(ask(f"{n}", system=LONG) for n in range(5))).choose(lifetime)


@pytest.mark.parametrize(
    ("lifetime", "mark"),
    [("5m", {"type": "ephemeral"}), ("1h", {"type": "ephemeral", "ttl": "1h"})],
)
def test_one_mark_stands_at_the_end_of_the_prefix(lifetime: Any, mark: dict[str, str]) -> None:
    marked, _ = the_plan(lifetime).mark(ask("new", system=LONG))
    assert marked["system"] == [{"type": "text", "text": LONG, "cache_control": mark}]


def test_the_key_tells_which_prefix_it_was() -> None:
    plan = the_plan()
    _, key = plan.mark(ask("new", system=LONG))
    assert key in plan.prefixes


def test_tools_alone_can_be_the_prefix() -> None:
    tools = [
        {"name": f"t{n}", "description": LONG, "input_schema": {"type": "object"}} for n in range(2)
    ]
    plan = counted(*(ask(f"{n}", tools=tools, system=f"s{n}") for n in range(5))).choose("5m")
    marked, _ = plan.mark(ask("new", tools=tools, system="another"))
    assert [marks(tool) for tool in marked["tools"]] == [[], [{"type": "ephemeral"}]]


def test_bodies_are_marked_as_params_are() -> None:
    plan, params = the_plan(), ask("new", system=LONG)
    assert plan.apply(orjson.dumps(params)) == (
        orjson.dumps(plan.mark(params)[0]),
        plan.mark(params)[1],
    )


@pytest.mark.parametrize(
    "params",
    [
        ask("new", system=LONGER),
        ask("new", system=LONG, cache_control={"type": "ephemeral"}),
        ask([{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}], system=LONG),
    ],
)
def test_a_body_without_the_prefix_or_with_marks_of_its_own_stays_as_it_is(
    params: dict[str, Any],
) -> None:
    body = orjson.dumps(params, option=orjson.OPT_INDENT_2)
    assert the_plan().apply(body) == (body, None)


def test_the_shared_bytes_are_the_same_in_all_rows() -> None:
    plan = the_plan()
    rows = [
        ask("one", system=LONG),
        ask("two", system=[{"type": "text", "text": LONG}], temperature=1),
    ]
    bodies = [plan.apply(orjson.dumps(row))[0] for row in rows]
    shared = orjson.dumps(plan.mark(rows[0])[0]["system"])
    assert all(shared in body for body in bodies)


words = st.sampled_from([LONG, LONGER, "short", "another"])
blocks = st.one_of(
    st.fixed_dictionaries({"type": st.just("text"), "text": words}),
    st.fixed_dictionaries({"type": st.just("tool_result"), "content": words}),
    st.fixed_dictionaries({"type": st.just("thinking"), "thinking": words}),
)
contents = st.one_of(words, st.lists(blocks, min_size=1, max_size=3))
messages = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant"]), "content": contents}),
    min_size=1,
    max_size=3,
)
tools = st.lists(
    st.fixed_dictionaries(
        {"name": st.just("t"), "description": words, "input_schema": st.just({})}
    ),
    max_size=2,
)
systems = st.one_of(
    words,
    st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": words}), max_size=2),
)
lines = st.fixed_dictionaries(
    {"model": st.just(OPUS), "max_tokens": st.just(9), "messages": messages},
    optional={"system": systems, "tools": tools},
)
files = st.lists(lines, min_size=1, max_size=4).flatmap(
    lambda few: st.lists(st.sampled_from(few), min_size=2, max_size=12)
)


@given(files)
def test_marking_never_changes_what_the_model_sees(file: list[dict[str, Any]]) -> None:
    plan = counted(*file).choose("5m")
    for params in file:
        marked, _ = plan.mark(params)
        assert seen_by_the_model(marked) == seen_by_the_model(params)


@given(files)
def test_a_request_is_marked_once_at_most_and_only_for_a_prefix_chosen(
    file: list[dict[str, Any]],
) -> None:
    plan = counted(*file).choose("5m")
    for params in file:
        marked, key = plan.mark(params)
        assert len(marks(marked)) == (key is not None)


@given(files)
def test_what_was_given_is_not_touched(file: list[dict[str, Any]]) -> None:
    before = deepcopy(file)
    plan = counted(*file).choose("5m")
    for params in file:
        plan.mark(params)
    assert file == before


nested = st.lists(
    st.builds(
        lambda system, one, other: ask(
            [{"type": "text", "text": text} for text in (one, other, "?")], system=system
        ),
        st.sampled_from([LONG, LONG * 2]),
        st.sampled_from([LONG, LONGER, "short"]),
        st.sampled_from([LONG, LONGER, "short"]),
    ),
    min_size=4,
    max_size=40,
)


@given(nested | files)
def test_a_prefix_serves_as_many_requests_as_it_was_chosen_for(
    file: list[dict[str, Any]],
) -> None:
    plan = counted(*file).choose("5m")
    keys = [plan.mark(params)[1] for params in file]
    assert all(keys.count(each.key) == each.requests for each in plan.prefixes.values())


def test_the_first_of_a_prefix_goes_at_once() -> None:
    assert PrefixGate().ready_at("p", 5.0) == 5.0


def test_the_others_wait_for_its_reply() -> None:
    gate = PrefixGate(patience_s=30)
    gate.launched("p", 0.0)
    assert gate.ready_at("p", 1.0) == 30.0


def test_once_the_reply_has_begun_all_go() -> None:
    gate = PrefixGate()
    gate.launched("p", 0.0)
    gate.began("p", 0.0)
    assert gate.ready_at("p", 1.0) == 1.0


def test_other_prefixes_do_not_wait() -> None:
    gate = PrefixGate()
    gate.launched("p", 0.0)
    assert gate.ready_at("q", 1.0) == 1.0


def test_when_the_first_fails_the_next_takes_its_place() -> None:
    gate = PrefixGate(patience_s=30)
    gate.launched("p", 0.0)
    gate.failed("p")
    gate.launched("p", 2.0)
    assert (gate.ready_at("p", 2.0), gate.ready_at("p", 40.0)) == (32.0, 40.0)


def test_after_waiting_in_vain_all_go() -> None:
    gate = PrefixGate(patience_s=30)
    gate.launched("p", 0.0)
    gate.launched("p", 30.0)
    assert gate.ready_at("p", 30.0) == 30.0


def test_an_entry_that_has_expired_is_warmed_again() -> None:
    gate = PrefixGate(lifetime_s=300, patience_s=30)
    gate.launched("p", 0.0)
    gate.began("p", 0.0)
    gate.launched("p", 280.0)
    assert gate.ready_at("p", 281.0) == 310.0


def test_each_hit_keeps_it_alive() -> None:
    gate = PrefixGate(lifetime_s=300)
    gate.launched("p", 0.0)
    gate.began("p", 0.0)
    for at in (200.0, 400.0, 600.0):
        gate.launched("p", at)
    assert gate.ready_at("p", 601.0) == 601.0


def test_a_failure_among_many_does_not_close_the_gate() -> None:
    gate = PrefixGate()
    gate.launched("p", 0.0)
    gate.began("p", 0.0)
    gate.failed("p")
    assert gate.ready_at("p", 1.0) == 1.0
