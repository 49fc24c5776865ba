"""The process that is killed: clients write into a gallery and say, line by line, what they begin and what was acknowledged.

python -m tests.durability.writer_process FOLDER SEED CLIENTS OPERATIONS

Every client has subjects of its own. A feature follows from the key of its template, so that whoever reads the ledger can tell
what must be found. Lines: {"client", "number", "begin": operation} and {"client", "number", "end": outcome}.
"""

import hashlib
import json
import os
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from models.space import Space
from service.entities import FloatArray, NewTemplates, Template
from service.errors import FacebridgeError, NotFoundError, StartupError
from service.galleries import checkpoints
from service.galleries.embedded import EmbeddedGalleryStore

DIMENSION = 16
SPACE = Space("here", DIMENSION, "external:here")
ELSEWHERE = Space("elsewhere", 8, "external:elsewhere")
GALLERY = "staff"
KINDS = ("enrol", "translated", "replace", "remove-subject", "remove-template", "erase", "save", "snapshot")
_WEIGHTS = (0.36, 0.14, 0.14, 0.1, 0.1, 0.05, 0.08, 0.03)


def feature(key: str, dimension: int = DIMENSION) -> FloatArray:
    """Of length one, and of nobody else."""
    seed = int.from_bytes(hashlib.sha256(f"{key} {dimension}".encode()).digest()[:8], "little")
    raw_D = np.random.default_rng(seed).standard_normal(dimension)
    unit_D: FloatArray = (raw_D / np.linalg.norm(raw_D)).astype(np.float32)
    return unit_D


def templates_of(rows: list[list[str]], *, translated: bool) -> NewTemplates:
    """Subjects and keys of templates, as a store takes them."""
    features_GD = np.stack([feature(key) for _, key in rows])
    originals_GD, space = (
        (np.stack([feature(key, 8) for _, key in rows]), ELSEWHERE) if translated else (features_GD, SPACE)
    )
    route = ("bridge",) if translated else ()
    subjects, keys = ([row[place] for row in rows] for place in (0, 1))
    return NewTemplates(subjects, originals_GD, space, features_GD, SPACE, route, keys=keys)


class Client(threading.Thread):
    """Does operations drawn by a seed; knows what it has acknowledged."""

    def __init__(self, store: EmbeddedGalleryStore, number: int, seed: int, num_operations: int) -> None:
        super().__init__(name=f"client-{number}")
        self.store, self.number, self.num_operations = store, number, num_operations
        self.is_alone = False
        """Whether it may put the whole gallery back."""
        self.rng = np.random.default_rng([seed, number])
        self.tag = f"{seed:x}"
        self.mine = {
            str(template.key): template.subject
            for template in every_template(store)
            if template.subject.startswith(f"{number}/")
        }

    def run(self) -> None:
        for number in range(self.num_operations):
            operation = self.drawn(number)
            say({"client": self.number, "number": number, "begin": operation})
            try:
                self.do(operation)
            except FacebridgeError as failure:
                say({"client": self.number, "number": number, "end": type(failure).__name__, "why": str(failure)})
                if type(failure).__name__ == "ReadOnlyError":
                    return
            else:
                say({"client": self.number, "number": number, "end": "done"})

    def drawn(self, number: int) -> dict[str, Any]:
        """The next operation."""
        kind = str(self.rng.choice(KINDS, p=_WEIGHTS))
        subject = f"{self.number}/{self.rng.integers(12)}"
        keys = [f"{self.tag}.{self.number}.{number}.{row}" for row in range(self.rng.integers(1, 4))]
        rows = [[f"{self.number}/{self.rng.integers(12)}", key] for key in keys]
        known = sorted(self.mine)
        if kind == "replace" and known:
            rows[0][1] = known[self.rng.integers(len(known))]
        if kind == "snapshot" and self.is_alone:
            return {"kind": "there-and-back", "rows": rows}
        if kind == "remove-template":
            if not known:
                return {"kind": "save"}
            return {"kind": kind, "key": known[self.rng.integers(len(known))]}
        return {"kind": kind, "subject": subject, "rows": rows}

    def do(self, operation: dict[str, Any]) -> None:
        """Carry one out."""
        kind = operation["kind"]
        if kind in ("enrol", "translated", "replace"):
            templates = templates_of(operation["rows"], translated=kind == "translated")
            self.store.enrol(GALLERY, templates, replaces=kind == "replace")
            self.mine |= {key: subject for subject, key in operation["rows"]}
        elif kind == "remove-template":
            ids = [one.template_id for one in every_template(self.store) if one.key == operation["key"]]
            self.store.remove_template(GALLERY, ids[0])
            del self.mine[operation["key"]]
        elif kind in ("remove-subject", "erase"):
            subject = operation["subject"]
            if kind == "erase":
                self.store.erase(GALLERY, [subject])
            elif subject in self.mine.values():
                self.store.remove_subject(GALLERY, subject)
            self.mine = {key: owner for key, owner in self.mine.items() if owner != subject}
        elif kind == "save":
            self.store._saver.save_all()
        elif kind == "there-and-back":
            snapshot = self.store.take_snapshot(GALLERY)
            self.store.enrol(GALLERY, templates_of(operation["rows"], translated=False), replaces=True)
            self.store.restore(GALLERY, snapshot.snapshot_id)
            self.store.remove_snapshot(GALLERY, snapshot.snapshot_id)
        else:
            snapshots = self.store.snapshots(GALLERY)
            # Another client may remove the same.
            with suppress(NotFoundError, IndexError):
                self.store.remove_snapshot(GALLERY, snapshots[2].snapshot_id)
            self.store.take_snapshot(GALLERY)


def every_template(store: EmbeddedGalleryStore) -> list[Template]:
    """All of the gallery."""
    templates: list[Template] = []
    after = 0
    while True:
        page = store.templates(GALLERY, after=after, limit=1000)
        templates += page.templates
        if page.next_after is None:
            return templates
        after = page.next_after


_saying = threading.Lock()


def say(line: dict[str, Any]) -> None:
    """One line of the ledger, at once."""
    data = (json.dumps(line) + "\n").encode()
    with _saying:
        os.write(1, data)


def main() -> int:
    """Open, let all clients write, close."""
    folder, seed, num_clients, num_operations = sys.argv[1:]
    # Else the log is moved into the file too seldom for a short run to meet it.
    checkpoints._IDLE_SECONDS = 0.05
    try:
        store = EmbeddedGalleryStore(Path(folder))
        if GALLERY not in [gallery.name for gallery in store.list_galleries()]:
            store.create(GALLERY, SPACE)
    except (StartupError, FacebridgeError) as failure:
        say({"failed": str(failure)})
        return 3
    clients = [Client(store, number, int(seed), int(num_operations)) for number in range(int(num_clients))]
    for client in clients:
        client.is_alone = len(clients) == 1
    say({"open": True})
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    store.close()
    say({"closed": True})
    return 0


if __name__ == "__main__":
    sys.exit(main())
