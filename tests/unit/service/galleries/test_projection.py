"""The FAISS projection apart from the record."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import Any

import faiss
import numpy as np
import pytest

from service.entities import FloatArray, Side
from service.galleries.ids import TemplateIds
from service.galleries.projection import Projection
from service.galleries.reader import Reader
from service.galleries.recorded import GalleryRows
from service.galleries.rules import exact_scores
from service.galleries.scan import Probes, nominate, tune_faiss
from service.galleries.segments import Segment, View

IDS = TemplateIds(bytes(16))


def rows_of(features_GD: np.ndarray[tuple[int, int], np.dtype[np.float32]], *, first_seq: int = 1) -> GalleryRows:
    seqs = np.arange(first_seq, first_seq + len(features_GD), dtype=np.int64)
    subjects = tuple(f"subject-{seq}" for seq in seqs)
    return GalleryRows(seqs, seqs, subjects, features_GD, (Side("space"),), np.zeros(len(seqs), dtype=np.intp))


@pytest.mark.parametrize(("default", "chosen"), [(128_000, 2048), (20, 8)])
def test_tuning_knows_what_the_threshold_counts_and_can_be_repeated(default: int, chosen: int) -> None:
    before = faiss.cvar.distance_compute_blas_threshold
    try:
        faiss.cvar.distance_compute_blas_threshold = default
        tune_faiss()
        tune_faiss()
        assert faiss.cvar.distance_compute_blas_threshold == chosen
    finally:
        faiss.cvar.distance_compute_blas_threshold = before


@pytest.mark.parametrize("num_probes", [1, 100])
def test_templates_closer_together_than_float32_can_tell_are_ranked_exactly(num_probes: int) -> None:
    rng = np.random.default_rng(5)
    centre_D = rng.standard_normal(512)
    near_GD = centre_D + 2e-7 * rng.standard_normal((400, 512))
    features_GD = (near_GD / np.linalg.norm(near_GD, axis=1, keepdims=True)).astype(np.float32)
    projection = Projection(512, IDS)
    projection.add(rows_of(features_GD))
    probes_BD = features_GD[:num_probes]
    for probe_D, candidates in zip(probes_BD, projection.search(probes_BD, 3), strict=True):
        scores = exact_scores(probe_D[None], features_GD, 1.0).tolist()
        expected = sorted((-score, f"subject-{seq}") for seq, score in enumerate(scores, start=1))[:3]
        assert [(-candidate.score, candidate.subject) for candidate in candidates] == expected


def test_a_search_in_many_small_parts_finds_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    raw_GD = np.random.default_rng(6).standard_normal((90, 16))
    features_GD = (raw_GD / np.linalg.norm(raw_GD, axis=1, keepdims=True)).astype(np.float32)
    projection = Projection(16, IDS)
    projection.add(rows_of(features_GD))
    whole = projection.search(features_GD, 60)
    for module in ("reader", "scan"):
        monkeypatch.setattr(f"service.galleries.{module}.MAX_NUMBERS", 100)
    assert projection.search(features_GD, 60) == whole


def test_a_small_search_leaves_the_number_of_threads_as_it_was() -> None:
    before = faiss.omp_get_max_threads()
    projection = Projection(2, IDS)
    projection.add(rows_of(np.eye(2, dtype=np.float32)))
    projection.search(np.eye(2, dtype=np.float32), 1)
    assert faiss.omp_get_max_threads() == before


def put(projection: Projection, feature_D: FloatArray, subject: str, old: int, new: int) -> None:
    projection.put(replace(rows_of(feature_D[None], first_seq=new), subjects=(subject,)), [old])


def names(reader: Reader, probe_D: FloatArray, **more: Any) -> list[tuple[str, int | None, float]]:
    ((*found,),) = reader.search(probe_D[None], 9, **more)
    return [(one.subject, IDS.seq(one.template_id), one.score) for one in found]


def test_a_search_sees_who_was_there_when_it_began_whoever_replaces_them() -> None:
    features_GD = np.eye(5, dtype=np.float32)
    projection = Projection(5, IDS)
    projection.add(rows_of(features_GD[:3]))
    with projection.reading() as old:
        put(projection, features_GD[1], "subject-2", 2, 7)
        with projection.reading() as between:
            put(projection, features_GD[4], "renamed", 7, 8)
            with projection.reading() as last:
                assert names(old, features_GD[1])[0] == ("subject-2", 2, 1.0)
                assert names(between, features_GD[1])[0] == ("subject-2", 7, 1.0)
                assert names(last, features_GD[4])[0] == ("renamed", 8, 1.0)
                for reader, there in ((old, [1, 2, 3]), (between, [1, 3, 7]), (last, [1, 3, 8])):
                    assert sorted(seq or 0 for _, seq, _ in names(reader, features_GD[0])) == there
                    assert [seq for _, seq, _ in names(reader, features_GD[0], among=np.array([2, 3, 7]))] == [
                        seq for seq in (2, 7, 3) if seq in there
                    ]
        assert names(old, features_GD[1])[0] == ("subject-2", 2, 1.0)
    # What nobody sees any more is forgotten.
    assert not projection._replaced
    assert not vectors_of(projection, 2).any()
    assert not vectors_of(projection, 7).any()
    assert vectors_of(projection, 8).any()


def test_a_search_that_begins_beside_a_replacement_sees_her_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """She has another number by then, as she was taken out of the record and put in again."""
    features_GD = np.eye(5, dtype=np.float32)
    projection = Projection(5, IDS)
    projection.add(rows_of(features_GD[:3]))
    take_out, asked = projection._take_out, []
    with ThreadPoolExecutor(1) as pool:

        def beside(seqs: Sequence[int], replaced_at: int | None) -> None:
            asked.append(pool.submit(projection.search, features_GD[1:2], 3))
            with suppress(TimeoutError):
                asked[0].result(0.3)
            take_out(seqs, replaced_at)

        monkeypatch.setattr(projection, "_take_out", beside)
        put(projection, features_GD[1], "subject-2", 2, 7)
        ((*found,),) = asked[0].result(20)
    assert sorted(candidate.subject for candidate in found) == ["subject-1", "subject-2", "subject-3"]


def test_whoever_has_another_template_is_seen_by_a_search_that_goes_on_after_one_was_removed() -> None:
    """Her first was replaced by somebody else under the same key, her second is removed, her third is there all the time."""
    features_GD = np.eye(5, dtype=np.float32)
    projection = Projection(5, IDS)
    ids = np.array([1, 1, 1, 4], dtype=np.int64)
    subjects = ("ann", "ann", "ann", "bob")
    projection.add(replace(rows_of(features_GD[:4]), subject_ids=ids, subjects=subjects))
    with projection.reading() as reader:
        put(projection, features_GD[4], "kim", 1, 7)
        projection.remove([2])
        assert names(reader, features_GD[0])[0] == ("ann", 1, 1.0)
        projection.remove([3])
        assert {name for name, _, _ in names(reader, features_GD[0])} == {"bob"}


def test_a_replacement_for_which_there_is_no_memory_names_nobody_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise MemoryError

    raw_GD = np.random.default_rng(1).standard_normal((400, 16))
    features_GD = (raw_GD / np.linalg.norm(raw_GD, axis=1, keepdims=True)).astype(np.float32)
    projection = Projection(16, IDS)
    projection.add(rows_of(features_GD[:300]))
    later = replace(
        rows_of(features_GD[100:300], first_seq=301), subjects=tuple(f"subject-{row}" for row in range(101, 301))
    )
    with monkeypatch.context() as patch:
        patch.setattr(Segment, "columns", fails)
        with pytest.raises(MemoryError):
            projection.put(later, list(range(101, 301)))
    with projection.reading() as reader:
        found = [name for name, _, _ in names(reader, features_GD[150])]
    assert len(found) == len(set(found))
    monkeypatch.setattr(projection, "_sorted_parts", fails)
    with pytest.raises(MemoryError), projection.reading():
        pass
    assert not projection._readers


@pytest.mark.parametrize("how", ["grown", "copied", "exchanged", "replaced after it has grown"])
def test_nobody_who_is_removed_is_seen_in_a_segment_in_whose_place_is_another(how: str) -> None:
    rng = np.random.default_rng(3)
    raw_GD = rng.standard_normal((600, 16))
    features_GD = (raw_GD / np.linalg.norm(raw_GD, axis=1, keepdims=True)).astype(np.float32)
    projection = Projection(16, IDS)
    projection.add(rows_of(features_GD[:300]))
    (view,) = projection.views().values()
    with projection.reading() as reader:
        if how == "copied":
            projection.put(rows_of(features_GD[:0]), list(range(101, 251)))
        elif how == "exchanged":
            (segment,) = view.segments
            other = Segment(16, 300)
            other.append(segment.columns(segment.live_rows))
            projection.exchange(segment, other)
        else:
            projection.add(rows_of(features_GD[300:], first_seq=301))
        removed = 8
        if how == "replaced after it has grown":
            put(projection, features_GD[0], "subject-8", 8, 901)
            assert names(reader, features_GD[7])[0][:2] == ("subject-8", 8)
            removed = 901
        (now,) = projection.views().values()
        assert now.segments != view.segments
        projection.remove([removed])
        assert names(reader, features_GD[7])[0][0] != "subject-8"
        assert names(reader, features_GD[8])[0][0] == "subject-9"


def vectors_of(projection: Projection, seq: int) -> FloatArray:
    (segment,) = [segment for view in projection.views().values() for segment in view.segments]
    row: FloatArray = segment.vectors[: segment.num][segment.seqs[: segment.num] == seq]
    return row


def test_who_is_removed_after_being_replaced_is_seen_by_no_search_that_goes_on() -> None:
    features_GD = np.eye(5, dtype=np.float32)
    projection = Projection(5, IDS)
    projection.add(rows_of(features_GD[:3]))
    with projection.reading() as old:
        put(projection, features_GD[1], "subject-2", 2, 7)
        put(projection, features_GD[2], "subject-3", 3, 8)
        projection.remove([7])
        assert {subject for subject, _, _ in names(old, features_GD[1])} == {"subject-1", "subject-3"}
        assert not vectors_of(projection, 2).any()


def test_a_removal_looks_at_nobody_else_of_all_who_were_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    features_GD = np.tile(np.eye(16, dtype=np.float32), (40, 1))
    projection = Projection(16, IDS)
    projection.add(rows_of(features_GD))
    looked, subject = [], Segment.subject

    def noted(segment: Segment, row: int) -> str:
        looked.append(row)
        return subject(segment, row)

    with projection.reading():
        renewed = replace(
            rows_of(features_GD[:100], first_seq=1001), subjects=tuple(f"subject-{seq}" for seq in range(1, 101))
        )
        projection.put(renewed, list(range(1, 101)))
        assert len(projection._replaced_of) == 100
        with monkeypatch.context() as patch:
            patch.setattr(Segment, "subject", noted)
            projection.remove([1007])
        assert len(looked) < 10
        assert not vectors_of(projection, 7).any()
        assert vectors_of(projection, 8).any()
    assert not projection._replaced_of
    assert not vectors_of(projection, 8).any()


def test_a_search_without_some_looks_at_no_more_for_that(monkeypatch: pytest.MonkeyPatch) -> None:
    raw_GD = np.random.default_rng(6).standard_normal((3000, 16))
    features_GD = (raw_GD / np.linalg.norm(raw_GD, axis=1, keepdims=True)).astype(np.float32)
    projection = Projection(16, IDS)
    projection.add(rows_of(features_GD))
    looked: list[int] = []

    def scanned(view: View, probes: Probes, num: int, **named: Any) -> Any:
        looked.append(num)
        return nominate(view, probes, num, **named)

    monkeypatch.setattr("service.galleries.reader.nominate", scanned)
    with projection.reading() as reader:
        found = reader.search(features_GD[:50], 2, without=np.arange(1, 2990))
    assert {IDS.seq(one.template_id) for row in found for one in row} <= set(range(2990, 3001))
    assert max(looked) <= 64


def test_no_number_is_read_where_no_template_is() -> None:
    projection = Projection(32, IDS)
    projection.add(rows_of(np.eye(32, dtype=np.float32)[:20]))
    ((segment,),) = (view.segments for view in projection.views().values())
    assert segment.num < segment.capacity
    # What memory may hold: a number that is none, at whose conversion the processor complains.
    segment.vectors[segment.num :].view(np.uint32)[:] = 0x7FA00000
    with projection.reading() as reader:
        found = names(reader, np.eye(32, dtype=np.float32)[0], without=np.array([2, 3, 4, 5]))
    assert [seq for _, seq, _ in found] == [1, 10, 11, 12, 13, 14, 15, 16, 17]


def test_a_search_that_can_wait_does_so_after_each_segment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.galleries.segments.SEGMENT_BYTES", 64 * 4 * 16)
    raw_GD = np.random.default_rng(6).standard_normal((300, 16))
    projection = Projection(16, IDS)
    projection.add(rows_of((raw_GD / np.linalg.norm(raw_GD, axis=1, keepdims=True)).astype(np.float32)))
    threads: list[int] = []
    before = faiss.omp_get_max_threads()
    with projection.reading() as reader:
        probe = np.eye(16, dtype=np.float32)[:1]
        found = reader.search(probe, 2, between=lambda: threads.append(faiss.omp_get_max_threads()))
        assert found == reader.search(probe, 2)
    assert threads == [1] * 5
    assert faiss.omp_get_max_threads() == before


def test_removing_and_adding_again_keeps_ids_and_vectors_together() -> None:
    features_GD = np.eye(5, dtype=np.float32)
    projection = Projection(5, IDS)
    projection.add(rows_of(features_GD))
    projection.remove([1, 4])
    projection.add(rows_of(features_GD[[0]], first_seq=9))
    best = [candidates[0] for candidates in projection.search(features_GD[[0, 1, 2, 4]], 1)]
    assert [(candidate.subject, candidate.score) for candidate in best] == [
        ("subject-9", 1.0),
        ("subject-2", 1.0),
        ("subject-3", 1.0),
        ("subject-5", 1.0),
    ]
    assert projection.num_templates == 4
