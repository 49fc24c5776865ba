"""Template ids: the number of a template, enciphered. They cannot be guessed, say nothing of when or who, and need no index.

An id is one block of AES-128, under a key of the record's own: the number `seq`, and eight bytes that stand for the run of the
service in which it was given out. By these a made-up id is told from a real one; and where a record was put back from a copy, and
numbers are given out again, their ids are others.
"""

import re
import threading
from bisect import bisect_right
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

KEY_BYTES = 16
_BEFORE_RUNS = bytes(8)
_ID = re.compile(r"[0-9a-f]{32}")


class TemplateIds:
    """Of one record."""

    def __init__(self, key: bytes, runs: Sequence[tuple[int, str]] = ()) -> None:
        """`runs` are the first numbers of all runs, ascending, and their tokens, hexadecimal."""
        # A block stands for itself: numbers differ, so no two blocks are alike, which is all that this mode would tell.
        cipher = Cipher(algorithms.AES(key), modes.ECB())
        # Made once: that takes longer than to encipher thousands.
        self._encryptor, self._decryptor = cipher.encryptor(), cipher.decryptor()
        self._lock = threading.Lock()
        self._firsts = [first for first, _ in runs]
        self._marks = [_BEFORE_RUNS, *(bytes.fromhex(token)[:8] for _, token in runs)]

    def of(self, seqs: Iterable[int]) -> list[str]:
        """The ids of templates, 32 hexadecimal digits each.

        >>> ids = TemplateIds(bytes(16))
        >>> [ids.seq(one) for one in ids.of([1, 77])]
        [1, 77]
        """
        blocks = b"".join([seq.to_bytes(8, "big") + self._mark(seq) for seq in seqs])
        with self._lock:
            text = self._encryptor.update(blocks).hex()
        return [text[start : start + 32] for start in range(0, len(text), 32)]

    def seq(self, template_id: str) -> int | None:
        """The number of a template, or None for what is no id of this record."""
        if not _ID.fullmatch(template_id):
            return None
        with self._lock:
            block = self._decryptor.update(bytes.fromhex(template_id))
        seq = int.from_bytes(block[:8], "big")
        return seq if block[8:] == self._mark(seq) else None

    def seqs(self, template_ids: Iterable[str]) -> npt.NDArray[np.int64]:
        """The numbers of those that are ids of this record, ascending."""
        found = (self.seq(one) for one in template_ids)
        return np.unique(np.array([seq for seq in found if seq is not None], dtype=np.int64))

    def _mark(self, seq: int) -> bytes:
        return self._marks[bisect_right(self._firsts, seq)]
