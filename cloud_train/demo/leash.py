"""Runs an `edgeloop` command that ends when its parent does: `python -m cloud_train.demo.leash COMMAND…`.

The parent holds the other end of standard input; when the parent is killed, even by SIGKILL, the pipe closes and the
child stops as if it had been told to. Standard library only, so that it runs in the device's environment too.
"""

from __future__ import annotations

import os
import signal
import sys
import threading


def stop_at_end_of_input() -> None:
    """Sends this process SIGTERM when standard input closes."""
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=stop_at_end_of_input, daemon=True).start()
    from cloud_train.cli import main

    main()
