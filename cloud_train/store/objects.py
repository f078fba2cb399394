"""Objects by path below a URL (S3), through fsspec: the only place that knows fsspec and its failures."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from edge.errors import FormatError, MissingExtraError, StorageError, UsageError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 20.0
CALL_TIMEOUT_S = 60.0
LIST_TIMEOUT_S = 1800.0
_SLOWEST = 100_000
"""Bytes a second that a call may count on besides."""
_ATTEMPTS = 3
_CONNECTIONS = 32
BLOCK_BYTES = 4 << 20
"""Larger objects are read in pieces of this size, each a request of its own."""

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_EXAMPLE = "use s3://BUCKET/PREFIX, or file:///FOLDER"


def checked_place(text: str) -> Path | str:
    """An object store URL in the form that the rest of the store takes.

    Returns:
        A folder for `file://`, otherwise the URL without a slash at its end.

    Raises:
        UsageError: It is no URL, of an unknown kind, or holds a password.
    """
    try:
        url = urlsplit(text)
    except ValueError as cause:
        raise UsageError("the object store URL is not a URL", hint=_EXAMPLE) from cause
    if url.username or url.password:
        raise UsageError(
            "the object store URL holds a password",
            hint="leave it out: credentials come from the environment or the AWS configuration",
        )
    if url.scheme == "file" and not url.netloc and url.path.startswith("/"):
        return Path(unquote(url.path))
    if url.scheme == "memory" and url.netloc:
        return text.rstrip("/")
    if url.scheme == "s3" and _BUCKET.fullmatch(url.netloc) and not url.query and not url.fragment:
        _check_path(url.path.strip("/") or "x")
        return text.rstrip("/")
    raise UsageError(f"no store can lie at {text[:200]!r}", hint=_EXAMPLE)


class ObjectPlace:
    """Objects below one URL. Thread-safe; an object is replaced whole or not at all.

    Args:
        url: As `checked_place` returns it.

    Raises:
        MissingExtraError: The driver of this kind is not installed.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        kind, _, rest = url.partition("://")
        self._files = _filesystem(kind)
        self._prefix = rest if kind == "s3" else f"/{rest}"

    def below(self, name: str) -> ObjectPlace:
        """The same place, further down."""
        return ObjectPlace(f"{self.url}/{name}")

    def write(self, items: Mapping[str, bytes]) -> None:
        """Writes objects, several at a time; each is there when this returns.

        Raises:
            StorageError: The place is out of reach or says no; some may be there, each whole.
        """
        placed = {self._at(path): bytes(data) for path, data in items.items()}
        if placed:
            self._call("pipe", placed, size_bytes=sum(map(len, placed.values())))

    def upload(self, files: Mapping[str, Path]) -> None:
        """Writes objects from local files, several at a time; in parts when one is larger than 100 MB."""
        targets, sources = [self._at(path) for path in files], [str(path) for path in files.values()]
        if targets:
            size_bytes = sum(path.stat().st_size for path in files.values())
            self._call("put", sources, targets, size_bytes=size_bytes)

    def read(self, path: str, start: int = 0, end: int | None = None) -> bytes:
        """The bytes of an object, or those from `start` to before `end`.

        Raises:
            FileNotFoundError: No such object.
            StorageError: The place is out of reach or says no.
        """
        data: bytes = self._call("cat_file", self._at(path), start=start or None, end=end, size_bytes=BLOCK_BYTES)
        return data

    def blocks(self, path: str, offset: int = 0) -> Iterator[bytes]:
        """The bytes of an object from `offset` on, in pieces. Raises as `read` does."""
        size = self.size(path)
        if 0 <= offset < size <= BLOCK_BYTES:  # small files are replaced: one request reads one of them whole
            yield self.read(path, offset)
            return
        for start in range(offset, size, BLOCK_BYTES):
            yield self.read(path, start, min(start + BLOCK_BYTES, size))

    def size(self, path: str) -> int:
        """Bytes of an object. Raises as `read` does."""
        found = self._call("info", self._at(path))
        if found["type"] != "file":
            raise FileNotFoundError(path)
        return int(found["size"])

    def has(self, path: str) -> bool:
        """Whether an object is there."""
        try:
            self.size(path)
        except FileNotFoundError:
            return False
        return True

    def list(self) -> Iterator[tuple[str, int]]:
        """Path and size of every object below the place."""
        return ((path, int(about["size"])) for path, about in self._described())

    def dated(self) -> Iterator[tuple[str, float]]:
        """Path of every object below the place, and when it was written: seconds since the epoch, UTC."""
        return ((path, _written_at(about)) for path, about in self._described())

    def _described(self) -> Iterator[tuple[str, dict[str, Any]]]:
        try:
            found = self._call("find", self._prefix, detail=True, withdirs=False, limit_s=LIST_TIMEOUT_S)
        except FileNotFoundError:
            return
        start = len(self._prefix) + 1
        for name, about in found.items():
            yield name[start:], about

    def written_at(self, path: str) -> float:
        """When an object was written, seconds since the epoch, UTC. Raises as `read` does."""
        return _written_at(self._call("info", self._at(path)))

    def copy(self, path: str, to: str) -> None:
        """Copies an object within the place, over one that is there. Raises as `read` does."""
        self._call("cp_file", self._at(path), self._at(to))

    def remove(self, path: str) -> None:
        """Removes an object; harmless when it is gone.

        Raises:
            StorageError: The place is out of reach or says no.
        """
        with contextlib.suppress(FileNotFoundError):
            self._call("rm_file", self._at(path))

    def check(self) -> None:
        """Asks whether the place answers.

        Raises:
            StorageError: It is out of reach, there is no such bucket, or it says no.
        """
        if self.url.startswith("s3://"):
            self._call("ls", self._prefix.split("/", 1)[0], refresh=True)

    def _at(self, path: str) -> str:
        _check_path(path)
        return f"{self._prefix}/{path}"

    def _call(self, name: str, *args: Any, size_bytes: int = 0, limit_s: float | None = None, **given: Any) -> Any:  # noqa: ANN401 - fsspec's own
        """Calls fsspec for a bounded time: drivers wait without end for a server that takes a call and is silent."""
        limit_s = limit_s or CALL_TIMEOUT_S + size_bytes / _SLOWEST
        with self._mapped():
            if not self._files.async_impl:
                return getattr(self._files, name)(*args, **given)
            from fsspec.asyn import sync

            method = getattr(self._files, f"_{name}")
            return sync(self._files.loop, partial(_bounded, method, limit_s), *args, **given)

    @contextlib.contextmanager
    def _mapped(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as cause:
            if _answer(cause)[0] == "NoSuchBucket":
                raise _storage_error(self.url, cause) from cause
            raise
        except Exception as cause:
            raise _storage_error(self.url, cause) from cause


async def _bounded(method: Callable[..., Awaitable[Any]], limit_s: float, *args: Any, **given: Any) -> Any:  # noqa: ANN401 - fsspec's own
    return await asyncio.wait_for(method(*args, **given), limit_s)


def _filesystem(kind: str) -> AbstractFileSystem:
    import fsspec

    try:
        files: AbstractFileSystem = fsspec.filesystem(kind, **(_s3_options() if kind == "s3" else {}))
        if kind == "s3":
            files.retries = _ATTEMPTS
    except ImportError as cause:
        raise MissingExtraError("s3fs" if kind == "s3" else "fsspec", "cloud") from cause
    return files


def _s3_options() -> dict[str, Any]:
    """Bounded waits, no list kept in memory: other servers write too. Credentials are found by botocore itself."""
    from cloud_train.settings import PlaceSettings

    endpoint = PlaceSettings().objects_endpoint
    return {
        "use_listings_cache": False,
        **({"endpoint_url": endpoint} if endpoint else {}),
        "config_kwargs": {
            "connect_timeout": CONNECT_TIMEOUT_S,
            "read_timeout": READ_TIMEOUT_S,
            "max_pool_connections": _CONNECTIONS,
            "retries": {"mode": "standard", "total_max_attempts": 1},  # s3fs asks again by itself
        },
    }


def _written_at(about: Mapping[str, Any]) -> float:
    """By what S3 says, and the file system of tests."""
    moment = about.get("LastModified") or about["created"]
    return float(moment) if isinstance(moment, float) else float(moment.timestamp())


def _check_path(path: str) -> None:
    if any(part in ("", ".", "..") for part in path.split("/")):
        raise FormatError(f"{path!r} is not a plain relative path")


_NO_CREDENTIALS = {"NoCredentialsError", "PartialCredentialsError", "TokenRetrievalError", "ProfileNotFound"}
_AWAY = {"HTTPClientError", "EndpointConnectionError", "ConnectionError", "TimeoutError", "FSTimeoutError"}
_AWAY |= {"ReadTimeoutError", "ConnectTimeoutError", "ClientConnectionError"}
_LAST_CLIENT_FAULT = 499


def _storage_error(url: str, cause: Exception) -> StorageError:
    """By the kinds of failure, whose texts name the user's own paths."""
    code, status = _answer(cause)
    kinds = {kind.__name__ for kind in type(cause).__mro__}
    if code == "NoSuchBucket":
        return StorageError(f"{url}: no such bucket", hint="make it first, or check the URL")
    if kinds & _NO_CREDENTIALS:
        hint = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        return StorageError(f"{url} wants credentials", hint=hint)
    if isinstance(cause, PermissionError):
        return StorageError(f"{url} says no", hint="check the credentials and the policy of the bucket")
    if kinds & _AWAY or status > _LAST_CLIENT_FAULT or code == "SlowDown":
        hint = "it is asked again by itself; check the network and EDGELOOP_OBJECTS_ENDPOINT"
        return StorageError(f"{url} cannot be reached", hint=hint)
    line = " ".join(str(cause).split())[:300]
    return StorageError(f"{url}: {line or type(cause).__name__}", hint="check the object store")


def _answer(cause: BaseException) -> tuple[str, int]:
    """Code and HTTP status of an answer of S3, behind what s3fs made of it; nothing for other failures."""
    behind: BaseException | None = cause
    while behind is not None:
        response = getattr(behind, "response", None)
        if isinstance(response, dict):
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            return str(response.get("Error", {}).get("Code", "")), int(status)
        behind = behind.__cause__
    return "", 0
