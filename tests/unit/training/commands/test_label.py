"""Labelling published data sets, and measuring on them, as a user runs the commands in process."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

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
    folder = tmp_path / "set"
    for name, content in made(picture).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    printed = run("label", "--layout", layout, "--images", folder, "--out", tmp_path / "labels.csv")
    assert f"{num_probes} probes, {num_gallery} pictures in the gallery; the paper has " in printed
    assert ("have no landmarks" in printed) == (layout != "cufsf")
    run("extract", "--encoder", encoder_file, "--images", tmp_path / "labels.csv", "--out", tmp_path / "set.npz")
    roles = ("--roles", tmp_path / "roles.csv", "--json", tmp_path / "figures.json")
    run("evaluate", "--source", tmp_path / "set.npz", *roles)
    figures = json.loads((tmp_path / "figures.json").read_text())["roles"]["figures"]["native"]
    assert figures["rank1"]["mean"] == 1.0


@pytest.mark.parametrize("layout", ["cufsf", "prip-hdc", "lfw-sketch"])
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
