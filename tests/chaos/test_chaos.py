"""Two hundred devices, two servers, one database, and everything goes wrong for ten minutes.

By the test's own journal every kept sample is in the data set exactly once, and every device ends on its bundle.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from network_spaces import new_cable
from postgres_server import running_postgres

sys.path.insert(0, str(Path(__file__).resolve().parent))

from chaos_faults import Faults, Victims
from chaos_journal import KEPT, TRIED, read_journals
from chaos_world import NUM_SERVERS, ChaosWorld

from cloud_train.store.opened import open_store

SHARE_OF_SINGLES = 0.12
PINNED, HELD = "kept-1", "kept-2"
SEED = 20

pytestmark = [pytest.mark.slow, pytest.mark.server, pytest.mark.faults, pytest.mark.timeout(1800)]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[ChaosWorld]:
    if shutil.which("iptables-legacy") is None:
        pytest.skip("faults: iptables is not installed")
    with running_postgres(durable=True) as postgres, new_cable() as cable:
        living = ChaosWorld(tmp_path / "chaos", postgres, cable)
        with contextlib.ExitStack() as stack:
            stack.callback(living.end)
            yield living


def device_names(number: int) -> tuple[str, ...]:
    """A few that people hold back, the others in two shops."""
    return (PINNED, HELD, *(f"shop-{shop}" for shop in range(1, number - 1)))


def until(told: Callable[[], bool], what: str, *, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not told():
        assert time.monotonic() < end, f"not within {seconds:g} s: {what}"
        time.sleep(1.0)


def test_every_sample_once_and_every_device_on_its_bundle(
    world: ChaosWorld, make_bundle: Callable[..., Path], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    minutes = request.config.getoption("--chaos-minutes")
    names = device_names(request.config.getoption("--chaos-devices"))
    old, new = make_bundle(tmp_path / "old", version=1), make_bundle(tmp_path / "new", version=2, flavour=1)
    digests = {bundle: hashlib.sha256((bundle / "manifest.json").read_bytes()).hexdigest() for bundle in (old, new)}

    world.lay_out()
    world.edgeloop("publish", old, "--store", world.publisher)
    world.start_servers()
    world.enrol(names)
    world.edgeloop("fleet", "pin", "--store", world.publisher, PINNED, digests[old])
    world.edgeloop("fleet", "hold", "--store", world.publisher, HELD)
    world.start_devices(names, num_singles=round(SHARE_OF_SINGLES * len(names)), interval_s=10.0, seed=SEED)

    faults = Faults(victims_of(world), seed=SEED)
    faults.run(seconds=minutes * 60 * 0.3)
    start_rollout(world, new)
    faults.run(seconds=minutes * 60 * 0.7)
    print(f"\nfaults: {dict(sorted(faults.counts.items()))}")
    world.check_alive()

    (world.folder / "drain").touch()
    expected = {name: digests[old] if name in (PINNED, HELD) else digests[new] for name in names}
    until(lambda: settled(world, expected), "every device drained and on its bundle", seconds=480)
    world.check_alive()
    check_samples(world)


def victims_of(world: ChaosWorld) -> Victims:
    rng = random.Random(SEED)

    def restart(number: int, how: str) -> None:
        life = world.servers[number]
        if how == "kill":
            life.kill()
        else:
            life.kill(15)
        time.sleep(rng.uniform(0.0, 4.0))
        life.start()

    return Victims(
        cable=world._cable,
        num_servers=NUM_SERVERS,
        kill_server=lambda number: restart(number, "kill"),
        stop_server=lambda number: restart(number, "stop"),
        kill_device=lambda: world.kill_device(rng),
        restart_database=world.restart_database,
    )


def start_rollout(world: ChaosWorld, bundle: Path) -> None:
    """Three rings. Health is judged, but not of what the test itself breaks: silence, crashes and slowness."""
    rings = ("--rings", "10,50,100", "--min-minutes", 0.2, "--max-minutes", 0.4, "--min-frames", 3)
    limits = ("--max-silent-rise", 100, "--max-crash-ratio", 1000, "--max-latency-ratio", 1000)
    world.edgeloop("rollout", "start", bundle, "--store", world.publisher, *rings, *limits)


def settled(world: ChaosWorld, expected: dict[str, str]) -> bool:
    reports = world.reports()
    done = [name for name, said in reports.items() if said["done"] and said["bundle"] == expected[name]]
    return len(done) == len(expected)


def check_samples(world: ChaosWorld) -> None:
    """The journal against the data set, sample by sample."""
    journal = read_journals(world.folder / "journals")
    with open_store(world.publisher) as store:
        stored = {record.digest: record for record in store.meta.samples()}
        audited = Counter(entry.subject for entry in store.audit.newest(limit=1_000_000, action="sample.stored"))
        damaged = [digest for digest in stored if hashlib.sha256(store.blobs.read(digest)).hexdigest() != digest]
    print(f"samples: tried {len(journal[TRIED])}, kept {len(journal[KEPT])}, in the data set {len(stored)}")
    assert len(journal[KEPT]) > 1000 or len(stored) > 0
    assert journal[KEPT] - set(stored) == set()
    assert set(stored) - journal[TRIED] == set()
    assert damaged == []
    assert set(audited) == {f"sample:{digest}" for digest in stored}
    assert set(audited.values()) == {1}
