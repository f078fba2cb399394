"""`edgeloop rollout …`: bring a bundle to the devices of a channel step by step, or compare two."""

from __future__ import annotations

import getpass
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from cloud_train.fleet.acts import Act
    from cloud_train.fleet_types import RolloutKind, RolloutPlan

_STORE = click.option(
    "--store", "folder", type=click.Path(path_type=Path), required=True, help="The store folder of the server."
)
_CHANNEL = click.option("--channel", default="stable", show_default=True, help="The update channel.")
_WHO = click.option("--who", default="", help="Your name, for the audit.  [default: that of your account]")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_REASON = click.option("--reason", default="", help="Why, for the audit.")
_NUMBER = click.argument("rollout_id", metavar="ROLLOUT", type=int)
_LIMITS = {
    "max_failed_devices": "Most devices on which it fails, or that crash again and again, in percent.",
    "max_crash_ratio": "Most unclean starts, as a multiple of the old bundle's.",
    "max_silent_rise": "Largest rise of the share of silent devices, in points.",
    "max_latency_ratio": "Largest latency p90, as a multiple of the old bundle's.",
    "max_accept_drop": "Largest drop of the accept rate, in points.",
    "max_unknown_rise": "Largest rise of the unknown rate, in points.",
    "max_error_rate": "Most frames on which the model fails, in percent.",
}


def _limit_options(command: Any) -> Any:  # noqa: ANN401 - a click decorator
    from cloud_train.fleet_types import HealthLimits

    standard = HealthLimits()
    for name, said in reversed(_LIMITS.items()):
        flag = f"--{name.replace('_', '-')}"
        option = click.option(
            flag, type=click.FloatRange(min=0), default=getattr(standard, name), show_default=True, help=said
        )
        command = option(command)
    return click.option("--keep-on-halt", is_flag=True, help="A halt leaves devices on the new bundle.")(command)


@click.group()
def rollout() -> None:
    """Bring a bundle to the devices of a channel step by step; it halts by itself when it does harm."""


@rollout.command("start")
@click.argument("bundle")
@_STORE
@_CHANNEL
@click.option("--rings", default="1,10,50,100", show_default=True, help="Percent of the devices in each ring.")
@click.option("--ring-label", multiple=True, metavar="KEY=VALUE", help="Devices with this label go first; repeatable.")
@click.option("--min-minutes", type=click.FloatRange(min=0), default=30.0, show_default=True, help="Least time a ring.")
@click.option(
    "--max-minutes", type=float, default=240.0, show_default=True, help="After so long doubt alone holds nothing up."
)
@click.option("--min-devices", type=click.IntRange(min=0), default=1, show_default=True, help="That report, a ring.")
@click.option("--min-frames", type=click.IntRange(min=0), default=100, show_default=True, help="That they answer.")
@_limit_options
@_WHO
@_JSON
def _start(
    bundle: str,
    folder: Path,
    channel: str,
    rings: str,
    ring_label: tuple[str, ...],
    who: str,
    as_json: bool,
    **options: Any,  # noqa: ANN401 - the limits, by name
) -> None:
    """Sign BUNDLE (a folder, or a digest) for a channel and bring it to the devices ring by ring."""
    from cloud_train.fleet.launch import plan_of
    from cloud_train.fleet_types import RolloutKind

    ring_options = {name: options.pop(name) for name in ("min_minutes", "max_minutes", "min_devices", "min_frames")}
    plan = plan_of(_percents(rings), _limits(options), labels=_labels(ring_label), **ring_options)
    _launch(bundle, folder, channel, RolloutKind.ROLLOUT, plan, who=who, as_json=as_json)


@rollout.command("list")
@_STORE
@click.option("--channel", default="", help="Of this channel only.")
@_JSON
def _list(folder: Path, channel: str, as_json: bool) -> None:
    """Show rollouts, newest first."""
    from cloud_train.fleet.rollout_words import rollout_line
    from cloud_train.store.opened import open_store
    from cloud_train.store.rollouts import SqlRolloutStore
    from edge import jsonvalue

    with open_store(folder, must_exist=True) as store:
        found = SqlRolloutStore(store.database).rollouts(channel=channel)
    if as_json:
        click.echo(jsonvalue.canonical_bytes(found).decode())
        return
    click.echo("\n".join(rollout_line(one) for one in found) or "no rollouts yet")


@rollout.command("show")
@_NUMBER
@_STORE
@_JSON
def _show(rollout_id: int, folder: Path, as_json: bool) -> None:
    """Show how a rollout goes: rings, figures against their limits, what happens next."""
    from cloud_train.fleet.desk import channel_book, open_watch
    from cloud_train.fleet.rollout_words import findings_lines, findings_value
    from cloud_train.fleet.watch import is_unsettled, look
    from cloud_train.settings import serve_settings
    from cloud_train.store.opened import open_store
    from edge import jsonvalue

    with open_store(folder, must_exist=True) as store:
        parts = open_watch(store, serve_settings(store=folder))
        found = _existing(parts.rollouts.rollout(rollout_id), rollout_id)
        findings = look(found, parts, now=time.time())
        waits = is_unsettled(found, channel_book(store).channel(found.channel))
    if as_json:
        click.echo(jsonvalue.canonical_bytes(findings_value(findings, waits=waits)).decode())
        return
    click.echo("\n".join(findings_lines(findings, waits=waits, now=time.time())))


def _act_command(name: str, what: str, said: str) -> None:
    @rollout.command(name, help=said)
    @_NUMBER
    @_STORE
    @_WHO
    @_REASON
    def _command(rollout_id: int, folder: Path, who: str, reason: str) -> None:
        from cloud_train.fleet.acts import Act

        _act(rollout_id, Act(what), folder, who=who, reason=reason)


_act_command("advance", "advance", "Go to the next ring now; after the last one the rollout is done.")
_act_command("pause", "pause", "Keep every device where it is, and let nothing happen by itself.")
_act_command("resume", "resume", "Go on after a pause or a halt; the ring begins anew.")
_act_command("halt", "halt", "Give the new bundle to nobody, until you resume or roll back.")
_act_command("rollback", "rollback", "End it, and send every device back to the old bundle.")
_act_command("finish", "finish", "End it now: a rollout with the new bundle for all, a comparison with A.")


@rollout.group("ab")
def _ab() -> None:
    """Compare two bundles on the devices of a channel, half of them each."""


@_ab.command("start")
@click.argument("bundle", metavar="BUNDLE_B")
@_STORE
@_CHANNEL
@click.option("--percent", type=click.FloatRange(0, 100), default=100.0, show_default=True, help="That take part.")
@_limit_options
@_WHO
@_JSON
def _ab_start(
    bundle: str,
    folder: Path,
    channel: str,
    percent: float,
    who: str,
    as_json: bool,
    **options: Any,  # noqa: ANN401 - the limits, by name
) -> None:
    """Compare what the channel offers (A) with BUNDLE_B (a folder, or a digest)."""
    from cloud_train.fleet_types import Ring, RolloutKind, RolloutPlan

    plan = RolloutPlan(rings=(Ring(percent=percent),), limits=_limits(options))
    _launch(bundle, folder, channel, RolloutKind.AB, plan, who=who, as_json=as_json)


@_ab.command("report")
@_NUMBER
@_STORE
@_JSON
def _ab_report(rollout_id: int, folder: Path, as_json: bool) -> None:
    """Show both bundles side by side."""
    from cloud_train.fleet.ab_report import ab_report, report_lines, report_value
    from cloud_train.fleet.desk import open_watch
    from cloud_train.settings import serve_settings
    from cloud_train.store.answered import AnsweredSamples
    from cloud_train.store.opened import open_store
    from edge import jsonvalue

    with open_store(folder, must_exist=True) as store:
        parts = open_watch(store, serve_settings(store=folder))
        found = _existing(parts.rollouts.rollout(rollout_id), rollout_id)
        report = ab_report(found, parts, AnsweredSamples(store.database), now=time.time())
    if as_json:
        click.echo(jsonvalue.canonical_bytes(report_value(report)).decode())
    else:
        click.echo("\n".join(report_lines(report)))


@rollout.command("drift")
@_STORE
@_CHANNEL
@click.option("--bundle", default="", metavar="DIGEST", help="Another than the channel's.")
@click.option("--hours", type=click.IntRange(min=1), default=24, show_default=True, help="Over so many last hours.")
@_JSON
def _drift(folder: Path, channel: str, bundle: str, hours: int, as_json: bool) -> None:
    """Show how far what devices see has moved from what a bundle was trained on."""
    from cloud_train.fleet.desk import channel_book
    from cloud_train.fleet.drift_report import drift_lines, drift_report
    from cloud_train.fleet.expected import expected_of
    from cloud_train.store.hours import SqlHourStore
    from cloud_train.store.opened import open_store
    from edge import jsonvalue
    from edge.errors import UsageError

    with open_store(folder, must_exist=True) as store:
        digest = bundle or channel_book(store).channel(channel).settled
        if not digest:
            raise UsageError(f"channel {channel} offers no bundle", hint="name one with --bundle")
        report = drift_report(
            digest,
            SqlHourStore(store.database),
            lambda: expected_of(store.published, channel, digest),
            now=time.time(),
            recent_hours=hours,
        )
    click.echo(jsonvalue.canonical_bytes(report).decode() if as_json else "\n".join(drift_lines(report)))


def _launch(
    bundle: str, folder: Path, channel: str, kind: RolloutKind, plan: RolloutPlan, *, who: str, as_json: bool
) -> None:
    from cloud_train.fleet.launch import Launch, launch
    from cloud_train.fleet.rollout_words import rollout_line
    from cloud_train.store.opened import open_store
    from edge import jsonvalue

    with open_store(folder, must_exist=True) as store:
        wanted = Launch(bundle=bundle, channel=channel, kind=kind, plan=plan, who=_name(who), now=time.time())
        started = launch(store, wanted)
    click.echo(jsonvalue.canonical_bytes(started).decode() if as_json else rollout_line(started))


def _act(rollout_id: int, what: Act, folder: Path, *, who: str, reason: str) -> None:
    from cloud_train.fleet.acts import act
    from cloud_train.fleet.desk import open_watch
    from cloud_train.fleet.rollout_words import rollout_line
    from cloud_train.fleet.watch import settle_ended
    from cloud_train.settings import serve_settings
    from cloud_train.store.opened import open_store

    with open_store(folder, must_exist=True) as store:
        parts = open_watch(store, serve_settings(store=folder))
        after = act(
            rollout_id,
            what,
            parts.rollouts,
            who=_name(who),
            now=time.time(),
            reason=reason,
            settled_of=lambda channel: parts.read_channel(channel).settled,
        )
        settle_ended(parts)
    click.echo(rollout_line(after))


def _name(who: str) -> str:
    return who or getpass.getuser()


def _percents(text: str) -> tuple[float, ...]:
    from edge.errors import UsageError

    try:
        found = tuple(float(part.strip().removesuffix("%")) for part in text.split(","))
    except ValueError as cause:
        raise UsageError(f"--rings {text!r} are not percents", hint="for instance --rings 1,10,50,100") from cause
    if found[-1] != 100:
        raise UsageError("the last ring must be 100, for everybody", hint=f"for instance --rings {text},100")
    return found


def _labels(texts: tuple[str, ...]) -> dict[str, str]:
    from edge.errors import UsageError

    labels = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not (key and equals and value):
            raise UsageError(f"--ring-label {text!r} is not KEY=VALUE", hint="for instance --ring-label store=17")
        labels[key] = value
    return labels


def _limits(options: dict[str, Any]) -> Any:  # noqa: ANN401 - HealthLimits, imported late
    from cloud_train.fleet_types import HealthLimits

    return HealthLimits(roll_back=not options.pop("keep_on_halt"), **options)


def _existing(found: Any, rollout_id: int) -> Any:  # noqa: ANN401 - a Rollout, imported late
    from cloud_train.errors import RolloutError

    if found is None:
        raise RolloutError(f"there is no rollout {rollout_id}", hint="see edgeloop rollout list")
    return found
