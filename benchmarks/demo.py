"""The demo's models on people of worlds that none of them was trained on: native, untranslated, translated, drawings."""

import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np

from benchmarks.document import table
from benchmarks.faces import Faces
from deploy.demo.people import BUNDLES, CLOUD, EDGE
from models.bundle import read_bundle
from models.feature_set import FeatureSet
from models.features import FloatArray
from training.data.encoders import find_encoder
from training.data.extraction import ExtractionSettings, extract_features
from training.data.sources import open_source
from training.data.synthetic.files import Order, make_pictures
from training.data.synthetic.world import WorldSettings
from training.evaluation.identification import genuine_ranks, rank_k
from training.export.loaded import LoadedTranslator

SEEDS = (7, 8, 9)
"""Of worlds; 7 is the demo's own. The models were trained on 101, 202 and 303."""
SUBJECTS = 1000
PICTURES = {"photo": 3, "sketch": 1, "caricature": 1}


def measure(_faces: Faces) -> str:
    """Rank-1 and rank-10 of every comparison, world by world."""
    figures: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for seed in SEEDS:
        for name, ranks in _ranks(seed).items():
            figures[name].append(ranks)
    rows = []
    for name, found in figures.items():
        first, tenth = np.array(found).T
        rows.append([name, *(f"{rank:.4f}" for rank in first), f"**{first.mean():.4f}**", f"{tenth.mean():.4f}"])
    text = (
        f"{SUBJECTS:,} people of each of three worlds; gallery: one photo of each, probes: two more photos, one sketch, "
        "one caricature. The cloud encoder has seen photos, sketches and caricatures of others in training, the edge "
        "encoder photos only."
    )
    header = ["probes, gallery", *(f"rank-1, world {seed}" for seed in SEEDS), "rank-1, mean", "rank-10, mean"]
    return f"{text}\n\n{table(header, rows)}"


def _ranks(seed: int) -> dict[str, tuple[float, float]]:
    with tempfile.TemporaryDirectory() as folder:
        pictures = Path(folder) / "people.zip"
        make_pictures(Order(WorldSettings(seed=seed), SUBJECTS, PICTURES), pictures, 2)
        edge, cloud = (features_of(space, pictures, Path(folder)) for space in (EDGE, CLOUD))
    there, back = (LoadedTranslator(read_bundle(BUNDLES / name)) for name in ("edge-to-cloud", "cloud-to-edge"))
    sides: dict[str, tuple[str, FloatArray, FloatArray]] = {
        "photo by cloud, cloud": ("photo", cloud.feature, cloud.feature),
        "photo by edge, edge": ("photo", edge.feature, edge.feature),
        "photo by edge as it is, cloud": ("photo", edge.feature, cloud.feature),
        "photo by edge translated, cloud": ("photo", there(edge.feature), cloud.feature),
        "photo by cloud, edge translated (migrated)": ("photo", cloud.feature, there(edge.feature)),
        "photo by cloud translated, edge": ("photo", back(cloud.feature), edge.feature),
        "photo by edge, cloud translated (migrated)": ("photo", edge.feature, back(cloud.feature)),
        "caricature by cloud, cloud": ("caricature", cloud.feature, cloud.feature),
        "caricature by edge, edge": ("caricature", edge.feature, edge.feature),
        "sketch by cloud, cloud": ("sketch", cloud.feature, cloud.feature),
        "sketch by edge, edge": ("sketch", edge.feature, edge.feature),
    }
    return {name: _compare(cloud, *side) for name, side in sides.items()}


def features_of(space: str, pictures: Path, folder: Path) -> FeatureSet:
    """What an encoder of the demo says of pictures."""
    encoder = find_encoder(str(BUNDLES / space), None)
    return extract_features(encoder, open_source(pictures), folder / space, ExtractionSettings()).feature_set


def _compare(keys: FeatureSet, modality: str, probe: FloatArray, stored: FloatArray) -> tuple[float, float]:
    is_gallery = np.char.endswith(keys.image, "/000-photo.jpg")
    is_probe = (keys.modality == modality) & ~is_gallery
    subject = keys.subject
    ranks = genuine_ranks(probe[is_probe], subject[is_probe], stored[is_gallery], subject[is_gallery])
    return rank_k(ranks, 1), rank_k(ranks, 10)
