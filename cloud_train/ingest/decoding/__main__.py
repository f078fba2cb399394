"""The worker of a server: python -m cloud_train.ingest.decoding STORE."""

from __future__ import annotations

import sys
from pathlib import Path

from cloud_train.ingest.decoding.running import run_as_child

if __name__ == "__main__":
    run_as_child(Path(sys.argv[1]))
