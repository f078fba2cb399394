"""The `edgeloop` command: names to module strings only, so that each group loads what it needs when it is called."""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass

import click


@dataclass(frozen=True, slots=True, kw_only=True)
class LazyCommand:
    """A command that is imported when it is called.

    Attributes:
        target: `module:attribute` of a click command.
        help: One line for the list of commands.
    """

    target: str
    help: str


COMMANDS = {
    "demo": LazyCommand(
        target="cloud_train.demo.cli:demo", help="Run the whole loop on this machine and write a report."
    ),
    "data": LazyCommand(
        target="cloud_train.datasets.cli:data", help="Inspect a folder of pictures; freeze it as a snapshot."
    ),
    "train": LazyCommand(target="cloud_train.training.cli:train", help="Train a network on a snapshot."),
    "convert": LazyCommand(
        target="cloud_train.retrain.convert_cli:convert", help="Quantize and prove a trained network; write its bundle."
    ),
    "convert-detector": LazyCommand(
        target="cloud_train.retrain.convert_cli:convert_detector", help="The same for a YOLO detector."
    ),
    "reprove": LazyCommand(
        target="cloud_train.retrain.convert_cli:reprove", help="Make the proof of a bundle again, from its snapshot."
    ),
    "evaluate": LazyCommand(
        target="cloud_train.evaluation.cli:evaluate", help="Run a bundle over one split of a snapshot."
    ),
    "retrain": LazyCommand(
        target="cloud_train.retrain.cli:retrain", help="Snapshot to publish as one durable workflow."
    ),
    "publish": LazyCommand(target="cloud_train.publish.cli:publish", help="Sign a bundle and offer it on a channel."),
    "rollout": LazyCommand(
        target="cloud_train.fleet.rollout_cli:rollout", help="Bring a bundle to devices step by step; compare two."
    ),
    "serve": LazyCommand(target="cloud_train.ingest.cli:serve", help="Run the server that devices talk to."),
    "worker": LazyCommand(
        target="cloud_train.ingest.decoding.cli:worker", help="Decode the samples that have arrived."
    ),
    "quarantine": LazyCommand(
        target="cloud_train.ingest.decoding.cli:quarantine", help="Samples whose pictures could not be decoded."
    ),
    "fleet": LazyCommand(
        target="cloud_train.fleet.cli:fleet", help="Let devices and people in, steer devices, shut them out."
    ),
    "store": LazyCommand(
        target="cloud_train.store.cli:store", help="Say where a store lies; check it, back it up, restore it."
    ),
    "deploy": LazyCommand(
        target="cloud_train.deploy.cli:deploy", help="Write containers or systemd units for the cloud side."
    ),
    "label": LazyCommand(target="cloud_train.review.cli:label", help="Answer samples that wait for a person."),
    "trace": LazyCommand(
        target="cloud_train.trace:trace", help="Walk from one prediction back to its training pictures."
    ),
    "bundle": LazyCommand(target="converters.cli:bundle", help="Import, prove, show, compare, verify, pack bundles."),
    "device": LazyCommand(target="edge.cli:device", help="What runs on a device."),
}


class LazyGroup(click.Group):
    """A click group that imports a command only when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the loop."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports and returns one command."""
        lazy = COMMANDS.get(cmd_name)
        if lazy is None:
            return None
        module, attribute = lazy.target.split(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Lists the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, lazy.help) for name, lazy in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="edgeloop", prog_name="edgeloop")
@click.option("-v", "--verbose", count=True, help="Say more; twice for everything.")
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Form of log lines on stderr.",
)
def edgeloop(verbose: int, log_format: str) -> None:
    """Vision on small devices that learns from what it was unsure of."""
    from edge.cli import configure_logging

    configure_logging(verbose=verbose, log_format=log_format)


def main() -> None:
    """Entry point of the `edgeloop` command: one line for every expected error, never a traceback."""
    from edge.cli import run_cli

    # torch's threads spin while they wait for each other; beside a server and a device that makes training three times
    # slower than threads that sleep (docs/benchmarks.md). Read when torch is first imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    run_cli(edgeloop)
