import io
import json
import os
import threading
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from PIL import Image

from training.data import extraction
from training.data.encoders import Encoder, find_encoder
from training.data.extraction import Extraction, ExtractionSettings, discard_partial, extract_features
from training.data.sources import PictureItem, PictureSource, open_source
from training.errors import EncoderError, SourceError, TrainingError

FloatArray = npt.NDArray[np.float32]
Picture = Callable[..., bytes]
TinyModel = Callable[..., onnx.ModelProto]

CPU = ExtractionSettings("cpu", batch_size=3, num_workers=2)
BY_HAND = 5e-5
"""The mean of 12,544 pixels is summed in float32 by the encoder, and in float64 here."""
SKIPPING = replace(CPU, skip_unreadable=True)


class KilledError(Exception):
    pass


class CountingSource:
    """A source that counts what is read, and stops like a killed process at one picture."""

    def __init__(self, source: PictureSource, *, stop_at: str = "") -> None:
        self.items = source.items
        self.reads: Counter[str] = Counter()
        self._source = source
        self._stop_at = stop_at
        self._lock = threading.Lock()

    def read(self, item: PictureItem) -> bytes:
        with self._lock:
            self.reads[item.key] += 1
        if item.key == self._stop_at:
            raise KilledError
        return self._source.read(item)


class OnePicture:
    """A source of one picture of the twelve."""

    def __init__(self, folder: Path, number: int) -> None:
        self._source = open_source(folder)
        self.items = self._source.items[number : number + 1]

    def read(self, item: PictureItem) -> bytes:
        return self._source.read(item)


@pytest.fixture
def encoder(encoder_file: Path) -> Encoder:
    return find_encoder(str(encoder_file), None)


@pytest.fixture
def partial(tmp_path: Path) -> Path:
    return tmp_path / "set.npz.partial"


@pytest.fixture
def chunks_of_four(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extraction, "CHUNK", 4)


def raw_feature(data: bytes, weight: FloatArray, bias: FloatArray) -> npt.NDArray[np.float64]:
    with Image.open(io.BytesIO(data)) as image:
        pixels = np.asarray(image, dtype=np.float64)
    colour = ((pixels - 127.5) / 127.5).mean(axis=(0, 1))
    raw: npt.NDArray[np.float64] = colour @ weight + bias
    return raw


def stopped(encoder: Encoder, folder: Path, partial: Path, at: str) -> None:
    with pytest.raises(KilledError):
        extract_features(encoder, CountingSource(open_source(folder), stop_at=at), partial, CPU)


def resumed(encoder: Encoder, folder: Path, partial: Path) -> tuple[Extraction, Counter[str]]:
    source = CountingSource(open_source(folder))
    return extract_features(encoder, source, partial, CPU), source.reads


@pytest.mark.usefixtures("chunks_of_four")
def test_features_are_those_computed_by_hand_in_the_order_of_the_source(
    encoder: Encoder, picture_folder: Path, partial: Path, tiny_weight: FloatArray, tiny_bias: FloatArray
) -> None:
    source = open_source(picture_folder)
    progress: list[int] = []
    extracted = extract_features(encoder, source, partial, CPU, progress.append)
    found = extracted.feature_set
    expected = [raw_feature(source.read(item), tiny_weight, tiny_bias) for item in source.items]
    np.testing.assert_allclose(found.feature, [raw / np.linalg.norm(raw) for raw in expected], atol=BY_HAND)
    np.testing.assert_allclose(found.norms, np.linalg.norm(expected, axis=1), rtol=1e-3)
    assert found.image.tolist() == [item.key for item in source.items]
    assert found.subject.tolist() == [f"person{i // 2}" for i in range(12)]
    assert found.space == encoder.space
    assert (extracted.skipped, extracted.num_resumed, sum(progress)) == ((), 0, 12)


def test_modality_and_labels_of_the_list_come_along(encoder: Encoder, picture_folder: Path, partial: Path) -> None:
    rows = [f"person{i // 2}/{i:02d}.png,p{i},{'sketch' if i else ''},h{i}" for i in range(12)]
    (picture_folder / "labels.csv").write_text("\n".join(["image,subject,modality,hair", *rows]))
    found = extract_features(encoder, open_source(picture_folder), partial, CPU).feature_set
    assert found.modality is not None
    assert found.modality.tolist() == ["", *["sketch"] * 11]
    assert found.labels["hair"].tolist() == [f"h{i}" for i in range(12)]


@pytest.mark.parametrize(("batch_size", "num_workers"), [(1, 1), (5, 3), (12, 1), (64, 2), (0, 0)])
def test_batch_size_and_workers_do_not_change_the_features(
    encoder: Encoder, picture_folder: Path, partial: Path, batch_size: int, num_workers: int
) -> None:
    source = open_source(picture_folder)
    one = extract_features(encoder, source, partial, ExtractionSettings("cpu", 2, 1)).feature_set
    discard_partial(partial)
    other = extract_features(encoder, source, partial, ExtractionSettings("cpu", batch_size, num_workers)).feature_set
    np.testing.assert_allclose(other.feature, one.feature, atol=1e-6)
    assert other.image.tolist() == one.image.tolist()


@pytest.mark.usefixtures("chunks_of_four")
def test_an_interrupted_extraction_goes_on_after_the_last_whole_chunk(
    encoder: Encoder, picture_folder: Path, partial: Path
) -> None:
    stopped(encoder, picture_folder, partial, "person4/09.png")
    extracted, reads = resumed(encoder, picture_folder, partial)
    assert reads == Counter(f"person{i // 2}/{i:02d}.png" for i in range(8, 12))
    assert extracted.num_resumed == 8
    discard_partial(partial)
    assert not partial.exists()
    whole, _ = resumed(encoder, picture_folder, partial)
    assert extracted.feature_set.digest == whole.feature_set.digest


@pytest.mark.usefixtures("chunks_of_four")
def test_finished_work_is_kept_until_it_is_discarded(encoder: Encoder, picture_folder: Path, partial: Path) -> None:
    resumed(encoder, picture_folder, partial)
    extracted, reads = resumed(encoder, picture_folder, partial)
    assert not reads
    assert extracted.num_resumed == 12


@pytest.mark.usefixtures("chunks_of_four")
@pytest.mark.parametrize("kind", ["cut", "empty", "words", "another size", "an array", "flipped"])
def test_a_damaged_chunk_is_done_again(encoder: Encoder, picture_folder: Path, partial: Path, kind: str) -> None:
    whole, _ = resumed(encoder, picture_folder, partial)
    chunk = partial / "0000000004.npz"
    data = bytearray(chunk.read_bytes())
    if kind == "another size":
        data = bytearray((partial / "0000000000.npz").read_bytes())
        with chunk.open("wb") as stream:
            np.savez(stream, kept=np.ones(3, dtype=bool), feature=np.ones((3, 4), dtype=np.float32))
    elif kind == "an array":
        with chunk.open("wb") as stream:
            np.save(stream, np.ones(3))
    else:
        data[len(data) // 2] ^= 1
        replacements: dict[str, bytes | bytearray] = {
            "cut": data[:-30],
            "empty": b"",
            "words": b"words",
            "flipped": data,
        }
        chunk.write_bytes(replacements[kind])
    extracted, reads = resumed(encoder, picture_folder, partial)
    assert sorted(reads) == [f"person{i // 2}/{i:02d}.png" for i in range(4, 8)]
    assert extracted.feature_set.digest == whole.feature_set.digest


@pytest.mark.usefixtures("chunks_of_four")
def test_no_flipped_bit_of_a_chunk_is_taken_for_features(encoder: Encoder, picture_folder: Path, partial: Path) -> None:
    whole, _ = resumed(encoder, picture_folder, partial)
    chunk = partial / "0000000004.npz"
    data = chunk.read_bytes()
    for place in range(0, len(data), 3):
        flipped = bytearray(data)
        flipped[place] ^= 1 << (place % 8)
        chunk.write_bytes(bytes(flipped))
        extracted, _ = resumed(encoder, picture_folder, partial)
        assert extracted.feature_set.digest == whole.feature_set.digest


@pytest.mark.usefixtures("chunks_of_four")
@pytest.mark.parametrize("change", ["encoder", "list", "plan", "features of length one", "plan is no JSON"])
def test_what_another_extraction_left_is_thrown_away(
    encoder: Encoder, picture_folder: Path, partial: Path, picture: Picture, change: str
) -> None:
    stopped(encoder, picture_folder, partial, "person4/09.png")
    if change == "encoder":
        preparation = replace(encoder.preparation, colour="BGR")
        encoder = replace(encoder, preparation=preparation, space=replace(encoder.space, preparation=preparation))
    elif change == "list":
        (picture_folder / "person0" / "00b.png").write_bytes(picture(50))
    elif change == "plan":
        plan = json.loads((partial / "plan.json").read_text())
        (partial / "plan.json").write_text(json.dumps(plan | {"chunk": 1024}))
    elif change == "features of length one":
        # As an earlier version left them.
        plan = json.loads((partial / "plan.json").read_text())
        del plan["feature"]
        (partial / "plan.json").write_text(json.dumps(plan))
    else:
        (partial / "plan.json").write_text("{")
    extracted, reads = resumed(encoder, picture_folder, partial)
    assert extracted.num_resumed == 0
    assert len(reads) == len(extracted.feature_set) == (13 if change == "list" else 12)


@pytest.mark.usefixtures("chunks_of_four")
@pytest.mark.parametrize("kind", ["folder", "list", "zip", "list in a zip"])
def test_features_of_pictures_that_have_changed_since_are_not_taken_over(
    encoder: Encoder, *, picture_folder: Path, tmp_path: Path, partial: Path, picture: Picture, kind: str
) -> None:
    changed = picture_folder / "person0" / "00.png"
    changed.write_bytes(picture(1))
    if "list" in kind:
        lines = [f"person{i // 2}/{i:02d}.png" for i in range(12)]
        (picture_folder / "labels.csv").write_text("\n".join(["image", *lines]))

    def place() -> Path:
        if "zip" not in kind:
            return picture_folder
        with zipfile.ZipFile(tmp_path / "pictures.zip", "w") as archive:
            for path in sorted(picture_folder.rglob("*.*")):
                archive.write(path, path.relative_to(picture_folder), zipfile.ZIP_STORED)
        return tmp_path / "pictures.zip"

    os.utime(changed, (10**9, 10**9))
    stopped(encoder, place(), partial, "person4/09.png")
    changed.write_bytes(picture(2))
    os.utime(changed, (10**9 + 1, 10**9 + 1))
    extracted, reads = resumed(encoder, place(), partial)
    assert extracted.num_resumed == 0
    assert len(reads) == 12
    same = [item.key for item in open_source(picture_folder).items].index("person1/02.png")
    np.testing.assert_allclose(extracted.feature_set.feature[0], extracted.feature_set.feature[same], atol=1e-6)


def test_a_truncated_picture_stops_the_work_with_its_key(
    encoder: Encoder, picture_folder: Path, partial: Path, picture: Picture
) -> None:
    (picture_folder / "person2" / "04.png").write_bytes(picture(4)[:-40])
    with pytest.raises(SourceError, match=r"picture person2/04\.png: .*truncated.*--skip-unreadable"):
        extract_features(encoder, open_source(picture_folder), partial, CPU)


def test_a_truncated_picture_is_left_out_where_that_is_wanted(
    encoder: Encoder, picture_folder: Path, partial: Path
) -> None:
    for i in (4, 6, 7, 8):  # One whole batch of three among them.
        (picture_folder / f"person{i // 2}" / f"{i:02d}.png").write_bytes(b"words")
    extracted = extract_features(encoder, open_source(picture_folder), partial, SKIPPING)
    assert extracted.skipped == ("person2/04.png", "person3/06.png", "person3/07.png", "person4/08.png")
    kept = [0, 1, 2, 3, 5, 9, 10, 11]
    assert extracted.feature_set.image.tolist() == [f"person{i // 2}/{i:02d}.png" for i in kept]
    alone = [extract_features(encoder, OnePicture(picture_folder, i), partial, CPU).feature_set.feature for i in kept]
    np.testing.assert_allclose(extracted.feature_set.feature, np.concatenate(alone), atol=1e-6)


def test_what_was_left_out_once_is_refused_where_that_is_not_wanted(
    encoder: Encoder, picture_folder: Path, partial: Path
) -> None:
    (picture_folder / "person2" / "04.png").write_bytes(b"words")
    extract_features(encoder, open_source(picture_folder), partial, SKIPPING)
    with pytest.raises(SourceError, match=r"picture person2/04\.png"):
        extract_features(encoder, open_source(picture_folder), partial, CPU)


def test_a_source_without_one_readable_picture_is_refused(
    encoder: Encoder, picture_folder: Path, partial: Path
) -> None:
    for path in picture_folder.rglob("*.png"):
        path.write_bytes(b"words")
    with pytest.raises(SourceError, match="none of the pictures could be read"):
        extract_features(encoder, open_source(picture_folder), partial, SKIPPING)


def refused(encoder: Encoder, folder: Path, partial: Path, match: str) -> None:
    with pytest.raises(EncoderError, match=match) as failure:
        extract_features(encoder, open_source(folder), partial, CPU)
    assert "\n" not in str(failure.value)


def test_an_encoder_of_another_dimension_than_described_is_refused(
    encoder: Encoder, picture_folder: Path, partial: Path
) -> None:
    described = replace(encoder, space=replace(encoder.space, dimension=5))
    refused(
        described, picture_folder, partial, "encoder tiny: puts out 4 numbers for a picture, its description says 5"
    )


def test_an_encoder_of_another_input_size_is_refused(
    encoder: Encoder, picture_folder: Path, partial: Path, tiny_model: TinyModel
) -> None:
    smaller = replace(encoder, model=tiny_model(side=64).SerializeToString())
    refused(smaller, picture_folder, partial, "encoder tiny: .*compare its input with 'resize'")


@pytest.mark.parametrize("batch", [1, 5])
def test_an_encoder_for_one_batch_size_gives_the_same_features(
    encoder: Encoder, picture_folder: Path, partial: Path, tiny_model: TinyModel, batch: int
) -> None:
    source = open_source(picture_folder)
    free = extract_features(encoder, source, partial, CPU).feature_set
    discard_partial(partial)
    fixed = replace(encoder, model=tiny_model(batch=batch).SerializeToString())
    found = extract_features(fixed, source, partial, CPU).feature_set
    np.testing.assert_allclose(found.feature, free.feature, atol=1e-6)


def test_weights_that_are_no_model_are_refused(encoder: Encoder, picture_folder: Path, partial: Path) -> None:
    refused(
        replace(encoder, model=b"words"), picture_folder, partial, "encoder tiny: ONNX Runtime cannot load the model"
    )


def test_an_encoder_that_gives_zero_is_refused_with_the_pictures_named(
    encoder: Encoder, picture_folder: Path, partial: Path, tiny_model: TinyModel
) -> None:
    model = tiny_model()
    for tensor in model.graph.initializer:
        tensor.raw_data = bytes(len(tensor.raw_data))
    zero = replace(encoder, model=model.SerializeToString())
    refused(
        zero, picture_folder, partial, r"encoder tiny: pictures person0/00\.png to person1/02\.png: row 0 is a zero"
    )


def test_a_place_that_cannot_be_written_is_said_so(encoder: Encoder, picture_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TrainingError, match="cannot be written"):
        extract_features(encoder, open_source(picture_folder), tmp_path / "file" / "set.partial", CPU)


def test_landmarks_have_the_picture_aligned_first(encoder: Encoder, tmp_path: Path, partial: Path) -> None:
    """A face in the corner of a large picture: what is outside the aligned crop does not count."""
    folder = tmp_path / "large"
    folder.mkdir()
    pixels = np.zeros((400, 400, 3), dtype=np.uint8)
    pixels[200:, 200:] = (255, 0, 0)
    Image.fromarray(pixels).save(folder / "a.png")
    # The ArcFace template, moved by 244: a crop from (244, 244) to (356, 356), all of it red.
    template = [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]
    points = " ".join(f"{x + 244} {y + 244}" for x, y in template)
    (folder / "labels.csv").write_text(f"image,landmarks\na.png,{points}\n")
    found = extract_features(encoder, open_source(folder), partial, CPU).feature_set
    # Red is (1, -1, -1) after preparation: its products with the weight's columns, plus the bias, by hand.
    raw = np.array([1 - 0 - 0.5 + 0.5, 0 - 1 + 0.5 + 0.25, 0.5 - 0.5 - 0 - 0.5, -1 - 0.25 - 1 + 1])
    np.testing.assert_allclose(found.feature[0], raw / np.linalg.norm(raw), atol=1e-6)
