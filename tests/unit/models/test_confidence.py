from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.confidence import ConfidenceModel, Estimate, NormEstimate, NormScale, read_confidence
from models.errors import BundleError, ContractError
from models.features import unit_features
from models.npy import read_arrays, write_arrays
from models.reference import BLOCKS, FEWEST_FACES, FEWEST_SPREAD, SpaceReference, stream_statistics
from tests.api.world import A_TO_B, COLOURS_TO_A, A, B, encoder_graph, write
from tests.by_hand import confidence_model, reference
from training.export.linear_graph import linear_graph

MODEL = confidence_model(8, 12)
TRANSLATED = unit_features(np.random.default_rng(0).normal(size=(4, 12)))


def test_the_confidence_of_a_feature_is_that_of_its_step_and_of_one_like_no_face_it_is_none() -> None:
    rows = np.zeros((4, 8))
    rows[0, :2] = -0.6, 0.8
    rows[1, :2] = 0.1, 1.0
    rows[2, :2] = 0.6, 0.8
    rows[3, 0], rows[3, 6:] = 0.2, (0.7, 0.7)
    assert MODEL(unit_features(rows), TRANSLATED).tolist() == [pytest.approx(v) for v in (0.01, 0.5, 0.9, 0.0)]


@pytest.mark.parametrize("signal", [0, 1, 2, 3])
def test_any_signal_beyond_its_limit_is_enough(signal: int) -> None:
    source = unit_features(np.eye(8)[[0, 0]] + 0.01)
    found = MODEL.signals_of(source, TRANSLATED[:2])
    limit = MODEL.signal_limit_4.copy()
    limit[signal] = found[0, signal] + (0.1 if signal >= 2 else -0.1)
    assert (replace(MODEL, signal_limit_4=limit)(source, TRANSLATED[:2]) == 0).all()
    limit[signal] = found[0, signal] + (-0.1 if signal >= 2 else 0.1)
    assert (replace(MODEL, signal_limit_4=limit)(source[:1], TRANSLATED[:1]) == np.float32(0.9)).all()


def test_signals_are_distances_in_both_spaces_the_nearest_centre_and_what_comes_back() -> None:
    random = np.random.default_rng(1)
    back = random.normal(size=(12, 8)).astype(np.float32)
    bias = random.normal(size=8).astype(np.float32)
    signals = replace(MODEL.signals_of, back_weight_TS=back, back_bias_S=bias)
    source = unit_features(random.normal(size=(4, 8)))
    came_back = unit_features(TRANSLATED @ back + bias)
    # Of unit vectors the distance is one where no direction is wider than another.
    expected = [np.ones(4), np.ones(4), source.max(axis=1), (source * came_back).sum(axis=1)]
    np.testing.assert_allclose(signals(source, TRANSLATED), np.stack(expected, axis=1), atol=1e-5)


def test_the_estimator_is_linear_in_features_and_signals() -> None:
    random = np.random.default_rng(2)
    weight = random.normal(size=8 + 12 + 4).astype(np.float32)
    mean, sd = np.full(4, 0.5, dtype=np.float32), np.full(4, 2.0, dtype=np.float32)
    bias = np.full(1, 3.0, dtype=np.float32)
    estimate = replace(MODEL.plain, weight_F=weight, bias_1=bias)
    model = replace(MODEL, signal_mean_4=mean, signal_sd_4=sd)
    source, signal = unit_features(random.normal(size=(1, 8))), random.normal(size=(1, 4)).astype(np.float32)
    row = np.concatenate([source[0] * 8**0.5, TRANSLATED[0] * 12**0.5, (signal[0] - 0.5) / 2])
    assert estimate.value(model.inputs(source, TRANSLATED[:1], signal))[0] == pytest.approx(
        3.0 + row @ weight, abs=1e-4
    )


def with_norm() -> ConfidenceModel:
    """Of features with a norm the confidence is 0.2, 0.4, 0.6 below e, up to e to the second, and above."""
    weight = np.zeros(8 + 12 + 4 + 1, dtype=np.float32)
    weight[-1] = 2.0
    steps = np.array([-100.0, 0.0, 2.0], dtype=np.float32)
    estimate = Estimate(weight, np.zeros(1, dtype=np.float32), steps, np.array([0.2, 0.4, 0.6], dtype=np.float32))
    # The estimate is log norm less one.
    return replace(MODEL, with_norm=NormEstimate(NormScale(1.0, 2.0, 0.5, 3.5), estimate))


def test_a_norm_that_is_known_is_looked_at_and_one_of_another_scale_is_not() -> None:
    model = with_norm()
    logs = [-0.25, -0.15, 0.9, 1.1, 2.9, 3.1, 4.15, 4.25, np.nan]
    plain, expected = np.float32(0.9), [0.9, 0.2, 0.2, 0.4, 0.4, 0.6, 0.6, 0.9, 0.9]
    rows = unit_features(np.tile([0.6, 0.8, 0, 0, 0, 0, 0, 0], (9, 1)))
    translated = np.tile(TRANSLATED[:1], (9, 1))
    norm = np.exp(np.array(logs, dtype=np.float32))
    np.testing.assert_allclose(model(rows, translated, norm), expected, atol=1e-6)
    assert (model(rows, translated) == plain).all()
    assert (MODEL(rows, translated, norm) == plain).all()
    # What lies a little beyond is as what lies at the edge.
    edge, beyond = (model.with_norm.scale(np.exp(np.array([log], F))) for log in (3.5, 3.8) if model.with_norm)
    assert edge == pytest.approx(beyond, abs=1e-6)


def test_what_is_like_no_face_is_not_trusted_whatever_its_norm() -> None:
    odd = unit_features(np.array([[0.2, 0, 0, 0, 0, 0, 0.7, 0.7]]))
    assert with_norm()(odd, TRANSLATED[:1], np.full(1, np.exp(3.2), F)).tolist() == [0.0]


def same(one: ConfidenceModel, other: ConfidenceModel) -> bool:
    return one.to_bytes() == other.to_bytes()


def test_it_survives_the_file() -> None:
    assert same(read_confidence(MODEL.to_bytes(), 8, 12), MODEL)
    assert same(read_confidence(with_norm().to_bytes(), 8, 12), with_norm())
    of_common_space = replace(MODEL, target=None)
    assert read_confidence(of_common_space.to_bytes(), 8, 12).target is None
    assert same(read_confidence(of_common_space.to_bytes(), 8, 12), of_common_space)


def changed(of: ConfidenceModel = MODEL, **arrays: Any) -> bytes:
    known = read_arrays(of.to_bytes()) | {name: np.asarray(array) for name, array in arrays.items()}
    return write_arrays({name: array for name, array in known.items() if array.shape != (0, 0, 0)})


GONE = np.zeros((0, 0, 0), dtype=np.float32)
F = np.float32


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK",
        changed(source_mean=np.zeros(9, F)),
        changed(source_basis=np.zeros((8, 9), F)),
        changed(target_limit=GONE),
        changed(target_mean=np.full(12, np.nan, F)),
        changed(source_stream_sd=np.zeros(2 * BLOCKS + 1, F)),
        changed(centre=np.zeros((0, 8), F)),
        changed(centre=np.zeros((3, 8))),
        changed(back_weight=np.zeros((8, 12), F)),
        changed(weight=np.zeros(23, F)),
        changed(weight=np.zeros((24, 1), F)),
        changed(weight=np.full(24, 1e10, F)),
        changed(source_basis=np.full((8, 8), 3e38, F)),
        changed(source_stream_limit=np.zeros(1, F)),
        changed(source_stream_limit=np.full(1, -1, F)),
        changed(source_same_face=np.full(1, -2, F)),
        changed(source_stream_sd=np.full(2 * BLOCKS + 1, 1e-45, F)),
        changed(signal_sd=np.full(4, 1e-45, F)),
        changed(bias=np.zeros(2, F)),
        changed(signal_sd=np.zeros(4, F)),
        changed(signal_limit=np.full(4, np.inf, F)),
        changed(step=np.zeros(0, F), confidence=np.zeros(0, F)),
        changed(step=np.array([1, 0, 2], F)),
        changed(confidence=np.array([0.5, 0.1, 0.9], F)),
        changed(confidence=np.array([0.5, 0.7, 1.1], F)),
        changed(confidence=np.array([0.5, 0.7], F)),
        changed(meaning="sure"),
        changed(fmr=np.array([1.5], F)),
        changed(fmr=np.array([0.1, 0.1], F)),
        changed(more=np.zeros(1, F)),
        changed(basis_of_source=np.zeros((8, 7), F)),
        changed(meaning=np.array(["tar", "tar"])),
        changed(meaning=GONE),
        changed(norm_scale=np.array([1, 2, 0, 3], F)),
        changed(with_norm(), norm_scale=GONE),
        changed(with_norm(), norm_weight=np.zeros(24, F)),
        changed(with_norm(), norm_step=np.array([1, 0, 2], F)),
        changed(with_norm(), norm_confidence=np.array([0.2, 0.4, 1.6], F)),
        changed(with_norm(), norm_scale=np.array([1, 0, 0, 3], F)),
        changed(with_norm(), norm_scale=np.array([1, 2, 3, 0], F)),
        changed(with_norm(), norm_scale=np.array([1, 2, np.nan, 0], F)),
        changed(with_norm(), norm_scale=np.array([1, 2, 0], F)),
    ],
)
def test_a_file_that_cannot_be_one_is_refused(data: bytes) -> None:
    with pytest.raises(BundleError, match=r"^stats\.npz: "):
        read_confidence(data, 8, 12)


def test_a_stream_is_off_by_its_farthest_statistic() -> None:
    random = np.random.default_rng(3)
    ref = reference(8)
    stream = random.normal(size=(FEWEST_FACES, 8)).astype(np.float32)
    found = stream_statistics(stream)
    by_hand = np.array_split(stream, BLOCKS, axis=1)
    assert found[0] == pytest.approx(np.log(np.mean(by_hand[0] ** 2)), abs=1e-5)
    assert found[BLOCKS + 1] == pytest.approx(np.log(np.mean(by_hand[1].mean(axis=0) ** 2) * len(stream)), abs=1e-5)
    assert found[-1] == pytest.approx(np.log(np.mean(stream.mean(axis=0) ** 2) * len(stream)), abs=1e-5)
    ref = replace(ref, stream_mean_Z=found.astype(F), stream_sd_Z=np.full(9, 0.1, F))
    for place in range(9):
        moved = found.copy()
        moved[place] -= 0.7
        score = replace(ref, stream_mean_Z=moved.astype(F)).stream_score(stream)
        # 50 of 200 faces: energies vary twice as much.
        assert score == pytest.approx(3.5 if place < BLOCKS else 7.0, abs=1e-3)
    assert ref.stream_score(stream[: FEWEST_SPREAD - 1]) is None
    few = ref.stream_score(stream[: FEWEST_FACES - 1] + 100)
    assert few is not None


def test_a_shift_of_few_faces_does_not_count() -> None:
    random = np.random.default_rng(4)
    person = random.normal(size=(1, 8)) * 0.5
    stream = (person + random.normal(size=(FEWEST_FACES, 8)) * np.sqrt(0.75)).astype(np.float32)
    ref = reference(8)
    few, many = ref.stream_score(stream[:-1]), ref.stream_score(stream)
    assert few is not None
    assert many is not None
    assert few < 1 < many


def test_a_reference_survives_its_arrays_and_another_dimension_is_refused() -> None:
    ref = reference(8)
    again = SpaceReference.from_arrays(ref.to_arrays(), 8)
    assert all(np.array_equal(a, b) for a, b in zip(ref.to_arrays().values(), again.to_arrays().values(), strict=True))
    with pytest.raises(ContractError):
        SpaceReference.from_arrays(ref.to_arrays(), 12)


def test_stats_belong_to_translators_and_their_spaces(tmp_path: Path) -> None:
    graph = linear_graph(A_TO_B, 8)
    write(tmp_path / "good", graph, A, B, more={"stats.npz": confidence_model(8, 16).to_bytes()})
    for name, made in (("other", confidence_model(8, 12)), ("reversed", confidence_model(16, 8))):
        with pytest.raises(BundleError, match=r"stats\.npz"):
            write(tmp_path / name, graph, A, B, more={"stats.npz": made.to_bytes()})
    with pytest.raises(BundleError, match="is for translators"):
        write(
            tmp_path / "e", encoder_graph(COLOURS_TO_A), None, A, more={"stats.npz": confidence_model(8, 16).to_bytes()}
        )
