"""What the doctor makes of a machine: clock, memory, heat, disk, mounts, software and extras."""

import json
import os
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest
from doctor_subjects import MEMINFO, kernel_says, lay_bundle, make_subject, only

from edge import jsonvalue
from edge.bundle.manifest import ArtifactFormat
from edge.doctor.agent import examine_agent
from edge.doctor.clock import examine_clock
from edge.doctor.disk import examine_room, examine_writing
from edge.doctor.extras import EXTRAS, examine_extras, needed_extras, needs_camera, runtime_extra
from edge.doctor.health import examine_health
from edge.doctor.memory import examine_memory
from edge.doctor.mounts import find_mount
from edge.doctor.probe_models import PROBES
from edge.doctor.processor import examine_processor
from edge.doctor.software import examine_software
from edge.doctor.types import State
from edge.settings import AgentSettings

NOW = 1_800_000_000.0  # 2027-01-15
YEAR = 365 * 86_400.0
THROTTLED = "sys/devices/platform/soc/soc:firmware/get_throttled"
DISK = "179:2"


# Clock.


@pytest.mark.parametrize(
    ("years", "words"), [(-4, "before this edgeloop was written"), (-57, "1970"), (30, "far in the future")]
)
def test_a_clock_that_is_wrong_by_years(tmp_path, years, words):
    found = only(examine_clock(make_subject(tmp_path, now=NOW + years * YEAR)))
    assert found.state is State.FAIL
    assert words in found.detail
    assert found.fix.startswith("connect the device to a time server")


def test_a_clock_that_went_back(tmp_path):
    subject = make_subject(tmp_path, now=NOW)
    subject.home.status.write_bytes(jsonvalue.pretty_bytes({"at": NOW + 86_400}))
    found = only(examine_clock(subject))
    assert (found.state, found.detail.endswith("the clock went back")) == (State.FAIL, True)
    assert "2027-01-16" in found.detail


@pytest.mark.parametrize(
    ("path", "state", "words"),
    [
        ("run/systemd/timesync/synchronized", State.OK, "synchronised"),
        ("run/chrony/chronyd.pid", State.OK, "kept by a time service"),
        ("sys/class/rtc/rtc0/name", State.OK, "by the battery clock"),
        ("proc/nothing", State.WARN, "there is no battery clock"),
    ],
)
def test_who_keeps_the_clock_right(tmp_path, path, state, words):
    kernel_says(tmp_path, path, "")
    found = only(examine_clock(make_subject(tmp_path, now=NOW)))
    assert found.state is state
    assert words in found.detail
    assert "2027-01-15" in found.detail


# Memory and processor.


@pytest.mark.parametrize(
    ("kilobytes", "state"), [(2_000_000, State.OK), (200_000, State.WARN), (50_000, State.FAIL), ("?", State.SKIPPED)]
)
def test_memory_that_is_available(tmp_path, kilobytes, state):
    kernel_says(tmp_path, "proc/meminfo", MEMINFO.format(kilobytes=kilobytes))
    assert only(examine_memory(make_subject(tmp_path))).state is state


def test_the_narrowest_control_group_counts(tmp_path):
    kernel_says(tmp_path, "proc/meminfo", MEMINFO.format(kilobytes=2_000_000))
    kernel_says(tmp_path, "proc/self/cgroup", "0::/system.slice/edgeloop.service\n")
    folder = "sys/fs/cgroup/system.slice"
    kernel_says(tmp_path, f"{folder}/edgeloop.service/memory.max", "max\n")
    kernel_says(tmp_path, f"{folder}/edgeloop.service/memory.current", "100000000\n")
    kernel_says(tmp_path, f"{folder}/memory.max", "300000000\n")
    kernel_says(tmp_path, f"{folder}/memory.current", "250000000\n")
    found = only(examine_memory(make_subject(tmp_path)))
    assert found.state is State.FAIL
    assert found.detail == "2048 MB available, 50 MB left of the control group's 300 MB"


def test_a_control_group_of_version_one(tmp_path):
    kernel_says(tmp_path, "proc/meminfo", MEMINFO.format(kilobytes=2_000_000))
    kernel_says(tmp_path, "proc/self/cgroup", "5:cpu,memory:/edge\n3:devices:/\n")
    kernel_says(tmp_path, "sys/fs/cgroup/memory/edge/memory.limit_in_bytes", "400000000")
    kernel_says(tmp_path, "sys/fs/cgroup/memory/edge/memory.usage_in_bytes", "200000000")
    kernel_says(tmp_path, "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712")
    kernel_says(tmp_path, "sys/fs/cgroup/memory/memory.usage_in_bytes", "1")
    assert only(examine_memory(make_subject(tmp_path))).state is State.WARN


@pytest.mark.parametrize(
    ("bits", "heat", "state", "words", "fix"),
    [
        ("0x0", "48000", State.OK, "48 °C", ""),
        ("0x0", "84500", State.WARN, "84 °C", "fan"),
        ("0x50005", "60000", State.WARN, "too little voltage now, slowed down now", "power supply"),
        ("0x10000", "60000", State.WARN, "too little voltage since the start", "power supply"),
        ("0x80000", "60000", State.WARN, "slowed down since the start", "fan"),
        ("garbage", "60000", State.OK, "60 °C", ""),
    ],
)
def test_heat_and_voltage_of_a_raspberry_pi(tmp_path, bits, heat, state, words, fix):
    kernel_says(tmp_path, THROTTLED, bits + "\n")
    kernel_says(tmp_path, "sys/class/thermal/thermal_zone0/temp", heat + "\n")
    kernel_says(tmp_path, "sys/class/thermal/thermal_zone1/temp", "-274000\n")
    found = only(examine_processor(make_subject(tmp_path)))
    assert (found.state, words in found.detail, fix in found.fix) == (state, True, True)


def test_a_machine_that_tells_nothing(tmp_path):
    subject = make_subject(tmp_path)
    assert only(examine_processor(subject)).state is State.SKIPPED
    assert only(examine_memory(subject)).state is State.SKIPPED
    assert only(examine_health(subject)).state is State.SKIPPED


# Disk.


def mounted(tmp_path, *, point=None, kind="ext4", options="rw,relatime", device=DISK, super_options="rw"):
    place = str(point or tmp_path / "home").replace(" ", "\\040")
    lines = [
        "22 1 0:5 / / rw shared:1 - overlay overlay rw",
        f"36 22 {device} / {place} {options} - {kind} /dev/x {super_options}",
    ]
    kernel_says(tmp_path, "proc/self/mountinfo", "\n".join(lines) + "\n")


def has_disk(tmp_path, **files):
    """A card with a partition that the home lies on, as /sys shows it."""
    folder = "sys/devices/mmc/block/mmcblk0"
    kernel_says(tmp_path, f"{folder}/mmcblk0p2/partition", "2\n")
    for name, text in files.items():
        kernel_says(tmp_path, f"{folder}/device/{name}", text + "\n")
    link = tmp_path / "root/sys/dev/block" / DISK
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / "root" / folder / "mmcblk0p2")
    mounted(tmp_path)


def test_a_mount_is_found_by_its_longest_place(tmp_path):
    (tmp_path / "a b").mkdir()
    mounted(tmp_path, point=tmp_path / "a b", kind="vfat")
    subject = make_subject(tmp_path)
    assert find_mount(subject, tmp_path / "a b").kind == "vfat"
    assert find_mount(subject, tmp_path).kind == "overlay"
    kernel_says(tmp_path, "proc/self/mountinfo", "nonsense\n")
    assert find_mount(subject, tmp_path) is None


@pytest.mark.parametrize("where", ["options", "super_options"])
def test_a_disk_that_is_mounted_read_only(tmp_path, where):
    mounted(tmp_path, **{where: "ro,relatime"})
    found = only(examine_writing(make_subject(tmp_path)))
    assert (found.state, found.detail) == (State.FAIL, f"{tmp_path / 'home'} is mounted read-only")
    assert found.fix.startswith(f"mount -o remount,rw {tmp_path / 'home'}")


@pytest.mark.parametrize("kind", ["overlay", "tmpfs"])
def test_a_home_that_is_gone_tomorrow(tmp_path, kind):
    mounted(tmp_path, kind=kind)
    found = only(examine_writing(make_subject(tmp_path)))
    assert (found.state, "lost with the next start" in found.detail) == (State.WARN, True)
    assert "partition or volume of its own" in found.fix


def test_a_real_write_is_timed_and_leaves_nothing(tmp_path):
    mounted(tmp_path)
    subject = make_subject(tmp_path)
    found = only(examine_writing(subject))
    assert (found.state, found.detail.startswith("64 kB are safe on ext4 after ")) == (State.OK, True)
    assert list(subject.settings.home.iterdir()) == []


def test_a_home_that_may_not_be_written_even_by_root(tmp_path):
    found = only(examine_writing(make_subject(tmp_path, home=Path("/sys/kernel"))))
    assert (found.state, "cannot write /sys/kernel" in found.detail) == (State.FAIL, True)
    assert found.fix == "check the owner and permissions of the folder"


def test_a_home_that_is_not_there_yet_is_judged_by_the_folder_above(tmp_path):
    subject = make_subject(tmp_path, home=tmp_path / "not" / "yet")
    assert only(examine_writing(subject)).state is State.OK
    assert only(examine_room(subject)).detail.endswith(f"free in {tmp_path}")
    assert not (tmp_path / "not").exists()


def test_an_outbox_that_may_outgrow_the_disk(tmp_path):
    found = only(examine_room(make_subject(tmp_path, outbox_max_bytes=10**18)))
    assert (found.state, found.fix.startswith("set outbox_max_bytes to ")) == (State.WARN, True)


@pytest.mark.parametrize(
    ("errors", "files", "state", "words"),
    [
        ("0", {}, State.OK, "0 file system errors on mmcblk0p2"),
        ("3", {}, State.FAIL, "3 file system errors"),
        ("0", {"life_time": "0x01 0x02", "pre_eol_info": "0x01"}, State.OK, "up to 20 % of its life"),
        ("0", {"life_time": "0x09 0x01"}, State.WARN, "up to 90 % of its life"),
        ("0", {"life_time": "0x0B 0x01"}, State.FAIL, "all of its life"),
        ("0", {"pre_eol_info": "0x02"}, State.WARN, "most of its reserve blocks"),
        ("0", {"pre_eol_info": "0x03"}, State.FAIL, "nearly all of its reserve blocks"),
    ],
)
def test_health_of_a_card(tmp_path, errors, files, state, words):
    has_disk(tmp_path, **files)
    kernel_says(tmp_path, "sys/fs/ext4/mmcblk0p2/errors_count", errors + "\n")
    found = only(examine_health(make_subject(tmp_path)))
    assert (found.state, words in found.detail) == (state, True), found
    assert ("make a copy of the home" in found.fix) == (state is not State.OK)


def test_a_card_that_tells_nothing(tmp_path):
    has_disk(tmp_path)
    found = only(examine_health(make_subject(tmp_path)))
    assert (found.state, found.detail) == (State.SKIPPED, "mmcblk0p2 tells nothing of its health")


SMALL_DISK = """
    import json, sys
    from pathlib import Path
    sys.path.insert(0, "tests")
    from doctor_subjects import make_subject
    from device_tests.mounts import leave_shared_mounts, mount_tmpfs
    from edge.doctor.disk import examine_room, examine_writing
    from edge.jsonvalue import to_json
    folder = Path(sys.argv[1])
    leave_shared_mounts()
    (folder / "home").mkdir()
    mount_tmpfs(folder / "home", size_bytes=2_000_000)
    subject = make_subject(folder)
    if sys.argv[2] == "full":
        with (folder / "home" / "large").open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass
    else:
        import ctypes
        flags = 0x20 | 0x1  # MS_REMOUNT, MS_RDONLY
        assert ctypes.CDLL(None).mount(b"none", bytes(folder / "home"), None, ctypes.c_ulong(flags), None) == 0
    print(json.dumps([to_json(one) for one in (*examine_room(subject), *examine_writing(subject))]))
    assert not list((folder / "home").glob("*probe*"))
"""


@pytest.mark.faults
@pytest.mark.parametrize(
    ("fault", "words", "fix"),
    [
        ("full", "no space left on device", "free some space"),
        ("read-only", "read-only file system", "remount the disk"),
    ],
)
def test_a_disk_that_really_cannot_be_written(tmp_path, repository, fault, words, fix):
    command = [sys.executable, "-c", textwrap.dedent(SMALL_DISK), str(tmp_path), fault]
    done = subprocess.run(command, capture_output=True, text=True, cwd=repository, timeout=60)
    if done.returncode == 77:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    room, writing = json.loads(done.stdout)
    assert (room["state"], writing["state"]) == ("fail", "fail")
    assert words in writing["detail"]
    assert fix in writing["fix"]


# Software, extras, agent.


def test_the_machine_is_named(tmp_path):
    kernel_says(tmp_path, "proc/device-tree/model", "Raspberry Pi 4 Model B Rev 1.4\0")
    kernel_says(tmp_path, "etc/os-release", 'ID=debian\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n')
    found = only(examine_software(make_subject(tmp_path)))
    assert found.state is State.OK
    assert found.detail.endswith("Debian GNU/Linux 12 (bookworm), Raspberry Pi 4 Model B Rev 1.4")


def test_a_python_that_is_too_old_or_too_narrow(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "maxsize", 2**31 - 1)
    assert only(examine_software(make_subject(tmp_path))).state is State.WARN
    monkeypatch.setattr(sys, "version_info", (3, 9, 2))
    assert only(examine_software(make_subject(tmp_path))).fix == "install Python 3.11 or newer"


def test_the_extras_are_those_of_the_project(repository):
    declared = tomllib.loads((repository / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    names = {extra: [line.partition(">")[0] for line in declared[extra]] for extra in EXTRAS}
    assert names == {extra: [one.distributions[0] for one in libraries] for extra, libraries in EXTRAS.items()}


@pytest.mark.parametrize(
    ("told", "needed"),
    [
        ({}, {"tflite"}),
        ({"artifact": "onnx"}, {"onnx"}),
        ({"artifact": "model_int8.onnx"}, {"onnx"}),
        ({"server": "h:1"}, {"tflite", "sync", "update"}),
        ({"source": "camera:0"}, {"tflite", "camera"}),
        ({"source": "rtsp://h/live"}, {"tflite", "camera"}),
        ({"source": "/nowhere/clip.mp4"}, {"tflite", "camera"}),
        ({"source": "/nowhere/pictures", "kiosk_port": 8765}, {"tflite", "kiosk"}),
    ],
)
def test_what_the_settings_need(tmp_path, told, needed):
    settings = AgentSettings(home=tmp_path, **told)
    assert set(needed_extras(settings)) == needed
    assert only(examine_extras(make_subject(tmp_path, **told))).state is State.OK


def test_the_runtime_is_that_of_the_bundle(tmp_path, tiny_bundle):
    subject = make_subject(tmp_path)
    lay_bundle(subject.settings.home, tiny_bundle)
    assert runtime_extra(subject.settings) == "tflite"
    assert runtime_extra(AgentSettings(home=subject.settings.home, artifact="tiny_fp32.onnx")) == "onnx"


def test_a_folder_whose_name_has_a_point_is_a_folder(tmp_path):
    (tmp_path / "shop.de").mkdir()
    assert not needs_camera(str(tmp_path / "shop.de"))


MISSING = """
    import json, sys
    from pathlib import Path
    from edge.doctor.examine import examine
    from edge.jsonvalue import to_json
    from edge.settings import AgentSettings
    settings = AgentSettings(home=Path(sys.argv[1]), source="camera:0", kiosk_port=8765, server="127.0.0.1:1")
    print(json.dumps([to_json(one) for one in examine(settings)]))
"""


def test_a_device_that_lacks_an_extra(tmp_path, repository):
    """In the environment with the device extras only."""
    python = repository / ".venv-device" / "bin" / "python"
    if not python.exists():
        pytest.skip("no .venv-device (make .venv-device/.made)")
    done = subprocess.run(
        [str(python), "-c", textwrap.dedent(MISSING), str(tmp_path / "home")],
        capture_output=True,
        text=True,
        cwd=repository,
        timeout=90,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )
    assert done.returncode == 0, done.stderr
    found = {one["name"]: one for one in json.loads(done.stdout)}
    assert found["extras"]["state"] == "fail"
    assert found["extras"]["fix"] == 'pip install "edgeloop[camera,kiosk]"'
    assert "camera lacks opencv-python-headless; kiosk lacks fastapi, uvicorn" in found["extras"]["detail"]
    assert (found["source"]["state"], found["source"]["fix"]) == ("fail", 'pip install "edgeloop[camera]"')
    assert found["runtime tflite, cpu"]["state"] == found["runtime onnx, cpu"]["state"] == "ok"


def test_an_agent_that_is_stuck(tmp_path):
    subject = make_subject(tmp_path, is_running=True, now=NOW)
    assert only(examine_agent(subject)).detail.startswith("running (process ?, starting)")
    subject.home.status.write_bytes(jsonvalue.pretty_bytes({"at": NOW - 1, "pid": 77, "phase": "running"}))
    assert only(examine_agent(subject)).state is State.OK
    subject.home.status.write_bytes(jsonvalue.pretty_bytes({"at": NOW - 300, "pid": 77, "phase": "running"}))
    found = only(examine_agent(subject))
    assert (found.state, found.detail.endswith("has said nothing for 300 s: it is stuck")) == (State.FAIL, True)
    assert "systemctl restart edgeloop" in found.fix
    assert only(examine_agent(make_subject(tmp_path))).detail.startswith("not running")


def test_the_models_that_try_the_runtimes_are_the_tiny_ones(repository):
    sys.path.insert(0, str(repository / "tests" / "models"))
    from make_probe import FILES, expected_answer

    for name, file in FILES.items():
        probe = PROBES[ArtifactFormat[name]]
        assert probe.model == (repository / "tests" / "models" / file).read_bytes()
        assert probe.expected == pytest.approx(expected_answer(), abs=1e-4)
