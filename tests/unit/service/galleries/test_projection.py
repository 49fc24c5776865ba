"""The FAISS projection apart from the record."""

import threading
from dataclasses import replace
from itertools import islice
from typing import Any

import faiss
import numpy as np
import pytest

from service.entities import Side
from service.galleries.ids import TemplateIds
from service.galleries.projection import Projection
from service.galleries.record import GalleryRows
from service.galleries.rules import exact_scores
from service.galleries.scan import nominate, tune_faiss

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
    for probe_D, candidates in zip(probes_BD, projection.search(probes_BD, 3)[1], strict=True):
        scores = exact_scores(probe_D, features_GD).tolist()
        expected = sorted((-score, f"subject-{seq}") for seq, score in enumerate(scores, start=1))[:3]
        assert [(-candidate.score, candidate.subject) for candidate in candidates] == expected


def test_a_search_in_many_small_parts_finds_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    raw_GD = np.random.default_rng(6).standard_normal((90, 16))
    features_GD = (raw_GD / np.linalg.norm(raw_GD, axis=1, keepdims=True)).astype(np.float32)
    projection = Projection(16, IDS)
    projection.add(rows_of(features_GD))
    whole = projection.search(features_GD, 60)[1]
    for module in ("projection", "scan"):
        monkeypatch.setattr(f"service.galleries.{module}.MAX_NUMBERS", 100)
    assert projection.search(features_GD, 60)[1] == whole


def test_a_small_search_leaves_the_number_of_threads_as_it_was() -> None:
    before = faiss.omp_get_max_threads()
    projection = Projection(2, IDS)
    projection.add(rows_of(np.eye(2, dtype=np.float32)))
    projection.search(np.eye(2, dtype=np.float32), 1)
    assert faiss.omp_get_max_threads() == before


@pytest.mark.parametrize("is_among", [False, True])
def test_who_is_replaced_by_herself_during_a_search_is_found(
    monkeypatch: pytest.MonkeyPatch, *, is_among: bool
) -> None:
    features_GD = np.eye(5, dtype=np.float32)
    projection = Projection(5, IDS)
    projection.add(rows_of(features_GD))
    recorded, replacements = {2, 3}, iter([(2, 7), (7, 8)])

    def replaced() -> None:
        for old, new in islice(replacements, 1):
            recorded.difference_update([old])
            recorded.add(new)
            projection.add(replace(rows_of(features_GD[[1]], first_seq=new), subjects=("subject-2",)))
            projection.remove([old])

    def scanned(*given: Any, **named: Any) -> Any:
        # After the view was taken, and before it is looked through.
        replaced()
        return nominate(*given, **named)

    monkeypatch.setattr("service.galleries.projection.nominate", scanned)
    among = (lambda: np.array(sorted(recorded))) if is_among else None
    num, ((best, *others),) = projection.search(features_GD[[1]], 5, among=among)
    assert (best.subject, best.score, best.template_id) == ("subject-2", 1.0, IDS.of([8])[0])
    assert sorted(one.subject for one in others) == (
        ["subject-3"] if is_among else ["subject-1", "subject-3", "subject-4", "subject-5"]
    )
    assert num == (2 if is_among else 5)


def test_a_search_among_some_waits_for_what_is_recorded_and_not_searchable_yet() -> None:
    features_GD = np.eye(5, dtype=np.float32)
    projection = Projection(5, IDS)
    projection.add(rows_of(features_GD[:4]))
    late = threading.Timer(0.05, projection.add, [rows_of(features_GD[[4]], first_seq=5)])
    late.start()
    _, ((best, *_),) = projection.search(features_GD[[4]], 1, among=lambda: np.array([1, 5]))
    late.join()
    assert best.subject == "subject-5"


def test_removing_and_adding_again_keeps_ids_and_vectors_together() -> None:
    features_GD = np.eye(5, dtype=np.float32)
    projection = Projection(5, IDS)
    projection.add(rows_of(features_GD))
    projection.remove([1, 4])
    projection.add(rows_of(features_GD[[0]], first_seq=9))
    best = [candidates[0] for candidates in projection.search(features_GD[[0, 1, 2, 4]], 1)[1]]
    assert [(candidate.subject, candidate.score) for candidate in best] == [
        ("subject-9", 1.0),
        ("subject-2", 1.0),
        ("subject-3", 1.0),
        ("subject-5", 1.0),
    ]
    assert projection.num_templates == 4
