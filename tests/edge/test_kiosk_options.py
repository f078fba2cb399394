from __future__ import annotations

from pathlib import Path

import pytest

from edge.errors import UsageError
from edge.kiosk.options import KioskOptions, is_loopback
from edge.kiosk.server import kiosk_options
from edge.settings import AgentSettings

TOKEN = "a-token-that-is-long-enough"  # noqa: S105 - of a test


@pytest.mark.parametrize(
    ("host", "is_ours"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),  # noqa: S104
        ("::", False),
        ("192.168.1.5", False),
        ("localhost.example.org", False),
        ("kiosk.local", False),
    ],
)
def test_only_this_machine_needs_no_token(host: str, is_ours: bool) -> None:
    assert is_loopback(host) is is_ours
    assert KioskOptions(host=host, token=TOKEN).host == host
    if is_ours:
        assert KioskOptions(host=host).token == ""
    else:
        with pytest.raises(UsageError, match=r"would listen on .* for everyone") as caught:
            KioskOptions(host=host)
        assert "kiosk_token" in caught.value.hint


@pytest.mark.parametrize("token", ["short", "x" * 15, "sixteen letters and spaces", "line\nbreak" * 3, "ä" * 20])
def test_a_token_that_is_weak_or_cannot_be_sent_is_refused_and_never_shown(token: str) -> None:
    with pytest.raises(UsageError, match="token must be at least 16") as caught:
        KioskOptions(token=token)
    assert token not in str(caught.value)


def test_the_token_is_in_no_repr() -> None:
    assert TOKEN not in repr(KioskOptions(token=TOKEN))


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"port": -1}, "port must be 0 to 65535"),
        ({"port": 65_536}, "port must be 0 to 65535"),
        ({"per_minute": 0}, "per_minute must be at least 1"),
        ({"workers": 0}, "workers must be at least 1"),
        ({"queue": -1}, "queue must be at least 0"),
        ({"screen_side": 63}, "screen_side must be at least 64"),
        ({"body_timeout_s": 0.0}, "body_timeout_s must be at least 0.05"),
        ({"body_timeout_s": float("nan")}, "body_timeout_s must be at least 0.05"),
        ({"max_remembered": 0}, "max_remembered must be at least 1"),
        ({"host": ""}, "'' is no address and no host name"),
        ({"host": "a b"}, "'a b' is no address and no host name"),
        ({"names": ("evil/..",)}, "'evil/..' is no address and no host name"),
    ],
)
def test_options_that_make_no_sense_are_refused_by_name(wrong: dict[str, object], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        KioskOptions(**wrong)  # type: ignore[arg-type]


def test_a_picture_of_the_greatest_size_fits_into_both_bodies() -> None:
    options = KioskOptions(max_picture_bytes=1_000_001)
    assert options.max_json_bytes > 4 * -(-1_000_001 // 3)
    assert options.max_form_bytes > 1_000_001


def test_the_devices_settings_carry_it(tmp_path: Path) -> None:
    settings = AgentSettings(
        home=tmp_path,
        kiosk_host="0.0.0.0",  # noqa: S104
        kiosk_port=8080,
        kiosk_token=TOKEN,
        kiosk_per_minute=30,
        max_picture_bytes=1000,
    )
    options = kiosk_options(settings, audit=tmp_path / "audit.jsonl")
    assert (options.host, options.port, options.token) == ("0.0.0.0", 8080, TOKEN)  # noqa: S104
    assert (options.per_minute, options.max_picture_bytes) == (30, 1000)
    assert options.audit == tmp_path / "audit.jsonl"
