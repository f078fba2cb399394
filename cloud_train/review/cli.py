"""`edgeloop label`: see what waits for a person, and answer it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

if TYPE_CHECKING:
    from cloud_train.review.direct import AnswerRoad
    from cloud_train.server_info import ServerInfo
    from cloud_train.store.meta import MetaStore
    from cloud_train.types import ReviewTask
    from edge.types import Feedback

T = TypeVar("T")
_PATH = click.Path(path_type=Path)
_ALL = 1_000_000_000


@click.command()
@click.argument("digest", required=False)
@click.argument("label_name", metavar="[LABEL]", required=False)
@click.option("--store", type=_PATH, help="The store folder, to see what waits.")
@click.option("--server", metavar="HOST:PORT", help="The server.  [default: the one that runs on --store]")
@click.option("--tls-ca", type=_PATH, help="Certificate of the server's authority (PEM).")
@click.option("--list", "list_tasks", is_flag=True, help="List what waits, most instructive first.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="Most rows to list.")
@click.option("--who", help="Your name.")
@click.option("--none-of-these", is_flag=True, help="The sample DIGEST shows none of the known classes.")
@click.option("--from-folder", type=_PATH, help="Answer all that waits from a folder with one subfolder a class.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def label(
    digest: str | None,
    label_name: str | None,
    store: Path | None,
    server: str | None,
    tls_ca: Path | None,
    list_tasks: bool,
    limit: int,
    who: str | None,
    none_of_these: bool,
    from_folder: Path | None,
    as_json: bool,
) -> None:
    """Answer samples that wait for a person: the sample DIGEST shows a LABEL.

    \b
    edgeloop label --store DIR --list
    edgeloop label --server HOST:PORT DIGEST LABEL --who NAME
    edgeloop label --store DIR --from-folder PICTURES
    """  # noqa: D301 - click's own mark for lines that stay as they are
    if list_tasks:
        _list(_required(store, "--store"), limit, as_json=as_json)
    elif from_folder is not None:
        with _transport(server, store, tls_ca) as transport:
            _answer_from_folder(_required(store, "--store"), from_folder, transport, who, as_json=as_json)
    else:
        feedback = _feedback(label_name, who, none_of_these=none_of_these)
        with _transport(server, store, tls_ca) as transport:
            _answer(transport, _required(digest, "DIGEST"), feedback, as_json=as_json)


def _list(store: Path, limit: int, *, as_json: bool) -> None:
    from cloud_train.review.tasks import next_tasks
    from edge import jsonvalue

    with _meta(store) as meta:
        tasks = next_tasks(meta, limit=limit)
    if as_json:
        click.echo(jsonvalue.canonical_bytes(tasks).decode())
        return
    for task in tasks:
        click.echo(_row(task))
    click.echo(f"{len(tasks)} shown" if tasks else "nothing waits", err=True)


def _row(task: ReviewTask) -> str:
    said = task.record.metadata
    answer = f"{said.label} {said.confidence:.2f}  {said.outcome.value}  {said.reason.value}"
    return f"{task.record.digest}  {answer}  {said.source}"


def _answer(transport: AnswerRoad, digest: str, feedback: Feedback, *, as_json: bool) -> None:
    from edge import jsonvalue

    transport.annotate(digest, feedback)
    said = feedback.label or "none of these"
    done = {"digest": digest, "feedback": feedback}
    click.echo(jsonvalue.canonical_bytes(done).decode() if as_json else f"{digest[:12]}: {said}, says {feedback.who}")


def _answer_from_folder(store: Path, folder: Path, transport: AnswerRoad, who: str | None, *, as_json: bool) -> None:
    from cloud_train.review.answers import answer_tasks, folder_labels
    from cloud_train.review.tasks import next_tasks
    from edge import jsonvalue

    who = who or f"dataset:{folder.resolve().name}"
    labels = folder_labels(folder, progress=_progress)
    with _meta(store) as meta:
        tasks = next_tasks(meta, limit=_ALL)
    answered = answer_tasks(tasks, labels, transport, who=who, now=time.time)
    left = len(tasks) - answered
    if as_json:
        click.echo(jsonvalue.canonical_bytes({"answered": answered, "who": who, "waiting": left}).decode())
    else:
        click.echo(
            f"{answered} samples answered by the labels of {folder} (as {who}, no person looked); {left} still wait"
        )


def _progress(files: list[Path]) -> Iterator[Path]:
    from rich.console import Console
    from rich.progress import track

    yield from track(files, description="reading labels", console=Console(stderr=True), transient=True)


def _feedback(label_name: str | None, who: str | None, *, none_of_these: bool) -> Feedback:
    from edge.errors import UsageError
    from edge.types import Feedback, FeedbackKind

    if none_of_these and label_name:
        raise UsageError("a LABEL and --none-of-these contradict each other", hint="give one of them")
    kind = FeedbackKind.NONE_OF_THESE if none_of_these else FeedbackKind.CORRECTED
    name = "" if none_of_these else _required(label_name, "LABEL")
    return Feedback(kind=kind, label=name, who=_required(who, "--who"), at=time.time())


@contextmanager
def _transport(server: str | None, store: Path | None, tls_ca: Path | None) -> Iterator[AnswerRoad]:
    from cloud_train.review.direct import DirectAnswers
    from edge.sync.grpc_transport import GrpcTransport

    info = None if server else _server_of(store)
    if info is not None and info.tls:  # it lets devices in, not people: those answer in the store, or on its pages
        with _meta(_required(store, "--store")) as meta:
            yield DirectAnswers(meta)
        return
    target = server or (info.target if info is not None else "")
    with closing(GrpcTransport(target, tls_ca=tls_ca)) as transport:
        yield transport


def _server_of(store: Path | None) -> ServerInfo:
    from cloud_train.server_info import SERVER_FILE, ServerInfo
    from edge import jsonvalue
    from edge.errors import UsageError

    path = _required(store, "--server") / SERVER_FILE
    if not path.exists():
        raise UsageError(
            f"no server runs on {store}", hint="start one with `edgeloop serve`, or give --server HOST:PORT"
        )
    return jsonvalue.load(ServerInfo, path.read_bytes(), where=str(path))


@contextmanager
def _meta(store: Path) -> Iterator[MetaStore]:
    from cloud_train.store.opened import open_store

    with open_store(store, must_exist=True) as opened:
        yield opened.meta


def _required(value: T | None, name: str) -> T:
    from edge.errors import UsageError

    if value is None:
        raise UsageError(f"{name} is missing", hint="see edgeloop label --help")
    return value
