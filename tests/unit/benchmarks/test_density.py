"""The benchmark of densities, on a gallery that is no trouble to fill."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks import density, galleries
from benchmarks.faces import Faces


def test_probes_of_several_features_are_compared_with_probes_of_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(galleries, "TEMPLATES", 900)
    for name, small in (("TEMPLATES", 300), ("MANY", 2), ("SINGLES", 2), ("BATCHES", 1)):
        monkeypatch.setattr(density, name, small)
    text = density.measure(Faces(tmp_path))
    assert "300 templates of 256 numbers" in text
    assert [line.split(" | ")[0] for line in text.splitlines() if "**" in line] == [
        "| one probe",
        "| one probe whose features are far apart",
        "| 2 probes at once",
    ]


@pytest.mark.parametrize("cosine", [density.ALIKE, density.APART])
def test_features_of_one_probe_are_as_far_apart_as_is_said(cosine: float) -> None:
    probes_PD = np.eye(256, dtype=np.float32)[:20]
    features_PMD = density._about(probes_PD, cosine, np.random.default_rng(0)).reshape(20, 10, 256)
    others = ~np.eye(10, dtype=bool)
    products = np.einsum("pmd,pnd->pmn", features_PMD, features_PMD)[:, others]
    assert products.mean() == pytest.approx(cosine, abs=0.02)
