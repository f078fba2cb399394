"""The `edgeloop device` commands, and the one way all of edgeloop's commands say what went wrong."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from edge.errors import EdgeloopError, UsageError

if TYPE_CHECKING:
    from edge.bundle.manifest import BundleManifest
    from edge.settings import AgentSettings
    from edge.telemetry import Counts

EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 1
OUR_PACKAGES = frozenset({"edge", "converters", "model_zoo", "cloud_train"})
F = TypeVar("F", bound=Callable[..., object])

_FOLDER = click.Path(file_okay=False, path_type=Path)
_FILE = click.Path(dir_okay=False, path_type=Path)
_ANY = click.Path(path_type=Path)


def run_cli(command: click.Command) -> NoReturn:
    """Runs a click command as a process: one line on stderr for every expected error, never a traceback.

    Args:
        command: The command with everything below it.

    Raises:
        SystemExit: 0 when all is well, 1 for a failure, 2 for wrong usage, 130 after Ctrl-C.
    """
    try:
        code = command.main(prog_name=command.name, standalone_mode=False)
        sys.stdout.flush()
    except EdgeloopError as error:
        _fail(str(error), error.exit_code)
    except click.exceptions.Exit as end:
        code = end.exit_code
    except (click.Abort, KeyboardInterrupt):
        sys.exit(EXIT_INTERRUPTED)
    except click.ClickException as error:
        _fail(_usage_line(error), error.exit_code)
    except BrokenPipeError:
        # Whoever read the output has gone; nothing may be written at interpreter exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_BROKEN_PIPE)
    sys.exit(code if isinstance(code, int) else 0)


def configure_logging(*, verbose: int = 0, log_format: str = "text") -> None:
    """Sets up log lines on stderr; the only place that does.

    Args:
        verbose: 1 for INFO, 2 for DEBUG, 0 for what `LOG_LEVEL` says.
        log_format: `text` or `json`.

    Raises:
        UsageError: `LOG_LEVEL` is no level.
    """
    from edge.settings import log_level, process_environment

    handler = logging.StreamHandler()
    text = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(_JsonFormatter() if log_format == "json" else text)
    level = log_level(process_environment(), verbose=verbose)
    if level != "DEBUG":
        handler.addFilter(_ours_or_serious)
    logging.basicConfig(level=level, handlers=[handler], force=True)


def _ours_or_serious(record: logging.LogRecord) -> bool:
    """Libraries speak only of errors, unless everything is asked for."""
    return record.levelno >= logging.ERROR or record.name.partition(".")[0] in OUR_PACKAGES


class _JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "at": round(record.created, 3),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def _fail(line: str, code: int) -> NoReturn:
    click.echo(f"edgeloop: error: {' '.join(line.split())}", err=True)
    sys.exit(code)


def _usage_line(error: click.ClickException) -> str:
    line = error.format_message()
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"{line} (see '{context.command_path} --help')" if context is not None else line


def _say(line: str) -> None:
    click.echo(f"edgeloop: {line}", err=True)


def _settings_options(function: F) -> F:
    """Options that every command about a device's home shares."""
    for option in (
        click.option("--home", type=_FOLDER, help="The device's folder."),
        click.option("--config", type=_FILE, help="TOML file with a [device] table."),
    ):
        function = option(function)
    return function


def _link_options(function: F) -> F:
    """Options of the commands that talk to a server."""
    for option in (
        click.option("--server", metavar="HOST:PORT", help="The server."),
        click.option("--device-id", help="Name of this device."),
        click.option("--tls-ca", type=_FILE, help="Certificate authority of the server; without it only this machine."),
    ):
        function = option(function)
    return function


def _load(config: Path | None, **overrides: object) -> AgentSettings:
    from edge.settings import load_settings, process_environment

    return load_settings(file=config, environment=process_environment(), overrides=overrides)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def device() -> None:
    """What runs on a device: answer for pictures, keep the doubtful ones, send them home, take the next bundle."""


@device.command()
@_settings_options
@_link_options
@click.option("--source", help="What to watch: a folder, a video file, camera:0, /dev/video0, rtsp://… or http://…")
@click.option("--root", type=_FILE, help="Trusted root of the server's releases; needed once, at the first install.")
@click.option("--channel", help="Update channel to keep to, whatever the fleet says.  [default: the fleet's]")
@click.option("--artifact", help="Model to run: tflite, onnx or a file name.  [default: the first that can run here]")
@click.option("--threads", type=int, help="Processor threads for the network.  [default: 1]")
@click.option("--passes", type=int, help="How often to go through the source; 0 for ever.  [default: 0]")
@click.option("--fps", type=float, help="Most frames a second; 0 for no limit.  [default: 0]")
@click.option(
    "--payload", help="What a kept picture becomes: jpeg (smaller, no metadata) or original.  [default: jpeg]"
)
@click.option("--kiosk-port", type=int, help="Serve the local API and page on this port; 0 for none.  [default: 0]")
@click.option(
    "--exit-when-drained",
    is_flag=True,
    default=None,
    help="After the last pass, stay until all kept samples have arrived.",
)
@click.option("--bundle", type=_ANY, help="Install this bundle folder or .edgebundle first; needs --allow-unsigned.")
@click.option("--allow-unsigned", is_flag=True, help="Trust --bundle although nobody signed for it.")
def run(config: Path | None, bundle: Path | None, allow_unsigned: bool, **options: object) -> None:
    """Watch a source of pictures: answer, keep, upload and update, until the source ends or Ctrl-C."""
    from edge.commands import run_agent

    if bundle is not None and not allow_unsigned:
        raise UsageError(f"{bundle} is not signed", hint="publish it, or add --allow-unsigned on a bench")
    counts = run_agent(_load(config, **options), bundle=bundle, say=_say, progress=_frame_progress())
    click.echo(_summary(counts))


@device.command()
@click.argument("picture", type=_ANY)
@click.option("--bundle", type=_ANY, help="Bundle folder or .edgebundle.")
@click.option("--home", type=_FOLDER, help="Take the bundle that runs in this device's home.")
@click.option("--artifact", help="Model to run: tflite, onnx or a file name.  [default: the first that can run here]")
@click.option("--allow-unproven", is_flag=True, help="Run a bundle without a passed proof all the same.")
@click.option("--annotated", metavar="OUT", type=_ANY, help="Draw the answers: a file, or a folder for a folder.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a picture.")
@click.option("--top-k", type=click.IntRange(1), help="How many classes to name.  [default: 5]")
@click.option("--tuned", type=_FILE, help="Run as `edgeloop device tune` found best.  [default: tune.json in --home]")
@click.option("--threads", type=click.IntRange(1, 1024), help="Processor threads for the network.  [default: 1]")
def predict(picture: Path, bundle: Path | None, home: Path | None, as_json: bool, **options: Any) -> None:  # noqa: ANN401
    """Say what is in PICTURE, a file or a folder of them. Nothing is kept or sent."""
    from edge.commands import predict_pictures
    from edge.wording import failure_json, prediction_json, prediction_line

    versions: list[str] = []

    def opened(manifest: BundleManifest) -> None:
        versions.append(f"{manifest.name} {manifest.version}")

    def failed(name: str, message: str) -> None:
        if as_json:
            click.echo(json.dumps(failure_json(name, message, model_version=versions[0])))

    if (bundle is None) == (home is None):
        raise UsageError("which bundle?", hint="give either --bundle or --home")
    answers = predict_pictures(picture, bundle=bundle, home=home, say=_say, failed=failed, opened=opened, **options)
    for name, inference in answers:
        if as_json:
            click.echo(json.dumps(prediction_json(name, inference, model_version=versions[0])))
        else:
            click.echo(prediction_line(name, inference))


@device.command()
@_settings_options
@_link_options
def sync(config: Path | None, **options: object) -> None:
    """Send once what waits in the outbox."""
    from edge.commands import sync_once

    result = sync_once(_load(config, **options), say=_say)
    click.echo(f"sent {result.sent}, known {result.known}, refused {result.refused}, {result.bytes_sent} bytes")


@device.command()
@_settings_options
@_link_options
@click.option("--root", type=_FILE, help="Trusted root of the server's releases; needed once, at the first install.")
@click.option("--channel", help="Update channel to keep to, whatever the fleet says.  [default: the fleet's]")
@click.option("--from", "stick", type=_FOLDER, help="Take it from this folder, which `edgeloop publish export` wrote.")
def update(config: Path | None, stick: Path | None, **options: object) -> None:
    """Check for a release once: verify, fetch, test, activate."""
    from edge.commands import update_once

    with _ByteProgress() as progress:
        result = update_once(_load(config, **options), progress=progress, stick=stick)
    line = f"{result.outcome.value}: bundle {result.bundle_digest[:12] or 'none'}, {result.fetched_bytes} bytes fetched"
    click.echo(f"{line} ({result.reason})" if result.reason else line)


@device.command()
@click.option("--bundle", type=_ANY, help="Bundle folder or .edgebundle.")
@click.option("--home", type=_FOLDER, help="Tune the bundle that runs in this device's home, and remember it there.")
@click.option("--out", type=_FILE, help="Remember the choice in this file.  [default: tune.json in --home]")
@click.option("--budget", type=click.FloatRange(0.1), default=20.0, show_default=True, help="Seconds of measuring.")
@click.option(
    "--max-threads", type=click.IntRange(1), help="Most threads and copies to try.  [default: the processors]"
)
@click.option("--delegate", multiple=True, metavar="LIBRARY", help="Try this LiteRT delegate too; may be repeated.")
@click.option("--allow-unproven", is_flag=True, help="Try a bundle without a passed proof all the same.")
@click.option("--json", "as_json", is_flag=True, help="The result as one JSON object.")
def tune(bundle: Path | None, home: Path | None, as_json: bool, **options: Any) -> None:  # noqa: ANN401
    """Try every model, runtime, delegate and number of threads on this device; keep the fastest that is right."""
    from edge.commands import tune_bundle
    from edge.jsonvalue import to_json
    from edge.tune.report import tune_lines

    if (bundle is None) == (home is None):
        raise UsageError("which bundle?", hint="give either --bundle or --home")
    result = tune_bundle(bundle=bundle, home=home, say=_say, **options)
    click.echo(json.dumps(to_json(result)) if as_json else "\n".join(tune_lines(result)))


@device.command()
@click.argument("file", required=False, type=_FILE)
@click.option("--home", type=_FOLDER, required=True, help="The device's folder.")
@click.option("--server", metavar="HOST:PORT", help="The fleet, where there is no FILE.")
@click.option(
    "--enroll-server", metavar="HOST:PORT", help="Where its devices enrol.  [default: the port after --server]"
)
@click.option("--tls-ca", type=_FILE, help="Certificate authority of the fleet.")
@click.option("--code", help="The one-time code; asked for when it is left out, which keeps it out of lists.")
@click.option("--device-id", default="", help="Name that this device shall have.  [default: what the code says]")
@click.option("--channel", default="", help="Update channel until the fleet names one.  [default: what the code says]")
@click.option("--root", type=_FILE, help="Trusted root of the fleet's releases.")
@click.option("--certificate", type=_FILE, help="A certificate of your own (PEM), instead of a code.")
@click.option("--key", type=_FILE, help="Its private key (PEM).")
@click.option("--replace", is_flag=True, help="Enrol anew a device that is enrolled already.")
def enroll(file: Path | None, home: Path, replace: bool, **given: Any) -> None:  # noqa: ANN401
    """Make this device a member of a fleet, by a FILE or a code of `edgeloop fleet enroll`.

    The same command again is harmless, also after a power cut in the middle.
    """
    from edge.identity.command import enroll_by_words

    identity, is_new = enroll_by_words(file, home, replace=replace, ask=_ask_code, **given)
    click.echo(f"enrolled as {identity.device_id}" if is_new else f"already enrolled as {identity.device_id}")


@device.command()
@_settings_options
@click.option("--json", "as_json", is_flag=True, help="Everything, as one JSON object.")
def status(config: Path | None, home: Path | None, as_json: bool) -> None:
    """Say what a device runs, keeps and has heard, without disturbing it."""
    from edge.status import read_status, status_lines

    found = read_status(_load(config, home=home))
    click.echo(json.dumps(found) if as_json else "\n".join(status_lines(found)))


@device.command()
@_settings_options
@click.option("--offline", is_flag=True, help="Do not try to reach the server.")
@click.option("--json", "as_json", is_flag=True, help="The findings as one JSON object.")
def doctor(config: Path | None, home: Path | None, offline: bool, as_json: bool) -> None:
    """Say what is installed and what works on this device, and how to mend what does not. Changes nothing."""
    from edge.doctor.command import examine_device

    lines, code = examine_device(_load(config, home=home), offline=offline, as_json=as_json)
    click.echo("\n".join(lines))
    sys.exit(code)


@device.command()
@click.option("--config", type=_FILE, required=True, help="TOML file with a [device] table.")
@click.option("--out", type=_FOLDER, required=True, help="Folder that the files are written into.")
@click.option("--force", is_flag=True, help="Replace files that are there.")
def install(config: Path, out: Path, force: bool) -> None:
    """Write what runs a device as a service: a systemd unit, a Dockerfile, a settings file. Installs nothing."""
    from edge.install.command import write_install

    for line in write_install(_load(config), out, force=force):
        click.echo(line)


@device.command()
@_settings_options
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="Rows at most.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a row.")
def audit(config: Path | None, home: Path | None, limit: int, as_json: bool) -> None:
    """Say what the outbox did without a person: samples shed for want of room, damaged files set aside."""
    from edge.commands import audit_rows
    from edge.jsonvalue import to_json
    from edge.wording import audit_line

    for row in audit_rows(_load(config, home=home), limit=limit):
        click.echo(json.dumps(to_json(row)) if as_json else audit_line(row))


def _ask_code() -> str:
    return str(click.prompt("one-time code", hide_input=True, err=True))


def _summary(counts: Counts) -> str:
    return (
        f"{counts.frames_answered} frames answered, {counts.frames_unreadable} unreadable, "
        f"{counts.frames_dropped} dropped; {counts.accepted} accept, {counts.confirmed} confirm, "
        f"{counts.unknown} unknown; {counts.kept} kept; "
        f"median {counts.latency_p50_ms:.1f} ms"
    )


def _frame_progress() -> Callable[[Counts], None]:
    """A line that is rewritten in place on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        return lambda counts: None
    return lambda counts: click.echo(
        f"\r{counts.frames_answered} frames, {counts.kept} kept, {counts.passes} passes ", err=True, nl=False
    )


class _ByteProgress:
    """A bar of bytes on a terminal, nothing elsewhere."""

    def __enter__(self) -> Callable[[int, int], None]:
        self._shown = False
        return self._show

    def __exit__(self, *error: object) -> None:
        if self._shown:
            click.echo("", err=True)

    def _show(self, done: int, total: int) -> None:
        if sys.stderr.isatty() and total:
            self._shown = True
            filled = 30 * done // total
            click.echo(f"\r[{'#' * filled}{'.' * (30 - filled)}] {done} of {total} bytes", err=True, nl=False)
