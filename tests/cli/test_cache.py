"""`cache`: look into the response cache, prune it, clear it."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from claude_batch.storage.caches.opening import CacheSettings, default_path, open_cache
from claude_batch.storage.caches.store import CachedAnswer
from tests.cli.conftest import claude_batch

DAY_S = 86_400.0


def keep(*ages_s: float, url: str | None = None) -> None:
    """Put an answer of each age into the cache."""
    cache = open_cache(CacheSettings(url=url), now=time.time, warn=print)

    async def put() -> None:
        await cache.put_many(
            {
                bytes([number]): CachedAnswer(
                    message=b"{}",
                    stop_reason="end_turn",
                    model="claude-haiku-5-5",
                    created_at=time.time() - age_s,
                )
                for number, age_s in enumerate(ages_s)
            }
        )
        await cache.close()

    asyncio.run(put())


def test_stats_count_what_is_kept() -> None:
    keep(10, 2 * DAY_S)
    stats = claude_batch("cache", "stats", "--json").json()
    assert (stats["entries"], stats["place"]) == (2, str(default_path()))
    assert 2 * DAY_S <= time.time() - stats["oldest"] < 2.1 * DAY_S


def test_the_table_is_on_stdout() -> None:
    keep(10, 2 * DAY_S)
    assert "2 d ago" in claude_batch("cache", "stats").out


def test_looking_at_no_cache_makes_none() -> None:
    stats = claude_batch("cache", "stats", "--json").json()
    assert stats["entries"] == 0
    assert not default_path().exists()


def test_another_place_can_be_named(home: Path) -> None:
    url = f"sqlite://{home}/answers.sqlite"
    keep(10, url=url)
    assert claude_batch("cache", "stats", "--cache-url", url, "--json").json()["entries"] == 1


def test_prune_drops_what_is_too_old() -> None:
    keep(10, 2 * DAY_S)
    assert claude_batch("cache", "prune", "--cache-ttl", "1d", "--json").json() == {"dropped": 1}


def test_prune_without_a_time_to_live_says_why_nothing_was_dropped() -> None:
    keep(10)
    assert "--cache-ttl" in claude_batch("cache", "prune").err


def test_clear_asks_first() -> None:
    keep(10)
    refused = claude_batch("cache", "clear")
    assert refused.exit_code == 2
    assert "delete 1 answers?" in refused.err
    assert "--yes" in refused.err


def test_clear_with_yes_forgets_all() -> None:
    keep(10, 20)
    assert claude_batch("cache", "clear", "--yes", "--json").json() == {"dropped": 2}
    assert claude_batch("cache", "stats", "--json").json()["entries"] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("stat",), "'stats'"),
        (("stats", "--cache-url", "nonsense"), "--cache-url"),
        (("stats", "--cache-url", "mongo://there"), "mongo://"),
        (("prune", "--cache-ttl", "soon"), "--cache-ttl"),
        (("stats", "--config", "nowhere.toml"), "nowhere.toml"),
    ],
)
def test_what_is_wrong_is_named(arguments: tuple[str, ...], said: str) -> None:
    refused = claude_batch("cache", *arguments)
    assert refused.exit_code == 2
    assert said in refused.err


def test_a_server_that_is_down_is_no_traceback_and_no_password() -> None:
    refused = claude_batch("cache", "stats", "--cache-url", "redis://:hush-hush@127.0.0.1:1/0")
    assert refused.exit_code == 2
    assert "response cache" in refused.err
    assert "hush-hush" not in refused.err
