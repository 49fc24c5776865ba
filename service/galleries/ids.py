"""Template ids: the number of a template, enciphered. They cannot be guessed, say nothing of when or who, and need no index.

An id is one block of AES-128, under a key of the record's own: the number `seq` and eight zero bytes, by which a made-up id is
told from a real one.
"""

import re
import threading
from collections.abc import Iterable

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

KEY_BYTES = 16
_ZEROS = bytes(8)
_ID = re.compile(r"[0-9a-f]{32}")


class TemplateIds:
    """Of one record."""

    def __init__(self, key: bytes) -> None:
        # A block stands for itself: numbers differ, so no two blocks are alike, which is all that this mode would tell.
        cipher = Cipher(algorithms.AES(key), modes.ECB())
        # Made once: that takes longer than to encipher thousands.
        self._encryptor, self._decryptor = cipher.encryptor(), cipher.decryptor()
        self._lock = threading.Lock()

    def of(self, seqs: Iterable[int]) -> list[str]:
        """The ids of templates, 32 hexadecimal digits each.

        >>> ids = TemplateIds(bytes(16))
        >>> [ids.seq(one) for one in ids.of([1, 77])]
        [1, 77]
        """
        blocks = b"".join([seq.to_bytes(8, "big") + _ZEROS for seq in seqs])
        with self._lock:
            text = self._encryptor.update(blocks).hex()
        return [text[start : start + 32] for start in range(0, len(text), 32)]

    def seq(self, template_id: str) -> int | None:
        """The number of a template, or None for what is no id of this record."""
        if not _ID.fullmatch(template_id):
            return None
        with self._lock:
            block = self._decryptor.update(bytes.fromhex(template_id))
        return int.from_bytes(block[:8], "big") if block[8:] == _ZEROS else None
