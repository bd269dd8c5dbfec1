"""Settings: the [[route]] rules of a file, read once; what is wrong is named by file and rule."""

from __future__ import annotations

from pathlib import Path

import pytest

from claude_batch.config.reading import read_settings, read_toml
from claude_batch.core.catalog.routing import Route, When
from claude_batch.errors import SettingsError

RULES = """
[[route]]
name = "short ones"
when = { max_input_tokens = 400, meta.kind = "faq" }
model = "claude-haiku-5-5"

[[route]]
effort = "low"
override = true
"""


def settings_file(folder: Path, text: str) -> Path:
    path = folder / "claude-batch.toml"
    path.write_text(text)
    return path


def test_rules_are_read_in_their_order(tmp_path: Path) -> None:
    settings = read_settings({"config": settings_file(tmp_path, RULES)}, {})
    assert settings.routes == (
        Route(
            name="short ones",
            when=When(max_input_tokens=400, meta=(("kind", "faq"),)),
            model="claude-haiku-5-5",
        ),
        Route(name="route 2", effort="low", override=True),
    )


def test_without_rules_there_are_none(tmp_path: Path) -> None:
    assert read_settings({"config": settings_file(tmp_path, "")}, {}).routes == ()


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ('[[route]]\nmodle = "m"', "route 1: there is no setting 'modle'", "did you mean 'model'?"),
        (
            '[[route]]\nmodel = "m"\nwhen.max_input_token = 4',
            "route 1: when: there is no setting 'max_input_token'",
            "did you mean 'max_input_tokens'?",
        ),
        (
            '[[route]]\nmodel = "m"\nwhen.meta.day = 2026-11-24',
            "route 1: when: meta.day is datetime.date(2026, 11, 24)",
            "JSON has no such value: write a text",
        ),
    ],
)
def test_a_rule_that_cannot_be_followed_is_named(
    tmp_path: Path, text: str, message: str, hint: str
) -> None:
    path = settings_file(tmp_path, text)
    with pytest.raises(SettingsError) as caught:
        read_settings({"config": path}, {})
    assert (caught.value.message, caught.value.hint) == (f"{path}: {message}", hint)


def test_rules_that_are_no_list_of_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="route"):
        read_settings({"config": settings_file(tmp_path, '[route]\nmodel = "m"')}, {})


def test_a_bare_number_is_a_time_in_seconds(tmp_path: Path) -> None:
    text = "[defaults]\npatience = 90\n[pool]\nfallback_after = 1.5"
    settings = read_settings({"config": settings_file(tmp_path, text)}, {})
    assert (settings.options.patience_s, settings.pool.fallback_after_s) == (90.0, 1.5)


def test_a_truth_is_no_time(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="fallback_after"):
        read_settings({"config": settings_file(tmp_path, "[pool]\nfallback_after = true")}, {})


def test_settings_that_are_nested_too_deeply_are_refused_with_their_place(tmp_path: Path) -> None:
    path = settings_file(tmp_path, "x = " + "[" * 5_000)
    with pytest.raises(SettingsError, match=rf"{path.name}: not TOML: .*nested too deeply"):
        read_toml(path, flag="--config")
