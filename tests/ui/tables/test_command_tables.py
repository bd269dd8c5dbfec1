"""Tables of the commands around a run, at narrow, usual and wide terminals."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest
from rich.console import Console, RenderableType
from syrupy.assertion import SnapshotAssertion

from claude_batch.core.caching.prefix import SharedPrefix
from claude_batch.core.catalog.catalog import BUNDLED
from claude_batch.core.planning.costs import costs_of
from claude_batch.core.planning.limits import PlanLimits, tier_sets
from claude_batch.core.planning.plan import (
    AtMost,
    Estimate,
    Plan,
    RoutedLines,
    RunSpeed,
    plan,
    recommend,
)
from claude_batch.core.planning.workload import OutputBasis, Workload, WorkloadFold
from claude_batch.ui.plan_words import limit_notes, plan_notes, recommendation_words
from claude_batch.ui.tables.cache import cache_table
from claude_batch.ui.tables.doctor import Finding, State, doctor_table
from claude_batch.ui.tables.estimate import estimate_table
from claude_batch.ui.tables.models import ListedModel, LongPrompts, ModelsTable, Prices
from tests.ui import pictures

WIDTHS = (60, 100, 160)
HAIKU, OPUS = "claude-haiku-5-5", "claude-opus-5-5"


def printed(renderable: RenderableType, width: int) -> str:
    console = Console(width=width, color_system=None, highlight=False)
    with console.capture() as capture:
        console.print(renderable, crop=False)
    return capture.get()


def a_load(**requests: int) -> Workload:
    fold = WorkloadFold(output_basis=OutputBasis.STATED, catalog=BUNDLED)
    for model, count in ((HAIKU, requests["haiku"]), (OPUS, requests["opus"])):
        for _ in range(count):
            fold.add(model, 1_200, 300)
    return fold.workload()


def a_plan() -> Plan:
    live = SharedPrefix(
        key=1, model=OPUS, tokens=900, requests=20_000, writes=1, lifetime="5m", sure=True
    )
    batch = replace(live, lifetime="1h", writes=5_000.75)
    return plan(a_load(haiku=50_000, opus=20_000), [live, batch], AT_BUILD, RunSpeed(), BUNDLED)


AT_BUILD = PlanLimits(
    sets=tier_sets(BUNDLED), current="build", groups=(("default",),), tier_assumed=True
)


def an_estimate() -> Estimate:
    found = a_plan()
    assert found.cost.batch.high is not None
    return Estimate(
        prompts="data/prompts.jsonl",
        files=1,
        requests=found.requests,
        input_tokens=found.input_tokens,
        output_tokens=found.output_tokens,
        output_basis=found.output_basis,
        counted_lines=0,
        models=found.models,
        cost=found.cost,
        at_most=AtMost(
            output_tokens=found.output_tokens,
            live=found.cost.live.high,
            batch=found.cost.batch.high,
        ),
        live=found.live,
        batch=found.batch,
        compared={HAIKU: costs_of(a_load(haiku=70_000, opus=0), (), BUNDLED)},
        routed=(
            RoutedLines(route="short ones", model=HAIKU, requests=50_000),
            RoutedLines(route="(none)", model=OPUS, requests=20_000),
        ),
        prices_as_of="2026-11-29",
        notes=(
            *plan_notes(found),
            *limit_notes(AT_BUILD),
            "line 3: claude-opus-5-5 refuses top_k (and 12 more lines)",
        ),
        recommendation=recommendation_words(
            recommend(found, deadline_s=7_200), "claude-batch run data/prompts.jsonl"
        ),
    )


PRICES = Prices(
    input=0.1,
    output=0.5,
    cache_read=0.01,
    cache_write_5m=0.125,
    cache_write_1h=0.2,
    batch_input=0.05,
    batch_output=0.25,
)


def some_models() -> ModelsTable:
    haiku = ListedModel(
        id=HAIKU,
        class_="Haiku 5.5",
        usd_per_million=PRICES,
        long_prompts=LongPrompts(above_tokens=100_000, usd_per_million=replace(PRICES, input=0.5)),
        context_tokens=1_000_000,
        max_output_tokens=128_000,
        min_cacheable_tokens=512,
        not_before="2027-10-07",
    )
    models = (
        haiku,
        replace(
            haiku,
            id="claude-sonnet-4-5",
            long_prompts=None,
            retires="2026-11-30",
            warning="claude-sonnet-4-5 retires in 1 day",
        ),
        ListedModel(id="claude-haiku-3", class_="claude-haiku-3", retires="2026-04-20"),
        ListedModel(id="qwen3", class_="qwen3"),
    )
    notes = ("dollars per million tokens, as of 2026-11-23",)
    return ModelsTable(models=models, notes=notes, today=date(2026, 11, 29))


FINDINGS = (
    Finding(topic="settings", state=State.OK, what="claude-batch.toml; 2 endpoints"),
    Finding(topic="endpoint main", state=State.OK, what="answers for claude-haiku-5-5 in 0.8 s"),
    Finding(
        topic="endpoint main",
        state=State.WARNING,
        what="does not report its limits: a run finds the pace by itself",
        remedy="if you know them, set ceilings: --rpm, --itpm, --otpm",
    ),
    Finding(
        topic="endpoint spare",
        state=State.PROBLEM,
        what="gateway.example.com: authentication_error: invalid x-api-key",
        remedy="the key is wrong, expired or for another endpoint",
    ),
)


@pytest.mark.parametrize("width", WIDTHS)
def test_an_estimate_looks_like_this(width: int, snapshot: SnapshotAssertion) -> None:
    assert printed(estimate_table(an_estimate()), width) == snapshot


@pytest.mark.parametrize("width", WIDTHS)
def test_models_look_like_this(width: int, snapshot: SnapshotAssertion) -> None:
    assert printed(some_models(), width) == snapshot


@pytest.mark.parametrize("width", [60, 80, 100, 125])
def test_no_width_drops_a_model_or_a_price(width: int) -> None:
    text = printed(some_models(), width)
    for whole in (f"{HAIKU} up to 100k", "claude-sonnet-4-5", "0.50", "0.25", "0.01", "0.125"):
        assert whole in text


@pytest.mark.parametrize("width", WIDTHS)
def test_a_check_up_looks_like_this(width: int, snapshot: SnapshotAssertion) -> None:
    assert printed(doctor_table(FINDINGS), width) == snapshot


class Kept:
    """A cache."""

    place = "/home/me/.cache/claude-batch/answers-1.sqlite"
    entries, bytes = 12_345, 23_456_789
    oldest, newest = pictures.AT - 9 * 86_400, pictures.AT - 60
    hits, misses = 3_000, 9_000


@pytest.mark.parametrize("width", WIDTHS)
def test_a_cache_looks_like_this(width: int, snapshot: SnapshotAssertion) -> None:
    assert printed(cache_table(Kept(), pictures.AT), width) == snapshot


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("table", ["estimate", "models", "doctor", "cache"])
def test_no_line_is_wider_than_the_terminal(table: str, width: int) -> None:
    renderables = {
        "estimate": estimate_table(an_estimate()),
        "models": some_models(),
        "doctor": doctor_table(FINDINGS),
        "cache": cache_table(Kept(), pictures.AT),
    }
    lines = printed(renderables[table], width).splitlines()
    assert max(map(len, lines)) <= width


def test_the_account_has_a_column_once_it_was_asked() -> None:
    table = some_models()
    asked = replace(table, models=[replace(model, live="") for model in table.models])
    assert "not listed" in printed(asked, 100)
    assert "account" not in printed(table, 100)


def test_foreign_text_does_not_steer_the_terminal() -> None:
    finding = Finding(topic="endpoint x", state=State.PROBLEM, what="evil \x1b[2J text")
    assert "\x1b[2J" not in printed(doctor_table([finding]), 100)
