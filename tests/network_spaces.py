"""A cable between this machine and a network of its own, which can be pulled, made slow and made to lose packets."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

_NEAR, _FAR = "10.213.97.1", "10.213.97.2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cable:
    """Our end and the other one.

    Attributes:
        name: Of the network space at the other end, and of the device there.
        address: Our address.
        far_address: That of the other end.
        before: Words before a command that runs it at the other end.
    """

    name: str
    address: str
    far_address: str
    before: tuple[str, ...]

    def pull(self) -> None:
        """Nothing gets through."""
        _run("ip", "link", "set", self.name, "down")

    def plug_in(self) -> None:
        """As before."""
        _run("ip", "link", "set", self.name, "up")

    def slow_down(self, kbit: int) -> None:
        """So many kilobits a second in either direction, with little room to queue: what does not fit in is lost."""
        limit = ("root", "tbf", "rate", f"{kbit}kbit", "burst", "4kb", "limit", "12kb")
        _run("tc", "qdisc", "replace", "dev", self.name, *limit)
        _run(*self.before, "tc", "qdisc", "replace", "dev", self.name, *limit)

    def speed_up(self) -> None:
        """As fast as it goes, after `slow_down`."""
        for before in ((), self.before):
            subprocess.run([*before, "tc", "qdisc", "del", "dev", self.name, "root"], capture_output=True, check=False)

    @contextlib.contextmanager
    def losing(self, share: float) -> Iterator[None]:
        """Drops a share of the packets in either direction for the length of the block; needs iptables."""
        chance = ("-m", "statistic", "--mode", "random", "--probability", f"{share:.3f}", "-j", "DROP")
        rules = (("INPUT", "-i", self.name, *chance), ("OUTPUT", "-o", self.name, *chance))
        try:
            for rule in rules:
                _run("iptables-legacy", "-w", "-I", *rule)
            yield
        finally:
            for rule in rules:
                subprocess.run(["iptables-legacy", "-w", "-D", *rule], capture_output=True, check=False)  # noqa: S607

    def num_lost(self) -> int:
        """Packets that a slow cable had no room for, in either direction."""
        said = [
            subprocess.run(
                [*before, "tc", "-s", "-j", "qdisc", "show", "dev", self.name], check=True, capture_output=True
            ).stdout
            for before in ((), self.before)
        ]
        return sum(discipline["drops"] for text in said for discipline in json.loads(text))


@contextlib.contextmanager
def new_cable() -> Iterator[Cable]:
    """One for a test, gone at the end of the block with all that ran at its other end."""
    name = f"edgeloop{os.getpid() % 100_000}"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode:  # noqa: S607
        pytest.skip("faults: no network space can be made here")
    try:
        inside = ("ip", "netns", "exec", name)
        _run("ip", "link", "add", name, "type", "veth", "peer", "name", name, "netns", name)
        _run("ip", "address", "add", f"{_NEAR}/30", "dev", name)
        _run(*inside, "ip", "address", "add", f"{_FAR}/30", "dev", name)
        for words in (("ip", "link", "set", name, "up"), (*inside, "ip", "link", "set", name, "up")):
            _run(*words)
        _run(*inside, "ip", "link", "set", "lo", "up")
        yield Cable(name=name, address=_NEAR, far_address=_FAR, before=inside)
    finally:
        subprocess.run(["ip", "link", "del", name], capture_output=True, check=False)  # noqa: S607
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)  # noqa: S607


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)
