"""What `edgeloop deploy` writes, built and run by Docker's own engine, by Compose and by systemd.

The image of Python is a stand-in (Debian bookworm with Python 3.11), and so are the services that Compose would fetch:
a real PostgreSQL and an S3 server of this machine answer under their names. All else is as it is written.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import shutil
import ssl
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
import tcp_relay
from cloud_root import ensure_root, run, what_is_lacking
from docker_engine import DockerEngine, running_engine
from enrolled_fleet import until
from installed_wheels import needed_by, write_wheel
from network_spaces import Cable, new_cable
from postgres_server import PostgresServer, running_postgres
from s3_server import has_moto, running_s3
from sample_values import make_picture_sample
from serving import EDGELOOP, edgeloop
from systemd_machine import SystemdMachine, booted
from tiny_bundles import build_bundle

from cloud_train.deploy.container import IMAGE, USER_ID, image_name
from cloud_train.deploy.plan import DeployPlan
from cloud_train.deploy.units import STATE, USER
from edge.errors import EdgeloopError
from edge.identity.command import credentials_of, enroll_by_words
from edge.identity.types import Identity
from edge.outbox.base import Sample
from edge.sync.grpc_transport import GrpcTransport
from edge.sync.types import ReceiptStatus

pytestmark = [pytest.mark.slow, pytest.mark.faults, pytest.mark.server]
SOURCES = ("edge", "converters", "model_zoo", "cloud_train", "pyproject.toml", "README.md", "LICENSE")
STOP_S = 30.0
"""What `stop_grace_period` and `TimeoutStopSec` allow."""
SETTINGS = "PIP_NO_INDEX=1 PIP_DISABLE_PIP_VERSION_CHECK=1"
"""Of pip in the stand-in: there is no registry, all wheels lie beside that of edgeloop."""


@pytest.fixture(scope="module")
def cable() -> Iterator[Cable]:
    lacking = what_is_lacking()
    if lacking:
        pytest.skip(f"faults: {lacking}")
    with new_cable() as cable:
        yield cable


@pytest.fixture(scope="module")
def engine(cable: Cable) -> Iterator[DockerEngine]:
    with running_engine(ensure_root(), cable) as engine:
        yield engine


@pytest.fixture(scope="module")
def folder(engine: DockerEngine, cable: Cable, repository: Path) -> Path:
    """The first two steps of the README: the files, and the wheels."""
    out = engine.scratch / "fleet"
    hosts = ("--host", cable.far_address, "--host", "fleet.example.org")
    done = edgeloop("deploy", "--type", "docker", "--out", out, *hosts, "--servers", 2)
    assert done.returncode == 0, done.stderr
    wheel = own_wheel(repository, engine.scratch / "source", out / "wheels")
    for name in needed_by(wheel, "cloud"):
        write_wheel(name, out / "wheels")
    return out


def own_wheel(repository: Path, source: Path, folder: Path) -> Path:
    """Of a copy, for to make one leaves things behind in the tree."""
    source.mkdir()
    for name in SOURCES:
        copy = shutil.copytree if (repository / name).is_dir() else shutil.copy
        copy(repository / name, source / name)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "-q", "--no-deps")
    run(*pip, "--no-build-isolation", "--wheel-dir", folder, source)
    return next(folder.glob("edgeloop-*.whl"))


@pytest.fixture(scope="module")
def image(engine: DockerEngine, folder: Path) -> str:
    """The image, built from the Dockerfile as it is, but for the line that fetches Docker's newest reader of it."""
    engine.import_root(IMAGE, settings=SETTINGS)
    head, _, rest = (folder / "Dockerfile").read_text().partition("\n")
    assert head.startswith("# syntax=")
    name = image_name(a_plan())
    engine.docker("build", "--network", "none", "--file", "-", "--tag", name, folder, input=rest)
    return name


def a_plan() -> DeployPlan:
    from edge import __version__

    words = dict.fromkeys(("password", "access_key", "secret_key", "console_key"), "")
    return DeployPlan(hosts=("a",), version=__version__, executable=Path("/usr/local/bin/edgeloop"), **words)


@dataclass(frozen=True, slots=True, kw_only=True)
class ComposedFleet:
    """What Compose has started.

    Attributes:
        engine: Which runs it.
        folder: Of the files.
        database: URL of its database, from this machine.
    """

    engine: DockerEngine
    folder: Path
    database: str

    def compose(self, *words: object) -> str:
        files = ("-f", "compose.yaml", "-f", "stand-ins.yaml", "-p", "fleet")
        return run("docker-compose", *files, *words, cwd=self.folder, env=self.engine.environment)

    def admin(self, *words: object) -> str:
        """A line of the README."""
        return self.compose("run", "--rm", "-T", "admin", *words, "--store", "/var/lib/edgeloop")

    def state(self, service: str) -> dict:
        told = json.loads(self.engine.docker("inspect", self.compose("ps", "-q", service).strip()))
        return told[0]["State"]

    def sample(self, digest: str) -> tuple | None:
        with psycopg.connect(self.database) as connection:
            query = "SELECT device_id, checked_at, fault FROM samples WHERE digest = %s"
            return connection.execute(query, (digest,)).fetchone()


@pytest.fixture(scope="module")
def fleet(engine: DockerEngine, folder: Path, image: str, cable: Cable) -> Iterator[ComposedFleet]:
    """Steps three to six: the authority, the owner of the secrets, the start."""
    if shutil.which("docker-compose") is None or not has_moto():
        pytest.skip("server: no docker-compose, or no moto[server]")
    run(*EDGELOOP, "fleet", "init", "--store", "secrets", "--ca", "secrets/ca", "--host", cable.far_address, cwd=folder)
    run("chown", "-R", f"{USER_ID}:{USER_ID}", "secrets", "codes", cwd=folder)
    run("chmod", "-R", "u=rX,go=", "secrets", cwd=folder)
    (folder / "stand-ins.yaml").write_text(json.dumps({"services": stand_ins(image, cable)}))
    build_bundle(folder / "bundles" / "tiny")
    with running_postgres() as postgres, stores(folder, postgres, cable) as database:
        fleet = ComposedFleet(engine=engine, folder=folder, database=database)
        try:
            fleet.compose("up", "--no-build", "--detach")
            yield fleet
        finally:
            fleet.compose("down", "--volumes", "--timeout", 1)


def stand_ins(image: str, cable: Cable) -> dict[str, object]:
    """For the images that are not to be had here: each passes on to a server of this machine, or does nothing."""

    def passing_on(port: int) -> dict[str, object]:
        words = ["python", "-c", Path(tcp_relay.__file__).read_text().replace("$", "$$"), str(port), cable.address]
        check = {"test": ["CMD", "true"], "interval": "1s"}
        return {"image": image, "entrypoint": words, "command": [], "networks": ["front", "back"], "healthcheck": check}

    bucket = {"image": image, "entrypoint": ["true"], "command": [], "healthcheck": {"disable": True}}
    return {"database": passing_on(5432), "objects": passing_on(8333), "bucket": bucket}


@contextlib.contextmanager
def stores(folder: Path, postgres: PostgresServer, cable: Cable) -> Iterator[str]:
    """The database and the bucket that Compose's own images would make, with the password that is in the secrets."""
    password = (folder / "secrets" / "postgres-password").read_text().strip()
    postgres.sql("postgres", "CREATE DATABASE edgeloop")
    postgres.sql("postgres", f"ALTER ROLE edgeloop PASSWORD '{password}'")
    with running_s3() as s3, contextlib.ExitStack() as stack:
        make_bucket(s3.port, "edgeloop")
        for port, target in ((5432, postgres.port), (8333, s3.port)):
            stack.enter_context(tcp_relay.relayed(cable.address, port, target))
        yield postgres.url("edgeloop", password=password)


def make_bucket(port: int, name: str) -> None:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/{name}", method="PUT")
    with urllib.request.urlopen(request, timeout=20) as reply:  # noqa: S310
        assert reply.status == 200


def test_every_container_comes_up_and_the_servers_are_healthy(fleet: ComposedFleet, cable: Cable) -> None:
    for service in ("server-1", "server-2"):
        until(lambda service=service: fleet.state(service)["Health"]["Status"] == "healthy", timeout_s=60)
    assert fleet.state("worker")["Status"] == "running"
    authority = (fleet.folder / "secrets" / "ca" / "ca.pem").read_text()
    for port in (7480, 7580):
        assert answer(f"https://{cable.far_address}:{port}/readyz", authority).strip() == b"ready"


def answer(url: str | urllib.request.Request, authority: str) -> bytes:
    context = ssl.create_default_context(cadata=authority)
    with urllib.request.urlopen(url, context=context, timeout=20) as reply:  # noqa: S310
        return reply.read()


def test_a_container_has_no_rights(fleet: ComposedFleet) -> None:
    look = "cat /proc/self/status; id; stat -c '%u:%g %a' /var/lib/edgeloop; touch /etc/x || echo read-only"
    said = fleet.compose("exec", "-T", "server-1", "sh", "-c", look)
    assert f"uid={USER_ID}(edgeloop) gid={USER_ID}(edgeloop) groups={USER_ID}(edgeloop)" in said
    assert f"{USER_ID}:{USER_ID} 700" in said
    assert "CapBnd:\t0000000000000000" in said
    assert "NoNewPrivs:\t1" in said
    assert "read-only" in said


def test_what_a_device_sends_to_one_server_is_decoded_by_the_worker(
    fleet: ComposedFleet, cable: Cable, tmp_path: Path
) -> None:
    fleet.admin("publish", "/bundles/tiny")
    codes = ("--device-id", "till-7", "--out", "/codes/first", "--server", f"{cable.far_address}:7443")
    fleet.admin("fleet", "enroll", "--ca", "/etc/edgeloop/ca", *codes)
    identity = enrolled(tmp_path / "device", fleet.folder / "codes" / "first" / "till-7.enrol.json")
    sample = make_picture_sample(1)
    with road(f"{cable.far_address}:7543", identity) as server:
        assert [receipt.status for receipt in server.push([(sample, 0)])] == [ReceiptStatus.STORED]
        assert b"".join(server.fetch("metadata/1.root.json", offset=0))
    until(lambda: (fleet.sample(sample.digest) or (None, None))[1] is not None, timeout_s=30)
    found = fleet.sample(sample.digest)
    assert found is not None
    assert (found[0], found[2]) == ("till-7", "")


def enrolled(home: Path, file: Path | None = None, **told: object) -> Identity:
    words = {"server": None, "enroll_server": None, "tls_ca": None, "code": None, "root": None, **told}
    fixed = {"device_id": "", "channel": "", "certificate": None, "key": None, "replace": False}
    return enroll_by_words(file, home, ask=str, **words, **fixed)[0]


def road(target: str, identity: Identity) -> contextlib.closing[GrpcTransport]:
    return contextlib.closing(GrpcTransport(target, identity=credentials_of(identity)))


def test_people_and_the_renewal_of_signatures(fleet: ComposedFleet, cable: Cable) -> None:
    token = fleet.admin("fleet", "people", "add", "anna", "--role", "admin").split()[-1]
    authority = (fleet.folder / "secrets" / "ca" / "ca.pem").read_text()
    request = urllib.request.Request(f"https://{cable.far_address}:7480/api/v1/devices")
    request.add_header("Authorization", f"Bearer {token}")
    assert b"till-7" in answer(request, authority)
    assert "renewed" in fleet.admin("publish", "renew")


def test_a_stop_of_the_containers_drains(fleet: ComposedFleet, cable: Cable, tmp_path: Path) -> None:
    codes = ("--device-id", "till-8", "--out", "/codes/second", "--server", f"{cable.far_address}:7443")
    fleet.admin("fleet", "enroll", "--ca", "/etc/edgeloop/ca", *codes)
    identity = enrolled(tmp_path / "device", fleet.folder / "codes" / "second" / "till-8.enrol.json")
    sample = make_picture_sample(2)
    with under_way(f"{cable.far_address}:7443", identity, sample):
        begun = time.monotonic()
        fleet.compose("stop", "server-1", "worker")
        assert time.monotonic() - begun < STOP_S
    for service in ("server-1", "worker"):
        assert (fleet.state(service)["ExitCode"], fleet.state(service)["OOMKilled"]) == (0, False)
    assert fleet.sample(sample.digest) is not None


@contextlib.contextmanager
def under_way(target: str, identity: Identity, sample: Sample) -> Iterator[None]:
    """A stream that has its receipt and would go on; in the block its server ends it."""
    done = threading.Event()

    def endless() -> Iterator[tuple[Sample, int]]:
        yield sample, 0
        done.wait(2 * STOP_S)

    with road(target, identity) as server:
        receipts = server.push(endless())
        assert next(receipts).status is ReceiptStatus.STORED
        yield
        try:
            with pytest.raises(EdgeloopError):
                next(receipts)
        finally:
            done.set()


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitsFleet:
    """A machine on which somebody has typed what the README says.

    Attributes:
        machine: It.
        said: What each line of the README answered.
    """

    machine: SystemdMachine
    said: dict[str, str]

    def sample(self, digest: str) -> list:
        query = "SELECT device_id, checked_at, fault FROM samples WHERE digest = ?"
        code = "import json, sqlite3, sys; print(json.dumps(sqlite3.connect(sys.argv[1]).execute(*sys.argv[2:3],"
        code += " sys.argv[3:]).fetchone()))"
        words = ["runuser", "-u", USER, "--", "python3", "-c", code, f"{STATE}/meta.sqlite", query, digest]
        return json.loads(self.machine.do(shlex.join(words)))


@pytest.fixture(scope="module")
def units(engine: DockerEngine, image: str, cable: Cable) -> Iterator[UnitsFleet]:
    scratch = engine.scratch / "systemd"
    build_bundle(scratch / "upper" / "tiny")
    with booted(engine.layers(image), scratch, network=cable.name, mounts_of=engine.leader) as machine:
        machine.do(f"edgeloop deploy --type systemd --out /deploy --host {cable.far_address}")
        readme = machine.do("cat /deploy/README.md").replace("YOUR-NAME", "anna").replace("BUNDLE", "/tiny")
        lines = [line.strip() for line in readme.splitlines() if line.startswith("       ")]
        yield UnitsFleet(machine=machine, said={line: machine.do(line, folder="/deploy") for line in lines})


def test_units_of_the_readme_run(units: UnitsFleet, cable: Cable) -> None:
    for unit in ("edgeloop-server.service", "edgeloop-worker.service", "edgeloop-renew.timer"):
        found = [units.machine.property_of(unit, name) for name in ("ActiveState", "NRestarts")]
        assert found in (["active", "0"], ["active", ""]), units.machine.log_of(unit)  # a timer counts no restarts
    authority = units.machine.do("cat /etc/edgeloop-cloud/ca.pem")
    until(lambda: is_ready(f"https://{cable.far_address}:7480/readyz", authority), timeout_s=60)


def is_ready(url: str, authority: str) -> bool:
    try:
        return answer(url, authority).strip() == b"ready"
    except OSError:
        return False


@pytest.mark.parametrize("unit", ["edgeloop-server", "edgeloop-worker"])
def test_a_unit_has_no_rights(units: UnitsFleet, unit: str) -> None:
    process = units.machine.property_of(unit, "MainPID")
    status = units.machine.do(f"cat /proc/{process}/status")
    user = units.machine.do(f"id -u {USER}").strip()
    assert f"Uid:\t{user}\t" in status
    assert int(user) > 0
    for line in ("CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"):
        assert line in status
    inside = units.machine.do(f"nsenter --target {process} --net ip -brief link").split()
    assert [word for word in inside if word.startswith("edgeloop")] == [] or unit == "edgeloop-server"


def test_what_a_device_sends_is_decoded_by_the_worker(units: UnitsFleet, cable: Cable, tmp_path: Path) -> None:
    identity = enrolled_by_code(units, cable, tmp_path, place=0)
    sample = make_picture_sample(3)
    with road(f"{cable.far_address}:7443", identity) as server:
        assert [receipt.status for receipt in server.push([(sample, 0)])] == [ReceiptStatus.STORED]
        assert b"".join(server.fetch("metadata/1.root.json", offset=0))
    until(lambda: units.sample(sample.digest)[1] is not None, timeout_s=30)
    assert units.sample(sample.digest)[2] == ""


def enrolled_by_code(units: UnitsFleet, cable: Cable, folder: Path, *, place: int) -> Identity:
    """By what the README says that a device needs."""
    made = next(said for line, said in units.said.items() if " fleet enroll " in line)
    authority, root = folder / "ca.pem", folder / "1.root.json"
    authority.write_text(units.machine.do("cat /etc/edgeloop-cloud/ca.pem"))
    root.write_text(units.machine.do(f"cat {STATE}/repository/metadata/1.root.json"))
    told = {"server": f"{cable.far_address}:7443", "tls_ca": authority, "root": root}
    return enrolled(folder / "device", code=made.split()[place], **told)


def test_the_timer_s_service_renews(units: UnitsFleet) -> None:
    units.machine.do("systemctl start edgeloop-renew.service")
    assert units.machine.property_of("edgeloop-renew.service", "Result") == "success"
    assert "renewed" in units.machine.log_of("edgeloop-renew.service")


def test_a_service_that_is_killed_is_started_again(units: UnitsFleet) -> None:
    before = units.machine.property_of("edgeloop-worker", "MainPID")
    units.machine.do("systemctl kill --signal=KILL edgeloop-worker")
    until(lambda: units.machine.property_of("edgeloop-worker", "MainPID") not in (before, "0"), timeout_s=30)
    until(lambda: units.machine.property_of("edgeloop-worker", "ActiveState") == "active")


def test_a_stop_of_the_units_drains(units: UnitsFleet, cable: Cable, tmp_path: Path) -> None:
    sample = make_picture_sample(4)
    with under_way(f"{cable.far_address}:7443", enrolled_by_code(units, cable, tmp_path, place=1), sample):
        until(lambda: units.sample(sample.digest)[1] is not None, timeout_s=30)  # the worker has come up again
        begun = time.monotonic()
        units.machine.do("systemctl stop edgeloop-server edgeloop-worker")
        assert time.monotonic() - begun < STOP_S
    for unit in ("edgeloop-server", "edgeloop-worker"):
        found = [units.machine.property_of(unit, name) for name in ("Result", "ExecMainStatus")]
        assert found == ["success", "0"], units.machine.log_of(unit)
