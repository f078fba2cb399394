"""The image of the cloud side: its Dockerfile, and what must not get into it."""

from __future__ import annotations

import json

from cloud_train.deploy.plan import HTTP_PORT, DeployPlan

IMAGE = "python:3.11-slim-bookworm"
USER_ID = 10_001
HOME = "/var/lib/edgeloop"
EXTRAS = "cloud"


def image_name(plan: DeployPlan) -> str:
    """As Compose names it."""
    return f"edgeloop-cloud:{plan.version}"


def dockerfile(plan: DeployPlan) -> str:
    """Two stages: the first has the network and makes wheels; the second installs them without it."""
    wanted = f"edgeloop[{EXTRAS}]=={plan.version}"
    health = ["python", "-m", "cloud_train.deploy.health", f"https://127.0.0.1:{HTTP_PORT}/readyz"]
    return f"""\
# syntax=docker/dockerfile:1
FROM {IMAGE} AS build
WORKDIR /build
# edgeloop is the wheel in wheels/, never what a registry has by that name; versions are those in constraints.txt.
COPY constraints.txt ./
COPY wheels/ given/
RUN pip wheel --no-cache-dir --wheel-dir wheels --find-links given --constraint constraints.txt \\
    "./given/edgeloop-{plan.version}-py3-none-any.whl[{EXTRAS}]"

FROM {IMAGE}
RUN groupadd --gid {USER_ID} edgeloop \\
 && useradd --uid {USER_ID} --gid {USER_ID} --home-dir {HOME} --no-create-home --shell /usr/sbin/nologin edgeloop \\
 && install --directory --owner={USER_ID} --group={USER_ID} --mode=700 {HOME}
RUN --mount=type=bind,from=build,source=/build/wheels,target=/wheels \\
    pip install --no-cache-dir --no-compile --no-index --find-links /wheels "{wanted}" \\
 && python -m compileall -q -j 0 /usr/local/lib/python3.11/site-packages
USER {USER_ID}:{USER_ID}
WORKDIR {HOME}
ENV EDGELOOP_SERVE_STORE={HOME} PYTHONFAULTHANDLER=1 PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
VOLUME {json.dumps([HOME])}
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=10s --start-period=60s --retries=3 CMD {json.dumps(health)}
ENTRYPOINT ["edgeloop"]
CMD ["serve"]
"""


def dockerignore() -> str:
    """Everything but what the Dockerfile copies: secrets never reach the image."""
    return "# Nothing but what the Dockerfile copies; secrets never reach the image.\n*\n!constraints.txt\n!wheels\n"


def constraints(plan: DeployPlan) -> str:
    """The versions beside which these files were written."""
    return "\n".join(["# What was installed where `edgeloop deploy` wrote this.", *plan.pins, ""])
