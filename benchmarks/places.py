"""The two folders that every benchmark takes: its models, and real pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

MODELS = Path("work/benchmark-models")
DATA = Path("../shared/data")


def with_places(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the options `--models` and `--data` to a command."""
    folder = click.Path(exists=True, file_okay=False, path_type=Path)
    data = click.option("--data", default=DATA, type=folder, show_default=True, help="Real pictures.")
    models = click.option(
        "--models", default=MODELS, type=folder, show_default=True, help="Made by benchmarks.models; photos go there."
    )
    return models(data(command))
