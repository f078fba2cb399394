"""`edgeloop deploy`: the files, and what their own parsers say of them."""

from __future__ import annotations

import http.server
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import click
import pytest
import yaml
from serving import Finished

from cloud_train.cli import edgeloop
from cloud_train.deploy.health import is_ready
from cloud_train.deploy.pins import installed_pins
from cloud_train.deploy.plan import DeployPlan, DeployType
from cloud_train.deploy.reach import barred_by
from cloud_train.deploy.write import deploy_files, write_deployment
from cloud_train.settings import PlaceSettings, ServeSettings
from cloud_train.store.location import read_location
from edge import durable
from edge.errors import UsageError

SECRETS = ("the-password-of-the-database", "theaccesskey", "the-secret-key", "c0" * 32)
PLAN = DeployPlan(
    hosts=("fleet.example.org", "10.0.0.4"),
    version="0.1.0",
    executable=Path("/opt/edgeloop/bin/edgeloop"),
    pins=("numpy==2.4.6",),
    password=SECRETS[0],
    access_key=SECRETS[1],
    secret_key=SECRETS[2],
    console_key=SECRETS[3],
)
PLANS = {
    "own": PLAN,
    "three servers": replace(PLAN, servers=3),
    "own database": replace(PLAN, objects="s3://pictures/fleet", endpoint="https://s3.example.org"),
    "own objects": replace(PLAN, database="postgresql://edgeloop:p%40ss@db.example.org/edgeloop"),
    "all elsewhere": replace(
        PLAN, database="postgresql://edgeloop:p%40ss@db.example.org/edgeloop", objects="s3://pictures/fleet"
    ),
    "odd place": replace(PLAN, executable=Path("/home/anna/my tools/$HOME/100% %d/bin/edgeloop"), hosts=("::1",)),
}
each_plan = pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS.keys())


def written(plan: DeployPlan, kind: DeployType, folder: Path) -> Path:
    write_deployment(plan, kind, folder, force=False)
    return folder


Deployed = Callable[[DeployPlan, DeployType], Path]


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Deployed:
    """The folder of a plan, written once for all tests that only read it."""
    there: list[tuple[DeployPlan, DeployType, Path]] = []

    def folder_of(plan: DeployPlan, kind: DeployType) -> Path:
        for known, of_kind, folder in there:
            if (known, of_kind) == (plan, kind):
                return folder
        there.append((plan, kind, written(plan, kind, tmp_path_factory.mktemp("deployed") / "out")))
        return there[-1][2]

    return folder_of


def composed(plan: DeployPlan) -> dict:
    return yaml.safe_load(
        next(file.text for file in deploy_files(plan, DeployType.DOCKER) if file.name == "compose.yaml")
    )


def tool(name: str) -> str:
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.is_file() else shutil.which(name)
    if found is None:
        pytest.skip(f"no {name}")
    return found


def run(*words: object, folder: Path | None = None) -> str:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, cwd=folder, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@each_plan
@pytest.mark.parametrize("kind", DeployType)
def test_secrets_are_in_files_of_their_own_and_nowhere_else(
    plan: DeployPlan, kind: DeployType, deployed: Deployed
) -> None:
    folder = deployed(plan, kind)
    for file in deploy_files(plan, kind):
        path = folder / file.name
        mode = path.stat().st_mode & 0o777
        assert path.read_text() == file.text
        if file.is_kept or file.name == "edgeloop.env":
            assert mode == 0o600, file.name
        if not file.is_kept:
            assert not [secret for secret in (*SECRETS, "p%40ss") if secret in file.text], file.name
    if kind is DeployType.DOCKER:
        assert (folder / "secrets").stat().st_mode & 0o777 == 0o700


@each_plan
def test_compose_gives_nobody_more_than_they_need(plan: DeployPlan) -> None:
    found = composed(plan)
    services = found["services"]
    for name, service in services.items():
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["read_only"] is True, name
        assert {"mem_limit", "cpus", "pids_limit"} <= service.keys(), name
        assert ("ports" in service) == name.startswith("server"), name
        for secret in service.get("secrets", []):
            assert secret["source"] in found["secrets"], name
        for other in service.get("depends_on", {}):
            assert other in services, name
    for inner in {"database", "objects", "bucket"} & services.keys():
        assert services[inner]["networks"] == ["back"]
    assert found["networks"]["back"] == {"internal": True}
    assert ("database" in services) == (not plan.database)
    assert ("objects" in services) == (not plan.objects)
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert len(ports) == len(set(ports)) == 3 * plan.servers
    assert services["worker"]["command"][0] == "worker"


@each_plan
def test_every_setting_that_is_written_is_one(plan: DeployPlan) -> None:
    known = {f"EDGELOOP_SERVE_{name.upper()}" for name in ServeSettings.model_fields}
    known |= {f"EDGELOOP_{name.upper()}" for name in PlaceSettings.model_fields}
    for kind in DeployType:
        for file in deploy_files(plan, kind):
            assert set(re.findall(r"EDGELOOP_[A-Z_]+", file.text)) <= known, file.name


@each_plan
def test_the_store_is_found_where_its_secret_says(plan: DeployPlan, deployed: Deployed) -> None:
    folder = deployed(plan, DeployType.DOCKER)
    location = read_location(folder / "secrets")
    wanted = "db.example.org" if plan.database else "@database/"
    assert wanted in str(location.database)
    assert str(location.objects) == (plan.objects or "s3://edgeloop/fleet")


def commands(text: str) -> Iterator[list[str]]:
    """What the README has people type, without what is before the `edgeloop` of it."""
    for line in text.replace("\\\n", " ").splitlines():
        found = re.match(r"\s+(?:\S+=\S+ )*(?:docker compose run --rm admin|.*\S*edgeloop['\"]?) (?=[a-z])(.*)", line)
        if found and not line.strip().startswith(("install", "systemctl", "[")):
            yield found[1].split()


@each_plan
@pytest.mark.parametrize("kind", DeployType)
def test_the_commands_of_the_readme_are_commands(plan: DeployPlan, kind: DeployType) -> None:
    readme = next(file.text for file in deploy_files(plan, kind) if file.name == "README.md")
    found = list(commands(readme))
    assert len(found) >= (5 if kind is DeployType.DOCKER else 2)
    for words in found:
        context = click.Context(edgeloop)
        command: click.Command = edgeloop
        while isinstance(command, click.Group) and words and not words[0].startswith("-"):
            inner = command.get_command(context, words[0])
            if inner is None:
                break
            command, words = inner, words[1:]
        options = {option for one in command.params for option in one.opts}
        if isinstance(command, click.Group):  # `publish BUNDLE` is `publish bundle BUNDLE`
            options |= {option for one in command.commands.values() for param in one.params for option in param.opts}
        assert {word for word in words if word.startswith("--")} <= options, words


@pytest.mark.parametrize(
    "plan",
    [
        pytest.param(plan, id=name, marks=[] if name in ("three servers", "all elsewhere") else pytest.mark.slow)
        for name, plan in PLANS.items()
    ],
)
def test_compose_is_taken_by_compose(plan: DeployPlan, deployed: Deployed) -> None:
    program = shutil.which("docker-compose")
    if program is None:
        pytest.skip("no docker-compose")
    folder = deployed(plan, DeployType.DOCKER)
    shown = yaml.safe_load(run(program, "config", folder=folder))
    assert shown["services"].keys() | {"admin"} == composed(plan)["services"].keys()


def test_the_dockerfile_is_taken_by_docker_s_own_parser(deployed: Deployed) -> None:
    parser = pytest.importorskip("dockerfile")
    folder = deployed(PLAN, DeployType.DOCKER)
    found = parser.parse_file(str(folder / "Dockerfile"))
    assert [one.cmd.upper() for one in found].count("FROM") == 2
    assert found[-1].value == ("serve",)
    users = [one.value[0] for one in found if one.cmd.upper() == "USER"]
    assert users == ["10001:10001"]


def test_the_image_takes_edgeloop_from_no_registry(deployed: Deployed) -> None:
    """Whoever put something of that name there would run as the server of the fleet."""
    parser = pytest.importorskip("dockerfile")
    found = parser.parse_file(str(deployed(PLAN, DeployType.DOCKER) / "Dockerfile"))
    (made,) = [one.value[0].split() for one in found if one.cmd.upper() == "RUN" and "pip wheel" in one.value[0]]
    assert [word for word in made if "edgeloop" in word] == ['"./given/edgeloop-0.1.0-py3-none-any.whl[cloud]"']


def test_hadolint_has_nothing_to_say(deployed: Deployed) -> None:
    folder = deployed(PLAN, DeployType.DOCKER)
    assert run(tool("hadolint"), "--failure-threshold", "style", folder / "Dockerfile") == ""


@each_plan
def test_units_are_taken_by_systemd(plan: DeployPlan, deployed: Deployed) -> None:
    program = tool("systemd-analyze")
    there = Path(sys.executable).parent / "edgeloop"  # systemd looks whether the program exists
    plan = plan if " " in str(plan.executable) else replace(plan, executable=there)
    folder = deployed(plan, DeployType.SYSTEMD)
    units = sorted(folder.glob("*.service")) + sorted(folder.glob("*.timer"))
    assert len(units) == 4
    done = subprocess.run([program, "verify", *map(str, units)], capture_output=True, text=True, check=False)
    said = [line for line in done.stderr.splitlines() if str(folder) in line or "edgeloop" in line]
    assert [line for line in said if "is not executable" not in line] == []


def test_units_are_shut_in(deployed: Deployed) -> None:
    program = tool("systemd-analyze")
    units = sorted(deployed(PLAN, DeployType.SYSTEMD).glob("*.service"))
    assert units
    for unit in units:
        run(program, "security", "--offline=yes", "--threshold=20", unit)


def test_a_worker_that_needs_no_road_has_none() -> None:
    def worker(plan: DeployPlan) -> str:
        return next(f.text for f in deploy_files(plan, DeployType.SYSTEMD) if f.name == "edgeloop-worker.service")

    assert "PrivateNetwork=yes" in worker(PLAN)
    assert "PrivateNetwork" not in worker(PLANS["all elsewhere"])


@pytest.mark.parametrize(
    ("places", "said"),
    [
        ({}, "ProtectHome=yes\nPrivateTmp=yes"),
        ({"prefix": Path("/home/anna/.local/share/python")}, "ProtectHome=read-only\nPrivateTmp=yes"),
        ({"executable": Path("/root/venv/bin/edgeloop")}, "ProtectHome=read-only\nPrivateTmp=yes"),
        ({"prefix": Path("/tmp/python")}, "ProtectHome=yes\nPrivateTmp=no"),  # noqa: S108
    ],
)
def test_a_unit_sees_the_program_and_its_python(places: dict[str, Path], said: str) -> None:
    units = [f.text for f in deploy_files(replace(PLAN, **places), DeployType.SYSTEMD) if f.name.endswith(".service")]
    assert len(units) == 3
    assert all(said in unit for unit in units)


def test_a_program_that_others_cannot_reach_is_told() -> None:
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders bar others already
        top, tools = Path(folder), Path(folder) / "tools"
        top.chmod(0o755)
        (tools / "bin").mkdir(parents=True)
        program = tools / "bin" / "edgeloop"
        program.touch()
        assert barred_by(program, Path("/nowhere/at/all")) is None
        tools.chmod(0o700)
        assert barred_by(Path("/usr/bin/env"), program) == tools


def test_an_address_of_version_6_is_written_as_one(deployed: Deployed) -> None:
    for kind in DeployType:
        readme = (deployed(PLANS["odd place"], kind) / "README.md").read_text()
        assert "https://[::1]:7480/" in readme
        assert " [::1]:7443" in readme


def test_what_is_there_is_not_replaced_but_by_force_and_secrets_never(tmp_path: Path) -> None:
    folder = written(PLAN, DeployType.DOCKER, tmp_path / "out")
    other = replace(PLAN, hosts=("other.example.org",), password="another")  # noqa: S106
    with pytest.raises(UsageError, match=r"compose\.yaml is there already"):
        write_deployment(other, DeployType.DOCKER, folder, force=False)
    assert "fleet.example.org" in (folder / "compose.yaml").read_text()
    told = write_deployment(other, DeployType.DOCKER, folder, force=True)
    assert "other.example.org" in (folder / "compose.yaml").read_text()
    assert (folder / "secrets" / "postgres-password").read_text() == f"{SECRETS[0]}\n"
    assert f"kept {folder / 'secrets/postgres-password'}" in told


def test_the_same_again_changes_nothing(tmp_path: Path) -> None:
    folder = written(PLAN, DeployType.SYSTEMD, tmp_path / "out")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    write_deployment(PLAN, DeployType.SYSTEMD, folder, force=False)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("stop_at", [1, 2, 9, 17])
def test_a_write_that_is_cut_off_leaves_nothing(tmp_path: Path, stop_at: int) -> None:
    reached: list[str] = []

    def observer(point: str) -> None:
        reached.append(point)
        if len(reached) == stop_at:
            raise KeyboardInterrupt

    durable.observe(observer)
    try:
        with pytest.raises(KeyboardInterrupt):
            write_deployment(PLAN, DeployType.DOCKER, tmp_path / "out", force=False)
    finally:
        durable.observe(None)
    assert list(tmp_path.iterdir()) == []


BAD = {
    "no name": (["--type", "docker"], 2, "--host"),
    "no such type": (["--type", "kubernetes", "--host", "a.example.org"], 2, "kubernetes"),
    "a name that is none": (["--type", "docker", "--host", "not a name"], 2, "not a name"),
    "a file for a database": (["--type", "docker", "--host", "a", "--database", "sqlite:///x"], 2, "database"),
    "a database that is none": (["--type", "docker", "--host", "a", "--database", "mongodb://x/y"], 2, "database"),
    "a folder for objects": (["--type", "docker", "--host", "a", "--objects", "file:///srv"], 2, "object store"),
    "an endpoint that is none": (["--type", "docker", "--host", "a", "--endpoint", "s3.example.org"], 2, "address"),
    "too many servers": (["--type", "docker", "--host", "a", "--servers", "9"], 2, "servers"),
    "no servers": (["--type", "docker", "--host", "a", "--servers", "0"], 2, "servers"),
    "two servers on a machine": (["--type", "systemd", "--host", "a", "--servers", "2"], 2, "one server"),
}


@pytest.mark.parametrize(("words", "code", "said"), BAD.values(), ids=BAD.keys())
def test_bad_input(run_here: Callable[..., Finished], tmp_path: Path, words: list[str], code: int, said: str) -> None:
    done = run_here("deploy", "--out", tmp_path / "out", *words)
    assert done.returncode == code
    assert said in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_no_folder(run_here: Callable[..., Finished], tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    done = run_here("deploy", "--out", tmp_path / "out", "--type", "docker", "--host", "a.example.org")
    assert (done.returncode, (tmp_path / "out").read_text()) == (2, "mine")
    assert "not a folder" in done.stderr


def test_the_command_makes_new_secrets_each_time(run_here: Callable[..., Finished], tmp_path: Path) -> None:
    for name in ("a", "b"):
        done = run_here("deploy", "--out", tmp_path / name, "--type", "docker", "--host", "a.example.org")
        assert done.returncode == 0, done.stderr
    for name in ("console.key", "postgres-password", "aws-credentials"):
        a, b = ((tmp_path / one / "secrets" / name).read_text() for one in "ab")
        assert a != b
        assert len(a) > 40


def test_pins_are_lines_of_a_constraints_file() -> None:
    pins = installed_pins(metadata.distributions())
    assert "edgeloop" not in {pin.split("==")[0] for pin in pins}
    assert [pin for pin in pins if not re.fullmatch(r"[a-z0-9-]+==[0-9][A-Za-z0-9.!]*", pin)] == []
    assert len(pins) > 20


class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/readyz" else 503)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


def test_health_is_what_the_server_says() -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}"
        assert is_ready(f"{address}/readyz")
        assert not is_ready(f"{address}/other")
        server.shutdown()
        thread.join()
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        assert not is_ready(f"http://127.0.0.1:{nobody.getsockname()[1]}/readyz")
    assert not is_ready("file:///etc/passwd")
