from __future__ import annotations

from pathlib import Path

import pytest

from claude_batch.sandbox.scenario import Scenario, load_scenario, parse_scenario
from claude_batch.sandbox.scenario_reading import ScenarioError

SAMPLES = sorted((Path(__file__).parents[2] / "samples" / "scenarios").glob("*.toml"))


def test_without_a_file_the_day_is_calm() -> None:
    assert load_scenario(None) == Scenario()


def test_an_empty_file_is_a_calm_day() -> None:
    assert parse_scenario("") == Scenario()


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_every_sample_can_be_followed(path: Path) -> None:
    assert isinstance(load_scenario(path), Scenario)


def test_there_are_samples() -> None:
    assert {path.stem for path in SAMPLES} >= {
        *("batches", "blackout", "busy", "combined", "crowded", "refusals", "relay", "storm"),
    }


def test_the_calm_sample_says_what_holds_anyway() -> None:
    assert load_scenario(SAMPLES[0].with_name("calm.toml")) == Scenario()


WRONG = [
    ("[limits]\nrmp = 3", 'limits.rmp: unknown key; did you mean "rpm"?'),
    ("[limit]\nrpm = 3", 'limit: unknown key; did you mean "limits"?'),
    ("[limits]\nrpm = 1.5", "limits.rpm: expected int"),
    ("[limits]\nrpm = true", "limits.rpm: expected int"),
    ("[limits]\nrpm = -1", "limits.rpm: -1 is out of bounds"),
    ("[faults]\nreset = 1.5", "faults.reset: 1.5 is out of bounds"),
    ("[latency]\nbase_s = 'x'", "latency.base_s: expected float"),
    ("[[change]]\nrpm = 3", "change[0].at_s: is missing"),
    ("[[outage]]\nstatus = 200", "outage[0].status: 200 is out of bounds"),
    ("[spend]\nanswer = 'credits'", 'did you mean "credit"?'),
    ('[limits.classes."Haiku 5.5"]\nrpmm = 3', "limits.classes.Haiku 5.5.rpmm: unknown key"),
    ("[[organization]]\nid = 'a'\nkeys = 'k'", "organization[0].keys: expected a list"),
    ("limits = 3", "limits: expected a table"),
    ("seed = ", "the scenario is not TOML"),
]


@pytest.mark.parametrize(("toml", "message"), WRONG)
def test_a_wrong_scenario_is_named_with_its_key(toml: str, message: str) -> None:
    with pytest.raises(ScenarioError) as raised:
        parse_scenario(toml)
    assert message in raised.value.message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"none\.toml: cannot be read"):
        load_scenario(tmp_path / "none.toml")


def test_what_is_wrong_in_a_file_is_told_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text("sead = 3")
    with pytest.raises(ScenarioError, match=r's\.toml: sead: .*"seed"'):
        load_scenario(path)
