"""Canonical correlations against scikit-learn, and planted ones."""

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.cross_decomposition import CCA

from models.features import FloatArray, unit_features
from training.trainers.common_space import fit_common_space

DoubleArray = npt.NDArray[np.float64]


def seen(latent: DoubleArray, dimension: int, *, noise: float, seed: int) -> FloatArray:
    """What an encoder makes of latents: a random linear map and noise of its own."""
    random = np.random.default_rng(seed)
    weight = random.normal(size=(latent.shape[1], dimension)) / np.sqrt(latent.shape[1])
    return unit_features(latent @ weight + noise * random.normal(size=(len(latent), dimension)))


def people(num: int, each: int, *, within: float = 0.0, seed: int = 0) -> tuple[DoubleArray, npt.NDArray[np.str_]]:
    """Latents of 8 numbers for who somebody is, and 4 for what only the picture has."""
    random = np.random.default_rng(seed)
    identity = np.repeat(random.normal(size=(num, 8)), each, axis=0)
    picture = within * random.normal(size=(num * each, 4))
    return np.concatenate([identity, picture], axis=1), np.repeat([f"p{i}" for i in range(num)], each)


def test_the_correlations_are_those_of_scikit_learn() -> None:
    latent, _ = people(4000, 1)
    a, b = seen(latent, 10, noise=0.8, seed=1), seen(latent, 7, noise=0.8, seed=2)
    projections = fit_common_space([a, b], strength=0.0, dimension=4)
    ours = [side @ map_.weight_ST + map_.bias_T for side, map_ in zip((a, b), projections, strict=True)]
    theirs = CCA(n_components=4, max_iter=5000, tol=1e-10).fit(a, b).transform(a, b)
    for k in range(4):
        expected = np.corrcoef(theirs[0][:, k], theirs[1][:, k])[0, 1]
        assert np.corrcoef(ours[0][:, k], ours[1][:, k])[0, 1] == pytest.approx(expected, abs=2e-3)
        # And weighted by it: the square of the deviation is the square of the correlation.
        assert ours[0][:, k].std() * np.sqrt(2) == pytest.approx(expected, abs=5e-3)


def rank1(probe: FloatArray, gallery: FloatArray) -> float:
    return float(np.mean((probe @ gallery.T).argmax(axis=1) == np.arange(len(probe))))


@pytest.mark.parametrize("num_sides", [2, 3])
def test_unseen_pictures_find_each_other_across_any_two_of_the_sides(num_sides: int) -> None:
    latent, _ = people(1200, 1)
    sides = [seen(latent, 12 + 3 * k, noise=0.1, seed=k + 1) for k in range(num_sides)]
    projections = fit_common_space([side[:1000] for side in sides], strength=1e-3)
    common = [project(side[1000:]) for side, project in zip(sides, projections, strict=True)]
    assert len({features.shape for features in common}) == 1
    for i in range(num_sides):
        np.testing.assert_allclose(np.linalg.norm(common[i], axis=1), 1.0, atol=1e-5)
        for j in range(num_sides):
            assert rank1(common[i], common[j]) > 0.97


def test_subjects_take_out_what_only_the_picture_has() -> None:
    """Both sides see the picture's own latents; across pictures of a subject they are no help."""
    latent, subject = people(400, 4, within=2.0)
    a, b = seen(latent, 16, noise=0.1, seed=1), seen(latent, 14, noise=0.1, seed=2)
    train = np.arange(len(subject)) < 1200
    found = {}
    for name, labels in (("pictures", None), ("subjects", subject[train])):
        to_a, to_b = fit_common_space([a[train], b[train]], labels, strength=1e-2)
        first, last = to_a(a[~train])[0::4], to_b(b[~train])[3::4]
        found[name] = rank1(first, last)
    assert found["subjects"] > found["pictures"] + 0.1


def test_a_subject_for_each_picture_is_no_subject() -> None:
    latent, _ = people(300, 1)
    sides = [seen(latent, 9, noise=0.3, seed=k) for k in (1, 2)]
    names = np.array([f"s{i}" for i in range(300)])
    plain, named = fit_common_space(sides), fit_common_space(sides, names)
    for one, other in zip(plain, named, strict=True):
        signs = np.sign((one.weight_ST * other.weight_ST).sum(axis=0))
        np.testing.assert_allclose(one.weight_ST, other.weight_ST * signs, atol=1e-5)


def test_directions_without_agreement_are_left_out_and_degenerate_features_do_no_harm() -> None:
    latent, _ = people(500, 1)
    a = seen(latent, 10, noise=0.2, seed=1)
    flat = np.concatenate([seen(latent, 6, noise=0.2, seed=2), np.zeros((500, 5), dtype=np.float32)], axis=1)
    projections = fit_common_space([a, flat])
    assert all(np.isfinite(map_.weight_ST).all() for map_ in projections)
    assert projections[0].weight_ST.shape[1] == projections[1].weight_ST.shape[1] <= 10
