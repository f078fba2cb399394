"""A person at a running device's kiosk: holds up pictures and says what they show."""

from __future__ import annotations

import base64
import contextlib
import socket
from pathlib import Path

import httpx


class Person:
    """Somebody with a browser.

    Args:
        port: Of the kiosk.
    """

    def __init__(self, port: int) -> None:
        self._browser = httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30)

    def is_served(self) -> bool:
        """Whether the kiosk says that it can answer."""
        with contextlib.suppress(httpx.HTTPError):
            return self._browser.get("/health").status_code == 200
        return False

    def judge(self, picture: bytes, *, label: str) -> bool:
        """Asks about a picture and says what it is; whether the device has taken it."""
        try:
            asked = self._browser.post("/predict", json={"image": base64.b64encode(picture).decode()})
            said = {"prediction_id": asked.json()["prediction_id"], "kind": "corrected", "label": label, "who": "ann"}
            return self._browser.post("/feedback", json=said).status_code == 200
        except (httpx.HTTPError, KeyError):
            return False

    def close(self) -> None:
        """Leaves."""
        self._browser.close()


def free_port() -> int:
    """A port that nobody listens on."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as found:
        return int(found.getsockname()[1])


def pictures_of(folder: Path) -> list[bytes]:
    """Those of a folder, in order."""
    return [path.read_bytes() for path in sorted(folder.iterdir())]
