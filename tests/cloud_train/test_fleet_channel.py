"""`edgeloop fleet channel` moves a device from one channel to another and back: real server, mTLS, real device."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from device_runs import DeviceRun
from serving import ServerProcess

from cloud_train.cli import edgeloop
from cloud_train.publish.publish import offer_bundle, publish_bundle
from edge.bundle.reader import open_bundle

NAME = "till-1"


class Stage:
    """A store with version 1 on `stable` and version 2 on `beta`, its server, and one device that is enrolled."""

    def __init__(self, folder: Path, bundles: dict[int, Path]) -> None:
        self.folder = folder
        self.bundles = bundles
        self.store = folder / "store"
        self.home = folder / "home"
        self.now = time.time()
        self.runs: list[DeviceRun] = []

    def enrol(self, server: ServerProcess) -> None:
        target, door = (f"127.0.0.1:{server.info[name]}" for name in ("port", "enroll_port"))
        self.done(
            "fleet", "enroll", "--store", self.store, "--device-id", NAME, "--out", self.folder,
            "--server", target, "--enroll-server", door,
        )  # fmt: skip
        self.done("device", "enroll", self.folder / f"{NAME}.enrol.json", "--home", self.home)

    def device(self, *more: object) -> DeviceRun:
        """Starts it, and waits until it answers frames and has heard of the server."""
        begun = DeviceRun(
            self.home, self.folder / "desk", "--source", self.folder / "pictures", "--fps", 20,
            "--payload", "original", *more,
        )  # fmt: skip
        self.runs.append(begun)
        begun.until(
            lambda: begun.status.get("pid") == begun.process.pid and begun.status["server_reached_at"], "a check-in"
        )
        return begun

    def follow(self, channel: str) -> None:
        self.done("fleet", "channel", "--store", self.store, NAME, channel)

    def told(self) -> str:
        """What `edgeloop device status` says of the channel."""
        lines = self.done("device", "status", "--home", self.home).splitlines()
        (line,) = [line for line in lines if line.startswith("channel")]
        return line.removeprefix("channel").strip()

    def done(self, *arguments: object) -> str:
        result = CliRunner().invoke(edgeloop, [str(argument) for argument in arguments], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory, make_bundle: Callable[..., Path]) -> dict[int, Path]:
    folder = tmp_path_factory.mktemp("fleet-channel")
    return {number: make_bundle(folder / str(number), version=number, flavour=number) for number in (1, 2)}


@pytest.fixture
def stage(
    tmp_path: Path,
    bundles: dict[int, Path],
    picture_bytes: Callable[..., bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Stage]:
    monkeypatch.setenv("EDGELOOP_SERVE_CHECK_IN_S", "0.3")
    (tmp_path / "pictures").mkdir()
    for number, colour in enumerate(("red", "green", "blue")):
        (tmp_path / "pictures" / f"{number}.png").write_bytes(picture_bytes(colour, size=(40, 40)))
    made = Stage(tmp_path, bundles)
    publish_bundle(bundles[1], made.store, channel="stable", now=made.now)
    publish_bundle(bundles[2], made.store, channel="beta", now=made.now)
    with ServerProcess(made.store, "--tls") as server:
        made.enrol(server)
        yield made
        for run in made.runs:
            run.kill()


def runs(device: DeviceRun, version: int) -> None:
    device.until(
        lambda: device.status["bundle_version"] == version and not device.status["on_trial"],
        f"version {version} is kept",
    )


def test_a_device_is_moved_to_another_channel_and_back(stage: Stage) -> None:
    device = stage.device()
    runs(device, 1)
    assert stage.told() == "stable, as the fleet says"

    stage.follow("beta")
    runs(device, 2)
    assert "edgeloop: the fleet moves this device from channel 'stable' to 'beta'" in device.said
    device.kill()
    assert stage.told() == "beta, as the fleet says"
    device = stage.device()
    runs(device, 2)

    stage.follow("stable")  # what it offers is older, and nobody signed a way back
    device.until(lambda: "nobody signed that this device may go back to it" in device.errors, "the older is refused")
    assert (device.status["bundle_version"], device.status["channel"]) == (2, "stable")
    offer_bundle(stage.bundles[2], stage.store, channel="stable", now=stage.now)
    runs(device, 1)
    device.until(lambda: not device.errors, "all is well")


@pytest.mark.slow
def test_a_channel_that_nothing_was_signed_for_leaves_the_device_as_it_is(stage: Stage) -> None:
    device = stage.device()
    runs(device, 1)
    stage.follow("gamma")
    device.until(lambda: "nothing is signed for channel 'gamma'" in device.errors, "it says so")
    device.answer_more()
    assert device.status["bundle_digest"] == open_bundle(stage.bundles[1]).digest
    stage.follow("")  # the server's own
    device.until(lambda: device.status["channel"] == "stable" and not device.errors, "it is back")


@pytest.mark.slow
def test_a_device_that_was_started_with_a_channel_keeps_to_it(stage: Stage) -> None:
    device = stage.device("--channel", "stable")
    runs(device, 1)
    stage.follow("beta")
    reason = "as it was started with; the fleet says beta"
    device.until(lambda: device.status["channel_reason"] == reason, "it has heard it")
    heard_at = device.status["server_reached_at"]
    device.until(lambda: device.status["server_reached_at"] > heard_at + 2, "some more check-ins")
    assert device.status["bundle_version"] == 1
    assert stage.told() == f"stable, {reason}"
    assert device.stop() == 0
    runs(stage.device(), 2)


@pytest.mark.slow
@pytest.mark.parametrize("point", ["channel:written", "update.slots:before"])
def test_a_power_cut_during_the_move_leaves_a_bundle_that_runs(stage: Stage, point: str) -> None:
    device = stage.device()
    runs(device, 1)
    device.kill()
    stage.follow("beta")
    words = ("--source", stage.folder / "pictures", "--fps", 20, "--payload", "original")
    cut = DeviceRun(stage.home, stage.folder / "desk", *words, DIE_AT_POINT=point)
    assert cut.wait() == -9
    runs(stage.device(), 2)
