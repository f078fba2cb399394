"""systemd units of the cloud side (systemd.service(5), systemd.exec(5), systemd.timer(5)), and the user they run as."""

from __future__ import annotations

from pathlib import Path

from cloud_train.deploy.plan import HTTP_PORT, DeployPlan
from edge.install.quoting import systemd_argument, systemd_word

USER = "edgeloop-cloud"
ETC = Path("/etc/edgeloop-cloud")
STATE = Path("/var/lib/edgeloop-cloud")
_HOMES = (Path("/home"), Path("/root"), Path("/run/user"))
_TEMPORARY = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108 - they are looked for, not written to
_HARDENING = """\
# What the service cannot do cannot be done through it.
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RemoveIPC=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
SystemCallErrorNumber=EPERM
UMask=0077"""


def server_unit(plan: DeployPlan) -> str:
    """`edgeloop-server.service`: the server that devices and people call."""
    told = {
        "EDGELOOP_SERVE_STORE": str(STATE),
        "EDGELOOP_SERVE_HTTP_LISTEN": f"0.0.0.0:{HTTP_PORT}",
        "EDGELOOP_SERVE_HOST": plan.host_setting,
        "EDGELOOP_SERVE_CA": "%d",
        "EDGELOOP_SERVE_CONSOLE_KEY": "%d/console.key",
        "EDGELOOP_SERVE_WORKER": "false",
    }
    secrets = ["ca.key.pem", "ca.pem", "console.key"]
    return "\n".join(
        [
            *_head("edgeloop server", wants="edgeloop-worker.service"),
            *_service(plan, ["serve", "--listen", "0.0.0.0:7443"], told, secrets),
            "TimeoutStopSec=30",
            "MemoryMax=1G",
            "TasksMax=512",
            "LimitNOFILE=65536",
            "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
            *_tail(plan),
            "",
            "[Install]",
            "WantedBy=multi-user.target",
            "",
        ]
    )


def worker_unit(plan: DeployPlan) -> str:
    """`edgeloop-worker.service`: decodes what devices sent, with no road to anywhere it does not need."""
    is_alone = not (plan.database or plan.objects)
    road = ["PrivateNetwork=yes", "RestrictAddressFamilies=AF_UNIX"] if is_alone else []
    road = road or ["RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK"]
    return "\n".join(
        [
            *_head("edgeloop worker", wants=""),
            *_service(plan, ["worker", "--store", str(STATE)], {}, []),
            "TimeoutStopSec=30",
            "# A picture that takes more ends the worker, never the machine; it is put in quarantine.",
            "MemoryMax=1G",
            "TasksMax=64",
            "CPUWeight=50",
            *road,
            *_tail(plan),
            "",
            "[Install]",
            "WantedBy=multi-user.target",
            "",
        ]
    )


def renew_unit(plan: DeployPlan) -> str:
    """`edgeloop-renew.service`: signs anew what will expire before long."""
    unit = [
        "[Unit]",
        "Description=edgeloop: renew the signatures of the update channels",
        "Documentation=man:systemd.timer(5)",
        f"ConditionPathExists={STATE}/keys",
        "After=network-online.target",
        "Wants=network-online.target",
        "",
        "[Service]",
        "Type=oneshot",
        f"ExecStart={_command(plan, ['publish', 'renew', '--store', str(STATE)])}",
        *_surroundings(plan, {}, []),
        "MemoryMax=512M",
        "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
        *_tail(plan),
        "",
    ]
    return "\n".join(unit)


def renew_timer() -> str:
    """`edgeloop-renew.timer`: daily, for the freshest signature lasts about a week."""
    return """\
[Unit]
Description=edgeloop: renew the signatures of the update channels every day

[Timer]
OnCalendar=daily
RandomizedDelaySec=1h
Persistent=yes

[Install]
WantedBy=timers.target
"""


def sysusers() -> str:
    """`/etc/sysusers.d/edgeloop-cloud.conf`: a user that owns the store and nothing else."""
    return f'u {USER} - "edgeloop server" {STATE} -\n'


def tmpfiles() -> str:
    """`/etc/tmpfiles.d/edgeloop-cloud.conf`: the folder of secrets, which root alone reads and hands to the server."""
    return f"d {ETC} 0700 root root -\n"


def _head(description: str, *, wants: str) -> list[str]:
    return [
        "[Unit]",
        f"Description={description}",
        "After=network-online.target",
        f"Wants=network-online.target{f' {wants}' if wants else ''}",
        "# However often it ends, it is started again.",
        "StartLimitIntervalSec=0",
        "",
        "[Service]",
        "Type=exec",
    ]


def _service(plan: DeployPlan, words: list[str], told: dict[str, str], secrets: list[str]) -> list[str]:
    return [
        f"ExecStart={_command(plan, words)}",
        "Restart=always",
        "RestartSec=5",
        "KillMode=mixed",
        *_surroundings(plan, told, secrets),
    ]


def _surroundings(plan: DeployPlan, told: dict[str, str], secrets: list[str]) -> list[str]:
    names = [*secrets, *(["aws-credentials"] if plan.objects else [])]
    environment = {
        "PYTHONFAULTHANDLER": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        **({"AWS_SHARED_CREDENTIALS_FILE": "%d/aws-credentials"} if plan.objects else {}),
        **({"EDGELOOP_OBJECTS_ENDPOINT": _literal(plan.endpoint)} if plan.endpoint else {}),
        **{name: value if value.startswith("%d") else _literal(value) for name, value in told.items()},
    }
    return [
        f"User={USER}",
        f"Group={USER}",
        f"StateDirectory={STATE.name}",
        "StateDirectoryMode=0700",
        f"WorkingDirectory={STATE}",
        *(f"Environment={name}={value}" for name, value in environment.items()),
        "# What is set there wins over the lines above.",
        f"EnvironmentFile=-{ETC}/edgeloop.env",
        *(f"LoadCredential={name}:{ETC}/{name}" for name in names),
    ]


def _command(plan: DeployPlan, words: list[str]) -> str:
    return " ".join([systemd_word(plan.executable), *(systemd_argument(word) for word in words)])


def _literal(text: str) -> str:
    return text.replace("%", "%%")


def _tail(plan: DeployPlan) -> list[str]:
    def lies_in(folders: tuple[Path, ...]) -> bool:
        return any(place.is_relative_to(folder) for folder in folders for place in (plan.executable, plan.prefix))

    return [
        _HARDENING,
        f"ProtectHome={'read-only' if lies_in(_HOMES) else 'yes'}",
        f"PrivateTmp={'no' if lies_in(_TEMPORARY) else 'yes'}",
    ]
