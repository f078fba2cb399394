import pytest

from edge.bundle.reader import open_bundle
from edge.errors import BackendError, SelfTestError, UsageError
from edge.settings import AgentSettings
from edge.swap import Engines
from edge.update.selftest import hardware_fingerprint, self_test
from edge.update.slots import Slots
from edge.update.trust import TrustStore
from edge.update.updater import Updater


@pytest.fixture(scope="session")
def bundles(tmp_path_factory, make_bundle):
    folder = tmp_path_factory.mktemp("swap")
    return [make_bundle(folder / str(number), version=number, flavour=number) for number in (1, 2)]


class Device:
    def __init__(self, home, *, can_wait=False, **changes):
        self.home = home
        self.said = []
        self.slots = Slots(home)
        self.engines = Engines(AgentSettings(home=home, **changes), self.slots, can_wait=can_wait, say=self.said.append)

    def install(self, bundle):
        trust = TrustStore(self.home, None, channel="stable")
        Updater(self.slots, trust, None, self_test=self_test, fingerprint=hardware_fingerprint).sideload(bundle)
        return self


def refuse_to_load(monkeypatch, *versions):
    from edge import swap

    real = swap.open_engine

    def load(bundle, **options):
        if bundle.manifest.version in versions:
            raise BackendError(f"version {bundle.manifest.version} does not load")
        return real(bundle, **options)

    monkeypatch.setattr(swap, "open_engine", load)


def version(engine):
    return engine.bundle.manifest.version


def test_a_prepared_engine_is_taken_once(tmp_path, bundles):
    device = Device(tmp_path).install(bundles[0])
    assert device.engines.take() is None
    device.engines.prepare()
    assert version(device.engines.take()) == 1
    assert device.engines.take() is None


def test_a_newer_one_replaces_one_that_was_not_taken(tmp_path, bundles):
    device = Device(tmp_path).install(bundles[0])
    device.engines.prepare()
    left = device.engines._next
    device.install(bundles[1]).engines.prepare()
    assert version(device.engines.take()) == 2
    with pytest.raises(BackendError):
        left.infer(bundles[0] / "golden-0.png")  # it was closed


def test_nothing_to_prepare(tmp_path):
    device = Device(tmp_path)
    device.engines.prepare()
    assert device.engines.take() is None
    assert device.engines.first() is None


def test_what_does_not_load_after_all_is_rejected(tmp_path, bundles, monkeypatch):
    device = Device(tmp_path).install(bundles[0]).install(bundles[1])
    refuse_to_load(monkeypatch, 2)
    device.engines.prepare()
    assert device.engines.take() is None
    assert device.slots.open_active().manifest.version == 1
    assert device.slots.state.rejected == (open_bundle(bundles[1]).digest,)
    assert device.said == ["version 2 does not load; the device stays on the bundle it has"]


def test_what_does_not_load_and_has_nothing_before_it_is_an_error(tmp_path, bundles, monkeypatch):
    device = Device(tmp_path).install(bundles[0])
    refuse_to_load(monkeypatch, 1)
    with pytest.raises(BackendError, match="version 1 does not load"):
        device.engines.prepare()
    with pytest.raises(BackendError, match="version 1 does not load"):
        device.engines.first()
    assert device.slots.open_active().manifest.version == 1


def test_a_first_bundle_that_does_not_load_is_waited_out(tmp_path, bundles, monkeypatch):
    device = Device(tmp_path, can_wait=True).install(bundles[0])
    refuse_to_load(monkeypatch, 1)
    assert device.engines.first() is None
    assert device.said == ["version 1 does not load; waiting for another release"]


def test_the_one_before_starts_when_the_newest_does_not_load(tmp_path, bundles, monkeypatch):
    device = Device(tmp_path).install(bundles[0]).install(bundles[1])
    refuse_to_load(monkeypatch, 2)
    assert version(device.engines.first()) == 1


def test_fall_back_only_on_trial(tmp_path, bundles):
    device = Device(tmp_path).install(bundles[0]).install(bundles[1])
    device.slots.confirm()
    newest, before = (open_bundle(bundles[number]).digest for number in (1, 0))
    assert device.engines.fall_back(newest, "failed") is None
    again = Device(tmp_path / "other").install(bundles[0]).install(bundles[1])
    assert again.engines.fall_back(before, "failed") is None  # by now another one is active, which did not fail
    assert version(again.engines.fall_back(newest, "failed")) == 1
    assert again.said[0] == "failed; back to the bundle before"


def test_the_test_of_a_bundle_names_a_missing_artifact(tmp_path, bundles):
    device = Device(tmp_path, artifact="coreml")
    with pytest.raises(UsageError, match="has no artifact 'coreml'"):
        device.engines.test(open_bundle(bundles[0]))


def test_the_test_of_a_bundle_runs_its_golden_vectors(tmp_path, bundles, monkeypatch):
    def refuse(bundle):
        raise SelfTestError("differs")

    monkeypatch.setattr("edge.swap.self_test", refuse)
    with pytest.raises(SelfTestError, match="differs"):
        Device(tmp_path).engines.test(open_bundle(bundles[0]))
