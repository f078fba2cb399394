"""device.toml: every setting with what it means, and in a file of its own what nobody shall read."""

from __future__ import annotations

import dataclasses
import inspect
import re
import textwrap

from edge.install.plan import InstallPlan
from edge.install.quoting import environment_line, toml_value
from edge.settings import PREFIX, AgentSettings

_ATTRIBUTE = re.compile(r"^ {4}(\w+): (.*)$")
_MORE = re.compile(r"^ {8}(.*)$")
_NONE = re.compile(r"\bNone\b")
_WIDTH = 118


def device_toml(plan: InstallPlan) -> str:
    """The settings as a file for `--config`; what has its default is there as a comment."""
    told = setting_meanings()
    lines = [
        "# What this device was told. Later wins: this file, EDGELOOP_... in the environment, options.",
        "# A line that begins with # has its default.",
        "",
        "[device]",
    ]
    for field in dataclasses.fields(plan.settings):
        lines += textwrap.wrap(told.get(field.name, ""), _WIDTH, initial_indent="# ", subsequent_indent="# ")
        lines += [_line(plan, field), ""]
    return "\n".join(lines)


def secrets_env(plan: InstallPlan) -> str:
    """The secret settings as environment variables; empty where there are none."""
    names = plan.secrets
    lines = [environment_line(PREFIX + name.upper(), getattr(plan.settings, name)) for name in names]
    return "\n".join(["# For root only (chmod 600).", *lines, ""]) if lines else ""


def setting_meanings() -> dict[str, str]:
    """What each setting is for, in the words of `AgentSettings`; nothing where Python left them out (-OO)."""
    meanings: dict[str, str] = {}
    name = ""
    for line in (inspect.getdoc(AgentSettings) or "").splitlines():
        if found := _ATTRIBUTE.match(line):
            name, meanings[found[1]] = found[1], found[2]
        elif name and (found := _MORE.match(line)):
            meanings[name] += f" {found[1]}"
        else:
            name = ""
    return {name: _NONE.sub("nothing", text) for name, text in meanings.items()}


def _line(plan: InstallPlan, field: dataclasses.Field[object]) -> str:
    value = getattr(plan.settings, field.name)
    if field.name in plan.secrets:
        return f"# {field.name} is a secret: it is {PREFIX}{field.name.upper()} in secrets.env."
    if value is None:
        return f'# {field.name} = "..."'
    is_default = value == field.default
    return f"{'# ' if is_default else ''}{field.name} = {toml_value(value)}"
