import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.ndimage import gaussian_filter

from training.trainers import drawing
from training.trainers.drawing import drawn

Pictures = npt.NDArray[np.uint8]


def photos(num: int = 4, side: int = 32) -> Pictures:
    """Shades with a dark line across."""
    shade = np.linspace(90, 230, side)[None, :, None, None] * np.array([1.0, 0.9, 0.7])
    made = np.repeat(np.broadcast_to(shade, (1, side, side, 3)), num, axis=0)
    made[:, :, side // 2] = 20
    return made.round().astype(np.uint8)


def by(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_lines_stay_and_shades_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "_KEPT", 0.0)
    made = drawn(photos(side=112), by(0), is_bgr=False)
    assert made.shape == (4, 112, 112, 3)
    assert made.dtype == np.uint8
    assert (made == made[..., :1]).all()
    assert made[:, :, 56].max() < 120
    assert made[:, :, 16:40].min() > 225


def test_a_drawing_is_grey_values_over_blurred_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("_KEPT", 0.0), ("_SIGMAS", (7.0, 7.0)), ("_POWERS", (2.0, 2.0))):
        monkeypatch.setattr(drawing, name, value)
    given = np.random.default_rng(0).integers(30, 255, (2, 32, 32, 3)).astype(np.uint8)
    for made, photo in zip(drawn(given, by(0), is_bgr=False), given, strict=True):
        grey = photo @ np.array([0.299, 0.587, 0.114]) / 255
        # Seven pixels of a crop of 112 are two of 32.
        around = gaussian_filter(grey, 2.0, mode="mirror", truncate=3.0)
        expected = 255 * np.clip(grey / around, 0, 1) ** 2
        np.testing.assert_allclose(made[..., 0], expected, atol=1.0)


def test_the_same_seed_draws_the_same_and_every_drawing_is_another() -> None:
    assert np.array_equal(drawn(photos(), by(1), is_bgr=False), drawn(photos(), by(1), is_bgr=False))
    made = drawn(photos(), by(1), is_bgr=False)
    assert len({one.tobytes() for one in made}) == 4


def test_colours_in_the_other_order_are_the_same_grey() -> None:
    turned = np.ascontiguousarray(photos()[..., ::-1])
    assert np.array_equal(drawn(turned, by(1), is_bgr=True), drawn(photos(), by(1), is_bgr=False))
    assert not np.array_equal(drawn(turned, by(1), is_bgr=False), drawn(photos(), by(1), is_bgr=False))


@pytest.mark.parametrize("side", [2, 3, 300])
@pytest.mark.parametrize("value", [0, 255])
def test_a_picture_of_nothing_stays_as_it_is(side: int, value: int) -> None:
    made = drawn(np.full((2, side, side, 3), value, dtype=np.uint8), by(0), is_bgr=False)
    assert (made == value).all()
