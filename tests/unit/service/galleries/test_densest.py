"""Probes of several features in a projection: how they are nominated, and that no round is left out.

Shapes: P probes, M features of each, G templates, D dimension.
"""

import tracemalloc
from collections.abc import Callable, Iterable
from typing import Any

import faiss
import numpy as np
import pytest
from scipy.special import logsumexp

from models.features import unit_features
from service.entities import Density, FloatArray, IndexKind, Side
from service.galleries import codes, gpu
from service.galleries.codes import CodedBlock, CodedFeatures, block_rows, least_steps
from service.galleries.densest import Floors, _Highest, densest
from service.galleries.ids import TemplateIds
from service.galleries.indexes import BuiltIndex
from service.galleries.projection import Projection
from service.galleries.reader import CandidateRows, Reader
from service.galleries.recorded import GalleryRows
from service.galleries.scan import Nominated, Probes, nominate
from service.galleries.segments import Columns, RowArray, Segment, View

IDS = TemplateIds(bytes(16))


def units(num: int, dimension: int, seed: int) -> FloatArray:
    return unit_features(np.random.default_rng(seed).standard_normal((num, dimension)))


def projection_of(features_GD: FloatArray, subjects: list[str] | None = None) -> Projection:
    seqs = np.arange(1, len(features_GD) + 1, dtype=np.int64)
    names = subjects or [f"subject-{seq:05}" for seq in seqs]
    numbers = np.unique(names, return_inverse=True)[1].astype(np.int64)
    projection = Projection(features_GD.shape[1], IDS)
    projection.add(
        GalleryRows(seqs, numbers, tuple(names), features_GD, (Side("space"),), np.zeros(len(seqs), dtype=np.intp))
    )
    return projection


def searched(projection: Projection, probes_BD: FloatArray, top_k: int, density: Density) -> CandidateRows:
    with projection.reading() as reader:
        return reader.search(probes_BD, top_k, density=density)


def by_hand(probe_MD: FloatArray, features_GD: FloatArray, sigma: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    cosines_MG = probe_MD.astype(np.float64) @ features_GD.astype(np.float64).T
    scores: np.ndarray[Any, np.dtype[np.float64]] = 1 + sigma**2 * (
        logsumexp((cosines_MG - 1) / sigma**2, axis=0) - np.log(len(probe_MD))
    )
    return scores


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many are nominated, round by round."""
    nums: list[int] = []

    def noted(view: View, probes: Probes, num: int, **named: Any) -> Nominated:
        nums.append(num)
        return nominate(view, probes, num, **named)

    monkeypatch.setattr("service.galleries.reader.nominate", noted)
    return nums


@pytest.mark.parametrize("sigma", [0.01, 0.3, 10.0])
@pytest.mark.parametrize(
    ("num_probes", "num_samples", "num_templates"), [(1, 2, 1000), (7, 3, 700), (3, 40, 130), (1, 600, 65)]
)
def test_the_densest_are_those_of_the_highest_densities(
    monkeypatch: pytest.MonkeyPatch, num_probes: int, num_samples: int, num_templates: int, sigma: float
) -> None:
    monkeypatch.setattr("service.galleries.densest._SCORES_AT_ONCE", 600)
    features_GD = units(num_templates, 48, 1)
    probes_PMD = units(num_probes * num_samples, 48, 2).reshape(num_probes, num_samples, 48)
    scores_PK, rows_PK = densest(probes_PMD, sigma, features_GD, 20)
    for probe_MD, scores, rows in zip(probes_PMD, scores_PK, rows_PK, strict=True):
        expected = by_hand(probe_MD, features_GD, sigma)
        assert set(rows.tolist()) == set(np.argsort(expected)[-20:].tolist())
        assert scores == pytest.approx(expected[rows], abs=2e-6)


def crowded(num: int, dimension: int) -> FloatArray:
    """Vectors about a few centres, one of them many times, some with all of their length in one number."""
    random = np.random.default_rng(3)
    features_GD = unit_features(units(9, dimension, 4)[random.integers(0, 9, num)] + 0.4 * units(num, dimension, 5))
    features_GD[num // 2 : num // 2 + 30] = features_GD[0]
    features_GD[::97] = np.eye(dimension, dtype=np.float32)[random.integers(0, dimension, len(features_GD[::97]))]
    return features_GD


@pytest.mark.parametrize("sigma", [0.01, 0.3, 10.0])
@pytest.mark.parametrize(("num_probes", "num_samples"), [(1, 2), (1, 10), (30, 3), (3, 90)])
@pytest.mark.parametrize("num_templates", [640, 1000, 1024])
def test_vectors_as_bytes_leave_none_of_the_densest_out(
    monkeypatch: pytest.MonkeyPatch, num_probes: int, num_samples: int, num_templates: int, sigma: float
) -> None:
    monkeypatch.setattr("service.galleries.densest._SCORES_AT_ONCE", 600)
    monkeypatch.setattr(codes, "_BLOCK_BYTES", 128 * 48)
    features_GD = crowded(num_templates, 48)
    near_BD = features_GD[np.arange(num_probes * num_samples) % num_templates]
    probes_PMD = unit_features(near_BD + 0.5 * units(len(near_BD), 48, 2)).reshape(num_probes, num_samples, 48)
    segment = segment_of(features_GD)
    asked: list[int] = []

    def coded(block: int) -> CodedBlock:
        asked.append(block)
        return segment.coded(block)

    scores_PK, rows_PK = densest(probes_PMD, sigma, features_GD, 20, coded=coded)
    plain_PK, _rows = densest(probes_PMD, sigma, features_GD, 20)
    assert asked == list(range(asked[0], num_templates // 128))
    for scores, plain, rows in zip(scores_PK, plain_PK, rows_PK, strict=True):
        assert len(set(rows.tolist())) == 20
        assert np.sort(scores) == pytest.approx(np.sort(plain), abs=1e-6)


def test_what_is_found_in_one_part_spares_work_in_the_others_and_leaves_nobody_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(codes, "_BLOCK_BYTES", 64 * 48)
    features_GD = units(1280, 48, 7)
    probes_PMD = units(2 * 4, 48, 8).reshape(2, 4, 48)
    monkeypatch.setattr("service.galleries.densest._SCORES_AT_ONCE", 400)
    offered: list[int] = []
    offer = _Highest.offer_about

    def counted(self: _Highest, row_K: RowArray, *more: Any) -> None:
        offered.append(len(row_K))
        offer(self, row_K, *more)

    monkeypatch.setattr(_Highest, "offer_about", counted)

    def found(floors: Floors | None) -> list[set[int]]:
        best: list[list[tuple[float, int]]] = [[], []]
        for part in range(4):
            segment = segment_of(features_GD[part * 320 : (part + 1) * 320])
            scores_PK, rows_PK = densest(probes_PMD, 0.2, segment.vectors, 5, coded=segment.coded, floors=floors)
            for own, scores, rows in zip(best, scores_PK.tolist(), rows_PK.tolist(), strict=True):
                own += [(score, part * 320 + row) for score, row in zip(scores, rows, strict=True)]
        return [{row for _, row in sorted(own)[-5:]} for own in best]

    apart = found(None)
    num_apart = sum(offered)
    offered.clear()
    floors = Floors(2)
    expected = [set(np.argsort(by_hand(probe_MD, features_GD, 0.2))[-5:].tolist()) for probe_MD in probes_PMD]
    assert found(floors) == apart == expected
    assert sum(offered) < 0.7 * num_apart


@pytest.mark.parametrize("made", [units, lambda num, dimension, seed: crowded(num, dimension)])
@pytest.mark.parametrize("dimension", [8, 128, 512])
def test_products_of_bytes_are_off_by_no_more_than_they_say(dimension: int, made: Callable[..., FloatArray]) -> None:
    features_GD = made(500, dimension, 1)
    probes_PMD = made(24, dimension, 2).reshape(6, 4, dimension)
    block, coded = CodedBlock.of(features_GD), CodedFeatures(probes_PMD)
    found_GB = coded.products(block, slice(0, 500)) * np.repeat(coded.scale_P, 4) * block.scale
    off_PGM = np.abs(found_GB - features_GD.astype(np.float64) @ probes_PMD.reshape(24, dimension).T).reshape(500, 6, 4)
    worst_P = off_PGM.max(axis=(0, 2))
    assert (worst_P <= coded.errors(block)).all()
    if made is units:
        # And not by much less: a bound that anything keeps to would have every template looked at.
        assert (coded.errors(block) < 0.05).all()


def test_the_largest_products_of_bytes_are_exact() -> None:
    block = CodedBlock.of(np.full((3, 2048), 2048**-0.5, dtype=np.float32))
    one_D = np.full(2048, 2048**-0.5, dtype=np.float32)
    coded = CodedFeatures(np.stack([one_D, -one_D])[None])
    assert coded.products(block, slice(0, 3)).tolist() == [[2048 * 127 * 63, -2048 * 127 * 63]] * 3


def test_a_block_of_nothing_is_nothing() -> None:
    block = CodedBlock.of(np.zeros((4, 8), dtype=np.float32))
    assert (block.scale, block.error) == (1.0, 0.0)
    assert not CodedFeatures(units(2, 8, 1).reshape(1, 2, 8)).products(block, slice(0, 4)).any()


def test_no_cosine_is_too_large_for_an_int32() -> None:
    assert [least_steps(cosine, 1e-12) for cosine in (-1.0, 1.0, 0.0)] == [-(2**31), 2**31 - 1, 0]


def segment_of(features_GD: FloatArray) -> Segment:
    segment = Segment(features_GD.shape[1], len(features_GD))
    seqs = np.arange(1, len(features_GD) + 1, dtype=np.int64)
    segment.append(Columns(seqs, seqs, ["somebody"] * len(seqs), features_GD))
    return segment


@pytest.mark.parametrize("is_made_before", [True, False])
def test_what_is_forgotten_is_not_left_as_bytes(monkeypatch: pytest.MonkeyPatch, is_made_before: bool) -> None:
    monkeypatch.setattr(codes, "_BLOCK_BYTES", 128 * 16)
    segment = segment_of(units(400, 16, 1))
    if is_made_before:
        kept = [segment.coded(block).bytes_GD.copy() for block in range(3)]
    segment.bury(np.array([1, 130, 140, 399]))
    segment.bury(np.array([131, 200]), replaced_at=7)
    segment.forget_replaced(199)
    blocks = [segment.coded(block) for block in range(3)]
    gone = [np.flatnonzero((block.bytes_GD == 128).all(axis=1)).tolist() for block in blocks]
    assert gone == [[0], [129 - 128, 139 - 128, 199 - 128], []]
    if is_made_before:
        changed = [
            np.flatnonzero((block.bytes_GD != old).any(axis=1)).tolist()
            for block, old in zip(blocks, kept, strict=True)
        ]
        assert changed == gone


def test_of_vectors_that_are_forgotten_while_bytes_are_made_the_error_is_that_of_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    features_GD = units(64, 16, 1)
    expected = CodedBlock.of(features_GD.copy()).error
    rounded = np.rint

    def forgetting(numbers: FloatArray) -> FloatArray:
        features_GD[5] = 0.0
        found: FloatArray = rounded(numbers)
        return found

    monkeypatch.setattr(np, "rint", forgetting)
    assert CodedBlock.of(features_GD).error == expected


def test_where_everybody_is_near_no_more_memory_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codes, "_BLOCK_BYTES", 4096 * 16)
    features_GD = unit_features(np.eye(16)[:1] + 1e-3 * units(3 * 4096, 16, 2))
    segment = segment_of(features_GD)
    probes_PMD = unit_features(np.eye(16)[:1] + 1e-3 * units(256, 16, 3)).reshape(1, 256, 16)
    for block in range(3):
        segment.coded(block)
    tracemalloc.start()
    densest(probes_PMD, 0.3, features_GD, 5)
    plain = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    scores_PK, _rows = densest(probes_PMD, 0.3, features_GD, 5, coded=segment.coded)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < plain + (8 << 20)
    assert np.sort(scores_PK[0]) == pytest.approx(np.sort(by_hand(probes_PMD[0], features_GD, 0.3))[-5:], abs=1e-6)


def test_what_is_forgotten_while_bytes_are_made_is_not_left_in_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codes, "_BLOCK_BYTES", 128 * 16)
    segment = segment_of(units(128, 16, 1))
    make = CodedBlock.of

    def slowly(vectors_GD: FloatArray) -> CodedBlock:
        made = make(vectors_GD)
        segment.bury(np.array([5]))
        return made

    monkeypatch.setattr(CodedBlock, "of", slowly)
    assert (segment.coded(0).bytes_GD[4] == 128).all()
    assert block_rows(16) == 128


def test_densities_closer_together_than_float32_can_tell_are_ranked_exactly(rounds: list[int]) -> None:
    centre_D, rng = units(1, 256, 5)[0], np.random.default_rng(6)
    features_GD = unit_features(centre_D.astype(np.float64) + 2e-7 * rng.standard_normal((400, 256)))
    probes_BD = unit_features(centre_D + 0.05 * rng.standard_normal((8, 256)))
    for probe_MD, candidates in zip(
        probes_BD.reshape(2, 4, 256), searched(projection_of(features_GD), probes_BD, 3, Density(4, 0.2)), strict=True
    ):
        scores = by_hand(probe_MD, features_GD, 0.2).astype(np.float32).tolist()
        expected = sorted((-score, f"subject-{seq:05}") for seq, score in enumerate(scores, start=1))[:3]
        assert [(-candidate.score, candidate.subject) for candidate in candidates] == expected
    assert len(rounds) > 1


def test_a_subject_with_a_crowd_of_templates_does_not_hide_the_next(rounds: list[int]) -> None:
    near_GD = unit_features(np.eye(8)[:1] + 0.01 * np.random.default_rng(1).standard_normal((300, 8)))
    features_GD = np.concatenate([near_GD, np.eye(8, dtype=np.float32)[1:3]])
    projection = projection_of(features_GD, ["crowd"] * 300 + ["second", "third"])
    probe = unit_features(np.array([[9, 3, 2, 0, 0, 0, 0, 0], [9, 3, 1, 0, 0, 0, 0, 0]], dtype=np.float64))
    (candidates,) = searched(projection, probe, 3, Density(2, 0.5))
    assert [candidate.subject for candidate in candidates] == ["crowd", "second", "third"]
    assert rounds == [11, 44, 176, 302]


def beside_an_index(projection: Projection, features_GD: FloatArray, kind: IndexKind) -> Reader:
    """A reader with an index over all templates but the last ten, which came after it."""
    num = len(features_GD) - 10
    described = {"flat": "Flat", "ivf": "IVF8,Flat"}[kind]
    index = faiss.index_factory(features_GD.shape[1], described, faiss.METRIC_INNER_PRODUCT)
    index.train(features_GD[:num])
    index.add(features_GD[:num])
    built = BuiltIndex(kind, np.arange(1, num + 1), 8, 1.0, index)
    ((origin, view),) = projection.views().items()
    return Reader(IDS, features_GD.shape[1], 0, len(features_GD), [(origin, built, view)])


@pytest.mark.parametrize("kind", ["flat", "ivf"])
@pytest.mark.parametrize(("spread", "sigma"), [(0.3, 0.2), (0.8, 0.5), (2.0, 0.1), (3.0, 2.0)])
def test_an_index_that_looks_at_all_leaves_out_no_density(
    monkeypatch: pytest.MonkeyPatch, rounds: list[int], kind: IndexKind, spread: float, sigma: float
) -> None:
    monkeypatch.setattr(gpu, "is_there", lambda: True)
    features_GD = units(3000, 32, 3)
    features_GD[2000:2100] = features_GD[:100]
    projection = projection_of(features_GD)
    projection.remove(list(range(100, 900)))
    with projection.reading() as without_index:
        reader = beside_an_index(projection, features_GD, kind)
        centres_PD = features_GD[[5, 2995, 1500, 40]]
        raw_PMD = centres_PD[:, None] + spread * units(4 * 5, 32, 4).reshape(4, 5, 32)
        probes_BD = unit_features(raw_PMD.reshape(-1, 32))
        for top_k in (1, 6):
            density = Density(5, sigma)
            expected = without_index.search(probes_BD, top_k, density=density)
            rounds.clear()
            assert reader.search(probes_BD, top_k, density=density) == expected
    if spread > 1 and sigma > 1:
        assert len(rounds) > 1


def test_of_several_probes_the_one_whose_candidate_is_removed_meanwhile_is_looked_for_again() -> None:
    features_GD = np.eye(6, dtype=np.float32)
    projection = projection_of(features_GD[:5])
    probes_BD = np.concatenate([features_GD[:2], features_GD[2:4]])

    class Removing(TemplateIds):
        """Names the candidates of one probe after the other, and when it has named the last removes one."""

        num_named = 0

        def of(self, seqs: Iterable[int]) -> list[str]:
            named = super().of(seqs)
            self.num_named += 1
            if self.num_named == 2:
                projection.remove([3])
            return named

    with projection.reading() as reader:
        ids = reader._ids = Removing(bytes(16))
        first, second = reader.search(probes_BD, 2, density=Density(2, 0.5))
    assert ids.num_named == 3
    assert [one.subject for one in first] == ["subject-00001", "subject-00002"]
    assert [one.subject for one in second] == ["subject-00004", "subject-00001"]
