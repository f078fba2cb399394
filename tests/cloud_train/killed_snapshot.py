"""Freezes a folder and dies, like a pulled plug, at the given durable write. Run by test_data_bad_input.

python killed_snapshot.py FOLDER STORE POINT_NUMBER
"""

from __future__ import annotations

import os
import sys
from itertools import count

from cloud_train.datasets.cli import data
from edge import durable

if __name__ == "__main__":
    folder, store, number = sys.argv[1:]
    passed = count()

    def die(point: str) -> None:
        if next(passed) == int(number):
            os._exit(137)

    durable.observe(die)
    data(["snapshot", folder, "--store", store, "--name", "kill", "--json"])
