"""The parts of a push by themselves: group commit, turns."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from cloud_train.errors import ForbiddenError
from cloud_train.ingest.commit import GroupCommit, GroupLimits
from cloud_train.ingest.intake import PayloadRefusedError
from cloud_train.ingest.room import Room
from cloud_train.ingest.turns import Turns
from edge.errors import RoadError, StorageError


class Commits:
    """Remembers what was committed together; fails for groups with a negative number, refuses 1313."""

    def __init__(self) -> None:
        self.groups: list[tuple[int, ...]] = []
        self.threads: set[int] = set()
        self.go_on = threading.Event()
        self.go_on.set()

    def commit(self, given: tuple[int, ...]) -> list[Exception | None]:
        assert self.go_on.wait(5)
        group = tuple(number for number in given if number != 1313)
        self.threads.add(threading.get_ident())
        if min(group, default=0) < 0:
            raise StorageError("the disk is full")
        self.groups.append(group)
        errors = {1313: PayloadRefusedError("unlucky"), 9999: ForbiddenError("shut out")}
        return [errors.get(number) for number in given]


@contextmanager
def group_commit(commits: Commits, *, size: int, wait_s: float, max_size: int = 32) -> Iterator[GroupCommit[int]]:
    limits = GroupLimits(size=size, max_size=max_size, wait_s=wait_s)
    with ThreadPoolExecutor(1) as writer:
        yield GroupCommit(commits.commit, writer, limits=limits)


def commit_all(numbers: list[int], *, size: int, wait_s: float) -> tuple[Commits, list[object]]:
    commits = Commits()

    async def run() -> list[object]:
        with group_commit(commits, size=size, wait_s=wait_s, max_size=size) as group:
            return await asyncio.gather(*(group.submit(number) for number in numbers), return_exceptions=True)

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


def test_who_is_refused_goes_no_further_and_spoils_nothing_for_the_others() -> None:
    commits, answers = commit_all([1, 1313, 2, 9999], size=4, wait_s=0.01)
    assert commits.groups == [(1, 2, 9999)]
    assert [type(answer) for answer in answers] == [type(None), PayloadRefusedError, type(None), ForbiddenError]


def test_while_the_disk_is_behind_groups_grow_up_to_their_bound() -> None:
    commits = Commits()

    async def run() -> None:
        with group_commit(commits, size=4, wait_s=0.01, max_size=10) as group:
            commits.go_on.clear()
            waiting = [group.submit(number) for number in range(30)]
            await asyncio.sleep(0.05)
            assert group.num_waiting == 26
            commits.go_on.set()
            await asyncio.gather(*waiting)

    asyncio.run(run())
    assert [len(group) for group in commits.groups] == [4, 10, 10, 6]
    assert sum(commits.groups, ()) == tuple(range(30))


def test_who_waits_for_its_receipt_before_it_sends_more_waits_for_no_company() -> None:
    commits = Commits()

    async def run() -> None:
        with group_commit(commits, size=8, wait_s=3600) as group:
            await asyncio.wait_for(group.submit(1, is_alone=True), 5)
            await asyncio.wait_for(group.submit(2, is_alone=True), 5)

    asyncio.run(run())
    assert commits.groups == [(1,), (2,)]


def test_closing_commits_what_still_waits() -> None:
    commits = Commits()

    async def run() -> None:
        with group_commit(commits, size=8, wait_s=3600, max_size=8) as group:
            waiting = [group.submit(number) for number in range(3)]
            await group.close()
            await asyncio.gather(*waiting)
            await group.close()

    asyncio.run(run())
    assert commits.groups == [(0, 1, 2)]


def test_who_gave_up_waiting_spoils_nothing_for_the_others() -> None:
    commits = Commits()

    async def run() -> None:
        with group_commit(commits, size=8, wait_s=0.02) as group:
            gone, stays = group.submit(1), group.submit(2)
            gone.cancel()
            await stays

    asyncio.run(run())
    assert commits.groups == [(1, 2)]


def test_room_is_given_in_the_order_it_was_asked_for() -> None:
    order: list[str] = []

    async def take(room: Room, name: str, size: int) -> None:
        await room.take(size)
        order.append(name)

    async def run() -> None:
        room = Room(100)
        await room.take(80)
        tasks = [asyncio.create_task(take(room, name, size)) for name, size in (("large", 60), ("small", 10))]
        await asyncio.sleep(0.01)
        assert (order, room.is_full) == ([], True)
        room.give(80)
        await asyncio.gather(*tasks)
        assert room.taken_bytes == 70
        room.give(70)
        await room.take(1000)
        assert room.taken_bytes == 1000

    asyncio.run(run())
    assert order == ["large", "small"]


def test_who_waits_for_room_too_long_or_goes_away_takes_none() -> None:
    async def run() -> None:
        room = Room(100, patience_s=0.02)
        await room.take(100)
        gone = asyncio.create_task(room.take(50))
        await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(RoadError, match="no room") as caught:
            await room.take(50)
        assert caught.value.retry_after_s
        assert not room.is_full
        room.give(100)
        await room.take(100)
        assert room.taken_bytes == 100

    asyncio.run(run())


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
