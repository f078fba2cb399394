"""What `edgeloop device doctor` does, as a plain function."""

from __future__ import annotations

import contextlib
import json

from edge.doctor.examine import examine
from edge.doctor.report import doctor_lines, exit_code, to_json
from edge.errors import EdgeloopError
from edge.identity.command import as_enrolled
from edge.settings import AgentSettings


def examine_device(settings: AgentSettings, *, offline: bool, as_json: bool) -> tuple[list[str], int]:
    """Examines a device.

    Args:
        settings: What it was told.
        offline: Leave the server alone.
        as_json: One JSON object instead of lines for people.

    Returns:
        The lines to print, and the exit code: 0 when nothing failed, else 1.
    """
    with contextlib.suppress(EdgeloopError):  # what is wrong with it is a finding
        settings = as_enrolled(settings)
    findings = examine(settings, offline=offline)
    lines = [json.dumps(to_json(findings), ensure_ascii=False)] if as_json else doctor_lines(findings)
    return lines, exit_code(findings)
