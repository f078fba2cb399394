"""What goes wrong in the chaos test, one thing after another, chosen by a seed."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from network_spaces import Cable

Fault = Callable[[], None]


@dataclass(frozen=True)
class Victims:
    """What can be hurt.

    `kill_server(i)`, `stop_server(i)` bring the server back; `kill_device()` kills one device process at random and
    starts it again; `restart_database()` is an immediate restart, with crash recovery.
    """

    cable: Cable
    num_servers: int
    kill_server: Callable[[int], None]
    stop_server: Callable[[int], None]
    kill_device: Callable[[], None]
    restart_database: Callable[[], None]


class Faults:
    """Draws and makes faults.

    Args:
        victims: What can be hurt.
        seed: Makes the order.
    """

    def __init__(self, victims: Victims, *, seed: int) -> None:
        self.counts: Counter[str] = Counter()
        self._victims = victims
        self._random = random.Random(seed)

    def run(self, *, seconds: float) -> None:
        """Makes one fault after another for so long; at the end everything works again."""
        end = time.monotonic() + seconds
        half_way = time.monotonic() + seconds / 2
        while time.monotonic() < end:
            if time.monotonic() > half_way and not self.counts["database restarted"]:
                self._make("database restarted", self._victims.restart_database)
            self._make(*self._draw())
            time.sleep(self._random.uniform(0.5, 3.0))

    def _draw(self) -> tuple[str, Fault]:
        server = self._random.randrange(self._victims.num_servers)
        kinds: list[tuple[str, Fault, int]] = [
            ("server killed", lambda: self._victims.kill_server(server), 3),
            ("server stopped", lambda: self._victims.stop_server(server), 1),
            ("device killed", self._victims.kill_device, 8),
            ("cable pulled", self._pull, 2),
            ("cable slow", self._slow, 2),
            ("packets lost", self._lose, 2),
        ]
        name, fault, _ = self._random.choices(kinds, weights=[weight for *_, weight in kinds])[0]
        return name, fault

    def _make(self, name: str, fault: Fault) -> None:
        self.counts[name] += 1
        fault()

    def _pull(self) -> None:
        self._victims.cable.pull()
        time.sleep(self._random.uniform(1.0, 12.0))
        self._victims.cable.plug_in()

    def _slow(self) -> None:
        self._victims.cable.slow_down(self._random.choice((1_000, 4_000, 16_000)))
        time.sleep(self._random.uniform(3.0, 10.0))
        self._victims.cable.speed_up()

    def _lose(self) -> None:
        with self._victims.cable.losing(self._random.uniform(0.02, 0.25)):
            time.sleep(self._random.uniform(3.0, 10.0))
