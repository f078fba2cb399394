"""The parts of a push by themselves: group commit, turns."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from cloud_train.ingest.commit import GroupCommit
from cloud_train.ingest.push import Turns
from edge.errors import RoadError, StorageError


class Commits:
    """Remembers what was committed together; fails for groups with a negative number."""

    def __init__(self) -> None:
        self.groups: list[tuple[int, ...]] = []
        self.threads: set[int] = set()

    def __call__(self, group: tuple[int, ...]) -> None:
        self.threads.add(threading.get_ident())
        if min(group) < 0:
            raise StorageError("the disk is full")
        self.groups.append(group)


def commit_all(numbers: list[int], *, size: int, wait_s: float) -> tuple[Commits, list[object]]:
    commits = Commits()

    async def run() -> list[object]:
        with ThreadPoolExecutor(1) as executor:
            group = GroupCommit(commits, executor, size=size, wait_s=wait_s)
            return await asyncio.gather(*(group.add(number) for number in numbers), return_exceptions=True)

    return commits, asyncio.run(run())


def test_a_full_group_goes_at_once_and_the_rest_after_its_wait() -> None:
    commits, answers = commit_all(list(range(20)), size=8, wait_s=0.01)
    assert commits.groups == [tuple(range(8)), tuple(range(8, 16)), (16, 17, 18, 19)]
    assert answers == [None] * 20
    assert len(commits.threads) == 1


def test_a_failure_is_told_to_its_own_group_only() -> None:
    commits, answers = commit_all([1, 2, -3, 4, 5, 6], size=2, wait_s=0.01)
    assert commits.groups == [(1, 2), (5, 6)]
    assert [type(answer) for answer in answers] == [type(None)] * 2 + [StorageError] * 2 + [type(None)] * 2


def test_closing_commits_what_still_waits() -> None:
    commits = Commits()

    async def run() -> None:
        with ThreadPoolExecutor(1) as executor:
            group = GroupCommit(commits, executor, size=8, wait_s=3600)
            waiting = asyncio.create_task(group.add(1))
            await asyncio.sleep(0)
            await group.close()
            await waiting

    asyncio.run(run())
    assert commits.groups == [(1,)]


def test_who_gave_up_waiting_spoils_nothing_for_the_others() -> None:
    commits = Commits()

    async def run() -> None:
        with ThreadPoolExecutor(1) as executor:
            group = GroupCommit(commits, executor, size=8, wait_s=0.02)
            gone, stays = asyncio.create_task(group.add(1)), asyncio.create_task(group.add(2))
            await asyncio.sleep(0)
            gone.cancel()
            await stays
            assert gone.cancelled()

    asyncio.run(run())
    assert commits.groups == [(1, 2)]


def test_turns_are_taken_one_after_the_other() -> None:
    order: list[str] = []

    async def take(turns: Turns, name: str) -> None:
        await turns.take("a")
        order.append(f"{name} in")
        await asyncio.sleep(0.001)
        order.append(f"{name} out")
        turns.give("a")

    async def run() -> None:
        turns = Turns()
        await asyncio.gather(*(take(turns, name) for name in "xyz"))
        await turns.take("a", timeout_s=0.01)

    asyncio.run(run())
    assert order == ["x in", "x out", "y in", "y out", "z in", "z out"]


def test_a_turn_that_does_not_come_is_the_roads_fault() -> None:
    async def run() -> None:
        turns = Turns()
        await turns.take("a")
        await turns.take("b")
        with pytest.raises(RoadError, match="being sent by another connection") as caught:
            await turns.take("a", timeout_s=0.01)
        assert caught.value.retry_after_s == 1.0
        turns.give("a")
        await turns.take("a", timeout_s=0.01)

    asyncio.run(run())
