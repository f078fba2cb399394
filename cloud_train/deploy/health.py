"""Whether a server is ready, for a container's health check: `python -m cloud_train.deploy.health URL`.

The server's certificate is for the names that devices call it by; on the loopback address it is not looked at, for
nobody can stand in between there.
"""

from __future__ import annotations

import ssl
import sys
import urllib.error
import urllib.request
from urllib.parse import urlsplit

from edge.sync.grpc_transport import is_loopback

_TIMEOUT_S = 5.0


def is_ready(url: str) -> bool:
    """Whether an address answers with 200.

    Args:
        url: Of `/readyz` or `/healthz`, http or https.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return False
    context = ssl.create_default_context()
    if is_loopback(parts.hostname):
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    try:
        with opener.open(url, timeout=_TIMEOUT_S) as reply:
            return bool(reply.status == 200)
    except (OSError, urllib.error.URLError, ValueError):
        return False


if __name__ == "__main__":
    sys.exit(0 if len(sys.argv) == 2 and is_ready(sys.argv[1]) else 1)
