"""Enrols the devices of the chaos test, one by one, as `edgeloop device enroll` does.

python chaos_enrol.py CODES HOMES
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from edge.identity.enroll import enroll, read_enrolment_file
from edge.sync.grpc_transport import GrpcTransport
from edge.update.trust import TrustStore


def main(codes: Path, homes: Path) -> None:
    for file in sorted(codes.glob("*/*")):
        told = read_enrolment_file(file)
        home = homes / told.device_id
        home.mkdir(exist_ok=True)
        with tempfile.NamedTemporaryFile() as authority:
            authority.write(told.authority_pem.encode())
            authority.flush()
            road = GrpcTransport(told.enroll_server, tls_ca=Path(authority.name))
        trust = TrustStore(home, None, channel=told.channel or "stable")
        enroll(home, told, road, install_root=trust.install_root, install_key=print)
        road.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
