"""Where a running server listens: what it writes into its store, and commands beside it read."""

from __future__ import annotations

from dataclasses import dataclass

SERVER_FILE = "server.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerInfo:
    """Where a running server listens, as written to `server.json`.

    Attributes:
        host: Address.
        port: Port.
        pid: Process.
        http_port: Port of health, metrics and pages; 0 for none.
        enroll_port: Where devices enrol; 0 for nowhere.
        tls: Whether TLS is spoken.
    """

    host: str
    port: int
    pid: int
    http_port: int = 0
    enroll_port: int = 0
    tls: bool = False

    @property
    def target(self) -> str:
        """`host:port`, as a transport wants it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
