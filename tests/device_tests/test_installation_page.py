"""The installation in docs/devices.md, typed into an emulated arm64 machine line by line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from arm64_installation import Ran, ensure_wheels, run_commands, what_is_lacking
from device_world import publish, root_file

from edge.bundle.archive import pack

EXTRAS = "device,camera,kiosk"
SECTIONS = ("Install on a Raspberry Pi", "Install on a kiosk PC")
# What cannot run there, by how it begins, and why.
NOT_RUN = {
    "apt-get ": "the root has extracted packages and no package manager; what they bring is part of it",
    "systemctl status ": "no systemd runs there",
    "systemctl start ": "no systemd runs there; the test starts the unit's own command instead",
    "systemctl stop ": "no systemd runs there",
    "systemctl restart ": "no systemd runs there",
    "journalctl ": "no systemd runs there, so there is no journal",
    "LABEL=": "a line of /etc/fstab, no command",
}
# Everything else ends with 0. There is no camera, no network and, in the overlay that the test writes to, no disk.
STATUS = {
    "edgeloop device doctor": 1,
    "systemctl enable --now ": 1,  # enables, and then has no systemd to start it with
}
DISPATCHER = "/etc/NetworkManager/dispatcher.d/50-edgeloop-metered"
# Added by the test, behind the page's own commands that begin so.
ADDED = {
    "systemctl enable --now edgeloop": [
        # What systemd would do, for as long as it takes to begin.
        "timeout --preserve-status -s TERM 40 $(sed -n 's/^ExecStart=//p' /etc/systemd/system/edgeloop.service)",
    ],
    f"chmod 755 {DISPATCHER}": [
        *(
            f"printf '#!/bin/sh\\necho u {metered}\\n' > /usr/local/bin/busctl && chmod 755 /usr/local/bin/busctl"
            f" && {DISPATCHER} eth0 up && ls /var/lib/edgeloop/metered"
            for metered in (1, 2, 3)
        ),
    ],
}


def blocks(page: str) -> Iterator[str]:
    """The indented blocks of the two sections."""
    for section in page.split("\n## ")[1:]:
        if section.partition("\n")[0] not in SECTIONS:
            continue
        lines: list[str] = []
        for line in [*section.splitlines(), "end"]:
            if line.startswith("    "):
                lines.append(line.removeprefix("    "))
            elif lines and not line:
                lines.append("")
            elif lines:
                yield "\n".join(lines).strip("\n")
                lines = []


def commands_of(block: str) -> Iterator[str]:
    """Its commands, with continued lines and here-documents."""
    lines = iter(block.splitlines())
    for line in lines:
        command = line
        while command.endswith("\\"):
            command += "\n" + next(lines)
        if "<<'END'" in command:
            while (more := next(lines)) != "END":
                command += "\n" + more
            command += "\nEND"
        if command.strip():
            yield command


def page_commands(repository: Path) -> list[str]:
    page = (repository / "docs" / "devices.md").read_text()
    return [command for block in blocks(page) for command in commands_of(block)]


def is_run(command: str) -> bool:
    return not command.startswith(tuple(NOT_RUN))


def expected_status(command: str) -> int:
    return next((status for begin, status in STATUS.items() if command.startswith(begin)), 0)


def test_every_exception_is_on_the_page(repository: Path) -> None:
    commands = page_commands(repository)
    assert len(commands) > 30
    for begin in (*NOT_RUN, *STATUS, *ADDED):
        assert any(command.startswith(begin) for command in commands), begin
    assert f'"edgeloop[{EXTRAS}]"' in "\n".join(commands)


def test_blocks_become_commands() -> None:
    here_document = "    cat > x <<'END'\n    1\n\n    2\n    END\n"
    page = f"\n## {SECTIONS[0]}\n\ntext\n\n    a \\\n      b\n{here_document}\nmore\n## Other\n    c\n"
    (block,) = blocks(page)
    assert list(commands_of(block)) == ["a \\\n  b", "cat > x <<'END'\n1\n\n2\nEND"]


@pytest.fixture(scope="module")
def installed(
    tmp_path_factory: pytest.TempPathFactory, repository: Path, make_bundle: object, picture_bytes: object
) -> Iterator[list[Ran]]:
    """What every command came to."""
    if reason := what_is_lacking():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("installation")
    wheels = ensure_wheels(folder, EXTRAS)
    home = folder / "machine" / "upper" / "root"
    (home / "pictures").mkdir(parents=True)
    for colour in ("red", "grey"):
        (home / "pictures" / f"{colour}.png").write_bytes(picture_bytes(colour))  # type: ignore[operator]
    bundle = make_bundle(folder / "bundle")  # type: ignore[operator]
    pack(bundle, home / "shelf.edgebundle")
    publish(folder / "store", bundle, now=1_800_000_000.0)
    shutil.copy(root_file(folder / "store"), home / "1.root.json")
    (home / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n")
    (home / "dist").mkdir()
    for wheel in wheels.glob("edgeloop-*.whl"):
        shutil.copy(wheel, home / "dist")
    typed = []
    for command in page_commands(repository):
        typed += [command, *ADDED.get(command, [])]
    environment = {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": "/wheels",
        "PIP_NO_COMPILE": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "SYSTEMD_OFFLINE": "1",
    }
    yield run_commands(
        [command for command in typed if is_run(command)],
        folder / "machine",
        wheels,
        environment=environment,
        timeout_s=1500,
    )
    shutil.rmtree(folder, ignore_errors=True)


def outputs(installed: list[Ran], begin: str) -> list[str]:
    return [ran.output for ran in installed if ran.command.startswith(begin)]


@pytest.mark.arm64
@pytest.mark.timeout(1800)
def test_every_command_that_can_run_does(installed: list[Ran]) -> None:
    added = {command for commands in ADDED.values() for command in commands}
    wrong = [ran for ran in installed if ran.command not in added and ran.status != expected_status(ran.command)]
    assert wrong == []


@pytest.mark.arm64
@pytest.mark.timeout(1800)
def test_the_first_try_answers(installed: list[Ran]) -> None:
    (said,) = outputs(installed, "edgeloop device run")
    assert said.splitlines()[-1].startswith("2 frames answered, 0 unreadable")


@pytest.mark.arm64
@pytest.mark.timeout(1800)
def test_the_doctor_finds_what_is_wrong_there_and_nothing_else(installed: list[Ran]) -> None:
    said = next(text for text in outputs(installed, "edgeloop device doctor") if text.startswith("{"))
    found = {one["name"]: one for one in json.loads(said)["findings"]}
    assert {name for name, one in found.items() if one["state"] == "fail"} == {"source"}
    assert "camera:0" in found["source"]["detail"]
    assert found["software"]["detail"].count("aarch64") == 1
    assert found["runtime tflite, cpu"]["state"] == "ok"
    assert all(extra in found["extras"]["detail"] for extra in ("tflite", "sync", "update", "camera", "kiosk"))
    online = outputs(installed, "edgeloop device doctor")[0]
    assert any(line.startswith("FAIL  server ") for line in online.splitlines())


@pytest.mark.arm64
@pytest.mark.timeout(1800)
def test_the_unit_is_put_in_place_and_starts(installed: list[Ran]) -> None:
    started = next(ran for ran in installed if ran.command.startswith("timeout "))
    assert "there is no bundle yet; waiting for the first release" in started.output
    (status,) = outputs(installed, "edgeloop device status --config")
    assert status.startswith("agent    not running")
    for number, unit in enumerate(("multi-user.target.wants/edgeloop", "graphical.target.wants/edgeloop-screen")):
        assert f"{unit}.service" in outputs(installed, "systemctl enable --now ")[number]
    users = "\n".join(outputs(installed, "systemd-sysusers"))
    assert "Creating user 'edgeloop' (edgeloop device)" in users
    assert "Creating user 'edgeloop-screen'" in users
    assert "ignoring" not in users


@pytest.mark.arm64
@pytest.mark.timeout(1800)
def test_a_metered_link_is_told(installed: list[Ran]) -> None:
    said = [ran.status for ran in installed if "busctl" in ran.command and ran.command.startswith("printf")]
    assert [status == 0 for status in said] == [True, False, True]
