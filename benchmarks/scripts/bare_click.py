"""A command line of click's with one group and a few commands, and nothing behind it."""

import click


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """A tool."""


@cli.group()
def device() -> None:
    """What runs on a device."""


for name in ("predict", "run", "status", "sync", "update"):
    device.command(name, help=f"Does {name}.")(lambda: None)

cli()
