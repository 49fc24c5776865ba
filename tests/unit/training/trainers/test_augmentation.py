import pytest
import torch

from training.trainers import augmentation
from training.trainers.augmentation import augmented

ALL = ("_ROTATION", "_SCALE", "_SHIFT", "_GAIN", "_LIFT", "_GRAY", "_ERASED")


def pictures(num: int = 64, height: int = 20, width: int = 20) -> torch.Tensor:
    return torch.rand(num, 3, height, width, generator=torch.Generator().manual_seed(0)) * 2 - 1


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Nothing but mirroring, until a test turns something on."""
    for name in ALL:
        monkeypatch.setattr(augmentation, name, 0.0)
    return monkeypatch


def test_the_same_generator_gives_the_same_pictures() -> None:
    batch = pictures()
    assert torch.equal(augmented(batch, seeded(3)), augmented(batch, seeded(3)))
    assert not torch.equal(augmented(batch, seeded(3)), augmented(batch, seeded(4)))


def test_a_generator_goes_on_from_batch_to_batch() -> None:
    generator, batch = seeded(), pictures()
    assert not torch.equal(augmented(batch, generator), augmented(batch, generator))


def test_whoever_else_draws_random_numbers_has_no_say_and_is_not_disturbed() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = augmented(pictures(), seeded())
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(augmented(pictures(), seeded()), first)


@pytest.mark.parametrize(("num", "height", "width"), [(1, 20, 20), (7, 33, 33), (3, 24, 16)])
def test_shape_and_type_stay_and_the_given_pictures_are_not_changed(num: int, height: int, width: int) -> None:
    batch = pictures(num, height, width)
    before = batch.clone()
    out = augmented(batch, seeded())
    assert (out.shape, out.dtype) == (batch.shape, torch.float32)
    assert torch.isfinite(out).all()
    assert torch.equal(batch, before)


@pytest.mark.usefixtures("only")
def test_with_all_else_off_a_picture_is_itself_or_its_mirror_image() -> None:
    batch = pictures(200)
    out = augmented(batch, seeded())
    as_it_was = torch.isclose(out, batch, atol=1e-5).flatten(1).all(dim=1)
    mirrored = torch.isclose(out, batch.flip(-1), atol=1e-5).flatten(1).all(dim=1)
    assert (as_it_was ^ mirrored).all()
    # A fair coin, 200 times: within five standard deviations of sqrt(200) / 2 = 7.
    assert 65 < int(mirrored.sum()) < 135


def test_grey_is_the_mean_of_the_colours(only: pytest.MonkeyPatch) -> None:
    only.setattr(augmentation, "_GRAY", 1.0)
    batch = pictures()
    out = augmented(batch, seeded())
    grey = batch.mean(dim=1, keepdim=True).expand_as(batch)
    is_grey = torch.isclose(out, grey, atol=1e-5) | torch.isclose(out, grey.flip(-1), atol=1e-5)
    assert is_grey.all()


def test_a_hole_is_one_rectangle_at_most_a_third_of_a_side_and_a_little(only: pytest.MonkeyPatch) -> None:
    only.setattr(augmentation, "_ERASED", 1.0)
    bright = torch.ones(300, 3, 40, 40)
    empty = augmented(bright, seeded()) == 0.0
    assert torch.equal(empty[:, 0], empty[:, 1])
    assert torch.equal(empty[:, 0], empty[:, 2])
    rows, columns = empty[:, 0].any(dim=2), empty[:, 0].any(dim=1)
    assert torch.equal(empty[:, 0], rows[:, :, None] & columns[:, None, :])
    for side in (rows, columns):
        # 0.35 of 40 pixels are 14; in one piece: it begins and ends at most once.
        assert 5 < int(side.sum(dim=1).max()) <= 14
        assert int(side.int().diff(dim=1).clamp(min=0).sum(dim=1).max()) <= 1


def test_holes_are_in_some_pictures_only(only: pytest.MonkeyPatch) -> None:
    only.setattr(augmentation, "_ERASED", 0.2)
    empty = (augmented(torch.ones(500, 3, 40, 40), seeded()) == 0.0).flatten(1).any(dim=1)
    # A fifth of 500, less those whose rectangle is thinner than a pixel.
    assert 50 < int(empty.sum()) < 145


def test_light_changes_each_colour_by_a_fifth_and_all_alike_by_an_eighth(only: pytest.MonkeyPatch) -> None:
    only.setattr(augmentation, "_GAIN", 0.2)
    gained = augmented(torch.ones(500, 3, 4, 4), seeded())
    assert torch.equal(gained, gained[:, :, :1, :1].expand_as(gained))
    assert 0.79 < float(gained.min()) < 0.82
    assert 1.18 < float(gained.max()) < 1.21
    only.setattr(augmentation, "_GAIN", 0.0)
    only.setattr(augmentation, "_LIFT", 0.125)
    lifted = augmented(torch.zeros(500, 3, 4, 4), seeded())
    assert torch.equal(lifted, lifted[:, :1, :1, :1].expand_as(lifted))
    assert 0.12 < float(lifted.max()) <= 0.1251


def test_a_shift_moves_by_so_much_of_half_a_side_at_most(only: pytest.MonkeyPatch) -> None:
    only.setattr(augmentation, "_SHIFT", 0.1)
    column = torch.arange(80, dtype=torch.float32).expand(100, 3, 80, 80)
    out = augmented(column, seeded())
    middle = out[:, 0, 40, 30:50]
    straight = torch.where(middle.diff(dim=1).mean(dim=1, keepdim=True) > 0, middle, middle.flip(1))
    shift = (straight.mean(dim=1) - 39.5).abs()
    # 0.1 of 40 pixels.
    assert 3.0 < float(shift.max()) < 4.01
