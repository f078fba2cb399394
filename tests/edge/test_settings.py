import dataclasses
import os
from pathlib import Path

import pytest

from edge.errors import UsageError
from edge.settings import AgentSettings, cache_home, load_settings, log_level, watchdog_told


def load(file=None, environment=None, **overrides):
    return load_settings(file=file, environment=environment or {}, overrides=overrides)


def toml(tmp_path, text):
    path = tmp_path / "device.toml"
    path.write_text(text)
    return path


def test_later_sources_win(tmp_path):
    file = toml(tmp_path, '[device]\nhome = "/file"\nfps = 1\nchannel = "beta"\ndevice_id = "from-file"\n')
    found = load(file, {"EDGELOOP_FPS": "2.5", "EDGELOOP_CHANNEL": "canary"}, channel="stable", device_id=None)
    assert found == AgentSettings(home=Path("/file"), fps=2.5, channel="stable", device_id="from-file")


def test_every_field_can_come_from_the_environment():
    text = {"home": "/h", "server": "h:1", "source": "/s", "root": "/r", "tls_ca": "/c", "exit_when_drained": "yes"}
    text |= {"device_id": "d", "channel": "c", "artifact": "onnx", "private_action": "veto", "metered": "on"}
    text |= {"sync_windows": "1:00-2:00", "payload": "original", "payload_max_side": "0", "kiosk_host": "::1"}
    text |= {"outbox_max_bytes": "1000000"}
    names = [field.name for field in dataclasses.fields(AgentSettings)]
    found = load(environment={f"EDGELOOP_{name.upper()}": text.get(name, "7") for name in names})
    changed = [name for name in names if getattr(found, name) != getattr(AgentSettings(home=Path("x")), name)]
    assert changed == names
    assert found.source == "/s"
    assert found.exit_when_drained is True


def test_settings_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        AgentSettings(home=Path("x")).fps = 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[device]\nhome="x"\nflavour = 1\n', "unknown setting 'flavour'"),
        ("[device\n", "is not TOML"),
        ("device = 3\n", "[device] is not a table"),
        ('[device]\nhome="x"\nfps = "fast"\n', "setting 'fps': could not convert string to float"),
        ('[device]\nhome="x"\nthreads = 1.5\n', "setting 'threads': expected int, found 1.5"),
        ('[device]\nhome="x"\nthreads = true\n', "setting 'threads': expected int, found True"),
        (
            '[device]\nhome="x"\nsync_windows = "at night"\n',
            "'at night' is no span of the day (write it as 22:00-06:00)",
        ),
        ('[device]\nhome="x"\npayload_quality = 100\n', "setting 'payload_quality' must be at most 95, found 100"),
        ('[device]\nhome="x"\npayload_max_side = 8\n', "setting 'payload_max_side' must be 0 or at least 32, found 8"),
        (
            '[device]\nhome="x"\noutbox_max_bytes = 10\n',
            "setting 'outbox_max_bytes' must be at least 1000000, found 10",
        ),
        ('[device]\nhome="x"\nkiosk_port = 70000\n', "setting 'kiosk_port' must be at most 65535, found 70000"),
        ('[device]\nhome="x"\nserver = 3\n', "setting 'server': expected str, found 3"),
        ('[device]\nhome="x"\nsource = 3\n', "setting 'source': expected str, found 3"),
        ('[device]\nhome="x"\nexit_when_drained = "maybe"\n', "expected true or false, found 'maybe'"),
        ('[device]\nhome="x"\nthreads = 0\n', "setting 'threads' must be at least 1"),
        ('[device]\nhome="x"\nfps = -1\n', "setting 'fps' must be 0 or more"),
        ('[device]\nhome="x"\nfps = nan\n', "setting 'fps' must be 0 or more"),
        ('[device]\nhome="x"\nlink_interval_s = 0\n', "setting 'link_interval_s' must be above 0"),
        ('[device]\nhome="x"\ndevice_id = "a b"\n', "device_id 'a b'"),
        ('[device]\nhome="x"\nchannel = "../x"\n', "channel '../x'"),
        ('[device]\nhome="x"\nexit_when_drained = true\n', "exit_when_drained needs an end"),
        ("[device]\nfps = 1\n", "no home folder"),
    ],
)
def test_nonsense_is_named(tmp_path, text, message):
    with pytest.raises(UsageError) as caught:
        load(toml(tmp_path, text))
    assert message in str(caught.value)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"cannot read .*none.toml: no such file"):
        load(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("environment", "verbose", "level"),
    [({}, 0, "WARNING"), ({"LOG_LEVEL": "info"}, 0, "INFO"), ({"LOG_LEVEL": "ERROR"}, 1, "INFO"), ({}, 2, "DEBUG")],
)
def test_log_level(environment, verbose, level):
    assert log_level(environment, verbose=verbose) == level


def test_log_level_that_is_none():
    with pytest.raises(UsageError, match="LOG_LEVEL is 'LOUD'"):
        log_level({"LOG_LEVEL": "loud"}, verbose=0)


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"EDGELOOP_CACHE": "/own", "XDG_CACHE_HOME": "/xdg", "HOME": "/home/me"}, "/own"),
        ({"EDGELOOP_CACHE": "", "XDG_CACHE_HOME": "/xdg", "HOME": "/home/me"}, "/xdg/edgeloop"),
        ({"XDG_CACHE_HOME": "relative", "HOME": "/home/me"}, "/home/me/.cache/edgeloop"),
        ({"HOME": "/home/me"}, "/home/me/.cache/edgeloop"),
    ],
)
def test_the_cache_has_a_home(environment, folder):
    assert cache_home(environment) == Path(folder)


def test_a_relative_cache_is_relative_to_here(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGELOOP_CACHE", "mine")
    assert cache_home() == tmp_path / "mine"


def test_no_home_for_the_cache_is_said():
    with pytest.raises(UsageError, match="EDGELOOP_CACHE"):
        cache_home({})


def test_a_token_is_not_shown():
    given = {"kiosk_token": "geheim"}
    assert "geheim" not in repr(AgentSettings(home=Path("x"), **given))


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, ("", 0.0)),
        ({"NOTIFY_SOCKET": "/run/n", "WATCHDOG_USEC": "30000000"}, ("/run/n", 30.0)),
        ({"NOTIFY_SOCKET": "@n", "WATCHDOG_USEC": "1000", "WATCHDOG_PID": str(os.getpid())}, ("@n", 0.001)),
        ({"NOTIFY_SOCKET": "/run/n", "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}, ("/run/n", 0.0)),
        ({"WATCHDOG_USEC": "soon"}, ("", 0.0)),
    ],
)
def test_what_systemd_says(environment, expected):
    assert watchdog_told(environment) == expected


def test_a_token_of_the_wrong_kind_is_refused_without_showing_it(tmp_path):
    file = toml(tmp_path, '[device]\nhome = "x"\nkiosk_token = 12345678901234567890\n')
    with pytest.raises(UsageError, match="setting 'kiosk_token': expected str, in quotes") as caught:
        load(file)
    assert "1234" not in f"{caught.value}{caught.value.__cause__}"
