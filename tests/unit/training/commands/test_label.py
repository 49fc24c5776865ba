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
from training.data.labelled import read_labels
from training.data.sources import open_source

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


def affectnet_files(picture: Picture) -> dict[str, bytes]:
    """Three pictures, of one of which nobody was sure."""
    rows = "".join(f"1/{name}.png,0,0,9,9,,{number},0,0\n" for name, number in (("a", 1), ("b", 9), ("c", 1)))
    return {"training.csv": rows.encode()} | {
        f"Manually_Annotated_Images/1/{name}.png": picture(seed) for seed, name in enumerate("abc")
    }


def raf_db_files(picture: Picture) -> dict[str, bytes]:
    """A whole picture and two crops."""
    points = "".join(f"{x} {y}\n" for x, y in (ARCFACE_5PT + 10).tolist())
    return {
        "EmoLabel/list_patition_label.txt": b"train_00001.jpg 5\ntrain_00002.jpg 4\ntest_0001.jpg 4\n",
        "Image/original/train_00001.jpg": colour_of(picture(0), (150, 200)),
        "Annotation/manual/train_00001_manu_attri.txt": f"{points}1\n0\n2\n".encode(),
        "Image/aligned/train_00002_aligned.jpg": picture(1),
        "Image/aligned/test_0001_aligned.jpg": picture(2),
    }


def emotionet_files(picture: Picture) -> dict[str, bytes]:
    """Three pictures, of one of which nothing is known."""
    table = "URL,URL orig,'AU 1','AU 12'\nh/N_1.jpg,x,1,0\nh/N_2.jpg,x,999,1\nh/N_3.jpg,x,999,999\n"
    return {"EmotioNet_FACS.csv": table.encode()} | {f"N_{number}.jpg": picture(number) for number in (1, 2, 3)}


def aff_wild2_files(picture: Picture) -> dict[str, bytes]:
    """Three frames of two videos: of one both is known."""
    return {
        "EXPR_Recognition_Challenge/Train_Set/a.txt": b"Neutral,Anger\n1\n0\n",
        "AU_Detection_Challenge/Train_Set/a.txt": b"AU1,AU2\n0,1\n-1,-1\n",
        "AU_Detection_Challenge/Train_Set/a_left.txt": b"AU1,AU2\n1,-1\n",
        "cropped_aligned/a/00001.jpg": picture(1),
        "cropped_aligned/a/00002.jpg": picture(2),
        "cropped_aligned/a_left/00001.jpg": picture(3),
    }


def celeba_files(picture: Picture) -> dict[str, bytes]:
    """Three pictures of two people, with five points each."""
    names = "lefteye_x lefteye_y righteye_x righteye_y nose_x nose_y leftmouth_x leftmouth_y rightmouth_x rightmouth_y"
    five = " ".join(str(round(number + 30)) for number in ARCFACE_5PT.ravel().tolist())
    files = {
        "list_attr_celeba.txt": "3\nMale Young\n" + "".join(f"00000{n}.jpg -1 1\n" for n in (1, 2, 3)),
        "list_landmarks_align_celeba.txt": f"3\n{names}\n" + "".join(f"00000{n}.jpg {five}\n" for n in (1, 2, 3)),
        "identity_CelebA.txt": "000001.jpg 7\n000002.jpg 8\n000003.jpg 7\n",
    }
    return {name: text.encode() for name, text in files.items()} | {
        f"img_align_celeba/00000{n}.jpg": colour_of(picture(n), (178, 218)) for n in (1, 2, 3)
    }


def cub_files(picture: Picture, num_species: int = 2) -> dict[str, bytes]:
    """A picture of the first species and two of each other, and one attribute, known of the first picture."""
    species = [number for number in range(1, num_species + 1) for _ in range(2)][1:]
    files = {
        "images.txt": "".join(f"{n} {one}.Bird/{n}.jpg\n" for n, one in enumerate(species, start=1)),
        "classes.txt": "".join(f"{one} {one:03d}.Bird\n" for one in sorted(set(species))),
        "image_class_labels.txt": "".join(f"{n} {one}\n" for n, one in enumerate(species, start=1)),
        "attributes.txt": "1 has_size::small\n",
        "image_attribute_labels.txt": "1 1 1 4 1.0\n2 1 1 1 1.0\n",
    }
    return {name: text.encode() for name, text in files.items()} | {
        f"images/{one}.Bird/{n}.jpg": picture(n) for n, one in enumerate(species, start=1)
    }


SHOWN = {
    "affectnet": (affectnet_files, "expression", ()),
    "raf-db": (raf_db_files, "expression", ()),
    "emotionet": (emotionet_files, "", ("au_1", "au_12")),
    "aff-wild2": (aff_wild2_files, "expression", ("au_1", "au_2")),
    "celeba": (celeba_files, "", ("Male", "Young")),
    "cub": (cub_files, "species", ("has_size_small",)),
}
COUNTED = {
    "affectnet": ["expression: happiness 2; not known of 1 pictures"],
    "raf-db": ["expression: happiness 2, sadness 1; not known of 0 pictures"],
    "emotionet": ["attributes: 2, told of by 2 of 3 pictures"],
    "aff-wild2": [
        "expression: anger 1, neutral 1; not known of 1 pictures",
        "attributes: 2, told of by 2 of 3 pictures, 1 of which tell the class too",
    ],
    "celeba": ["attributes: 2, told of by 3 of 3 pictures"],
    "cub": [
        "species: 001_Bird 1, 002_Bird 2; not known of 0 pictures",
        "attributes: 1, told of by 1 of 3 pictures, 1 of which tell the class too",
    ],
}


@pytest.mark.parametrize("layout", list(SHOWN))
def test_what_pictures_show_is_one_list_that_is_learned_from_and_extracted(
    run: Run, *, encoder_file: Path, picture: Picture, tmp_path: Path, layout: str
) -> None:
    made, class_label, attributes = SHOWN[layout]
    folder = unpacked(made(picture), tmp_path / "set")
    labels = folder / "labels.csv"
    lines = run("label", "--layout", layout, "--images", folder, "--out", labels).splitlines()
    whose = {"aff-wild2": "of 2 subjects", "celeba": "of 2 subjects"}.get(layout, "of subjects who are not told")
    assert lines[0] == f"{labels}: 3 pictures {whose} (photo 3)"
    assert lines[1 : 1 + len(COUNTED[layout])] == COUNTED[layout]
    assert ("have no landmarks" in lines[-1]) == (layout != "celeba")
    assert not [line for line in lines if "roles" in line or "probes" in line or "paper" in line]
    assert [path.name for path in tmp_path.rglob("*.csv") if path.name in ("labels.csv", "roles.csv")] == ["labels.csv"]
    source = open_source(labels)
    told = read_labels(source.items, class_label, attributes)
    assert told.unseen == ()
    assert bool(told.classes) == bool(class_label)
    run("extract", "--encoder", encoder_file, "--images", labels, "--out", tmp_path / "set.npz")
    assert len(load_feature_set(tmp_path / "set.npz")) == 3


def test_of_many_classes_it_is_told_how_many_pictures_they_have(run: Run, picture: Picture, tmp_path: Path) -> None:
    folder = unpacked(cub_files(picture, 21), tmp_path / "set")
    printed = run("label", "--layout", "cub", "--images", folder, "--out", tmp_path / "labels.csv")
    assert "species: 21 classes of 1 to 2 pictures; not known of 0 pictures" in printed.splitlines()


@pytest.mark.parametrize("layout", list(SHOWN))
def test_roles_are_refused_where_nobody_is_asked_about(
    fails: Fails, picture: Picture, tmp_path: Path, layout: str
) -> None:
    folder = unpacked(SHOWN[layout][0](picture), tmp_path / "set")
    arguments = ("label", "--layout", layout, "--images", folder, "--out", tmp_path / "a.csv")
    line = fails(*arguments, "--roles", tmp_path / "r.csv")
    assert f"--roles: {layout} tells what pictures show, and has neither probes nor a gallery; leave it out" in line
    assert [path for path in (tmp_path / "a.csv", tmp_path / "r.csv") if path.exists()] == []


def test_roles_of_another_data_set_may_lie_beside_the_list(
    run: Run, fails: Fails, picture: Picture, tmp_path: Path
) -> None:
    folder = unpacked(celeba_files(picture), tmp_path / "set")
    (tmp_path / "roles.csv").write_text("mine")
    arguments = ("label", "--layout", "celeba", "--images", folder, "--out", tmp_path / "labels.csv")
    run(*arguments)
    assert (tmp_path / "roles.csv").read_text() == "mine"
    assert "labels.csv: is there already" in fails(*arguments)


def test_nothing_is_written_where_a_list_of_labels_is_odd(fails: Fails, picture: Picture, tmp_path: Path) -> None:
    files = raf_db_files(picture) | {"EmoLabel/list_patition_label.txt": b"train_00001.jpg 9\n"}
    folder = unpacked(files, tmp_path / "set")
    line = fails("label", "--layout", "raf-db", "--images", folder, "--out", tmp_path / "labels.csv")
    assert "list_patition_label.txt, line 1: the expression must be one of 1, 2, 3, 4, 5, 6, 7, not '9'" in line
    assert not (tmp_path / "labels.csv").exists()


@pytest.mark.parametrize("layout", ["cufsf", "prip-hdc", "lfw-sketch", "webcaricature", "cavi", *SHOWN])
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
