"""Model files encrypted to the fleet's key: AES-256-GCM of `cryptography`. Page: docs/formats/encryption.md.

One call encrypts a whole file under a random nonce of 96 bits; what it is bound to besides its content is the SHA-256
of the plain file, so no sealed file can be put in another's place. What is opened stays in memory.
"""

from __future__ import annotations

import hashlib
import mmap
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from edge.errors import BundleError, MissingExtraError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_IN_HOME = Path("identity") / "fleet.key"
"""Where a device keeps the key, below its home."""
KEY_BYTES = 32
OVERHEAD_BYTES = 45
"""What a sealed file is larger than the plain one."""
MAX_PLAIN_BYTES = (1 << 31) - 1 - OVERHEAD_BYTES
"""What AES-GCM takes in one call."""
_MAGIC = b"edgeseal\x01"
_ID_BYTES, _NONCE_BYTES, _TAG_BYTES = 8, 12, 16
_HEADER_BYTES = len(_MAGIC) + _ID_BYTES
_KEY = re.compile(r"[0-9a-f]{64}")
_MAX_KEYS_BYTES = 4096
_ASK = "enrol the device again, or copy the fleet's key to identity/fleet.key in its home"

Keys = Mapping[bytes, bytes]
"""Key id to key: a fleet has one, and two while it changes to another."""


def key_id(key: bytes) -> bytes:
    """The eight bytes by which a sealed file names its key; they say nothing about it."""
    return hashlib.sha256(b"edgeloop fleet key\x00" + key).digest()[:_ID_BYTES]


def seal(data: bytes, key: bytes, *, nonce: bytes, digest: str) -> bytes:
    """Encrypts a file.

    Args:
        data: The plain file, at most `MAX_PLAIN_BYTES`.
        key: 32 bytes.
        nonce: 12 bytes, random, never used with this key before.
        digest: SHA-256 of `data`, hex.

    Raises:
        BundleError: The file is too large.
        MissingExtraError: cryptography is not installed.
    """
    if len(data) > MAX_PLAIN_BYTES:
        raise BundleError(f"a file of {len(data)} bytes is too large to encrypt", hint="publish it without --encrypt")
    header = _MAGIC + key_id(key)
    return header + nonce + _cipher(key).encrypt(nonce, data, header + bytes.fromhex(digest))


def unseal(data: bytes | mmap.mmap, keys: Keys, *, digest: str, name: str) -> bytes:
    """Decrypts a file and checks what comes out.

    Args:
        data: The sealed file.
        keys: What this device has.
        digest: SHA-256 of the plain file, hex, as the manifest says.
        name: For errors.

    Raises:
        BundleError: No such key here, or the file is damaged or another one.
        MissingExtraError: cryptography is not installed.
    """
    header = bytes(data[:_HEADER_BYTES])
    if len(data) < OVERHEAD_BYTES or not header.startswith(_MAGIC):
        raise BundleError(f"{name}: not an encrypted file of a known format", hint="fetch the bundle again")
    key = keys.get(header[len(_MAGIC) :])
    if key is None:
        raise BundleError(f"{name} is encrypted to a key that this device does not have", hint=_ASK)
    plain = _decrypt(data, key, header + bytes.fromhex(digest), name)
    if hashlib.sha256(plain).hexdigest() != digest:
        raise BundleError(f"{name}: what was encrypted is not the manifest's file", hint="publish the bundle again")
    return plain


def unseal_file(path: Path, keys_file: Path, *, digest: str) -> bytes:
    """Decrypts a file of a bundle into memory; the encrypted bytes are mapped, not read.

    Raises:
        BundleError: As `unseal`; or the file or the key cannot be read.
        MissingExtraError: cryptography is not installed.
    """
    keys = read_keys(keys_file)
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return unseal(data, keys, digest=digest, name=path.name)
    except (OSError, ValueError) as cause:  # ValueError: an empty file cannot be mapped
        raise BundleError(f"{path}: cannot be read: {cause}", hint="fetch the bundle again") from cause


def read_keys(path: Path) -> Keys:
    """Reads a key file: one key a line, 64 hex digits, the newest first.

    Raises:
        BundleError: There is none, or it is damaged; never says what is in it.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_KEYS_BYTES).decode("ascii", "replace")
    except FileNotFoundError as cause:
        raise BundleError("the bundle is encrypted, and this device has no fleet key", hint=_ASK) from cause
    except OSError as cause:
        raise BundleError(f"cannot read {path}: {(cause.strerror or '').lower()}", hint="check its owner") from cause
    return parse_keys(text, where=str(path))


def parse_keys(text: str, *, where: str) -> Keys:
    """Reads the text of a key file.

    Raises:
        BundleError: It is damaged.
    """
    lines = text.split()
    if not lines or not all(_KEY.fullmatch(line) for line in lines):
        raise BundleError(f"{where} holds no fleet key", hint=_ASK)
    keys = [bytes.fromhex(line) for line in lines]
    return {key_id(key): key for key in keys}


def _decrypt(data: bytes | mmap.mmap, key: bytes, bound: bytes, name: str) -> bytes:
    from cryptography.exceptions import InvalidTag

    begin = _HEADER_BYTES + _NONCE_BYTES
    nonce = bytes(data[_HEADER_BYTES:begin])
    try:
        with memoryview(data) as view, view[begin:] as body:
            return _cipher(key).decrypt(nonce, body, bound)
    except InvalidTag as cause:
        raise BundleError(f"{name}: the encrypted file is damaged or another one", hint="fetch it again") from cause


def _cipher(key: bytes) -> AESGCM:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as cause:
        raise MissingExtraError("cryptography", "sealed") from cause
    return AESGCM(key)
