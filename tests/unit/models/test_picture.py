import io
import math
import random
import struct
import time
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from models.errors import PictureError
from models.picture import align_face, decode_picture, prepare_crop, prepare_picture, similarity_transform
from models.space import InputPreparation

Pixels = npt.NDArray[np.uint8]

# The published ArcFace template for 112 x 112, typed from InsightFace's face_align.py: eyes, nose tip, mouth corners.
TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
COLOURS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0], [0, 255, 255]], dtype=np.float64)
EXIF_ORIENTATION = 0x0112


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def noise(width: int, height: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, size=(height, width, 3), dtype=np.uint8)


def png(width: int, height: int, rows: bytes, *, bits: int = 8, colour_type: int = 2) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


class TestDecoding:
    @pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("BMP", {}), ("WEBP", {"lossless": True})])
    def test_lossless_formats_give_the_pixels_that_were_written(self, kind: str, options: dict[str, Any]) -> None:
        pixels = noise(13, 7)
        image = decode_picture(encoded(Image.fromarray(pixels), kind, **options))
        assert image.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(image), pixels)

    @pytest.mark.parametrize("options", [{"quality": 95}, {"progressive": True, "quality": 95}])
    def test_a_jpeg_is_close_to_what_was_written(self, options: dict[str, Any]) -> None:
        smooth = np.add.outer(np.arange(64) * 2, np.arange(64)).astype(np.uint8)
        image = decode_picture(encoded(Image.fromarray(np.stack([smooth] * 3, axis=-1)), "JPEG", **options))
        assert np.abs(np.asarray(image).astype(int) - smooth[:, :, None]).max() <= 4

    def test_the_first_picture_of_a_multi_picture_jpeg_is_taken(self) -> None:
        data = encoded(
            Image.new("RGB", (16, 16), (90, 90, 90)), "MPO", save_all=True, append_images=[Image.new("RGB", (16, 16))]
        )
        assert decode_picture(data).getpixel((8, 8)) == (90, 90, 90)

    @pytest.mark.parametrize(
        ("data", "expected"),
        [
            (encoded(Image.new("L", (4, 4), 77), "PNG"), (77, 77, 77)),
            (encoded(Image.new("L", (16, 16), 77), "JPEG"), (77, 77, 77)),
            (encoded(Image.new("1", (4, 4), 1), "PNG"), (255, 255, 255)),
            (encoded(Image.new("LA", (4, 4), (77, 255)), "PNG"), (77, 77, 77)),
            (encoded(Image.new("RGBA", (4, 4), (10, 20, 30, 255)), "PNG"), (10, 20, 30)),
            (encoded(Image.new("RGBA", (4, 4), (10, 20, 30, 128)), "WEBP", lossless=True), (10, 20, 30)),
            (encoded(Image.new("RGB", (4, 4), (10, 20, 30)).quantize(4), "PNG"), (10, 20, 30)),
            (encoded(Image.new("RGB", (4, 4), (10, 20, 30)).quantize(4), "PNG", transparency=0), (10, 20, 30)),
            (encoded(Image.new("RGB", (4, 4), (10, 20, 30)).quantize(4), "BMP"), (10, 20, 30)),
            (encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=100), (255, 0, 0)),
            (encoded(Image.new("CMYK", (16, 16), (0, 0, 0, 255)), "JPEG", quality=100), (0, 0, 0)),
            (png(1, 1, b"\0" + struct.pack(">HHH", 25_700, 0, 65_535), bits=16), (100, 0, 255)),
            (png(1, 1, b"\0" + struct.pack(">H", 25_700), bits=16, colour_type=0), (100, 100, 100)),
            (png(1, 1, b"\0" + struct.pack(">H", 65_535), bits=16, colour_type=0), (255, 255, 255)),
            (png(1, 1, b"\0" + struct.pack(">H", 255), bits=16, colour_type=0), (0, 0, 0)),
        ],
        ids="L L-jpeg 1 LA RGBA RGBA-webp P P-alpha P-bmp CMYK-red CMYK-black RGB16 grey16 white16 black16".split(),
    )
    def test_every_kind_of_pixel_becomes_rgb(self, data: bytes, expected: tuple[int, int, int]) -> None:
        image = decode_picture(data)
        assert image.mode == "RGB"
        np.testing.assert_allclose(np.asarray(image)[0, 0], expected, atol=1)

    @pytest.mark.parametrize("kind", ["PNG", "WEBP"])
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_the_exif_orientation_is_applied(self, kind: str, orientation: int) -> None:
        stored = noise(5, 3)
        upright = {
            1: stored,
            2: stored[:, ::-1],
            3: stored[::-1, ::-1],
            4: stored[::-1],
            5: stored.swapaxes(0, 1),
            6: np.rot90(stored, -1),
            7: stored.swapaxes(0, 1)[::-1, ::-1],
            8: np.rot90(stored),
        }[orientation]
        exif = Image.Exif()
        exif[EXIF_ORIENTATION] = orientation
        options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
        image = decode_picture(encoded(Image.fromarray(stored), kind, exif=exif, **options))
        np.testing.assert_array_equal(np.asarray(image), upright)

    def test_the_exif_orientation_of_a_jpeg_is_applied(self) -> None:
        stored = np.zeros((16, 48, 3), dtype=np.uint8)
        stored[:, :16] = 255  # the left third is white; orientation 6 turns it to the top
        exif = Image.Exif()
        exif[EXIF_ORIENTATION] = 6
        image = np.asarray(decode_picture(encoded(Image.fromarray(stored), "JPEG", exif=exif, quality=95)))
        assert image.shape == (48, 16, 3)
        assert image[:12].min() > 200
        assert image[20:].max() < 50

    def test_an_orientation_that_does_not_exist_changes_nothing(self) -> None:
        pixels = noise(5, 3)
        exif = Image.Exif()
        exif[EXIF_ORIENTATION] = 77
        np.testing.assert_array_equal(decode_picture(encoded(Image.fromarray(pixels), "PNG", exif=exif)), pixels)


class TestRefusing:
    @pytest.mark.filterwarnings("ignore")
    @pytest.mark.parametrize("options", [{}, {"progressive": True}])
    def test_a_cut_jpeg_is_whole_or_refused(self, options: dict[str, Any]) -> None:
        data = encoded(Image.fromarray(noise(64, 48)), "JPEG", **options)
        whole = np.asarray(decode_picture(data))
        num_refused = 0
        for length in [*range(0, len(data), 50), *range(len(data) - 20, len(data))]:
            try:
                image = decode_picture(data[:length])
            except PictureError:
                num_refused += 1
            else:
                np.testing.assert_array_equal(np.asarray(image), whole)
        assert num_refused >= len(data) // 50

    @pytest.mark.filterwarnings("ignore")
    @pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("BMP", {}), ("WEBP", {"lossless": True})])
    def test_a_cut_lossless_picture_is_whole_or_refused(self, kind: str, options: dict[str, Any]) -> None:
        pixels = noise(24, 16)
        data = encoded(Image.fromarray(pixels), kind, **options)
        num_refused = 0
        for length in range(0, len(data), 7):
            try:
                image = decode_picture(data[:length])
            except PictureError:
                num_refused += 1
            else:
                np.testing.assert_array_equal(np.asarray(image), pixels)
        assert num_refused > 100

    @pytest.mark.filterwarnings("ignore")
    def test_damage_gives_a_picture_or_picture_error_and_nothing_else(self) -> None:
        exif = Image.Exif()
        exif[EXIF_ORIENTATION] = 6
        image = Image.fromarray(noise(24, 24))
        seeds = [
            encoded(image, "JPEG", exif=exif),
            encoded(image, "JPEG", progressive=True),
            encoded(image.convert("CMYK"), "JPEG"),
            encoded(image, "MPO", save_all=True, append_images=[image]),
            encoded(image, "PNG", exif=exif),
            encoded(image, "PNG", save_all=True, append_images=[image]),
            encoded(image.convert("P"), "PNG", transparency=3),
            encoded(image, "WEBP", exif=exif),
            encoded(image, "BMP"),
        ]
        dice = random.Random(0)
        outcomes = {"RGB": 0, "refused": 0}
        for _ in range(2500):
            data = bytearray(dice.choice(seeds))
            for _ in range(dice.choice([1, 1, 3, 20])):
                data[dice.randrange(min(len(data), dice.choice([64, 300, 10_000])))] = dice.randrange(256)
            try:
                outcomes[decode_picture(bytes(data)).mode] += 1
            except PictureError:
                outcomes["refused"] += 1
        assert outcomes["RGB"] + outcomes["refused"] == 2500
        assert outcomes["refused"] > 500

    @pytest.mark.parametrize("kind", ["GIF", "TIFF", "PPM", "ICO", "TGA"])
    def test_other_formats_are_refused(self, kind: str) -> None:
        with pytest.raises(PictureError, match="send JPEG, PNG, WebP or BMP"):
            decode_picture(encoded(Image.fromarray(noise(32, 32)), kind))

    @pytest.mark.parametrize("data", [b"", b"\0", b"\xff\xd8\xff", b"%PDF-1.7", b"<svg/>", b"\x89PNG\r\n\x1a\n", b"BM"])
    def test_what_is_not_a_picture_is_refused(self, data: bytes) -> None:
        with pytest.raises(PictureError):
            decode_picture(data)

    def test_random_bytes_are_refused(self) -> None:
        dice = random.Random(1)
        magics = [b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"BM", b"RIFF\x20\0\0\0WEBPVP8 "]
        for number in range(500):
            with pytest.raises(PictureError):
                decode_picture(magics[number % 5] + dice.randbytes(dice.randrange(300)))

    @pytest.mark.filterwarnings("ignore")  # as in production, where Pillow's own bomb warning stops nothing
    @pytest.mark.parametrize("side", [6_400, 9_500, 60_000, 2**31 - 1])
    def test_a_picture_that_declares_too_many_pixels_is_refused_at_once(self, side: int) -> None:
        start = time.perf_counter()
        with pytest.raises(PictureError, match="declares more than 40000000 pixels"):
            decode_picture(png(side, side, b""))
        assert time.perf_counter() - start < 1.0

    def test_a_bomb_is_refused_where_warnings_are_errors_too(self) -> None:
        with pytest.raises(PictureError, match="pixels"):
            decode_picture(png(9_500, 9_500, b""))

    def test_the_limit_counts_pixels_exactly(self) -> None:
        data = encoded(Image.fromarray(noise(10, 10)), "PNG")
        assert decode_picture(data, max_pixels=100).size == (10, 10)
        with pytest.raises(PictureError, match="more than 99 pixels"):
            decode_picture(data, max_pixels=99)

    def test_a_picture_without_the_pixels_it_declares_is_refused(self) -> None:
        with pytest.raises(PictureError, match="truncated or damaged"):
            decode_picture(png(600, 600, b"\0\1\2\3"))


def turned(scale: float, degrees: float, shift: tuple[float, float], points: npt.NDArray[np.float64]) -> Any:
    angle = math.radians(degrees)
    rotation = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return scale * points @ rotation.T + np.array(shift)


def dots(landmarks: npt.NDArray[np.float64], side: int, radius: float) -> Image.Image:
    """Five soft dots in five colours, each centred on its landmark to a fraction of a pixel."""
    y_HW, x_HW = np.mgrid[:side, :side].astype(np.float32)
    canvas = np.zeros((side, side, 3))
    for (x, y), colour in zip(landmarks, COLOURS, strict=True):
        blob_HW = np.exp(-((x_HW - x) ** 2 + (y_HW - y) ** 2) / (2 * radius**2))
        canvas += blob_HW[:, :, None] * colour
    return Image.fromarray(canvas.clip(0, 255).round().astype(np.uint8))


def dot_centres(crop: Image.Image) -> npt.NDArray[np.float64]:
    red, green, blue = np.asarray(crop).astype(np.float64).transpose(2, 0, 1)
    weights = [
        red - np.maximum(green, blue),
        green - np.maximum(red, blue),
        blue - np.maximum(red, green),
        np.minimum(red, green) - blue,
        np.minimum(green, blue) - red,
    ]
    y_HW, x_HW = np.mgrid[: crop.height, : crop.width]
    centres = []
    for weight in weights:
        weight_HW = np.where(weight > 40, weight, 0)
        assert weight_HW.sum() > 0
        centres.append([(x_HW * weight_HW).sum(), (y_HW * weight_HW).sum()] / weight_HW.sum())
    return np.array(centres)


class TestAlignment:
    @pytest.mark.parametrize("degrees", [0, 20, 90, -135, 180])
    @pytest.mark.parametrize("scale", [0.5, 1.0, 1.7, 2.0, 2.6, 3.3, 5.5])
    def test_the_landmarks_land_on_the_template(self, scale: float, degrees: float) -> None:
        side = math.ceil(170 * scale) + 10
        middle = side / 2 + 0.3
        landmarks = turned(scale, degrees, (middle, middle), TEMPLATE - 56.0)
        crop = align_face(dots(landmarks, side, 1.8 * scale), landmarks.tolist())
        assert crop.size == (112, 112)
        distances = np.hypot(*(dot_centres(crop) - TEMPLATE).T)
        assert distances.max() < 0.25  # half a pixel off would be seen

    def test_the_template_grows_with_the_crop(self) -> None:
        landmarks = turned(3.0, 10, (300.0, 290.0), TEMPLATE - 56.0)
        crop = align_face(dots(landmarks, 600, 6.0), landmarks.tolist(), (224, 224))
        assert crop.size == (224, 224)
        assert np.hypot(*(dot_centres(crop) - 2 * TEMPLATE).T).max() < 0.5

    def test_landmarks_on_the_template_change_nothing(self) -> None:
        pixels = noise(112, 112)
        crop = np.asarray(align_face(Image.fromarray(pixels), [(x, y) for x, y in TEMPLATE.tolist()]))
        assert np.abs(crop[1:-1, 1:-1].astype(int) - pixels[1:-1, 1:-1]).max() <= 1

    def test_a_strong_downscale_averages_and_does_not_skip_pixels(self) -> None:
        checks = (np.indices((900, 900)).sum(axis=0) % 2 * 255).astype(np.uint8)
        landmarks = TEMPLATE * 8.0
        crop = np.asarray(align_face(Image.fromarray(np.stack([checks] * 3, axis=-1)), landmarks.tolist()))
        # 7 x 7 pixels are averaged before sampling, 24 or 25 of them white: 125 or 130.
        assert np.abs(crop[5:-5, 5:-5].astype(int) - 127.5).max() <= 3

    def test_what_lies_outside_the_picture_is_black(self) -> None:
        crop = align_face(Image.new("RGB", (50, 50), (255, 255, 255)), (TEMPLATE - 200.0).tolist())
        assert np.asarray(crop).max() == 0

    @pytest.mark.parametrize(
        "landmarks",
        [
            [],
            [(1.0, 2.0)] * 4,
            [(1.0, 2.0)] * 6,
            [(1.0, 2.0, 3.0)] * 5,
            [(1.0, 2.0), (3.0,)],
            [("a", "b")] * 5,
            [(1j, 1)] * 5,
            None,
            [(0.0, 0.0)] * 5,
            [(7.0, 7.0)] * 5,
            [(7.0 + i * 1e-5, 7.0) for i in range(5)],
            [(math.nan, 1.0)] * 5,
            [(38.0, 51.0), (73.0, 51.0), (56.0, 71.0), (41.0, 92.0), (70.0, math.inf)],
            [(1e308, 0.0)] * 4 + [(0.0, -1e308)],
            [(1e200 * i, 1e200 * i * i) for i in range(5)],
            [(1e20 * i, 1e20 * i * i) for i in range(5)],
            [(1e12 * i, 1e12 * i * i) for i in range(5)],
            [(10**400, 1)] * 5,
        ],
    )
    def test_landmarks_that_are_not_five_distinct_points_are_refused(self, landmarks: Any) -> None:
        with pytest.raises(PictureError, match="landmarks"):
            align_face(Image.new("RGB", (50, 50)), landmarks)

    @pytest.mark.parametrize("extent", [1e3, 1e5, 9.9e5])
    def test_landmarks_far_outside_are_not_a_crash(self, extent: float) -> None:
        landmarks = (TEMPLATE / 112 * extent).tolist()
        assert align_face(Image.new("RGB", (3, 2)), landmarks).size == (112, 112)

    @pytest.mark.parametrize("landmarks", [[(10.0 * i, 5.0 * i) for i in range(5)], [(0.0, 9.0 * i) for i in range(5)]])
    def test_landmarks_on_one_line_still_give_a_similarity(self, landmarks: list[tuple[float, float]]) -> None:
        matrix = similarity_transform(TEMPLATE, np.array(landmarks))
        (a, b, _), (c, d, _) = matrix.tolist()
        assert (a, b) == (pytest.approx(d), pytest.approx(-c))
        assert a * d - b * c > 0
        assert align_face(Image.new("RGB", (50, 50)), landmarks).size == (112, 112)

    @pytest.mark.parametrize("degrees", [0, 33, 90, 179, 270])
    def test_a_known_similarity_is_recovered_exactly(self, degrees: float) -> None:
        points = np.random.default_rng(0).normal(size=(7, 2))
        matrix = similarity_transform(points, turned(2.5, degrees, (3.0, -4.0), points))
        angle = math.radians(degrees)
        cos, sin = 2.5 * math.cos(angle), 2.5 * math.sin(angle)
        np.testing.assert_allclose(matrix, [[cos, -sin, 3.0], [sin, cos, -4.0]], atol=1e-9)

    def test_the_similarity_has_the_least_squared_error(self) -> None:
        generator = np.random.default_rng(2)
        source, target = generator.normal(size=(5, 2)), generator.normal(size=(5, 2))
        # With a + bi for rotation and scale, the problem is ordinary least squares over complex numbers.
        z, w = source @ [1, 1j], target @ [1, 1j]
        (factor, shift), *_ = np.linalg.lstsq(np.stack([z, np.ones(5)], axis=1), w, rcond=None)
        expected = [[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]]
        np.testing.assert_allclose(similarity_transform(source, target), expected, atol=1e-9)


class TestPreparation:
    def test_an_aligned_crop_is_normalised_by_hand_calculation(self) -> None:
        pixels = np.zeros((112, 112, 3), dtype=np.uint8)
        pixels[:] = (10, 20, 30)
        pixels[5, 7] = (250, 130, 0)
        preparation = InputPreparation(mean=(10.0, 20.5, 0.0), std=(2.0, 0.5, 10.0))
        prepared = prepare_picture(encoded(Image.fromarray(pixels), "PNG"), preparation)
        assert prepared.dtype == np.float32
        assert prepared.shape == (3, 112, 112)
        assert prepared.flags.c_contiguous
        assert prepared[:, 0, 0].tolist() == [0.0, -1.0, 3.0]
        assert prepared[:, 5, 7].tolist() == [120.0, 219.0, 0.0]
        assert prepared[:, 7, 5].tolist() == [0.0, -1.0, 3.0]

    def test_every_pixel_is_normalised_in_its_place(self) -> None:
        pixels = noise(112, 112)
        preparation = InputPreparation(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))
        expected = (pixels - np.array([123.675, 116.28, 103.53])) / np.array([58.395, 57.12, 57.375])
        prepared = prepare_picture(encoded(Image.fromarray(pixels), "PNG"), preparation)
        np.testing.assert_allclose(prepared, expected.transpose(2, 0, 1), rtol=1e-5, atol=1e-6)

    def test_without_mean_and_std_the_pixels_stay_0_to_255(self) -> None:
        pixels = noise(112, 112)
        np.testing.assert_array_equal(
            prepare_crop(Image.fromarray(pixels), InputPreparation()), pixels.transpose(2, 0, 1).astype(np.float32)
        )

    def test_bgr_turns_the_channels_before_mean_and_std(self) -> None:
        preparation = InputPreparation(colour="BGR", mean=(1.0, 2.0, 3.0), std=(1.0, 2.0, 4.0))
        prepared = prepare_crop(Image.new("RGB", (112, 112), (11, 22, 33)), preparation)
        assert prepared[:, 0, 0].tolist() == [32.0, 10.0, 2.0]

    def test_a_crop_without_a_resize_is_a_slice(self) -> None:
        pixels = noise(112, 112)
        preparation = InputPreparation(crop=(8, 3, 104, 110), resize=(96, 107))
        expected = pixels[3:110, 8:104].transpose(2, 0, 1)
        np.testing.assert_array_equal(prepare_crop(Image.fromarray(pixels), preparation), expected)

    def test_crop_and_resize_are_bilinear_between_pixel_centres(self) -> None:
        pixels = noise(112, 112)
        preparation = InputPreparation(crop=(8, 0, 104, 112), resize=(128, 128))
        region = pixels[:, 8:104].astype(np.float64)
        for axis, extent in ((0, 112), (1, 96)):
            place = ((np.arange(128) + 0.5) * extent / 128 - 0.5).clip(0, extent - 1)
            low = np.floor(place).astype(int).clip(0, extent - 2)
            share = (place - low).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
            region = region.take(low, axis) * (1 - share) + region.take(low + 1, axis) * share
        prepared = prepare_crop(Image.fromarray(pixels), preparation)
        assert prepared.shape == (3, 128, 128)
        assert np.abs(prepared - region.transpose(2, 0, 1)).max() <= 1.01

    def test_a_square_of_another_size_is_resized_first(self) -> None:
        halves = np.zeros((224, 224, 3), dtype=np.uint8)
        halves[:, 112:] = 200
        prepared = prepare_crop(Image.fromarray(halves), InputPreparation())
        assert prepared.shape == (3, 112, 112)
        assert prepared[:, :, :54].max() == 0
        assert prepared[:, :, 58:].min() == 200

    def test_a_single_pixel_fills_the_crop(self) -> None:
        prepared = prepare_picture(encoded(Image.new("RGB", (1, 1), (5, 6, 7)), "PNG"), InputPreparation())
        assert prepared.shape == (3, 112, 112)
        assert [set(channel.ravel().tolist()) for channel in prepared] == [{5.0}, {6.0}, {7.0}]

    @pytest.mark.parametrize("size", [(112, 113), (640, 480), (1, 2)])
    def test_a_picture_that_is_not_square_is_no_aligned_crop(self, size: tuple[int, int]) -> None:
        with pytest.raises(PictureError, match="give five landmarks"):
            prepare_picture(encoded(Image.new("RGB", size), "PNG"), InputPreparation())

    def test_landmarks_align_after_the_exif_orientation_is_applied(self) -> None:
        landmarks = turned(1.5, 15, (150.0, 120.0), TEMPLATE - 56.0)
        upright = np.asarray(dots(landmarks, 280, 2.7))
        exif = Image.Exif()
        exif[EXIF_ORIENTATION] = 6
        data = encoded(Image.fromarray(np.rot90(upright).copy()), "PNG", exif=exif)
        prepared = prepare_picture(data, InputPreparation(), landmarks=[(x, y) for x, y in landmarks.tolist()])
        crop = Image.fromarray(prepared.transpose(1, 2, 0).astype(np.uint8))
        assert np.hypot(*(dot_centres(crop) - TEMPLATE).T).max() < 0.25

    def test_the_pixel_limit_reaches_the_decoder(self) -> None:
        with pytest.raises(PictureError, match="more than 10 pixels"):
            prepare_picture(encoded(Image.new("RGB", (112, 112)), "PNG"), InputPreparation(), max_pixels=10)
