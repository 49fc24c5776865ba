"""`facebridge gallery`: list, check, export, import on a data folder."""

from pathlib import Path

import numpy as np
import pytest

from models.feature_set import FeatureSet
from models.parquet import read_parquet, write_parquet
from models.space import Space
from service.cli import run
from service.entities import FloatArray, NewTemplates
from service.galleries.embedded import EmbeddedGalleryStore
from service.galleries.folder import PROJECTIONS

HERE = Space("here", 8, "external:here")
THERE = Space("there", 4, "external:there")


def units(num_rows: int, dimension: int) -> FloatArray:
    raw_GD = np.random.default_rng(dimension).standard_normal((num_rows, dimension))
    unit_GD: FloatArray = (raw_GD / np.linalg.norm(raw_GD, axis=1, keepdims=True)).astype(np.float32)
    return unit_GD


@pytest.fixture
def data(tmp_path: Path) -> Path:
    store = EmbeddedGalleryStore(tmp_path / "data")
    store.create("staff", HERE)
    store.create("empty", THERE)
    features_GD = units(4, 8)
    store.enrol(
        "staff",
        NewTemplates(
            ["ann", "bob", "ann"],
            features_GD[:3],
            HERE,
            features_GD[:3],
            HERE,
            norm=np.array([20.5, np.nan, 7.0], dtype=np.float32),
            keys=["1.jpg", None, "3.jpg"],
            metadata=[{"site": "north", "year": 2020}, {"site": "south"}, None],
        ),
    )
    store.enrol("staff", NewTemplates(["eve"], units(1, 4), THERE, features_GD[3:], HERE, ("bridge",)))
    store.close()
    return tmp_path / "data"


def test_galleries_are_listed(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["gallery", "list", "--data", str(data)]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if "here" in line or "there" in line]
    assert [[word for word in row if word != "│"][:5] for row in rows] == [
        ["empty", "there", "1", "0", "0"],
        ["staff", "here", "1", "4", "3"],
    ]


def test_a_sound_folder_is_said_to_be_sound_and_a_damaged_one_is_not(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["gallery", "check", "--data", str(data)]) == 0
    out = capsys.readouterr().out
    assert "damaged" not in out
    assert out.count("sound") >= 10
    store = EmbeddedGalleryStore(data)
    store._record.writer.alone(lambda db: db.execute("UPDATE template SET original = zeroblob(32) WHERE seq = 2"))
    store.close()
    assert list((data / PROJECTIONS).iterdir())
    assert run(["gallery", "check", "--data", str(data), "staff"]) == 1
    assert "does not match its CRC32C" in capsys.readouterr().out


def test_what_is_exported_can_be_read_by_training_and_imported_again(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["gallery", "export", "--data", str(data), "staff", str(tmp_path / "out")]) == 0
    here, there = ((tmp_path / "out" / f"staff.{one.name}.{one.fingerprint}.parquet") for one in (HERE, THERE))
    assert here.stat().st_mode & 0o077 == 0
    native, foreign = read_parquet(here.read_bytes()), read_parquet(there.read_bytes())
    assert (native.space, foreign.space, len(native), len(foreign)) == (HERE, THERE, 3, 1)
    assert native.feature.tolist() == units(4, 8)[:3].tolist()
    assert foreign.feature.tolist() == units(1, 4).tolist()
    assert native.subject.tolist() == ["ann", "bob", "ann"]
    assert (native.image[0], len(native.image[1]), native.image[2]) == ("1.jpg", 32, "3.jpg")
    np.testing.assert_array_equal(native.norms, np.array([20.5, np.nan, 7.0], dtype=np.float32))
    assert native.labels["site"].tolist() == ["north", "south", ""]
    np.testing.assert_array_equal(native.labels["year"], [2020, np.nan, np.nan])

    store = EmbeddedGalleryStore(tmp_path / "other")
    store.create("again", HERE)
    store.close()
    capsys.readouterr()
    command = ["gallery", "import", "--data", str(tmp_path / "other"), "again"]
    assert run([*command, str(here)]) == 0
    assert "3 templates" in capsys.readouterr().out
    assert run([*command, str(here)]) == 2
    assert run([*command, str(here), "--replace"]) == 0
    assert run([*command, str(there)]) == 2
    assert run([*command, str(here), "--replace", "--metadata", "colour"]) == 2
    assert run([*command, "--replace", "--metadata", "year", str(here)]) == 0
    store = EmbeddedGalleryStore(tmp_path / "other")
    assert [dict(one.metadata) for one in store.templates("again").templates] == [{"year": 2020}, {}, {}]
    store.close()
    assert run([*command, str(here), "--replace"]) == 0
    assert "enrol it through a service, which translates it" in capsys.readouterr().err
    store = EmbeddedGalleryStore(tmp_path / "other")
    templates = store.templates("again").templates
    assert [(one.subject, one.norm, dict(one.metadata)) for one in templates] == [
        ("ann", 20.5, {"site": "north", "year": 2020}),
        ("bob", None, {"site": "south"}),
        ("ann", 7.0, {}),
    ]
    store.close()


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "nobody"],
        ["export", "nobody", "out"],
        ["import", "staff", "missing.npz"],
        ["import", "staff", "x.csv"],
    ],
)
def test_what_is_not_there_is_one_line_and_2(
    data: Path, tmp_path: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(tmp_path / one) if one in ("out", "missing.npz", "x.csv") else one for one in arguments]
    assert run(["gallery", arguments[0], "--data", str(data), *arguments[1:]]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_folder_without_galleries_is_left_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["gallery", "list", "--data", str(tmp_path / "nowhere")]) == 2
    assert "holds no galleries" in capsys.readouterr().err
    assert not (tmp_path / "nowhere").exists()


def test_features_of_nobody_are_not_imported(data: Path, tmp_path: Path) -> None:
    columns = {"feature": units(2, 8), "image": np.array(["a", "b"]), "subject": np.array(["", ""])}
    path = tmp_path / "nobody.parquet"
    path.write_bytes(write_parquet(FeatureSet.build(HERE, columns)))
    assert run(["gallery", "import", "--data", str(data), "staff", str(path)]) == 2
