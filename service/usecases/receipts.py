"""Receipts: signed statements of what was done, which hold without this service.

A receipt names a person only by a salted digest: who has the receipt and knows the name can tell that it is of that person;
who has only the receipt cannot tell of whom it is. Signed with Ed25519 by a key of the data folder; the public key stands in the
receipt, and is the same in all receipts of a service.
"""

import base64
import hashlib
import json
import os
import re
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from models.documents import canonical_json
from service.errors import InvalidInputError, StartupError

KEY = "receipts.pem"
_TOLD = {"gallery", "erased_at", "num_files", "salt", "subject_sha256"}
_PUBLIC_KEY = re.compile(r"[0-9A-Fa-f]{64}")
_RAW = (serialization.Encoding.Raw, serialization.PublicFormat.Raw)


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs receipts."""

    key: Ed25519PrivateKey

    @classmethod
    def of_folder(cls, folder: Path) -> "Signer":
        """With the key of a data folder, which is made where it has none. Raises `StartupError`."""
        path = folder / KEY
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with suppress(FileExistsError):
                _write_new_key(path)
            key = serialization.load_pem_private_key(path.read_bytes(), None)
        except (OSError, ValueError) as failure:
            raise StartupError(f"{path}: cannot be used as key of receipts ({type(failure).__name__})") from None
        if not isinstance(key, Ed25519PrivateKey):
            raise StartupError(f"{path}: is no Ed25519 key")
        return cls(key)

    def sign(self, facts: dict[str, Any], subject: str) -> dict[str, Any]:
        """A receipt of `facts`, JSON values, about somebody."""
        salt = secrets.token_hex(16)
        return self.seal(facts | {"salt": salt, "subject_sha256": _subject_digest(salt, subject)})

    def seal(self, facts: dict[str, Any]) -> dict[str, Any]:
        """`facts`, JSON values, signed."""
        document = facts | {"public_key": self.key.public_key().public_bytes(*_RAW).hex()}
        signature = self.key.sign(canonical_json(document))
        return document | {"signature": base64.b64encode(signature).decode()}


def check_receipts(data: bytes, subject: str | None = None, public_key: str | None = None) -> list[dict[str, Any]]:
    """As `check_receipt`, of one receipt or of all in an answer to an erasure; those of `subject`, if given.

    Raises `InvalidInputError`, also where one of them is not as it was signed, or none is of that subject.
    """
    try:
        several = json.loads(data)["receipts"]
        receipts = [json.dumps(one).encode() for one in several]
    except (ValueError, KeyError, TypeError, RecursionError):
        return [check_receipt(data, subject, public_key)]
    documents = [check_receipt(one, None, public_key) for one in receipts]
    meant = [one for one in documents if subject is None or _is_of(one, subject)]
    if not meant:
        raise InvalidInputError("none of the receipts is of that subject" if documents else "there is no receipt in it")
    return meant


def check_receipt(data: bytes, subject: str | None = None, public_key: str | None = None) -> dict[str, Any]:
    """What a receipt says, if it is as it was signed, and by that key and of that subject where they are given: with a key of
    their own anybody can sign. Raises `InvalidInputError`.
    """
    document = check_sealed(data, "erasure", public_key)
    try:
        is_of_subject = subject is None or _is_of(document, subject)
        if not document.keys() >= _TOLD:
            raise ValueError
    except (ValueError, KeyError, TypeError):
        raise InvalidInputError("it is no receipt") from None
    if not is_of_subject:
        raise InvalidInputError("the receipt is of somebody else")
    return document


def is_verdict(data: bytes) -> bool:
    """Whether it says that it is the verdict on a migration; `check_sealed` tells whether it is one."""
    try:
        return bool(json.loads(data)["kind"] == "verdict")
    except (ValueError, KeyError, TypeError, RecursionError):
        return False


def check_sealed(data: bytes, kind: str, public_key: str | None = None) -> dict[str, Any]:
    """What a signed document of a kind says, if it is as it was signed, and by that key where it is given. Raises
    `InvalidInputError`.
    """
    try:
        document: dict[str, Any] = json.loads(data)
        signature = base64.b64decode(document.pop("signature"), validate=True)
        public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(document["public_key"]))
        public.verify(signature, canonical_json(document))
        if document["kind"] != kind:
            raise ValueError
    except InvalidSignature:
        raise InvalidInputError("it is not as it was signed") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise InvalidInputError(f"it is no {'receipt' if kind == 'erasure' else kind}") from None
    if public_key is not None and not _PUBLIC_KEY.fullmatch(public_key.strip()):
        raise InvalidInputError("a public key is 64 hexadecimal digits")
    if public_key is not None and document["public_key"] != public_key.strip().lower():
        raise InvalidInputError("it is signed by another key")
    return document


def _is_of(document: dict[str, Any], subject: str) -> bool:
    return bool(document["subject_sha256"] == _subject_digest(document["salt"], subject))


def _subject_digest(salt: str, subject: str) -> str:
    return hashlib.sha256(f"{salt}\n{subject}".encode()).hexdigest()


def _write_new_key(path: Path) -> None:
    """Under another name first: a key that is there is whole."""
    key = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    draft = path.with_name(f".{secrets.token_hex(4)}.draft")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(key)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    finally:
        draft.unlink()
