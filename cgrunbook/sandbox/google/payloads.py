"""How payloads rest: sealed with a key of the sandbox's own, so that a copy of the database alone tells nothing.

Knows ciphers and the key's file. Knows no secrets' states.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

_KEY_FILE = "secret-manager.key"
_NONCE_BYTES = 12


def sealed(home: Path, place: tuple[str, int], content: bytes) -> bytes:
    """A payload as it is kept.

    Args:
        home: the state folder.
        place: the secret's id and the version's number: sealed for one version, it opens for no other.
        content: the payload.
    """
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + bytes(_cipher(home).encrypt(nonce, content, _label(place)))


def opened(home: Path, place: tuple[str, int], kept: bytes) -> bytes:
    """A payload, of what `sealed` made."""
    return bytes(_cipher(home).decrypt(kept[:_NONCE_BYTES], kept[_NONCE_BYTES:], _label(place)))


def _label(place: tuple[str, int]) -> bytes:
    return "{}/{}".format(*place).encode()


def _cipher(home: Path) -> Any:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    path = home / _KEY_FILE
    try:
        return AESGCM(path.read_bytes())
    except FileNotFoundError:
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(AESGCM.generate_key(bit_length=256))
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
        return AESGCM(path.read_bytes())
