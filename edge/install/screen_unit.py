"""The unit of a kiosk's screen: a browser, and nothing else, on the page of this very device."""

from __future__ import annotations

from edge.install.plan import InstallPlan
from edge.install.quoting import systemd_argument

SCREEN_USER = "edgeloop-screen"
_FLAGS = (
    "--kiosk",
    "--ozone-platform=wayland",
    "--no-first-run",
    "--noerrdialogs",
    "--disable-session-crashed-bubble",
    "--disable-features=Translate",
    "--disable-pinch",
    "--overscroll-history-navigation=0",
    "--password-store=basic",
    "--check-for-update-interval=31536000",
    f"--user-data-dir=/var/lib/{SCREEN_USER}/profile",
)


def screen_address(plan: InstallPlan) -> str:
    """The page, as this machine reaches it."""
    return f"http://127.0.0.1:{plan.settings.kiosk_port}/"


def screen_unit(plan: InstallPlan) -> str:
    """`edgeloop-screen.service`: Chromium alone on the first console, in the compositor cage, started again for ever.

    cage shows one program full screen, never blanks the screen, and shows no pointer where there is only a touch panel.
    """
    command = ["/usr/bin/cage", "-s", "--", "/usr/bin/chromium", *_FLAGS, screen_address(plan)]
    return "\n".join(
        (
            "[Unit]",
            "Description=edgeloop screen",
            "Wants=edgeloop.service dbus.socket systemd-logind.service",
            "After=edgeloop.service dbus.socket systemd-logind.service systemd-user-sessions.service",
            "After=plymouth-quit-wait.service getty@tty1.service",
            "Before=graphical.target",
            "Conflicts=getty@tty1.service",
            "ConditionPathExists=/dev/tty0",
            "StartLimitIntervalSec=0",
            "",
            "[Service]",
            f"ExecStart={' '.join(systemd_argument(word) for word in command)}",
            "Restart=always",
            "RestartSec=3",
            f"User={SCREEN_USER}",
            f"StateDirectory={SCREEN_USER}",
            "StateDirectoryMode=0700",
            "PAMName=login",
            "TTYPath=/dev/tty1",
            "TTYReset=yes",
            "TTYVHangup=yes",
            "TTYVTDisallocate=yes",
            "StandardInput=tty-fail",
            "UtmpIdentifier=tty1",
            "UtmpMode=user",
            "",
            "[Install]",
            "WantedBy=graphical.target",
            "",
        )
    )


def screen_sysusers() -> str:
    """`/etc/sysusers.d/edgeloop-screen.conf`."""
    groups = "".join(f"m {SCREEN_USER} {group}\n" for group in ("video", "render", "input"))
    return f'u {SCREEN_USER} - "edgeloop screen" /var/lib/{SCREEN_USER} /bin/sh\n{groups}'
