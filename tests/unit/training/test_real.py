"""The whole way from real pictures to features with a real encoder."""

import csv
import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from training import cli
from training.data.feature_set_files import load_feature_set

REPOSITORY = Path(__file__).resolve().parents[3]
SHARED = Path(os.environ.get("FACEBRIDGE_SHARED") or REPOSITORY.parent / "shared")
ENCODERS = SHARED / "encoders" / "encoders.json"
FACES = SHARED / "data" / "lfw112.zip"

NUM_SUBJECTS, PICTURES_EACH = 16, 4

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not (ENCODERS.is_file() and FACES.is_file()), reason="needs FACEBRIDGE_SHARED"),
]


@pytest.fixture
def few_faces(tmp_path: Path) -> Path:
    """Sixteen people of LFW with four pictures each, as a zip archive of its own."""
    path = tmp_path / "few.zip"
    with zipfile.ZipFile(FACES) as archive, zipfile.ZipFile(path, "w") as few:
        by_subject: dict[str, list[str]] = {}
        for row in csv.DictReader(io.StringIO(archive.read("lfw112/labels.csv").decode("utf-8-sig"))):
            by_subject.setdefault(row["subject"], []).append(row["image"])
        chosen = [subject for subject, images in by_subject.items() if len(images) >= PICTURES_EACH][:NUM_SUBJECTS]
        lines = ["image,subject"]
        for subject in chosen:
            for image in by_subject[subject][:PICTURES_EACH]:
                few.writestr(f"few/{image}", archive.read(f"lfw112/{image}"))
                lines.append(f"{image},{subject}")
        few.writestr("few/labels.csv", "\n".join(lines))
    return path


def test_features_of_real_faces_bring_the_same_person_together(few_faces: Path, tmp_path: Path) -> None:
    out = tmp_path / "set.npz"
    arguments = ["--encoder", f"{ENCODERS}#mobilefacenet-128", "--images", str(few_faces), "--out", str(out)]
    assert cli.run(["extract", *arguments, "--device", "cpu", "--workers", "2"]) == 0
    extracted = load_feature_set(out)
    assert extracted.feature.shape == (NUM_SUBJECTS * PICTURES_EACH, 128)
    assert extracted.space.name == "mobilefacenet-128"
    np.testing.assert_allclose(np.linalg.norm(extracted.feature, axis=1), 1.0, atol=1e-6)
    score = extracted.feature @ extracted.feature.T
    same = extracted.subject[:, None] == extracted.subject[None, :]
    apart = ~np.eye(len(score), dtype=bool)
    genuine, impostor = score[same & apart], score[~same]
    assert len(genuine) == NUM_SUBJECTS * PICTURES_EACH * (PICTURES_EACH - 1)
    # The encoder is right on 99.6 % of the LFW pairs, so the two lie far apart.
    assert genuine.mean() > 0.5
    assert abs(impostor.mean()) < 0.15
    assert np.mean(genuine > np.quantile(impostor, 0.99)) > 0.95


def test_a_packaged_real_encoder_gives_the_same_features(few_faces: Path, tmp_path: Path) -> None:
    encoder, bundle = f"{ENCODERS}#mobilefacenet-128", tmp_path / "encoder"
    assert cli.run(["package", "--encoder", encoder, "--out", str(bundle)]) == 0
    for spec, name in ((encoder, "raw.npz"), (str(bundle), "packed.npz")):
        out = str(tmp_path / name)
        extract = ["extract", "--encoder", spec, "--images", str(few_faces), "--out", out, "--device", "cpu"]
        assert cli.run([*extract, "--workers", "2"]) == 0
    raw, packed = load_feature_set(tmp_path / "raw.npz"), load_feature_set(tmp_path / "packed.npz")
    assert raw.space == packed.space
    np.testing.assert_allclose(raw.feature, packed.feature, atol=1e-5)
