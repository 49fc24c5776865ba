"""The generations of the oracle's galleries. Shapes: N templates, D dimension of a generation's space."""

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import islice

import numpy as np

from models.space import Space
from service.entities import FloatArray, Gallery, Generation, Once, Translation
from service.errors import (
    GenerationChangedError,
    JobStateError,
    MigrationInProgressError,
    SpaceMismatchError,
)
from service.galleries.oracle_shelf import Made, Row, Shelf, Version, made_of
from service.galleries.port import Backlog, Chunk, Filled, Originals, Sample
from service.galleries.rules import MOST_OF_ONE, REST, checked_translation, in_rounds, milliseconds, time_of


class OracleGenerations:
    """`GenerationStore` over the oracle's shelves."""

    def __init__(
        self, shelf: Callable[[str], Shelf], lock: threading.RLock, remember: Callable[[Once | None, object], None]
    ) -> None:
        """`shelf` gives a gallery by name, or raises `NotFoundError`; `remember` keeps an answer."""
        self._shelf = shelf
        self._lock = lock
        self._remember = remember

    def begin(
        self, name: str, space: Space, *, job: str, routes: Mapping[str, Sequence[str]], retires: bool = True
    ) -> Generation:
        """See the port."""
        with self._lock:
            shelf = self._shelf(name)
            for one in shelf.versions.values():
                if one.job == job:
                    return one.described(shelf.rows)
            if shelf.active.space.fingerprint == space.fingerprint:
                raise SpaceMismatchError(f"gallery {name} is in this space already")
            if any(one.state == "building" for one in shelf.versions.values()):
                raise MigrationInProgressError(f"gallery {name} is being migrated already")
            number = shelf.next_number
            shelf.next_number += 1
            pinned = {fingerprint: tuple(bundles) for fingerprint, bundles in routes.items()}
            version = Version(number, space, "building", job, pinned, retires, is_behind=True)
            shelf.versions[number] = version
            for row in shelf.rows:
                is_native = row.template.space == space.fingerprint
                if retires and not is_native and row.made[shelf.active_number].is_retired:
                    row.made[number] = row.made[shelf.active_number]
            return version.described(shelf.rows)

    def origins(self, name: str) -> list[tuple[Space, int]]:
        """See the port."""
        with self._lock:
            rows = self._shelf(name).rows
            num = Counter(row.template.space for row in rows)
            spaces = {row.template.space: row.space for row in rows}
            return [(spaces[fingerprint], num[fingerprint]) for fingerprint in sorted(num)]

    def chunk(self, name: str, generation: int, *, after: int | None = None, limit: int = 4096) -> Chunk:
        """See the port."""
        with self._lock:
            shelf = self._shelf(name)
            version = shelf.version(generation)
            if not version.is_behind:
                return Chunk((), 0, 0, 0, None)
            start = version.filled_to if after is None else after
            rows = [row for row in shelf.rows if row.seq > start][:limit]
            for row in rows:
                if row.space.fingerprint == version.space.fingerprint:
                    row.made.setdefault(generation, made_of(Translation(row.original[None]), 1)[0])
            parts: dict[str, list[Row]] = {}
            for row in rows:
                if generation not in row.made:
                    parts.setdefault(row.template.space, []).append(row)
            originals = tuple(_originals(of_space) for of_space in parts.values())
            return Chunk(
                originals, len(rows), start, rows[-1].seq if rows else start, (shelf, rows, list(parts.values()))
            )

    def fill(self, name: str, generation: int, chunk: Chunk, made: Sequence[Translation | None]) -> Filled:
        """See the port."""
        with self._lock:
            shelf = self._shelf(name)
            version = shelf.version(generation)
            if not version.is_behind:
                return Filled(0, 0, is_complete=True, filled_to=version.filled_to)
            if version.filled_to != chunk.after:
                raise GenerationChangedError("this is not the next chunk of the generation")
            of_shelf, rows, parts = chunk.rows
            if of_shelf is not shelf:
                raise GenerationChangedError("the gallery was put back")
            for of_space, translation in zip(parts, made, strict=True):
                found = checked_translation(translation, version.space, len(of_space))
                for row, one in zip(of_space, made_of(found, len(of_space)), strict=True):
                    row.made[generation] = one
            version.filled_to = chunk.next_after
            # What came since, if nothing of it is to be translated.
            rest = [row for row in shelf.rows if row.seq > chunk.next_after][:REST]
            for row in rest:
                if row.space.fingerprint == version.space.fingerprint:
                    row.made.setdefault(generation, made_of(Translation(row.original[None]), 1)[0])
            if rest and all(generation in row.made for row in rest):
                version.filled_to = rest[-1].seq
                rows = [*rows, *rest]
            version.is_behind = any(row.seq > version.filled_to for row in shelf.rows)
            alive = [row for row in rows if any(row is other for other in shelf.rows)]
            num = sum(row.made[generation].feature is not None for row in alive)
            translated = [row for of_space in parts for row in of_space if row in alive]
            return Filled(num, len(alive) - num, not version.is_behind, len(translated), version.filled_to)

    def activate(
        self,
        name: str,
        generation: int,
        *,
        expected: int,
        keep_seconds: float,
        job: str | None = None,
        once: Once | None = None,
    ) -> Gallery:
        """See the port."""
        with self._lock:
            shelf = self._shelf(name)
            if shelf.active_number != expected:
                raise GenerationChangedError(f"gallery {name} is in generation {shelf.active_number}")
            new, old = shelf.version(generation), shelf.active
            if new is old:
                raise GenerationChangedError("it is the active one already")
            if job is not None and job not in (old.job, new.job):
                raise GenerationChangedError("it is of another job")
            if new.is_behind:
                raise JobStateError("it has not caught up with the gallery yet")
            old.state, old.kept_until = "kept", time_of(milliseconds() + round(1000 * keep_seconds))
            new.state, new.kept_until = "active", None
            shelf.active_number = generation
            if new.retires:
                native = {row.template.subject for row in shelf.rows if row.template.space == new.space.fingerprint}
                shelf.retire(new, frozenset(native))
            self._remember(once, shelf.described())
            return shelf.described()

    def drop(self, name: str, generation: int) -> None:
        """See the port."""
        with self._lock:
            shelf = self._shelf(name)
            if generation in shelf.versions and generation != shelf.active_number:
                del shelf.versions[generation]
                for row in shelf.rows:
                    row.made.pop(generation, None)

    def is_indexed(self, name: str, generation: int) -> bool:
        """See the port."""
        self._shelf(name).version(generation)
        return True

    def num_missing(self, name: str, generation: int, *, after: int = 0) -> int:
        """See the port."""
        with self._lock:
            shelf = self._shelf(name)
            shelf.version(generation)
            found = (row.made.get(generation) for row in shelf.rows if row.seq > after)
            return sum(made is not None and made.feature is None and not made.is_retired for made in found)

    def last_number(self, name: str) -> int:
        """See the port."""
        with self._lock:
            return max((row.seq for row in self._shelf(name).rows), default=0)

    def num_after(self, name: str, number: int) -> int:
        """See the port."""
        with self._lock:
            return sum(row.seq > number for row in self._shelf(name).rows)

    def look_again(self, name: str, generation: int, spaces: Sequence[Space]) -> int:
        """See the port."""
        with self._lock:
            shelf = self._shelf(name)
            version = shelf.version(generation)
            if version is shelf.active:
                return 0
            again = [
                row
                for row in shelf.rows
                if row.space in spaces and generation in row.made and _is_unroutable(row.made[generation])
            ]
            for row in again:
                del row.made[generation]
            if again:
                version.is_behind, version.filled_to = True, 0
            return len(again)

    def confidences(self, name: str, generation: int) -> FloatArray:
        """See the port."""
        with self._lock:
            shelf = self._shelf(name)
            shelf.version(generation)
            made = [row.made[generation] for row in shelf.rows if generation in row.made]
            told = [one.confidence for one in made if one.feature is not None and one.confidence is not None]
            return np.array(told, dtype=np.float32)

    def sample(self, name: str, num: int, seed: int) -> Sample:
        """See the port."""
        rng = np.random.default_rng(seed)
        with self._lock:
            of_subject: dict[str, list[str]] = {}
            shelf = self._shelf(name)
            for row in shelf.searched(shelf.active):
                of_subject.setdefault(row.template.subject, []).append(row.template.template_id)
        subjects = [list(of_subject)[place] for place in rng.permutation(len(of_subject))]
        mixed = {subject: rng.permutation(of_subject[subject]).tolist()[:MOST_OF_ONE] for subject in subjects}
        mated = in_rounds({subject: ids for subject, ids in mixed.items() if len(ids) > 1})
        single = in_rounds({subject: ids for subject, ids in mixed.items() if len(ids) == 1})
        of_mated = list(islice(mated, num))
        drawn = of_mated + list(islice(single, num - len(of_mated)))
        return Sample(tuple(one for _, one in drawn), tuple(subject for subject, _ in drawn), len(of_mated))

    def features(self, name: str, generation: int, template_ids: Sequence[str]) -> FloatArray:
        """See the port."""
        with self._lock:
            shelf = self._shelf(name)
            version = shelf.version(generation)
            by_id = {row.template.template_id: row for row in shelf.rows}
            found = np.full((len(template_ids), version.space.dimension), np.nan, dtype=np.float32)
            for place, template_id in enumerate(template_ids):
                made = by_id[template_id].made.get(generation) if template_id in by_id else None
                if made is not None and made.feature is not None:
                    found[place] = made.feature
            return found

    def backlog(self, name: str, *, after: int = 0, limit: int = 100) -> Backlog:
        """See the port."""
        with self._lock:
            shelf = self._shelf(name)
            made = [(row, row.made[shelf.active_number]) for row in shelf.rows]
            translated = [(row, one) for row, one in made if one.feature is not None and one.route]
            num_native = sum(one.feature is not None and not one.route for _, one in made)
            num_retired = sum(one.is_retired for _, one in made)
            num_missing = sum(one.feature is None and not one.is_retired for _, one in made)
            told = [pair for pair in translated if pair[1].confidence is not None]
            untold = [pair for pair in translated if pair[1].confidence is None]
            queue = [*sorted(told, key=lambda pair: (pair[1].confidence, pair[0].seq)), *untold]
            page = tuple(shelf.told(row) for row, _ in queue[after : after + limit])
            next_after = after + len(page)
            return Backlog(
                num_native,
                len(translated),
                num_retired,
                num_missing,
                page,
                next_after if next_after < len(queue) else None,
            )


def _is_unroutable(made: Made) -> bool:
    return made.feature is None and not made.route and not made.is_retired


def _originals(rows: Sequence[Row]) -> Originals:
    norms = [np.nan if row.template.norm is None else row.template.norm for row in rows]
    features = np.stack([row.original for row in rows])
    return Originals(rows[0].space, features, np.array(norms, dtype=np.float32))
