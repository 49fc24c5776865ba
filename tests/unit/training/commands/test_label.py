"""Labelling published data sets, and measuring on them, as a user runs the commands in process."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from PIL import Image

from models.picture import ARCFACE_5PT
from training.data.feature_set_files import load_feature_set

Picture = Callable[..., bytes]
Run = Callable[..., str]
Fails = Callable[..., str]

PEOPLE = [f"m-{number:03d}" for number in range(8, 28)]


@pytest.fixture
def cufs(tmp_path: Path, picture: Picture) -> Path:
    """Twenty students whose sketch looks as their photo does."""
    folder = tmp_path / "cufs"
    for kind in ("photo", "sketch"):
        (folder / kind).mkdir(parents=True)
    for seed, name in enumerate(PEOPLE):
        (folder / "photo" / f"{name}-01.png").write_bytes(picture(seed))
        (folder / "sketch" / f"{name.replace('m-', 'M2-')}-01-sz1.png").write_bytes(picture(seed))
    return folder


POINTS = [(38.3, 51.7), (73.5, 51.5), (56.1, 92.3)]


def colour_of(picture: bytes, size: tuple[int, int]) -> bytes:
    """A picture of another size in the colour of that one's first pixel."""
    stream = io.BytesIO()
    Image.open(io.BytesIO(picture)).crop((0, 0, 1, 1)).resize(size).save(stream, "PNG")
    return stream.getvalue()


def cufsf_files(picture: Picture) -> dict[str, bytes]:
    """Twelve people of FERET, none of whose pictures is square."""
    files: dict[str, bytes] = {}
    widened = "".join(f"{2 * x + 100} {2 * y}\n" for x, y in POINTS).encode()
    for number in range(12):
        shot = f"{number:05d}fb010_930831"
        files[f"feret/{shot}.png"] = colour_of(picture(number), (256, 384))
        files[f"original_sketch/{number:05d}.jpg"] = colour_of(picture(number), (150, 200))
        files[f"photo_points/{shot}.3pts"] = widened
        files[f"sketch_points/{number:05d}.3pts"] = "".join(f"{x} {y}\n" for x, y in POINTS).encode()
    return files


def prip_hdc_files(picture: Picture) -> dict[str, bytes]:
    """Twelve mugshots and composites."""
    return {f"{kind}/MI_{number:03d}.png": picture(number) for kind in ("photos", "sketches") for number in range(12)}


def lfw_sketch_files(picture: Picture) -> dict[str, bytes]:
    """Twelve people of three photos each, sketches of six of them, and the photos that were drawn from are of others' looks."""
    photos = {
        f"photos/p{who}/p{who}_{n:04d}.png": picture(who if n else 99 - who) for who in range(12) for n in range(3)
    }
    return photos | {f"sketches/p{who}_0000.png": picture(who) for who in range(6)}


def cavi_files(picture: Picture) -> dict[str, bytes]:
    """Twelve people of three photos and a caricature each."""
    photos = {f"CaVINet_Dataset/Real/P_{who}/P_{who}_r_{n}.jpg": picture(who) for who in range(12) for n in range(3)}
    return photos | {f"CaVINet_Dataset/Caricature/P_{who}/P_{who}_c_0.jpg": picture(who) for who in range(12)}


KNOWN = [f"Person {letter}" for letter in "ABCDEFGHIJKLMNOPQRSTUVWX"]


def webcaricature_files(picture: Picture) -> dict[str, bytes]:
    """24 people of two photos and two caricatures each, none of them square, and protocols of two folds of twelve."""
    eyes = [(x + shift, y) for x, y in ARCFACE_5PT[:2] for shift in (-5, 5)]
    points = [(1.0, 1.0)] * 8 + eyes + [ARCFACE_5PT[2], (1.0, 1.0), ARCFACE_5PT[3], (1.0, 1.0), ARCFACE_5PT[4]]
    files: dict[str, bytes] = {}
    for seed, name in enumerate(KNOWN):
        for number in ("C00001", "C00002", "P00001", "P00002"):
            files[f"OriginalImages/{name}/{number}.jpg"] = colour_of(picture(seed), (150, 200))
            files[f"FacialPoints/{name}/{number}.txt"] = "".join(f"{x} {y}\r\n" for x, y in points).encode()
    protocols = {
        "FaceVerification/Restricted/RestrictedView2": "",
        "FaceVerification/UnRestricted/UnRestrictedView2": "",
    }
    for fold in range(2):
        tested, others = KNOWN[12 * fold : 12 * fold + 12], KNOWN[12 - 12 * fold : 24 - 12 * fold]
        matched = [f"{name}\tC00001\tP00002\n" for name in tested]
        mismatched = [f"{name}\tC00002\t{other}\tP00001\n" for name, other in zip(tested, tested[::-1], strict=True)]
        protocols["FaceVerification/Restricted/RestrictedView2"] += "".join(["12\n", *matched, *mismatched])
        people = "".join(f"{name}\t2\t2\n" for name in tested)
        protocols["FaceVerification/UnRestricted/UnRestrictedView2"] += "12\n" + people
        protocols[f"FaceIdentification/FR_Train{fold + 1}"] = "".join(f"{name}\t2\t2\n" for name in others)
        for way in ("C2P", "P2C"):
            for role, kind in zip(("Probe", "Gallery"), way[::2], strict=True):
                numbers = ("1", "2") if role == "Probe" else ("1",)
                lines = [f"{name}\t{kind}0000{number}\n" for name in tested for number in numbers]
                protocols[f"FaceIdentification/{way}/FR_{role}_{way}{fold + 1}"] = "".join(lines)
    return files | {f"EvaluationProtocols/{name}.txt": text.encode() for name, text in protocols.items()}


def unpacked(files: dict[str, bytes], folder: Path) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_data_set_is_labelled_extracted_and_measured(
    run: Run, encoder_file: Path, cufs: Path, tmp_path: Path
) -> None:
    labels, features, json_file = cufs / "labels.csv", tmp_path / "cufs.npz", tmp_path / "figures.json"
    printed = run("label", "--layout", "cufs", "--images", cufs, "--out", labels)
    assert printed.splitlines() == [
        f"{labels}: 40 pictures of 20 subjects (photo 20, sketch 20)",
        f"{cufs / 'roles.csv'}: 20 probes, 20 pictures in the gallery; the paper has 311 and 311",
        "40 pictures have no landmarks, 'photo/m-008-01.png' first: they must be aligned crops, or fill in that column",
    ]
    for images in (labels, cufs):
        run("extract", "--encoder", encoder_file, "--images", images, "--out", features)
        found = load_feature_set(features)
        assert found.modality is not None
        assert (len(found), set(found.modality.tolist())) == (40, {"photo", "sketch"})
    printed = run("evaluate", "--source", features, "--roles", cufs / "roles.csv", "--json", json_file)
    document = json.loads(json_file.read_text())
    assert (document["space"], document["roles"]["num_pictures"]) == ("tiny", 40)
    figures = document["roles"]["figures"]["native"]
    assert [figures[f"rank{rank}"]["mean"] for rank in (1, 5, 10, 50)] == [1.0] * 4
    # 380 comparisons of two people show one in a hundred, and not one in a thousand.
    assert (figures["tar_far_1e2"] is not None, figures["tar_far_1e3"]) == (True, None)
    for column in ("rank-1", "rank-5", "rank-50", "TAR@1e-2", "TAR@1e-3"):
        assert column in printed


def test_the_list_may_lie_around_the_folder_and_the_roles_elsewhere(run: Run, cufs: Path, tmp_path: Path) -> None:
    roles = tmp_path / "protocols" / "cufs.csv"
    roles.parent.mkdir()
    run("label", "--layout", "cufs", "--images", cufs, "--out", tmp_path / "all.csv", "--roles", roles)
    assert rows_of(tmp_path / "all.csv")[0] == {
        "image": "cufs/photo/m-008-01.png",
        "subject": "cuhk-m-008",
        "modality": "photo",
        "landmarks": "",
        "part": "cuhk",
    }
    assert rows_of(roles)[0] == {"image": "cufs/photo/m-008-01.png", "role": "gallery"}


def test_what_was_left_out_is_told_with_the_first_of_each_kind(run: Run, cufs: Path, picture: Picture) -> None:
    (cufs / "photo" / "m-008-01.png").unlink()
    (cufs / "photo" / "cat.png").write_bytes(picture(99))
    printed = run("label", "--layout", "cufs", "--images", cufs, "--out", cufs / "labels.csv")
    assert "left out: 1 pictures with other names, 'photo/cat.png' first" in printed
    assert "left out: 1 sketches without a photo, 'sketch/M2-008-01-sz1.png' first" in printed


@pytest.mark.parametrize(
    ("layout", "made", "num_probes", "num_gallery"),
    [
        ("cufsf", cufsf_files, 12, 12),
        ("prip-hdc", prip_hdc_files, 12, 12),
        ("lfw-sketch", lfw_sketch_files, 6, 30),
        ("webcaricature", webcaricature_files, 48, 48),
        ("cavi", cavi_files, 12, 36),
    ],
)
def test_every_layout_leads_from_a_folder_to_figures(
    run: Run,
    *,
    encoder_file: Path,
    picture: Picture,
    tmp_path: Path,
    layout: str,
    made: Callable[[Picture], dict[str, bytes]],
    num_probes: int,
    num_gallery: int,
) -> None:
    folder = unpacked(made(picture), tmp_path / "set")
    printed = run("label", "--layout", layout, "--images", folder, "--out", tmp_path / "labels.csv")
    assert f"{num_probes} probes, {num_gallery} pictures in the gallery; the paper has " in printed
    assert ("have no landmarks" in printed) == (layout not in ("cufsf", "webcaricature"))
    run("extract", "--encoder", encoder_file, "--images", tmp_path / "labels.csv", "--out", tmp_path / "set.npz")
    roles = ("--roles", tmp_path / "roles.csv", "--json", tmp_path / "figures.json")
    run("evaluate", "--source", tmp_path / "set.npz", *roles)
    figures = json.loads((tmp_path / "figures.json").read_text())["roles"]["figures"]["native"]
    assert figures["rank1"]["mean"] == 1.0


@pytest.fixture
def webcaricature(picture: Picture, tmp_path: Path) -> Path:
    return unpacked(webcaricature_files(picture), tmp_path / "web")


def test_protocols_become_lists_beside_the_list_of_pictures(run: Run, webcaricature: Path, tmp_path: Path) -> None:
    labels, protocols = tmp_path / "labels.csv", webcaricature / "EvaluationProtocols"
    (protocols / "FaceIdentification" / "FR_Train2.txt").unlink()
    restricted = protocols / "FaceVerification" / "Restricted" / "RestrictedView2.txt"
    restricted.write_text(restricted.read_text().replace("Person A\tC00001", "Person A\tC00077"))
    printed = run("label", "--layout", "webcaricature", "--images", webcaricature, "--out", labels)
    assert printed.splitlines() == [
        f"{labels}: 96 pictures of 24 subjects (caricature 48, photo 48)",
        f"{tmp_path / 'roles.csv'}: 48 probes, 48 pictures in the gallery; the paper has 6024 and 5974",
        f"{tmp_path / 'roles-c2p.csv'}: 48 probes, 24 pictures in the gallery, in 2 folds",
        f"{tmp_path / 'roles-p2c.csv'}: 48 probes, 24 pictures in the gallery, in 2 folds",
        f"{tmp_path / 'pairs.csv'}: 47 pairs, 23 of them of one person, in 2 folds",
        f"{tmp_path / 'roles-unrestricted.csv'}: 48 probes, 48 pictures in the gallery, in 2 folds",
        f"{tmp_path / 'train-1.csv'}: 48 pictures of 12 subjects (caricature 24, photo 24)",
        f"left out: 1 lines of protocols about pictures that are not there, "
        f"'{restricted.relative_to(webcaricature)}, line 2' first",
    ]
    assert not (tmp_path / "train-2.csv").exists()
    assert rows_of(tmp_path / "pairs.csv")[0] == {
        "a": "web/OriginalImages/Person B/C00001.jpg",
        "b": "web/OriginalImages/Person B/P00002.jpg",
        "same": "1",
        "fold": "0",
    }
    trained = rows_of(tmp_path / "train-1.csv")
    assert {row["subject"] for row in trained} == set(KNOWN[12:])
    assert [row for row in rows_of(labels) if row["subject"] in KNOWN[12:]] == trained


def test_the_folds_of_a_protocol_are_measured_from_probes_and_pairs(
    run: Run, *, encoder_file: Path, tiny_model: Callable[..., onnx.ModelProto], webcaricature: Path, tmp_path: Path
) -> None:
    """One colour a person, whichever picture: everybody is found, and every pair is told apart."""
    run("label", "--layout", "webcaricature", "--images", webcaricature, "--out", webcaricature / "labels.csv")
    description = json.loads(encoder_file.read_text()) | {"name": "other", "file": "other.onnx"}
    other = encoder_file.with_name("other.json")
    other.write_text(json.dumps(description))
    (encoder_file.parent / "other.onnx").write_bytes(tiny_model(output="other").SerializeToString())
    for name, encoder in (("tiny", encoder_file), ("other", other)):
        out = tmp_path / f"{name}.npz"
        run("extract", "--encoder", encoder, "--images", webcaricature / "labels.csv", "--out", out)
    json_file = tmp_path / "figures.json"
    for way, num_pictures in (("c2p", 72), ("p2c", 72), ("unrestricted", 96)):
        roles = ("--roles", webcaricature / f"roles-{way}.csv", "--json", json_file)
        run("evaluate", "--source", tmp_path / "tiny.npz", *roles)
        found = json.loads(json_file.read_text())["roles"]
        assert (found["num_pictures"], found["num_asked"], found["num_folds"]) == (num_pictures, num_pictures, 2)
        rank1 = found["figures"]["native"]["rank1"]
        assert (rank1["mean"], rank1["num_folds"]) == (1.0, 2)
    both = ("--source", tmp_path / "tiny.npz", "--target", tmp_path / "other.npz")
    run("fit", *both, "--out", tmp_path / "bundle", "--method", "ridge")
    asked = ("--subjects", "all", "--pairs", webcaricature / "pairs.csv", "--json", json_file)
    printed = run("evaluate", "--bundle", tmp_path / "bundle", *both, *asked)
    assert "48 of the list's 48 pairs" in printed
    for comparison in ("native source", "native target"):
        accuracy = json.loads(json_file.read_text())["pairs"]["figures"][comparison]["accuracy"]
        assert (accuracy["mean"], accuracy["num_folds"]) == (1.0, 2)


def test_a_fold_is_trained_and_measured_on_people_apart(
    run: Run, encoder_file: Path, webcaricature: Path, tmp_path: Path
) -> None:
    """As docs/layouts.md says it: with `train-2.csv`, then of `roles-c2p.csv` fold 1, counted from 0."""
    run("label", "--layout", "webcaricature", "--images", webcaricature, "--out", webcaricature / "labels.csv")
    run("extract", "--encoder", encoder_file, "--images", webcaricature / "train-2.csv", "--out", tmp_path / "2.npz")
    run("extract", "--encoder", encoder_file, "--images", webcaricature / "labels.csv", "--out", tmp_path / "all.npz")
    trained = set(load_feature_set(tmp_path / "2.npz").subject.tolist())
    assert trained == set(KNOWN[:12])
    lines = (webcaricature / "roles-c2p.csv").read_text().splitlines()
    fold = [line for line in lines if line.endswith(",1")]
    roles = ("--roles", webcaricature / "roles-c2p.csv", "--fold", 1, "--json", tmp_path / "figures.json")
    run("evaluate", "--source", tmp_path / "all.npz", *roles)
    assert json.loads((tmp_path / "figures.json").read_text())["roles"]["num_pictures"] == 36
    whole = load_feature_set(tmp_path / "all.npz")
    subject_of = dict(zip(whole.image.tolist(), whole.subject.tolist(), strict=True))
    assert {subject_of[line.split(",")[0]] for line in fold} == set(KNOWN[12:])


def test_nothing_is_written_where_a_protocol_is_of_another_form_or_its_list_is_there(
    fails: Fails, webcaricature: Path, tmp_path: Path
) -> None:
    arguments = ("label", "--layout", "webcaricature", "--images", webcaricature, "--out")
    taken = "another list of this data set is written there; give another name"
    assert f"pairs.csv: {taken}" in fails(*arguments, tmp_path / "pairs.csv")
    assert f"train-1.csv: {taken}" in fails(*arguments, tmp_path / "a.csv", "--roles", tmp_path / "train-1.csv")
    (tmp_path / "train-1.csv").write_text("mine")
    assert "train-1.csv: is there already" in fails(*arguments, tmp_path / "labels.csv")
    assert (tmp_path / "train-1.csv").read_text() == "mine"
    probes = webcaricature / "EvaluationProtocols" / "FaceIdentification" / "C2P" / "FR_Probe_C2P2.txt"
    probes.write_text("Person A C00001\nC00001\n")
    line = fails(*arguments, webcaricature / "labels.csv")
    assert f"{probes}, line 2: expected a person and a picture, as NAME C00001, not 'C00001'" in line
    assert list(tmp_path.rglob("*.csv")) == [tmp_path / "train-1.csv"]


@pytest.mark.parametrize("layout", ["cufsf", "prip-hdc", "lfw-sketch", "webcaricature", "cavi"])
def test_a_folder_of_another_layout_is_refused_in_one_line(fails: Fails, cufs: Path, layout: str) -> None:
    line = fails("label", "--layout", layout, "--images", cufs, "--out", cufs / "labels.csv")
    assert "is not laid out like this data set: expected " in line
    assert "it holds 'photo/m-008-01.png' first" in line
    assert not (cufs / "labels.csv").exists()


def test_nothing_is_overwritten(run: Run, fails: Fails, cufs: Path) -> None:
    arguments = ("label", "--layout", "cufs", "--images", cufs, "--out")
    run(*arguments, cufs / "labels.csv")
    before = (cufs / "labels.csv").read_bytes()
    assert "labels.csv: is there already" in fails(*arguments, cufs / "labels.csv")
    assert "roles.csv: is there already" in fails(*arguments, cufs / "others.csv")
    assert (cufs / "labels.csv").read_bytes() == before
    assert not (cufs / "others.csv").exists()


def test_places_that_make_no_sense_are_refused(fails: Fails, cufs: Path, tmp_path: Path) -> None:
    arguments = ("label", "--layout", "cufs", "--images", cufs, "--out")
    assert "must lie in" in fails(*arguments, cufs / "photo" / "labels.csv")
    assert "a list ends in .csv" in fails(*arguments, cufs / "labels.txt")
    assert "give two names" in fails(*arguments, cufs / "a.csv", "--roles", cufs / "a.csv")
    assert "there is no such folder" in fails(*arguments[:-2], tmp_path / "none", "--out", tmp_path / "a.csv")
    assert "invalid choice: 'webface'" in fails("label", "--layout", "webface", *arguments[3:], cufs / "a.csv")
    assert "cannot be written" in fails(*arguments, tmp_path / "a.csv", "--roles", tmp_path / "none" / "roles.csv")
    assert not (tmp_path / "a.csv").exists()
