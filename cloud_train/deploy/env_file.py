"""`edgeloop.env`: what may be tuned, with the defaults as comments. No secret belongs into it."""

from __future__ import annotations

from cloud_train.settings import ServeSettings

_TUNED = {
    "channel": "The update channel that devices follow.",
    "check_in_s": "Seconds between two check-ins of a device.",
    "max_payload_bytes": "Largest picture taken.",
    "max_memory_bytes": "Most bytes of payloads in memory at a time.",
    "max_calls": "Most calls at a time.",
    "device_bytes_per_day": "Payload bytes that a device may send a day; 0 for no limit.",
    "device_samples_per_minute": "Samples that a device may send a minute; 0 for no limit.",
    "certificate_days": "Days that a device's certificate is good.",
    "min_free_bytes": "Below so much free disk a server takes nothing.",
}


def env_file() -> str:
    """Lines for `env_file:` of Compose and `EnvironmentFile=` of systemd."""
    fields = ServeSettings.model_fields
    lines = [
        "# Settings of edgeloop servers; see `edgeloop serve --help`. No secrets: they are files of their own.",
        "",
    ]
    for name, told in _TUNED.items():
        if name in fields:
            lines += [f"# {told}", f"#EDGELOOP_SERVE_{name.upper()}={_written(fields[name].default)}", ""]
    return "\n".join(lines)


def _written(value: object) -> str:
    return f"{value:.0f}" if isinstance(value, float) and value.is_integer() else str(value)
