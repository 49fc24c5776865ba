import numpy as np
import numpy.typing as npt
import pytest
import torch

from training.trainers import caricatured as module
from training.trainers.caricatured import caricatured, exaggerated

Pictures = npt.NDArray[np.uint8]


def photos(num: int = 4, side: int = 48) -> Pictures:
    """Noise that is smooth enough to have tones."""
    random = np.random.default_rng(0)
    coarse = random.integers(20, 235, (num, side // 8, side // 8, 3)).astype(np.uint8)
    return np.ascontiguousarray(coarse.repeat(8, axis=1).repeat(8, axis=2))


def by(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_same_seed_draws_the_same_and_every_caricature_is_another() -> None:
    assert np.array_equal(caricatured(photos(), by(1)), caricatured(photos(), by(1)))
    one = np.repeat(photos(1), 6, axis=0)
    assert len({made.tobytes() for made in caricatured(one, by(1))}) == 6


@pytest.mark.parametrize("side", [2, 16, 150])
@pytest.mark.parametrize("value", [0, 255])
def test_any_picture_becomes_one_of_its_size(side: int, value: int) -> None:
    made = caricatured(np.full((3, side, side, 3), value, dtype=np.uint8), by(0))
    assert made.shape == (3, side, side, 3)
    assert made.dtype == np.uint8


def test_without_strength_and_stretch_nothing_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_STRENGTH", 0.0)
    monkeypatch.setattr(module, "_STRETCH", 0.0)
    given = torch.from_numpy(photos()).permute(0, 3, 1, 2).float()
    torch.testing.assert_close(exaggerated(given, by(0)), given, atol=1e-2, rtol=1e-4)


@pytest.mark.parametrize("strength", [0.5, -0.5])
def test_a_feature_of_the_face_becomes_larger_or_smaller(monkeypatch: pytest.MonkeyPatch, strength: float) -> None:
    """A dark disc where the nose is, and whatever is drawn by chance is the most."""
    side = 112
    ys, xs = np.mgrid[:side, :side] / (side - 1)
    is_nose = (xs - 0.5) ** 2 + (ys - 0.64) ** 2 < 0.06**2
    given = torch.from_numpy(np.where(is_nose, 0.0, 1.0)[None, None].astype(np.float32))
    for name, value in (("_PLACES", ((0.5, 0.64),)), ("_STRETCH", 0.0), ("_STRENGTH", strength)):
        monkeypatch.setattr(module, name, value)

    def most(*shape: int, generator: torch.Generator) -> torch.Tensor:
        return torch.full(shape, 1.0 if len(shape) == 2 else 0.5)

    monkeypatch.setattr(torch, "rand", most)
    made = exaggerated(given, by(0))
    grown = float((made < 0.5).sum()) / float((given < 0.5).sum())
    assert (grown > 1.5) if strength > 0 else (grown < 0.75)


def test_some_are_left_in_their_colours_and_others_are_painted() -> None:
    given = np.repeat(photos(1), 60, axis=0)
    moved_too = exaggerated(torch.from_numpy(given).permute(0, 3, 1, 2).float() / 255, by(3))
    unpainted = (moved_too.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    is_kept = (caricatured(given, by(3)) == unpainted).all(axis=(1, 2, 3))
    assert 5 < is_kept.sum() < 35
