"""`compose.yaml`: servers, a worker, PostgreSQL, an S3-compatible store.

The object store is SeaweedFS: Apache-2.0, one program, S3 built in, keys from a file. (MinIO and Garage are AGPL-3.0.)
"""

from __future__ import annotations

import json

from cloud_train.deploy.container import HOME, image_name
from cloud_train.deploy.plan import ENROLL_PORT, GRPC_PORT, HTTP_PORT, DeployPlan
from edge.install.quoting import compose_text

POSTGRES = "postgres:17-bookworm"
SEAWEEDFS = "chrislusf/seaweedfs:3.85"
BUCKET = "edgeloop"
S3_PORT = 8333
_PORT_STEP = 100
_SECRETS = {
    "store": "store.toml",
    "aws": "aws-credentials",
    "console": "console.key",
    "ca-key": "ca/ca.key.pem",
    "ca": "ca/ca.pem",
}
_TARGETS = {
    "store": f"{HOME}/store.toml",
    "aws": "/run/secrets/aws-credentials",
    "console": "/run/secrets/console.key",
    "ca-key": "/etc/edgeloop/ca/ca.key.pem",
    "ca": "/etc/edgeloop/ca/ca.pem",
}


def compose(plan: DeployPlan) -> str:
    """The whole file.

    Args:
        plan: What is deployed.
    """
    parts = [_head(plan), _servers(plan), _worker(plan), _admin(plan)]
    parts += [] if plan.database else [_database()]
    parts += [] if plan.objects else [_objects()]
    return "\n".join([*parts, _networks(), _volumes(plan), _secrets(plan)])


def secret_files(plan: DeployPlan) -> dict[str, str]:
    """Name to content of the secrets that are made here; those of the authority are made by `edgeloop fleet init`."""
    database = plan.database or f"postgresql+psycopg://edgeloop:{plan.password}@database/edgeloop"
    objects = plan.objects or f"s3://{BUCKET}/fleet"
    files = {
        "store.toml": f"format = 1\ndatabase = {json.dumps(database)}\nobjects = {json.dumps(objects)}\n",
        "console.key": f"{plan.console_key}\n",
    }
    if plan.objects:
        return {**files, "aws-credentials": _credentials("PUT-YOUR-KEY-HERE", "PUT-YOUR-SECRET-HERE")} | _password(plan)
    identity = {
        "name": "edgeloop",
        "credentials": [{"accessKey": plan.access_key, "secretKey": plan.secret_key}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    s3 = json.dumps({"identities": [identity]}, indent=2)
    return {
        **files,
        "aws-credentials": _credentials(plan.access_key, plan.secret_key),
        "s3.json": f"{s3}\n",
    } | _password(plan)


def _password(plan: DeployPlan) -> dict[str, str]:
    return {} if plan.database else {"postgres-password": f"{plan.password}\n"}


def _credentials(key: str, secret: str) -> str:
    return f"[default]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n"


def _head(plan: DeployPlan) -> str:
    endpoint = plan.endpoint if plan.objects else f"http://objects:{S3_PORT}"
    environment = {
        "AWS_SHARED_CREDENTIALS_FILE": _TARGETS["aws"],
        "AWS_EC2_METADATA_DISABLED": "true",
        **({"EDGELOOP_OBJECTS_ENDPOINT": endpoint} if endpoint else {}),
    }
    lines = [f"    {name}: {compose_text(value)}" for name, value in environment.items()]
    waits = _waits(plan)
    return "\n".join(
        [
            "# What every process of edgeloop has: no rights, no writable root, and its secrets as files.",
            "x-edgeloop: &edgeloop",
            "  build: .",
            f"  image: {compose_text(image_name(plan))}",
            "  restart: unless-stopped",
            "  init: true",
            "  read_only: true",
            "  tmpfs:",
            '    - "/tmp"',
            "  cap_drop:",
            '    - "ALL"',
            "  security_opt:",
            '    - "no-new-privileges:true"',
            "  pids_limit: 512",
            "  env_file:",
            '    - "./edgeloop.env"',
            "  environment: &environment",
            *lines,
            *waits,
            "",
            "services:",
        ]
    )


def _waits(plan: DeployPlan) -> list[str]:
    conditions = {} if plan.database else {"database": "service_healthy"}
    conditions |= {} if plan.objects else {"bucket": "service_completed_successfully"}
    lines = [line for name, what in conditions.items() for line in (f"    {name}:", f"      condition: {what}")]
    return ["  depends_on:", *lines] if lines else []


def _servers(plan: DeployPlan) -> str:
    names = ["server"] if plan.servers == 1 else [f"server-{number + 1}" for number in range(plan.servers)]
    return "\n".join(_server(plan, name, number * _PORT_STEP) for number, name in enumerate(names))


def _server(plan: DeployPlan, name: str, shift: int) -> str:
    told = {
        "EDGELOOP_SERVE_LISTEN": f"0.0.0.0:{GRPC_PORT}",
        "EDGELOOP_SERVE_ENROLL_LISTEN": f"0.0.0.0:{ENROLL_PORT}",
        "EDGELOOP_SERVE_HTTP_LISTEN": f"0.0.0.0:{HTTP_PORT}",
        "EDGELOOP_SERVE_HOST": plan.host_setting,
        "EDGELOOP_SERVE_CA": "/etc/edgeloop/ca",
        "EDGELOOP_SERVE_CONSOLE_KEY": _TARGETS["console"],
        "EDGELOOP_SERVE_WORKER": "false",
    }
    ports = [f'      - "{port + shift}:{port}"' for port in (GRPC_PORT, ENROLL_PORT, HTTP_PORT)]
    return "\n".join(
        [
            f"  {name}:",
            "    <<: *edgeloop",
            '    command: ["serve"]',
            "    environment:",
            "      <<: *environment",
            *(f"      {key}: {compose_text(value)}" for key, value in told.items()),
            "    ports:",
            *ports,
            '    networks: ["front", "back"]',
            "    stop_grace_period: 30s",
            "    mem_limit: 1g",
            "    cpus: 2",
            *_scratch(),
            *_given("store", "aws", "console", "ca-key", "ca"),
            "",
        ]
    )


def _worker(plan: DeployPlan) -> str:
    return "\n".join(
        [
            "  # It decodes what strangers sent: of all that is here it may reach only the database and the pictures.",
            "  worker:",
            "    <<: *edgeloop",
            f'    command: ["worker", "--store", "{HOME}"]',
            f"    networks: {json.dumps(_inner_networks(plan))}",
            "    stop_grace_period: 30s",
            "    mem_limit: 1g",
            "    cpus: 1",
            "    # It listens nowhere; when it fails it ends, and is started again.",
            "    healthcheck:",
            "      disable: true",
            *_scratch(),
            *_given("store", "aws"),
            "",
        ]
    )


def _admin(plan: DeployPlan) -> str:
    return "\n".join(
        [
            "  # For people: docker compose run --rm admin fleet people add ...; its volume holds the signing keys.",
            "  admin:",
            "    <<: *edgeloop",
            '    profiles: ["admin"]',
            '    restart: "no"',
            "    mem_limit: 2g",
            "    cpus: 2",
            f"    networks: {json.dumps(_inner_networks(plan))}",
            "    healthcheck:",
            "      disable: true",
            "    volumes:",
            f'      - "keys:{HOME}"',
            '      - "./bundles:/bundles:ro"',
            '      - "./codes:/codes"',
            *_given("store", "aws", "ca-key", "ca"),
            "",
        ]
    )


def _inner_networks(plan: DeployPlan) -> list[str]:
    """Of what nobody calls: the inner one, and one with a way out only where the data lie elsewhere."""
    is_elsewhere, is_here = bool(plan.database or plan.objects), not (plan.database and plan.objects)
    return ["front"] * is_elsewhere + ["back"] * is_here


def _database() -> str:
    return f"""\
  database:
    image: "{POSTGRES}"
    restart: unless-stopped
    environment:
      POSTGRES_USER: edgeloop
      POSTGRES_DB: edgeloop
      POSTGRES_PASSWORD_FILE: /run/secrets/postgres-password
      POSTGRES_INITDB_ARGS: "--data-checksums"
    networks: ["back"]
    read_only: true
    tmpfs:
      - "/tmp"
      - "/run/postgresql"
    cap_drop:
      - "ALL"
    cap_add: ["CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"]
    security_opt:
      - "no-new-privileges:true"
    shm_size: 256m
    mem_limit: 1g
    cpus: 2
    pids_limit: 512
    stop_grace_period: 60s
    healthcheck:
      test: ["CMD", "pg_isready", "-q", "-U", "edgeloop", "-d", "edgeloop"]
      interval: 5s
      timeout: 5s
      retries: 12
      start_period: 30s
    volumes:
      - "database:/var/lib/postgresql/data"
    secrets:
      - source: postgres-password
        target: /run/secrets/postgres-password
"""


def _objects() -> str:
    return f"""\
  objects:
    image: "{SEAWEEDFS}"
    restart: unless-stopped
    # The image's own start script would reserve disk ahead.
    entrypoint: ["/usr/bin/weed"]
    command:
      - "server"
      - "-dir=/data"
      - "-ip=objects"
      - "-ip.bind=0.0.0.0"
      - "-master.volumeSizeLimitMB=1024"
      - "-volume.max=0"
      - "-s3"
      - "-s3.port={S3_PORT}"
      - "-s3.config=/run/secrets/s3.json"
    networks: ["back"]
    read_only: true
    tmpfs:
      - "/tmp"
    cap_drop:
      - "ALL"
    # It runs as root, who without this could not read a secret of another user's.
    cap_add: ["DAC_READ_SEARCH"]
    security_opt:
      - "no-new-privileges:true"
    mem_limit: 1g
    cpus: 2
    pids_limit: 512
    stop_grace_period: 30s
    healthcheck:
      test: ["CMD", "wget", "-q", "-O", "/dev/null", "http://127.0.0.1:{S3_PORT}/healthz"]
      interval: 5s
      timeout: 5s
      retries: 12
      start_period: 30s
    volumes:
      - "objects:/data"
    secrets:
      - source: s3
        target: /run/secrets/s3.json

  # Makes the bucket once; where it is there already nothing happens.
  bucket:
    image: "{SEAWEEDFS}"
    restart: "no"
    entrypoint: ["/bin/sh", "-c"]
    command: ["echo 's3.bucket.create -name {BUCKET}' | weed shell -master objects:9333 -filer objects:8888"]
    networks: ["back"]
    cap_drop:
      - "ALL"
    security_opt:
      - "no-new-privileges:true"
    mem_limit: 256m
    cpus: 1
    pids_limit: 128
    read_only: true
    tmpfs:
      - "/tmp"
    depends_on:
      objects:
        condition: service_healthy
"""


def _scratch() -> list[str]:
    """A folder of the container's own: nothing in it is promised to anybody."""
    return ["    volumes:", "      - type: volume", f"        target: {HOME}"]


def _given(*names: str) -> list[str]:
    return ["    secrets:", *(line for name in names for line in _secret(name))]


def _secret(name: str) -> tuple[str, str]:
    return f"      - source: {name}", f"        target: {_TARGETS[name]}"


def _networks() -> str:
    return "networks:\n  front: {}\n  # No way out, and no way in from outside.\n  back:\n    internal: true\n"


def _volumes(plan: DeployPlan) -> str:
    names = ["keys"]
    names += [] if plan.database else ["database"]
    names += [] if plan.objects else ["objects"]
    return "\n".join(["volumes:", *(f"  {name}: {{}}" for name in names), ""])


def _secrets(plan: DeployPlan) -> str:
    files = dict(_SECRETS)
    files |= {} if plan.database else {"postgres-password": "postgres-password"}
    files |= {} if plan.objects else {"s3": "s3.json"}
    lines = [line for name, file in files.items() for line in (f"  {name}:", f"    file: ./secrets/{file}")]
    return "\n".join(["secrets:", *lines, ""])
