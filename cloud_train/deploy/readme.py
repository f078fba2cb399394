"""The README of a folder of deployment files: the exact commands, in their order."""

from __future__ import annotations

import shlex

from cloud_train.deploy.compose import BUCKET
from cloud_train.deploy.container import USER_ID
from cloud_train.deploy.plan import ENROLL_PORT, GRPC_PORT, HTTP_PORT, DeployPlan
from cloud_train.deploy.units import ETC, STATE, USER

_KEEP = "Try them on a machine that may fail, and keep what you change here in version control (without `secrets/`)."
_CONTAINERS_TRIED = f"""\
Files like these are built and started by Docker's engine (20.10) and Compose (1.29) in edgeloop's own tests, but with
stand-ins for the images of Python, PostgreSQL and SeaweedFS, whose tags and start scripts are untried.
{_KEEP}"""
_UNITS_TRIED = f"Files like these are put in place and started by systemd (252) in edgeloop's own tests.\n{_KEEP}"


def docker_readme(plan: DeployPlan) -> str:
    """For `--type docker`."""
    hosts = " ".join(f"--host {shlex.quote(host)}" for host in plan.hosts)
    own = (
        "PostgreSQL and an S3-compatible store" if not (plan.database or plan.objects) else "what is not yours already"
    )
    objects = (
        _own_objects() if not plan.objects else "Put the keys of your object store into `secrets/aws-credentials`."
    )
    scaled = _scaled(plan)
    return f"""\
# edgeloop {plan.version} in containers

Servers, a worker that decodes samples, and {own}.
{_CONTAINERS_TRIED}

1. A wheel of edgeloop, from its source tree, into `wheels/`:

       python -m pip wheel --no-deps --wheel-dir wheels PATH/TO/EDGELOOP

2. The certificate authority of the fleet, into `secrets/ca/`; keep a copy where nobody else can read it:

       edgeloop fleet init --store secrets --ca secrets/ca {hosts}

3. {objects}
   The processes run as user {USER_ID}, who alone may read the secrets:

       sudo chown -R {USER_ID}:{USER_ID} secrets codes && sudo chmod -R u=rX,go= secrets

4. Build and start:

       docker compose build
       docker compose up --detach --wait

5. The first person:

       docker compose run --rm admin fleet people add --store /var/lib/edgeloop --role admin YOUR-NAME

   Sign in at https://{plan.address}:{HTTP_PORT}/ with the token that it prints.

6. Bundles, from the folder `bundles/` beside this file; the signing keys are in the volume `keys`:

       docker compose run --rm admin publish /bundles/BUNDLE --store /var/lib/edgeloop

   and every day, from a timer of the machine, since signatures expire:

       docker compose run --rm admin publish renew --store /var/lib/edgeloop

7. Devices, once a bundle is published: a file for each in `codes/`, for `edgeloop device enroll FILE`. Whoever has such
   a file is the device, once; delete it afterwards:

       docker compose run --rm admin fleet enroll --store /var/lib/edgeloop --ca /etc/edgeloop/ca \\
           --device-id DEVICE --count 10 --out /codes/BATCH --server {plan.address}:{GRPC_PORT}

Devices call port {GRPC_PORT}, and {ENROLL_PORT} to enrol; people and monitors {HTTP_PORT}
(`/healthz`, `/readyz`, `/metrics`). Nothing else is reachable from outside.{scaled}

The secrets in `secrets/` were made for this folder. Writing the files anew keeps them, with `--force` too: the password
in them is the one that the database was made with. Back up the volumes, `secrets/`, and above all `secrets/ca/` and the
volume `keys`.
"""


def systemd_readme(plan: DeployPlan) -> str:
    """For `--type systemd`."""
    hosts = " ".join(f"--host {shlex.quote(host)}" for host in plan.hosts)
    exe = shlex.quote(str(plan.executable))
    is_elsewhere = bool(plan.database or plan.objects)
    store = (
        f"install -o {USER} -g {USER} -m 600 store.toml {STATE}/store.toml"
        if is_elsewhere
        else f"runuser -u {USER} -- {exe} store init --store {STATE}"
    )
    aws = (
        f"       install -m 600 aws-credentials {ETC}/    # after you have put your keys into it\n"
        if plan.objects
        else ""
    )
    return f"""\
# edgeloop {plan.version} under systemd

A server, a worker that decodes samples, and a timer that keeps the signatures fresh.
{_UNITS_TRIED}

As root, in this folder:

1. The user and the folder of secrets:

       install -D -m 644 edgeloop-cloud.sysusers /etc/sysusers.d/edgeloop-cloud.conf
       install -D -m 644 edgeloop-cloud.tmpfiles /etc/tmpfiles.d/edgeloop-cloud.conf
       systemd-sysusers && systemd-tmpfiles --create
       install -d -o {USER} -g {USER} -m 700 {STATE}

2. The certificate authority of the fleet, and the key of the pages; the server is handed copies of them:

       {exe} fleet init --store {STATE} --ca {ETC} {hosts}
       install -m 600 console.key {ETC}/
       install -m 600 edgeloop.env {ETC}/
{aws}
3. The store, {"which lies elsewhere" if is_elsewhere else "an SQLite file and a folder"}:

       {store}

4. The units:

       install -m 644 edgeloop-server.service edgeloop-worker.service /etc/systemd/system/
       install -m 644 edgeloop-renew.service edgeloop-renew.timer /etc/systemd/system/
       systemctl daemon-reload
       systemctl enable --now edgeloop-server edgeloop-worker edgeloop-renew.timer

5. The first person:

       runuser -u {USER} -- {exe} fleet people add --store {STATE} --role admin YOUR-NAME

   Sign in at https://{plan.address}:{HTTP_PORT}/ with the token that it prints.

6. Bundles; the timer keeps their signatures fresh:

       runuser -u {USER} -- {exe} publish BUNDLE --store {STATE}

7. Devices: give each a code, `{ETC}/ca.pem` and `{STATE}/repository/metadata/1.root.json`, for
   `edgeloop device enroll --server {plan.address}:{GRPC_PORT} --tls-ca ca.pem --root 1.root.json`:

       runuser -u {USER} -- {exe} fleet enroll --store {STATE} --count 10

Devices call port {GRPC_PORT}, and {ENROLL_PORT} to enrol. How well a unit is shut in: `systemd-analyze security
edgeloop-server`.
"""


def _own_objects() -> str:
    return f"""\
The database and the object store are made on the first start, with the passwords in `secrets/`. The object store is
   SeaweedFS (Apache-2.0) with the bucket `{BUCKET}`; any other that speaks S3 will do, see `--objects`."""


def _scaled(plan: DeployPlan) -> str:
    if plan.servers == 1:
        return ""
    return f"""

There are {plan.servers} servers: `server-1` on the ports above, each next one on ports that are 100 higher. Put a
balancer that passes TCP through before them (devices show their certificates to the servers themselves), or name them
all in DNS from machines of their own. They share the database and the objects; nothing that one keeps for itself is
promised to anybody."""
