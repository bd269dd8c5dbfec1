"""The response cache in SQLite: private, shared, bounded; a damaged file is replaced."""

from __future__ import annotations

import asyncio
import multiprocessing
import random
import sqlite3
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import pytest

from claude_batch.storage.caches.sqlite import SqliteCache, SqliteSettings
from claude_batch.storage.caches.store import CachedAnswer

T = TypeVar("T")

NOW = 1_790_000_000.0
HOUR_S = 3600.0
BOUND = 400_000
ROUNDS = 40
AT_ONCE = 25


def key(number: int) -> bytes:
    return number.to_bytes(20)


def an_answer(size: int = 100) -> CachedAnswer:
    """Return an answer that compression at most halves."""
    noise = random.Random(size).randbytes(size // 2).hex()
    return CachedAnswer(
        message=f'{{"type":"message","text":"{noise}"}}'.encode(),
        stop_reason="end_turn",
        model="claude-haiku-5-5",
        created_at=NOW,
    )


@dataclass
class Place:
    """One cache file, its clock, and what was said about it."""

    path: Path
    wall: float = NOW
    said: list[str] = field(default_factory=list)

    def within(self, act: Callable[[SqliteCache], Awaitable[T]], *, max_bytes: int = BOUND) -> T:
        """Return what `act` makes of a cache that is opened for it and closed afterwards."""

        async def whole() -> T:
            cache = SqliteCache(
                SqliteSettings(path=self.path, max_bytes=max_bytes, ttl_s=None),
                now=lambda: self.wall,
                warn=self.said.append,
            )
            try:
                return await act(cache)
            finally:
                await cache.close()

        return asyncio.run(whole())

    def keep(self, *numbers: int, size: int = 100) -> None:
        answer = an_answer(size)
        self.within(lambda cache: cache.put_many({key(number): answer for number in numbers}))

    def found(self, *numbers: int) -> list[int]:
        answers = self.within(lambda cache: cache.get_many([key(number) for number in numbers]))
        return [number for number in numbers if key(number) in answers]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "folder" / "answers")


def test_answers_outlive_the_process_that_kept_them(place: Place) -> None:
    place.keep(1)
    assert place.found(1, 2) == [1]


def test_nobody_else_may_read_any_of_its_files(place: Place) -> None:
    modes = {}

    async def act(cache: SqliteCache) -> None:
        await cache.put_many({key(1): an_answer()})
        modes.update(
            {each.name: each.stat().st_mode & 0o777 for each in place.path.parent.iterdir()}
        )

    place.within(act)
    assert modes == dict.fromkeys(("answers", "answers-wal", "answers-shm", "answers.lock"), 0o600)


def test_nobody_else_may_look_into_its_folder(place: Place) -> None:
    place.keep(1)
    assert place.path.parent.stat().st_mode & 0o777 == 0o700


def test_making_one_touches_no_file(place: Place) -> None:
    place.within(lambda _cache: asyncio.sleep(0))
    assert not place.path.parent.exists()


def test_a_full_cache_stays_within_its_bound(place: Place) -> None:
    async def act(cache: SqliteCache) -> int:
        for number in range(200):
            await cache.put_many({key(number): an_answer(10_000)})
        return (await cache.stats()).bytes

    assert place.within(act) <= BOUND


def test_a_full_cache_still_holds_most_of_what_it_may(place: Place) -> None:
    place.keep(*range(200), size=10_000)
    assert place.within(lambda cache: cache.stats()).bytes > BOUND * 0.8


def test_what_was_kept_last_outlives_what_was_kept_first(place: Place) -> None:
    for number in range(100):
        place.wall += 1
        place.keep(number, size=10_000)
    assert place.found(0, 99) == [99]


def test_what_was_used_lately_outlives_what_was_not(place: Place) -> None:
    for number in range(20):
        place.wall += 1
        place.keep(number, size=10_000)
    place.wall += 2 * HOUR_S
    place.found(0)
    for number in range(20, 30):
        place.wall += 1
        place.keep(number, size=10_000)
    place.within(lambda cache: cache.prune(), max_bytes=BOUND // 2)
    assert place.found(0, 1) == [0]


def test_pruning_to_a_smaller_bound_shrinks_the_file(place: Place) -> None:
    place.keep(*range(30), size=10_000)
    before = place.path.stat().st_size
    place.within(lambda cache: cache.prune(), max_bytes=BOUND // 4)
    assert place.path.stat().st_size < before / 2


def test_an_answer_larger_than_the_bound_leaves_a_cache_that_works(place: Place) -> None:
    place.keep(1, size=3 * BOUND)
    place.keep(2)
    assert place.found(1, 2) == [2]


def test_a_file_that_is_no_database_is_moved_aside(place: Place) -> None:
    place.path.parent.mkdir()
    place.path.write_bytes(b"this is no database, whatever its name says\n" * 100)
    place.keep(1)
    assert place.path.with_name("answers.damaged").read_bytes().startswith(b"this is no database")


def test_a_damaged_file_is_warned_of_once(place: Place) -> None:
    place.path.parent.mkdir()
    place.path.write_bytes(b"this is no database, whatever its name says\n" * 100)
    place.keep(1)
    place.found(1)
    assert [said.startswith(f"response cache: {place.path} is damaged") for said in place.said] == [
        True
    ]


def test_a_new_file_takes_the_damaged_ones_place(place: Place) -> None:
    place.path.parent.mkdir()
    place.path.write_bytes(b"this is no database, whatever its name says\n" * 100)
    place.keep(1)
    assert place.found(1) == [1]


def overwrite_middle(path: Path) -> None:
    """Leave the first page as it is, so that the damage shows only in use."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (size - 4096))


def test_damage_that_shows_only_in_use_is_mended_too(place: Place) -> None:
    place.keep(*range(30), size=10_000)
    overwrite_middle(place.path)
    place.found(*range(30))
    place.keep(1)
    assert place.found(1) == [1]


def test_a_process_does_not_move_aside_what_another_has_already_replaced(place: Place) -> None:
    place.keep(*range(30), size=10_000)

    async def act(cache: SqliteCache) -> int:
        await cache.get_many([key(31)])
        overwrite_middle(place.path)
        place.path.rename(place.path.with_name("moved"))
        with closing(sqlite3.connect(place.path)) as other:
            other.execute("PRAGMA user_version = 7")
        await cache.get_many([key(number) for number in range(30)])
        with closing(sqlite3.connect(place.path)) as other:
            return int(other.execute("PRAGMA user_version").fetchone()[0])

    assert place.within(act) == 7


def test_one_damaged_message_is_a_miss_and_no_more(place: Place) -> None:
    place.keep(1, 2, size=10_000)
    with closing(sqlite3.connect(place.path)) as other:
        other.execute("UPDATE answer SET message = x'0bad' WHERE key = ?", (key(1),))
        other.commit()
    assert place.found(1, 2) == [2]


def test_clearing_removes_a_damaged_file_that_was_moved_aside(place: Place) -> None:
    place.path.parent.mkdir()
    place.path.write_bytes(b"this is no database, whatever its name says\n" * 100)
    place.within(lambda cache: cache.clear())
    assert not place.path.with_name("answers.damaged").exists()


def test_a_look_up_does_not_wait_for_another_process_that_writes(place: Place) -> None:
    place.keep(1)
    place.wall += 2 * HOUR_S

    async def act(cache: SqliteCache) -> int:
        with closing(sqlite3.connect(place.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            async with asyncio.timeout(2):
                found = len(await cache.get_many([key(1)]))
            other.execute("ROLLBACK")
        return found

    assert place.within(act) == 1


def test_no_prompt_and_no_key_material_is_in_the_file(place: Place) -> None:
    place.keep(1)
    with closing(sqlite3.connect(place.path)) as other:
        columns = [row[1] for row in other.execute("PRAGMA table_info(answer)")]
    assert columns == ["key", "created_at", "used_at", "stop_reason", "model", "message"]


def work_off(path: Path, first: int) -> None:
    """Keep and find answers in a process of its own; what fails shows as its exit code."""

    async def work() -> None:
        cache = SqliteCache(
            SqliteSettings(path=path, max_bytes=50_000_000, ttl_s=None),
            now=time.time,
            warn=pytest.fail,
        )
        answer = replace(an_answer(1_000), created_at=time.time())
        for number in range(ROUNDS):
            keys = [key(first + number * AT_ONCE + each) for each in range(AT_ONCE)]
            await cache.put_many(dict.fromkeys(keys, answer))
            assert len(await cache.get_many(keys)) == AT_ONCE
        await cache.close()

    asyncio.run(work())


def test_two_processes_fill_one_cache_at_once_without_an_error(tmp_path: Path) -> None:
    path = tmp_path / "answers"
    spawning = multiprocessing.get_context("spawn")
    workers = [
        spawning.Process(target=work_off, args=(path, number * ROUNDS * AT_ONCE))
        for number in range(2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert Place(path).within(lambda cache: cache.stats()).entries == 2 * ROUNDS * AT_ONCE
