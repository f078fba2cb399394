"""What `edgeloop device install` writes: read back by the programs it is for, or by parsers of our own."""

import dataclasses
import re
import shlex
import shutil
import stat
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from edge import __version__
from edge.errors import UsageError
from edge.install.command import install_files, root_steps, write_install
from edge.install.container import compose, dockerfile
from edge.install.device_toml import device_toml, secrets_env, setting_meanings
from edge.install.plan import make_plan
from edge.install.quoting import (
    compose_text,
    environment_line,
    systemd_argument,
    systemd_text,
    systemd_word,
    toml_value,
)
from edge.install.screen_unit import screen_sysusers, screen_unit
from edge.install.unit import systemd_unit, sysusers
from edge.settings import AgentSettings, load_settings

ODD = "/srv/a b%c\"d\\e$f'g"
TOKEN = "kiosk-token~0123456789"  # noqa: S105
ADDRESS = "rtsp://admin:hunter22@camera/live"


def plan_of(tmp_path, *, systemd_version=252, memory_max="", executable=None, **settings):
    told = AgentSettings(**(settings | {"home": Path(settings.get("home", "/var/lib/edgeloop"))}))
    program = executable or tmp_path / "edgeloop"
    if not program.exists():
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    return make_plan(told, executable=program, systemd_version=systemd_version, memory_max=memory_max)


def values(unit, name):
    """Every value of a key, in order."""
    return [line.partition("=")[2] for line in unit.splitlines() if line.startswith(f"{name}=")]


def systemd_words(text):
    """Words as systemd reads them (systemd.syntax(7)): quotes, then C escapes, then specifiers."""
    return [word.replace("%%", "%") for word in shlex.split(text)]


# Quoting.


def test_words_of_a_unit_are_read_back():
    assert systemd_words(systemd_word(ODD)) == [ODD]
    assert systemd_words(systemd_argument(ODD)) == [ODD.replace("$", "$$")]
    assert systemd_word("/var/lib/edgeloop") == "/var/lib/edgeloop"
    assert systemd_word("") == '""'
    assert systemd_text("100 % sure") == "100 %% sure"


@pytest.mark.parametrize("bad", ["a\nb", "a\x00b", "a\x1bb", "a\udcffb"])
def test_what_would_break_a_line_is_refused(bad):
    for write in (systemd_word, systemd_text, lambda text: environment_line("A", text)):
        with pytest.raises(UsageError):
            write(bad)


@pytest.mark.parametrize(
    "value", [ODD, "", "line\nbreak\ttab", "\x01\x7f", "päth/日本", True, False, 0, -3, 2.5, 1e20, 10**12]
)
def test_toml_is_read_back(value):
    assert tomllib.loads(f"x = {toml_value(value)}") == {"x": value}


@pytest.mark.parametrize(
    "value", ["plain", ODD, "with 'apostrophe' and $HOME and `x` and \\ and \"", "# no comment", " spaces "]
)
def test_environment_files_are_read_back(value):
    """A shell reads quotes of both kinds as systemd and Compose do."""
    line = environment_line("EDGELOOP_X", value)
    done = subprocess.run(
        ["/bin/sh", "-c", f'{line}\nprintf %s "$EDGELOOP_X"'], capture_output=True, text=True, check=True
    )
    assert done.stdout == value


def test_compose_strings_are_read_back():
    assert yaml.safe_load(f"x: {compose_text(ODD)}") == {"x": ODD.replace("$", "$$")}


# Unit.


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"source": "camera:0", "kiosk_port": 8765, "kiosk_token": TOKEN, "server": "host:1"},
        {"source": "/dev/video0", "kiosk_port": 80},
        {"source": ADDRESS},
        {"home": ODD, "source": "/srv/pictures of %n", "passes": 1},
        {"home": "/home/pi/edgeloop home"},
    ],
)
@pytest.mark.parametrize("systemd_version", [0, 252, 257])
def test_systemd_finds_nothing_wrong(tmp_path, told, systemd_version):
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("no systemd-analyze")
    unit = tmp_path / "edgeloop.service"
    unit.write_text(systemd_unit(plan_of(tmp_path, systemd_version=systemd_version, memory_max="600M", **told)))
    done = subprocess.run([analyze, "verify", "--man=no", str(unit)], capture_output=True, text=True, timeout=60)
    # An older systemd than the unit is for does not know these two, and leaves them out.
    newer = ("'RestartSteps'", "'RestartMaxDelaySec'") if systemd_version == 257 else ()
    lines = [line for line in done.stderr.splitlines() if "edgeloop.service" in line]
    said = [line for line in lines if not any(name in line and "Unknown key" in line for name in newer)]
    assert said == [], done.stderr


def test_systemd_is_told_to_watch_and_never_to_give_up(tmp_path):
    unit = systemd_unit(plan_of(tmp_path, server="host:1", source="/srv/pictures"))
    assert values(unit, "Type") == ["notify"]
    assert values(unit, "WatchdogSec") == ["30"]
    assert values(unit, "Restart") == ["always"]
    assert values(unit, "StartLimitIntervalSec") == ["0"]
    assert values(unit, "TimeoutStopSec") == ["5"]
    assert values(unit, "After") == ["network.target"]
    assert "network-online" not in re.sub("#.*", "", unit)
    assert values(unit, "StateDirectory") == ["edgeloop"]
    assert values(unit, "PrivateDevices") == ["yes"]
    assert values(unit, "ProtectHome") == ["yes"]
    assert values(unit, "MemoryMax") == values(unit, "EnvironmentFile") == values(unit, "RestartSteps") == []
    command = systemd_words(values(unit, "ExecStart")[0])
    assert command == [str(tmp_path / "edgeloop"), "device", "run", "--config", "/etc/edgeloop/device.toml"]


def test_the_wait_grows_where_systemd_can(tmp_path):
    unit = systemd_unit(plan_of(tmp_path, systemd_version=254))
    assert values(unit, "RestartSteps") == ["6"]
    assert values(unit, "RestartMaxDelaySec") == ["120"]


def test_a_source_with_an_end_may_end(tmp_path):
    assert values(systemd_unit(plan_of(tmp_path, passes=1)), "Restart") == ["on-failure"]


@pytest.mark.parametrize("source", ["camera:0", "/dev/video2", "/dev/v4l/by-id/usb-cam"])
def test_a_camera_and_no_other_device(tmp_path, source):
    unit = systemd_unit(plan_of(tmp_path, source=source))
    assert values(unit, "DevicePolicy") == ["closed"]
    assert values(unit, "DeviceAllow") == ["char-video4linux rw", "char-media rw"]
    assert values(unit, "SupplementaryGroups") == ["video"]
    assert values(unit, "PrivateDevices") == ["no"]


def test_paths_that_hardening_would_hide_stay_in_sight(tmp_path):
    unit = systemd_unit(plan_of(tmp_path, home="/home/pi/a b", source="/tmp/pictures"))  # noqa: S108
    assert values(unit, "ProtectHome") == ["read-only"]
    assert values(unit, "PrivateTmp") == ["no"]
    assert systemd_words(values(unit, "ReadWritePaths")[0]) == ["/home/pi/a b"]
    assert systemd_words(values(unit, "RequiresMountsFor")[0]) == ["/home/pi/a b"]
    assert values(unit, "StateDirectory") == []


def test_odd_paths_in_a_unit_are_read_back(tmp_path):
    unit = systemd_unit(plan_of(tmp_path, home=ODD, executable=tmp_path / "a b%" / "edgeloop"))
    assert systemd_words(values(unit, "ReadWritePaths")[0]) == [ODD]
    assert systemd_words(values(unit, "ExecStart")[0])[0] == str(tmp_path / "a b%" / "edgeloop")


def test_a_low_port_and_nothing_else(tmp_path):
    assert values(systemd_unit(plan_of(tmp_path, kiosk_port=80)), "AmbientCapabilities") == ["CAP_NET_BIND_SERVICE"]
    assert values(systemd_unit(plan_of(tmp_path, kiosk_port=8765)), "CapabilityBoundingSet") == [""]


def test_hardening_is_judged_by_systemd(tmp_path):
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("no systemd-analyze")
    unit = tmp_path / "edgeloop.service"
    unit.write_text(systemd_unit(plan_of(tmp_path, home="/var/lib/edgeloop", executable=None)))
    command = [analyze, "security", "--offline=yes", "--no-pager", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    found = re.search(r"Overall exposure level[^:]*: ([0-9.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    assert float(found[1]) <= 2.5, done.stdout


def test_users_are_made_by_sysusers(tmp_path):
    text = sysusers(plan_of(tmp_path, home="/srv/a b")) + screen_sysusers()
    rows = [shlex.split(line) for line in text.splitlines() if not line.startswith("#")]
    assert [row for row in rows if row[0] == "u"] == [
        ["u", "edgeloop", "-", "edgeloop device", "/srv/a b"],
        ["u", "edgeloop-screen", "-", "edgeloop screen", "/var/lib/edgeloop-screen", "/bin/sh"],
    ]
    assert ["m", "edgeloop", "video"] in rows


def test_the_screen_shows_the_page_of_this_device(tmp_path):
    unit = screen_unit(plan_of(tmp_path, kiosk_port=8765))
    words = systemd_words(values(unit, "ExecStart")[0])
    assert words[:4] == ["/usr/bin/cage", "-s", "--", "/usr/bin/chromium"]
    assert words[-1] == "http://127.0.0.1:8765/"
    assert "--kiosk" in words
    assert values(unit, "Restart") == ["always"]


# Settings.


def test_settings_are_read_back(tmp_path):
    told = AgentSettings(
        home=tmp_path / 'h"o\\me',
        server="host:1",
        source="camera:0",
        fps=2.5,
        threads=3,
        exit_when_drained=True,
        passes=2,
    )
    plan = make_plan(told, executable=tmp_path / "edgeloop")
    file = tmp_path / "device.toml"
    file.write_text(device_toml(plan))
    assert load_settings(file=file, environment={}, overrides={}) == told


def test_every_setting_is_there_with_its_meaning(tmp_path):
    text = device_toml(plan_of(tmp_path))
    for field in dataclasses.fields(AgentSettings):
        assert re.search(rf"^(# )?{field.name} = ", text, re.MULTILINE), field.name
        assert setting_meanings()[field.name], field.name
    assert "None" not in text
    uncommented = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert uncommented == ["[device]", 'home = "/var/lib/edgeloop"']


def test_what_is_commented_out_are_the_defaults(tmp_path):
    text = device_toml(plan_of(tmp_path))
    defaults = re.sub(r"^# (\w+ = )", r"\1", text, flags=re.MULTILINE)
    found = tomllib.loads(re.sub(r'^\w+ = "\.\.\."$', "", defaults, flags=re.MULTILINE))["device"]
    for field in dataclasses.fields(AgentSettings):
        if field.name != "home" and field.name in found:
            assert found[field.name] == field.default, field.name
    assert len(found) >= len(dataclasses.fields(AgentSettings)) - 2


def test_secrets_are_apart(tmp_path):
    plan = plan_of(tmp_path, source=ADDRESS, kiosk_token=TOKEN, kiosk_port=8765)
    text = "".join(file.text for file in install_files(plan) if file.name != "secrets.env")
    assert "hunter22" not in text
    assert TOKEN not in text
    assert values(systemd_unit(plan), "EnvironmentFile") == ["/etc/edgeloop/secrets.env"]
    lines = dict(line.split("=", 1) for line in secrets_env(plan).splitlines() if not line.startswith("#"))
    assert {name: shlex.split(value)[0] for name, value in lines.items()} == {
        "EDGELOOP_KIOSK_TOKEN": TOKEN,
        "EDGELOOP_SOURCE": ADDRESS,
    }
    file = tmp_path / "device.toml"
    file.write_text(device_toml(plan))
    environment = {name: shlex.split(value)[0] for name, value in lines.items()}
    assert load_settings(file=file, environment=environment, overrides={}) == plan.settings


def test_relative_paths_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = AgentSettings(home=Path("home"), source="pictures", root=Path("root.json"))
    plan = make_plan(told, executable=Path("bin/edgeloop"))
    assert plan.settings.home == tmp_path / "home"
    assert plan.settings.source == str(tmp_path / "pictures")
    assert plan.settings.root == tmp_path / "root.json"
    assert plan.executable == tmp_path / "bin" / "edgeloop"
    assert make_plan(AgentSettings(home=tmp_path, source="camera:0"), executable=tmp_path).settings.source == "camera:0"


# Container.


def instructions(text):
    """What a Dockerfile tells, comments and continued lines taken care of: (instruction, rest)."""
    joined = re.sub(r"\\\n\s*", " ", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE))
    return [tuple(line.split(None, 1)) for line in joined.splitlines() if line.strip()]


KNOWN = {"FROM", "RUN", "COPY", "USER", "ENV", "VOLUME", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD"}


def test_the_image(tmp_path):
    plan = plan_of(tmp_path, source="camera:0", server="host:1", kiosk_port=8765, artifact="onnx")
    found = instructions(dockerfile(plan))
    assert {name for name, _ in found} == KNOWN
    assert found[0] == ("FROM", "python:3.11-slim-bookworm")
    rest = {name: value for name, value in found if name != "RUN"}
    assert rest["USER"] == "edgeloop"
    assert rest["STOPSIGNAL"] == "SIGTERM"
    assert yaml.safe_load(rest["VOLUME"]) == ["/var/lib/edgeloop"]
    assert yaml.safe_load(rest["ENTRYPOINT"]) == ["edgeloop"]
    assert yaml.safe_load(rest["CMD"]) == ["device", "run", "--config", "/etc/edgeloop/device.toml"]
    assert "edgeloop device status" in rest["HEALTHCHECK"]
    install = next(value for name, value in found if name == "RUN" and "pip install" in value)
    assert f'"edgeloop[onnx,sync,update,camera,kiosk]=={__version__}"' in install
    assert "--no-cache-dir" in install
    order = [name for name, _ in found]
    assert order.index("USER") > max(place for place, name in enumerate(order) if name in ("RUN", "COPY"))


def test_the_health_check_tells_a_running_agent_from_a_dead_one(tmp_path):
    health = next(value for name, value in instructions(dockerfile(plan_of(tmp_path))) if name == "HEALTHCHECK")
    check = health.partition(" CMD ")[2].partition("|")[2]
    for said, code in (('{"running": true, "x": 1}', 0), ('{"running": false}', 1), ("", 1)):
        assert subprocess.run(["/bin/sh", "-c", check], input=said, text=True).returncode == code


def test_the_container_runs_as_the_device_was_told(tmp_path):
    (tmp_path / "pictures").mkdir()
    plan = plan_of(
        tmp_path,
        home="/srv/home",
        source=str(tmp_path / "pictures"),
        root=tmp_path / "a $root.json",
        tls_ca=tmp_path / "ca.pem",
        server="host:1",
        memory_max="600M",
    )
    service = yaml.safe_load(compose(plan))["services"]["edgeloop"]
    assert service["restart"] == "unless-stopped"
    assert service["stop_grace_period"] == "10s"
    assert service["mem_limit"] == "600m"
    assert service["environment"] == {
        "EDGELOOP_HOME": "/var/lib/edgeloop",
        "EDGELOOP_SOURCE": "/watched",
        "EDGELOOP_ROOT": "/etc/edgeloop/root.json",
        "EDGELOOP_TLS_CA": "/etc/edgeloop/ca.pem",
    }
    mounts = {volume["target"]: volume for volume in service["volumes"]}
    assert mounts["/var/lib/edgeloop"] == {"type": "volume", "source": "edgeloop", "target": "/var/lib/edgeloop"}
    assert mounts["/etc/edgeloop/root.json"]["source"] == str(tmp_path / "a $$root.json")
    assert all(mount.get("read_only") for target, mount in mounts.items() if target != "/var/lib/edgeloop")
    assert "devices" not in service
    assert "network_mode" not in service


def test_the_container_has_the_camera_and_the_page(tmp_path):
    plan = plan_of(tmp_path, source="camera:1", kiosk_port=8765, kiosk_token=TOKEN)
    service = yaml.safe_load(compose(plan))["services"]["edgeloop"]
    assert service["devices"] == ["/dev/video1:/dev/video1"]
    assert service["group_add"] == ["video"]
    assert service["network_mode"] == "host"
    assert service["env_file"] == ["./secrets.env"]
    assert "EDGELOOP_SOURCE" not in service["environment"]


def test_a_video_keeps_its_name_in_the_container(tmp_path):
    (tmp_path / "clip.mp4").write_bytes(b"x")
    service = yaml.safe_load(compose(plan_of(tmp_path, source=str(tmp_path / "clip.mp4"))))["services"]["edgeloop"]
    assert service["environment"]["EDGELOOP_SOURCE"] == "/watched/clip.mp4"


# Writing.


def test_files_are_written_once(tmp_path):
    settings = AgentSettings(home=tmp_path / "home", kiosk_port=8765, kiosk_token=TOKEN)
    out = tmp_path / "new" / "out"
    told = write_install(settings, out, force=False)
    names = {path.name for path in out.iterdir()}
    assert names == {
        "Dockerfile", "compose.yaml", "device.toml", "edgeloop.service", "edgeloop.sysusers", "secrets.env",
        "edgeloop-screen.service", "edgeloop-screen.sysusers",
    }  # fmt: skip
    assert [line for line in told if line.startswith("wrote ")] == [f"wrote {out / name}" for name in ordered(told)]
    assert stat.S_IMODE((out / "secrets.env").stat().st_mode) == 0o600
    assert stat.S_IMODE((out / "device.toml").stat().st_mode) == 0o644
    assert TOKEN not in "\n".join(told)
    assert write_install(settings, out, force=False) == told, "the same again is no change"


def ordered(told):
    return [line.rpartition("/")[2] for line in told if line.startswith("wrote ")]


def test_a_file_of_somebody_else_is_kept(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "compose.yaml").write_text("mine")
    settings = AgentSettings(home=tmp_path / "home")
    with pytest.raises(UsageError, match=r"compose\.yaml is there already") as caught:
        write_install(settings, out, force=False)
    assert "--force" in caught.value.hint
    assert [path.name for path in out.iterdir()] == ["compose.yaml"]
    assert (out / "compose.yaml").read_text() == "mine"
    write_install(settings, out, force=True)
    assert "services:" in (out / "compose.yaml").read_text()


def test_a_folder_in_the_way(tmp_path):
    (tmp_path / "out" / "Dockerfile").mkdir(parents=True)
    with pytest.raises(UsageError, match="Dockerfile is there already"):
        write_install(AgentSettings(home=tmp_path / "home"), tmp_path / "out", force=False)


def test_the_steps_for_root(tmp_path):
    plan = plan_of(tmp_path, home="/srv/a b", kiosk_port=8765, kiosk_token=TOKEN)
    steps = root_steps(plan, install_files(plan), tmp_path / "the out")
    assert f"install -D -m 600 '{tmp_path}/the out/secrets.env' /etc/edgeloop/secrets.env" in steps
    assert "install -d -o edgeloop -g edgeloop -m 750 '/srv/a b'" in steps
    assert steps[-2:] == ["systemctl daemon-reload", "systemctl enable --now edgeloop"]
    assert steps.index("systemd-sysusers") < steps.index("install -d -o edgeloop -g edgeloop -m 750 '/srv/a b'")
    assert not any("screen" in step for step in steps)
    usual = plan_of(tmp_path)
    assert not any("-o edgeloop" in step for step in root_steps(usual, install_files(usual), tmp_path))


def test_without_systemd_the_files_are_written_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    write_install(AgentSettings(home=tmp_path / "home"), tmp_path / "out", force=False)
    assert "RestartSteps" not in (tmp_path / "out" / "edgeloop.service").read_text()
