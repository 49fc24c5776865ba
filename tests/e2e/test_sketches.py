"""Real sketches ask a gallery of real photos: from pictures to a sampler, and through the service to who it is."""

from pathlib import Path

import numpy as np
import pytest
import torch

from models.bundle import read_bundle
from models.feature_set import FeatureSet, write_npz
from models.split import SplitRule
from service.app import create_app
from service.settings import Settings
from tests.api.world import running
from training import cli
from training.data.feature_set_files import load_feature_set
from training.evaluation.cross_modal import figures_of, score_samples
from training.export.loaded import GraphSampler

NPZ = {"content-type": "application/x-npz"}
RULE = SplitRule("subject", 0, 0.15, 0.2)

pytestmark = pytest.mark.real


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Path:
    """Features of FS2K's sketches and photos, and a sampler that was fitted on two thirds of the people."""
    folder = tmp_path_factory.mktemp("sketches")
    encoder, images = f"{shared / 'encoders' / 'encoders.json'}#mobilefacenet-128", shared / "data" / "fs2k112.zip"
    both = str(folder / "both.npz")
    assert cli.run(["extract", "--encoder", encoder, "--images", str(images), "--device", "cpu", "--out", both]) == 0
    shares = ["--validation", str(RULE.validation), "--test", str(RULE.test)]
    fit = ["fit", "--method", "wsgan", "--source", both, "--target", both, "--batch", "128", "--no-report", *shares]
    assert cli.run([*fit, "--device", "cpu", "--out", str(folder / "bundles" / "sketches")]) == 0
    return folder


def test_a_sampler_finds_more_people_whom_it_has_not_seen_than_features_as_they_are(folder: Path) -> None:
    test = read_bundle(folder / "bundles" / "sketches").manifest.metrics["test"]
    assert isinstance(test, dict)
    made, untouched = test["figures"], test["untouched"]
    assert isinstance(made, dict)
    assert isinstance(untouched, dict)
    for name in ("rank1", "rank5", "tar_far_1e2"):
        assert float(str(made[name])) > float(str(untouched[name])) + 0.05
    by_samples = test["by_samples"]
    assert isinstance(by_samples, dict)
    one = by_samples["1"]
    assert isinstance(one, dict)
    assert float(str(made["rank5"])) > float(str(one["rank5"]))


async def test_the_service_answers_what_was_measured(folder: Path, tmp_path: Path) -> None:
    both = load_feature_set(folder / "both.npz")
    assert both.modality is not None
    photos, sketches = both.take(both.modality == "photo"), both.take(both.modality == "sketch")
    probes = sketches.take(RULE.parts(sketches) == "test")
    settings = Settings(bundles=folder / "bundles", data=tmp_path, device="cpu")
    async with running(create_app(settings)) as client:
        created = await client.post("/galleries", json={"name": "people", "space": both.space.fingerprint})
        assert created.status_code == 201
        enrolled = await client.post("/galleries/people/templates", content=write_npz(photos), headers=NPZ)
        assert enrolled.status_code == 201, enrolled.text
        query: dict[str, str | int] = {"gallery": "people", "top_k": 5, "samples": 10, "seed": 3}
        answer = (await client.post("/identify", params=query, content=write_npz(probes), headers=NPZ)).json()
    assert answer["sampling"]["samples"] == 10
    ranked = [[one["subject"] for one in found["candidates"]] for found in answer["results"]]
    shares = {
        k: np.mean([s in names[:k] for s, names in zip(probes.subject.tolist(), ranked, strict=True)]) for k in (1, 5)
    }
    expected = _measured(folder, probes, photos, seed=3)
    assert (shares[1], shares[5]) == pytest.approx(expected, abs=1e-9)


def _measured(folder: Path, probes: FeatureSet, photos: FeatureSet, *, seed: int) -> tuple[float, float]:
    bundle = read_bundle(folder / "bundles" / "sketches")
    sampling = bundle.manifest.sampling
    assert sampling is not None
    drawn = GraphSampler(bundle.model, sampling.num_noise, 10, "cpu")(probes.feature, seed)
    found = figures_of(score_samples(drawn, photos.feature, sampling.sigma), probes.subject, photos.subject)
    return found.rank1, found.rank5
