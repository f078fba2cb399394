"""Which bundle a device takes: every case of the rule, a line each."""

import dataclasses

import pytest

from edge.errors import FormatError
from edge.update.choose import Step, choose, went_back
from edge.update.offers import custom_of, offer_digest, offer_name, offered_from
from edge.update.types import Offered, SignedChannel, Slot, SlotState, TrustMark

V1, V2, V3, V4 = (character * 64 for character in "1234")


def offered(digest, **changes):
    return Offered(digest=digest, name="tiny", version=int(digest[0]), **changes)


def channel(settled=None, *offers):
    return SignedChannel(
        channel="stable", settled=settled, offers=offers, mark=TrustMark(metadata_version=5), expires_at=0.0
    )


def running(active="", other="", *, trial=False, rejected=()):
    def slot(digest):
        return Slot(bundle_digest=digest, version=int(digest[0])) if digest else Slot()

    return SlotState(
        slots={"a": slot(active), "b": slot(other)},
        active="a" if active else "",
        trial="a" if trial else "",
        rejected=rejected,
    )


STABLE = channel(offered(V1))
ROLLOUT = channel(offered(V1), offered(V2, rollback_to=(V1,)))
HALTED = channel(offered(V1), offered(V2, rollback_to=(V1,), withdrawn=True))
AB = channel(offered(V1), offered(V2, rollback_to=(V1,)), offered(V3, rollback_to=(V1, V2)))
CASES = {
    "nothing was ever published": (channel(), running(), "", None, "offers nothing yet"),
    "the first bundle": (STABLE, running(), "", V1, ""),
    "the first bundle, a candidate": (ROLLOUT, running(), V2, V2, ""),
    "the first bundle, wanted is not signed: the settled one": (ROLLOUT, running(), V4, V1, ""),
    "the first bundle, wanted was withdrawn: the settled one": (HALTED, running(), V2, V1, ""),
    "it runs already": (STABLE, running(V1), "", None, ""),
    "it runs already, and is wanted": (STABLE, running(V1), V1, None, ""),
    "held on what nobody signs any more": (STABLE, running(V4), V4, None, ""),
    "held on the settled one while a candidate is there": (ROLLOUT, running(V1), V1, None, ""),
    "the next release": (channel(offered(V2)), running(V1), "", V2, ""),
    "the next release, and wanted": (channel(offered(V2)), running(V1), V2, V2, ""),
    "a candidate that is wanted": (ROLLOUT, running(V1), V2, V2, ""),
    "a candidate that is not wanted": (ROLLOUT, running(V1), "", None, ""),
    "one of two candidates": (AB, running(V2), V3, V3, ""),
    "wanted, and not signed": (ROLLOUT, running(V1), V4, "refuse", "is not signed for channel 'stable'"),
    "wanted, and withdrawn": (HALTED, running(V1), V2, "refuse", "was withdrawn from channel 'stable'"),
    "back to the settled one, which its own offer allows": (ROLLOUT, running(V2, V1), V1, V1, ""),
    "back from one that was withdrawn": (HALTED, running(V2, V1), V1, V1, ""),
    "back from one that was withdrawn, also without a wish": (HALTED, running(V2, V1), "", V1, ""),
    "without a wish it does not go back": (ROLLOUT, running(V2, V1), "", None, "only when the server says so"),
    "from B to A, which B's offer allows": (AB, running(V3), V2, V2, ""),
    "back where nobody signed it": (channel(offered(V1)), running(V3), V1, "refuse", "nobody signed"),
    "back where nobody signed it, without a wish": (channel(offered(V1)), running(V3), "", "refuse", "nobody signed"),
    "back where its own offer names others": (
        channel(offered(V1), offered(V3, rollback_to=(V2,))),
        running(V3),
        V1,
        "refuse",
        "version 1 is below version 3",
    ),
    "a downgrade that is signed as one": (channel(offered(V1, downgrade=True)), running(V3), "", V1, ""),
    "a candidate that is a downgrade": (channel(offered(V3), offered(V1, downgrade=True)), running(V3), V1, V1, ""),
    "rejected here": (channel(offered(V2)), running(V1, rejected=(V2,)), V2, "refuse", "has failed on this device"),
    "rejected here, without a wish": (
        channel(offered(V2)),
        running(V1, rejected=(V2,)),
        "",
        "refuse",
        "is not tried again",
    ),
    "on trial": (channel(offered(V3)), running(V2, V1, trial=True), V3, None, "still on trial"),
    "on trial, with nothing to go back to": (channel(offered(V3)), running(V2, trial=True), V3, V3, ""),
    "on trial, and told to go back": (ROLLOUT, running(V2, V1, trial=True), V1, V1, ""),
    "on trial, and told to go to a third": (AB, running(V2, V1, trial=True), V3, None, "still on trial"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_choice(case):
    signed, state, wanted, expected, words = CASES[case]
    found = choose(signed, state, wanted=wanted)
    step = {None: Step.STAY, "refuse": Step.REFUSE}.get(expected, Step.TAKE)
    assert found.step is step
    assert (found.offered.digest if found.offered else None) == (expected if step is Step.TAKE else None)
    assert words in found.reason
    assert bool(found.reason) == bool(words)


MARK = TrustMark(metadata_version=5, root_version=2, signers="k")


@pytest.mark.parametrize(
    ("mark", "words"),
    [
        (MARK, ""),
        (dataclasses.replace(MARK, metadata_version=6), ""),
        (dataclasses.replace(MARK, metadata_version=4), "the release metadata went back from version 5 to 4"),
        (dataclasses.replace(MARK, metadata_version=4, root_version=3), "went back from version 5 to 4"),
        (dataclasses.replace(MARK, metadata_version=4, signers="x"), "went back from version 5 to 4"),
        (dataclasses.replace(MARK, metadata_version=1, root_version=3, signers="x"), ""),
        (dataclasses.replace(MARK, metadata_version=9, root_version=1), "the trusted root went back from version 2 to"),
    ],
)
def test_metadata_that_went_back(mark, words):
    state = dataclasses.replace(running(V1), metadata_version=5, root_version=2, signers="k")
    assert words in went_back(mark, state)
    assert bool(words) == bool(went_back(mark, state))


def test_slots_of_a_former_edgeloop_count_on():
    old = dataclasses.replace(running(V1), metadata_version=5)
    assert "went back" in went_back(dataclasses.replace(MARK, metadata_version=4), old)
    assert went_back(MARK, old) == ""


def test_what_is_signed_comes_back():
    from edge.bundle.sealed import SealedFile

    whole = offered(
        V2,
        rollback_to=(V1,),
        downgrade=True,
        withdrawn=True,
        sealed={"m": SealedFile(sha256=V3, size_bytes=4)},
        after_rollout=7,
    )
    assert offered_from(V2, custom_of(whole), where="x") == whole
    assert custom_of(offered(V1)) == {"name": "tiny", "version": 1}


@pytest.mark.parametrize(
    "custom",
    [
        None,
        {},
        {"name": "x"},
        {"name": "x", "version": "1"},
        {"name": "x", "version": -1},
        {"name": "x", "version": True},
        {"name": "x", "version": 1, "rollback_to": "1"},
        {"name": "x", "version": 1, "rollback_to": ["../x"]},
        {"name": "x", "version": 1, "sealed": []},
        {"name": "x", "version": 1, "sealed": {"m": {"sha256": "x", "size_bytes": 1}}},
    ],
)
def test_signed_words_that_make_no_sense(custom):
    with pytest.raises(FormatError, match="channel/x"):
        offered_from(V1, custom, where="channel/x")


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        (offer_name("stable", V1), V1),
        (offer_name("beta", V1), ""),
        ("channel/stable/manifest.json", ""),
        ("channel/stable/offers/../x.json", ""),
        (f"channel/stable/offers/{V1}", ""),
        (f"channel/stable/offers/{V1}.json.json", ""),
    ],
)
def test_names_of_offers(name, digest):
    assert offer_digest("stable", name) == digest
