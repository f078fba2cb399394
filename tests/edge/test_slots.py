import json
import shutil

import pytest

from edge import durable
from edge.bundle.reader import open_bundle
from edge.errors import BundleError, FormatError, StorageError
from edge.update.slots import MAX_REJECTED, Slots
from edge.update.types import Slot, SlotState, TrustMark


@pytest.fixture(scope="session")
def bundles(tmp_path_factory, make_bundle):
    folder = tmp_path_factory.mktemp("bundles")
    return [make_bundle(folder / str(number), version=number, flavour=number) for number in (1, 2, 3)]


def digest_of(bundle):
    return open_bundle(bundle).digest


def bring(slots, bundle, *, metadata_version=0):
    """What an updater does: stage, install, activate."""
    digest = digest_of(bundle)
    shutil.copytree(bundle, slots.staging(digest))
    slots.install(digest)
    slots.activate(tested_on="here", mark=TrustMark(metadata_version=metadata_version))
    return digest


def test_a_new_home_has_nothing(tmp_path):
    slots = Slots(tmp_path)
    assert slots.state == SlotState(slots={"a": Slot(), "b": Slot()})
    assert slots.open_active() is None
    assert slots.active == Slot()
    assert not slots.has_fallback
    assert list(tmp_path.iterdir()) == []


def test_two_installs_take_turns_and_survive_reopening(tmp_path, bundles):
    slots = Slots(tmp_path)
    first = bring(slots, bundles[0], metadata_version=4)
    assert (slots.state.active, slots.state.trial, slots.active) == (
        "a",
        "a",
        Slot(bundle_digest=first, version=1, tested_on="here"),
    )
    slots.confirm()
    second = bring(slots, bundles[1], metadata_version=3)
    again = Slots(tmp_path)
    assert again.state == slots.state
    assert (again.state.active, again.state.trial, again.state.metadata_version) == ("b", "b", 4)
    assert again.open_active().digest == second
    assert again.has_fallback
    assert open_bundle(again.folder("a")).digest == first


def test_confirmation_ends_the_trial_for_good(tmp_path, bundles):
    slots = Slots(tmp_path)
    bring(slots, bundles[0])
    slots.confirm()
    for _ in range(9):
        assert Slots(tmp_path).count_start() == ""
    assert (Slots(tmp_path).state.trial, Slots(tmp_path).state.trial_starts) == ("", 0)


def test_the_third_start_without_confirmation_goes_back(tmp_path, bundles):
    slots = Slots(tmp_path)
    first = bring(slots, bundles[0])
    slots.confirm()
    second = bring(slots, bundles[1])
    assert [Slots(tmp_path).count_start() for _ in range(4)] == ["", "", second, ""]
    after = Slots(tmp_path)
    assert after.open_active().digest == first
    assert after.state.rejected == (second,)
    assert (after.state.trial, after.has_fallback) == ("", False)


def test_a_trial_with_nothing_to_go_back_to_stays(tmp_path, bundles):
    digest = bring(Slots(tmp_path), bundles[0])
    assert [Slots(tmp_path).count_start() for _ in range(5)] == [""] * 5
    assert Slots(tmp_path).open_active().digest == digest
    with pytest.raises(BundleError, match="no bundle to go back to"):
        Slots(tmp_path).roll_back()


def test_a_damaged_active_bundle_gives_way_to_the_other(tmp_path, bundles):
    slots = Slots(tmp_path)
    first = bring(slots, bundles[0])
    slots.confirm()
    second = bring(slots, bundles[1])
    model = slots.folder("b") / "tiny_fp32.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"X")
    assert slots.open_active().digest == first
    assert second not in slots.state.rejected  # the disk failed, not the bundle
    assert Slots(tmp_path).state.slots["b"] == Slot()


def test_both_damaged_leaves_none(tmp_path, bundles):
    slots = Slots(tmp_path)
    bring(slots, bundles[0])
    bring(slots, bundles[1])
    for name in ("a", "b"):
        (slots.folder(name) / "manifest.json").unlink()
    assert slots.open_active() is None
    assert Slots(tmp_path).state.active == ""


def test_a_bundle_that_nobody_installed_is_not_run(tmp_path, bundles):
    slots = Slots(tmp_path)
    bring(slots, bundles[0])
    shutil.rmtree(slots.folder("a"))
    shutil.copytree(bundles[1], slots.folder("a"))
    assert slots.open_active() is None


def test_rejecting_what_never_ran(tmp_path, bundles):
    slots = Slots(tmp_path)
    first = bring(slots, bundles[0])
    digest = digest_of(bundles[1])
    shutil.copytree(bundles[1], slots.staging(digest))
    slots.install(digest)
    slots.reject(digest)
    assert (slots.active.bundle_digest, slots.state.rejected, slots.has_fallback) == (first, (digest,), False)


def test_the_list_of_rejected_is_bounded(tmp_path):
    slots = Slots(tmp_path)
    for number in range(MAX_REJECTED + 5):
        slots.reject(f"{number:064x}")
    slots.reject(f"{10:064x}")
    assert len(slots.state.rejected) == MAX_REJECTED
    assert slots.state.rejected[-1] == f"{10:064x}"
    assert len(set(slots.state.rejected)) == MAX_REJECTED


def test_what_was_staged_must_be_what_was_meant(tmp_path, bundles):
    slots = Slots(tmp_path)
    first = bring(slots, bundles[0])
    wanted = digest_of(bundles[1])
    shutil.copytree(bundles[2], slots.staging(wanted))
    with pytest.raises(BundleError, match="holds bundle"):
        slots.install(wanted)
    assert slots.open_active().digest == first


def test_sweep_keeps_one_staging_folder_and_the_slots(tmp_path, bundles):
    slots = Slots(tmp_path)
    bring(slots, bundles[0])
    for digest in ("1" * 64, "2" * 64):
        slots.staging(digest).mkdir()
    (tmp_path / ".slots.json.x.tmp").write_bytes(b"x")
    slots.sweep(keep="2" * 64)
    assert sorted(path.name for path in (tmp_path / "bundles").iterdir()) == [f".staging-{'2' * 64}", "a"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundles", "slots.json"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not valid JSON"),
        ("{}", "field 'slots' is missing"),
        ('{"slots": {}}', "knows slots other than a and b"),
        ('{"slots": {"a": {}, "b": {}}, "active": "c"}', "knows slots other than a and b"),
        ('{"slots": {"a": {}, "b": {}}, "rejected": "x"}', "rejected: expected a list"),
    ],
)
def test_a_damaged_state_file_is_said(tmp_path, content, message):
    (tmp_path / "slots.json").write_text(content)
    with pytest.raises(FormatError, match=message) as caught:
        Slots(tmp_path)
    assert "delete it, and the device installs its bundle anew" in str(caught.value)


def test_unknown_fields_of_a_newer_version_are_read_over(tmp_path):
    (tmp_path / "slots.json").write_text(json.dumps({"slots": {"a": {"x": 1}, "b": {}}, "y": 2}))
    assert Slots(tmp_path).active == Slot()


class Killed(BaseException):
    """Stands for the end of the process; nothing may catch it."""


def points_of(action):
    """Every durable point an action passes, in order."""
    seen = []
    durable.observe(seen.append)
    try:
        action()
    finally:
        durable.observe(None)
    return seen


def end_at(number):
    count = 0

    def observer(point):
        nonlocal count
        count += 1
        if count == number:
            raise Killed(point)

    return observer


def whole_life(home, bundles):
    """First install, confirmation, second install, two failed starts, rollback; taken up wherever it stands."""
    slots = Slots(home)
    for bundle in bundles[:2]:
        digest = digest_of(bundle)
        if digest not in (slots.active.bundle_digest, *slots.state.rejected):
            if not slots.staging(digest).exists():
                shutil.copytree(bundle, slots.staging(digest))
            slots.install(digest)
            slots.activate(tested_on="here", mark=TrustMark(metadata_version=1))
            if bundle is bundles[0]:
                slots.confirm()
    while slots.state.trial and slots.has_fallback:
        slots.count_start()


def test_an_end_at_every_durable_point_leaves_a_bundle_that_verifies(tmp_path, bundles):
    points = points_of(lambda: whole_life(tmp_path / "whole", bundles))
    digests = [digest_of(bundle) for bundle in bundles[:2]]
    assert {"update.slots:before", "update.slots:written", "update.slots:after"} < set(points)
    assert {"update.publish:before", "update.publish:after"} < set(points)
    activated = [number for number, point in enumerate(points, start=1) if point == "update.slots:after"][2]
    for number in range(1, len(points) + 1):
        home = tmp_path / str(number)
        durable.observe(end_at(number))
        with pytest.raises(Killed):
            whole_life(home, bundles)
        durable.observe(None)
        found = Slots(home).open_active()
        assert found is None or found.digest in digests, points[number - 1]
        assert found is not None or number < activated, f"no bundle after {points[number - 1]} ({number})"
        whole_life(home, bundles)
        slots = Slots(home)
        assert slots.open_active().digest == digests[0]
        assert slots.state.rejected == (digests[1],)


def test_a_disk_that_cannot_be_written_changes_nothing(tmp_path, bundles, monkeypatch):
    slots = Slots(tmp_path)
    first = bring(slots, bundles[0])
    before = slots.state

    def refuse(source, target):
        raise OSError(28, "No space left on device")

    digest = digest_of(bundles[1])
    shutil.copytree(bundles[1], slots.staging(digest))
    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(StorageError, match="no space left"):
        slots.install(digest)
    monkeypatch.undo()
    assert slots.state == before == Slots(tmp_path).state
    assert slots.open_active().digest == first


def test_only_the_bundle_that_runs_can_end_its_trial(tmp_path, make_bundle):
    """Frames that the one before still answers while the next is being loaded prove nothing of it."""
    slots = Slots(tmp_path / "home")
    digests = []
    for number in (1, 2):
        bundle = make_bundle(tmp_path / str(number), version=number, flavour=number)
        digests.append(open_bundle(bundle).digest)
        shutil.copytree(bundle, slots.staging(digests[-1]))
        slots.install(digests[-1])
        slots.activate(tested_on="here", mark=TrustMark(metadata_version=number))
        if number == 1:
            slots.confirm(digests[0])
    slots.confirm(digests[0])
    assert slots.state.trial
    slots.confirm(digests[1])
    assert not slots.state.trial
