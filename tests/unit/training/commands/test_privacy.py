"""What painted faces give away, with a generator that paints the right colour and one that paints noise."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from models.bundle import Manifest, Provenance, write_bundle
from models.calibration import Calibration
from models.documents import readable_json
from models.feature_set import FeatureSet
from models.features import FloatArray
from models.graph import check_graph
from models.space import Space
from models.split import SplitRule
from training.data.feature_set_files import load_feature_set, save_feature_set
from training.recipes.privacy import PrivacyReport, Recovered

Run = Callable[..., str]
Fails = Callable[..., str]
PEOPLE, EACH, SIDE = 40, 3, 8
EVERYBODY = SplitRule("subject", 0, 0.0, 0.9)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everybody has a colour of their own, and every picture a little of its own."""
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for person in range(PEOPLE):
        colour = random.integers(20, 236, size=3)
        for number in range(EACH):
            (folder / f"p{person:02d}").mkdir(exist_ok=True)
            shown = (colour + random.integers(-3, 4, size=3)).clip(0, 255)
            Image.new("RGB", (112, 112), tuple(shown.tolist())).save(folder / f"p{person:02d}" / f"{number}.png")
    return folder


@pytest.fixture
def features(run: Run, encoder_file: Path, pictures: Path, tmp_path: Path) -> Path:
    path = tmp_path / "features.npz"
    run("extract", "--encoder", encoder_file, "--images", pictures, "--out", path)
    return path


def painting(weight_S3: FloatArray, bias_3: FloatArray) -> bytes:
    """Every pixel a linear map of the feature."""
    nodes = [
        helper.make_node("Gemm", ["source_feature", "weight", "bias"], ["colour"]),
        helper.make_node("Unsqueeze", ["colour", "places"], ["pixel"]),
        helper.make_node("Tile", ["pixel", "repeats"], ["picture"]),
    ]
    weights = {
        "weight": weight_S3,
        "bias": bias_3,
        "places": np.array([2, 3]),
        "repeats": np.array([1, 1, SIDE, SIDE]),
    }
    graph = helper.make_graph(
        nodes,
        "painting",
        [helper.make_tensor_value_info("source_feature", TensorProto.FLOAT, ["batch", len(weight_S3)])],
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    model: onnx.ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return model.SerializeToString()


def write_generator(
    folder: Path, graph: bytes, space: Space, split: SplitRule | None = EVERYBODY, kind: Any = "generator"
) -> Path:
    signature = check_graph(graph)
    provenance = Provenance("2026-01-01T00:00:00Z", "0", {}, split=split)
    manifest = Manifest(
        folder.name,
        kind,
        "r3an",
        space,
        Space("t", 8, "external:t"),
        signature.input_name,
        signature.output_name,
        signature.opset,
        "MIT",
        provenance,
    )
    write_bundle(folder, manifest, {"model.onnx": graph, "calibration.json": readable_json(Calibration().to_json())})
    return folder


def exact(feature_set: FeatureSet, pictures: Path) -> bytes:
    """The least-squares map from features to colours."""
    colours = np.array(
        [np.asarray(Image.open(pictures / key))[0, 0] for key in feature_set.image.tolist()], dtype=np.float64
    )
    design = np.column_stack([feature_set.feature, np.ones(len(colours))])
    solution = np.linalg.lstsq(design, colours, rcond=None)[0].astype(np.float32)
    return painting(solution[:-1], solution[-1])


def test_a_generator_that_knows_the_colour_gives_people_away(
    run: Run, features: Path, encoder_file: Path, pictures: Path, tmp_path: Path
) -> None:
    feature_set = load_feature_set(features)
    generator = write_generator(tmp_path / "paints", exact(feature_set, pictures), feature_set.space)
    words = ("--generator", generator, "--features", features, "--images", pictures, "--encoder", encoder_file)
    printed = run("privacy", *words, "--out", tmp_path / "privacy.json", "--sheet", tmp_path / "faces.png")
    found = json.loads((tmp_path / "privacy.json").read_text())
    unseen = EVERYBODY.parts(feature_set) == "test"
    assert found["num_pictures"] == int(unseen.sum())
    assert found["num_subjects"] == len(set(feature_set.subject[unseen]))
    assert found["chance"] == pytest.approx(1 / found["num_subjects"])
    assert found["real"]["rank1"] > 0.8
    assert found["painted_same"]["rank1"] > 5 * found["chance"]
    assert found["painted_same"]["num_probes"] == found["num_subjects"]
    assert found["painted_other"]["num_probes"] == found["num_pictures"] - found["num_subjects"]
    assert 0.2 < found["variance_explained"] <= 1
    assert found["psnr"] > found["psnr_mean_face"]
    assert f"{found['painted_same']['rank1']:.4f}" in printed
    assert "say nothing" not in printed
    with Image.open(tmp_path / "faces.png") as drawn:
        assert drawn.width == 12 * SIDE
    assert {path.name for path in tmp_path.iterdir()} >= {"privacy.json", "faces.png"}
    assert not list(tmp_path.glob("*.partial"))


def test_a_generator_that_paints_one_grey_face_gives_nobody_away(
    run: Run, features: Path, encoder_file: Path, pictures: Path, tmp_path: Path
) -> None:
    space = load_feature_set(features).space
    grey = painting(np.zeros((4, 3), dtype=np.float32), np.full(3, 128, dtype=np.float32))
    generator = write_generator(tmp_path / "paints", grey, space)
    words = ("--generator", generator, "--features", features, "--images", pictures, "--encoder", encoder_file)
    printed = run("privacy", *words, "--out", tmp_path / "privacy.json")
    found = json.loads((tmp_path / "privacy.json").read_text())
    assert "say nothing of what features give away" in " ".join(printed.split())
    # One face is nearest to one person: who is in the gallery once, and has two other pictures.
    assert found["painted_same"]["rank1"] <= 1 / found["num_subjects"]
    assert found["painted_other"]["rank1"] <= 1 / found["num_subjects"]
    assert found["variance_explained"] <= 0
    assert found["psnr"] <= found["psnr_mean_face"]


def test_what_another_generator_painted_is_not_taken_over(
    run: Run, fails: Fails, features: Path, encoder_file: Path, pictures: Path, tmp_path: Path
) -> None:
    """A report that could not be written leaves the judge's features of what it painted."""
    feature_set = load_feature_set(features)
    grey = painting(np.zeros((4, 3), dtype=np.float32), np.full(3, 128, dtype=np.float32))
    generators = {
        name: write_generator(tmp_path / name, graph, feature_set.space)
        for name, graph in (("grey", grey), ("exact", exact(feature_set, pictures)))
    }
    words = ("--features", features, "--images", pictures, "--encoder", encoder_file, "--out")
    full = tmp_path / "privacy.json"
    full.symlink_to("/dev/full")
    assert "cannot be written" in fails("privacy", "--generator", generators["grey"], *words, full)
    assert (tmp_path / "privacy.json.partial" / "painted").is_dir()
    full.unlink()
    run("privacy", "--generator", generators["exact"], *words, full)
    run("privacy", "--generator", generators["exact"], *words, tmp_path / "alone.json")
    assert json.loads(full.read_text()) == json.loads((tmp_path / "alone.json").read_text())


@pytest.mark.parametrize(
    ("people", "rank1", "nobody"),
    [(2, 0.5, True), (2, 1.0, False), (3, 2 / 3, True), (3, 1.0, False), (1000, 0.003, True), (1000, 0.005, False)],
)
def test_a_few_right_answers_may_be_luck_and_all_of_them_are_not(people: int, rank1: float, nobody: bool) -> None:
    recovered = Recovered(people, rank1, None, None)
    report = PrivacyReport(people, people, recovered, recovered, recovered, 1 / people, -0.01, 10.0, 10.0)
    assert report.paints_nobody == nobody


@pytest.mark.parametrize("name", ["faces.xyz", "privacy.json"])
def test_a_sheet_is_a_png(
    fails: Fails, features: Path, encoder_file: Path, pictures: Path, tmp_path: Path, name: str
) -> None:
    """Found before the work, which may take minutes."""
    words = ("--generator", tmp_path, "--features", features, "--images", pictures, "--encoder", encoder_file)
    line = fails("privacy", *words, "--out", tmp_path / "privacy.json", "--sheet", tmp_path / name)
    assert "must end in .png" in line
    assert not (tmp_path / "privacy.json").exists()


def test_bad_input_is_said_in_one_line(
    run: Run, fails: Fails, features: Path, encoder_file: Path, pictures: Path, files: dict[str, Path], tmp_path: Path
) -> None:
    feature_set = load_feature_set(features)
    graph = exact(feature_set, pictures)
    good = write_generator(tmp_path / "paints", graph, feature_set.space)
    seen = write_generator(tmp_path / "seen", graph, feature_set.space, SplitRule("subject", 0, 0.1, 0.0))

    def words(**changed: object) -> list[object]:
        given = {"generator": good, "features": features, "images": pictures, "out": tmp_path / "x.json"} | changed
        return [
            "privacy",
            "--encoder",
            encoder_file,
            *(word for name, value in given.items() for word in (f"--{name}", value)),
        ]

    assert "is of kind translator" in fails(*words(generator=files["bundle"]))
    assert "the features are of the space 'space-b'" in fails(*words(features=files["target"]))
    assert "keeps none of these people apart" in fails(*words(generator=seen))
    nameless = tmp_path / "nameless.npz"
    save_feature_set(replace(feature_set, subject=np.full(len(feature_set), "")), nameless)
    assert "do not say who is on their pictures" in fails(*words(features=nameless))
    one = tmp_path / "one.npz"
    save_feature_set(feature_set.take(np.arange(0, len(feature_set), EACH)), one)
    assert "nobody has a second picture" in fails(*words(features=one))
    some = tmp_path / "some"
    some.mkdir()
    Image.new("RGB", (112, 112)).save(some / "other.png")
    assert "are not there" in fails(*words(images=some))
    assert "its folder does not exist" in fails(*words(out=tmp_path / "no" / "x.json"))
    assert not (tmp_path / "x.json").exists()
    run(*words(generator=seen), "--subjects", "all")
    assert json.loads((tmp_path / "x.json").read_text())["num_subjects"] == PEOPLE
