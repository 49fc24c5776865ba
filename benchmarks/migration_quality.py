"""What a migration's verdict predicts, beside what native probes of the new encoder find afterwards: real faces and encoders.

Translators are fitted once and kept under run/bench, as features are; to fit them again, delete the folder.

Shapes: N pictures.
"""

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.document import table
from benchmarks.faces import KEPT, Faces
from models.bundle import Bundle, read_bundle
from models.feature_set import FeatureSet
from models.space import Space
from service.entities import NewTemplates, Side
from service.galleries.embedded import EmbeddedGalleryStore
from service.inference.inference import Inference
from service.inference.loading import OnnxEngines, load_bundles
from service.usecases.filling import Filler
from service.usecases.judging import Judge
from service.usecases.migration_plan import GatePolicy
from service.usecases.verdicts import native_ratio
from training.data.feature_set_files import save_feature_set

ROUTES = (
    ("mobilefacenet-128", "edgeface-xxs-512"),
    ("edgeface-xxs-512", "mobilefacenet-128"),
    ("mobileface-v2-256", "edgeface-xxs-512"),
    ("edgeface-xxs-512", "mobileface-v2-256"),
)
SEEDS = (0, 1, 2)
DRAWS = 5
"""How often it is drawn which pictures of the test people are enrolled, of each split."""
METHOD = "residual-mlp"
TEST = "0.38"
MOST_TEMPLATES = 3
"""Of one person; half of their pictures, at least one."""
NAME = "people"


@dataclass(frozen=True, slots=True)
class _Outcome:
    """Rank-1, of one route, seed and draw."""

    before: float
    """Of probes of the old encoder, in the gallery as it was."""
    predicted: float
    interval: tuple[float, float]
    """Of the prediction, at 95 %."""
    after: float
    """Of probes of the new encoder, in the migrated gallery."""
    own_loss: float
    """As the bundle has it: with one picture of each test person enrolled, rank-1 of the old encoder less that translated."""
    num_subjects: int
    """Who have several templates: of these a verdict tells."""

    @property
    def points_off(self) -> float:
        """Of the prediction, in percentage points."""
        return 100 * (self.predicted - self.after)

    @property
    def is_inside(self) -> bool:
        """Whether what was found is in the interval that was predicted."""
        return self.interval[0] <= self.after <= self.interval[1]


def measure(faces: Faces) -> str:
    """Each route, three splits by person; all figures are of people that no translator has seen."""
    rows, everything = [], []
    with tempfile.TemporaryDirectory() as folder:
        for source, target in ROUTES:
            of_seeds = [_outcomes(Path(folder), faces.features(source), faces.features(target), seed) for seed in SEEDS]
            outcomes = [one for of_seed in of_seeds for one in of_seed]
            everything += outcomes
            biases = [mean(one.points_off for one in of_seed) for of_seed in of_seeds]
            rows.append(
                [
                    f"{source} to {target}",
                    *(_told([getattr(one, name) for one in outcomes]) for name in ("before", "after", "predicted")),
                    f"{median(abs(one.points_off) for one in outcomes):.2f}",
                    ", ".join(f"{bias:+.2f}" for bias in biases),
                    f"{sum(one.is_inside for one in outcomes)} of {len(outcomes)}",
                    f"{100 * median(one.before - one.after for one in outcomes):+.2f}",
                    f"{100 * median(one.own_loss for one in outcomes):+.2f}",
                ]
            )
    errors = [abs(one.points_off) for one in everything]
    num_subjects = [one.num_subjects for one in everything]
    header = [
        "route",
        "rank-1 before",
        "native probes after",
        "predicted",
        "off by, points, median",
        "mean of each split",
        "inside the interval",
        "lost, points",
        "translator's own loss",
    ]
    text = (
        f"`{METHOD}` fitted on the others, medians and ranges of {len(SEEDS)} splits by {DRAWS} draws. Half of each test person's"
        f" pictures (at most {MOST_TEMPLATES}) are drawn, enrolled by the old encoder and migrated; the others are probes, of "
        "the old encoder before and of the new one, natively, after. The verdict has seen none of these, and tells of "
        f"{min(num_subjects)} to {max(num_subjects)} people who have several templates. "
        f"Off by **{median(errors):.2f}** points in the median, **{max(errors):.2f}** at worst, by 1 or less in "
        f"**{sum(error <= 1 for error in errors)} of {len(errors)}** (wanted: all); inside the interval of 95 % that the verdict "
        f"states with it in **{sum(one.is_inside for one in everything)}**."
    )
    return f"{text}\n\n{table(header, rows)}"


def _told(values: list[float]) -> str:
    return f"{median(values):.4f} ({min(values):.4f} to {max(values):.4f})"


def _outcomes(folder: Path, source: FeatureSet, target: FeatureSet, seed: int) -> list[_Outcome]:
    """Of each draw."""
    bundles = KEPT / "translators" / f"{source.space.name}-{target.space.name}-{seed}"
    bundle = _fitted(folder, bundles / "translator", source, target, seed)
    assert bundle.manifest.provenance.split is not None
    tested = np.flatnonzero(bundle.manifest.provenance.split.parts(source) == "test")
    old, new = source.take(tested), target.take(tested)
    inference = Inference(load_bundles(bundles, OnnxEngines("cpu", 1)), batch_rows=1, queue_rows=1, queue_pictures=1)
    route = inference.catalog.route(source.space, target.space)
    ratio = native_ratio(inference, Side(target.space.fingerprint), Side(source.space.fingerprint, route.bundles))
    rng = np.random.default_rng(seed)
    outcomes = []
    for draw in range(DRAWS):
        is_enrolled = _half(old, rng)
        store = EmbeddedGalleryStore(folder / f"data-{bundles.name}-{draw}")
        store.create(NAME, source.space)
        enrolled = old.take(is_enrolled)
        subjects, rows = enrolled.subject.tolist(), enrolled.feature
        store.enrol(NAME, NewTemplates(subjects, rows, source.space, rows, source.space, norm=enrolled.norm))
        before = _rank1(store, old.take(~is_enrolled), source.space)
        generation = store.generations.begin(NAME, target.space, job="measured", routes={})
        Filler(inference, store.generations)(NAME, generation.number, lambda space: route)
        gallery = store.get(NAME)
        judged = Judge(store)(gallery, gallery.beside[0], GatePolicy(seed=seed), native_ratio=ratio).rank1
        store.generations.activate(NAME, generation.number, expected=1, keep_seconds=1)
        after = _rank1(store, new.take(~is_enrolled), target.space)
        store.close()
        predicted, (low, high) = judged["predicted_native"], judged["predicted_interval"]
        outcomes.append(_Outcome(before, predicted, (low, high), after, _own_loss(bundle), judged["num_subjects"]))
    return outcomes


def _fitted(folder: Path, out: Path, source: FeatureSet, target: FeatureSet, seed: int) -> Bundle:
    """Fitted once, and kept, as the features are of which it is."""
    if out.is_dir():
        return read_bundle(out)
    paths = [folder / f"{one.space.name}.npz" for one in (source, target)]
    for path, one in zip(paths, (source, target), strict=True):
        if not path.exists():
            save_feature_set(one, path)
    arguments = ["fit", "--source", str(paths[0]), "--target", str(paths[1]), "--method", METHOD, "--test", TEST]
    command = [sys.executable, "-m", "training", *arguments, "--seed", str(seed), "--out", str(out)]
    subprocess.run(command, check=True, capture_output=True)
    return read_bundle(out)


def _half(pictures: FeatureSet, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Which rows are enrolled (N,): of each person half, rounded down, at least one."""
    is_enrolled = np.zeros(len(pictures), dtype=bool)
    order = np.argsort(pictures.subject, kind="stable")
    numbers = np.unique(pictures.subject, return_inverse=True)[1][order]
    bounds = np.flatnonzero(np.concatenate([[True], np.diff(numbers) != 0, [True]]))
    for start, end in pairwise(bounds.tolist()):
        num = max(1, min(MOST_TEMPLATES, (end - start) // 2))
        is_enrolled[rng.permutation(order[start:end])[:num]] = True
    return is_enrolled


def _rank1(store: EmbeddedGalleryStore, probes: FeatureSet, space: Space) -> float:
    found = store.search(NAME, probes.feature, space, 1).candidates
    return float(np.mean([one[0].subject == own for one, own in zip(found, probes.subject.tolist(), strict=True)]))


def _own_loss(bundle: Bundle) -> float:
    test: Any = bundle.manifest.metrics["test"]
    rows = test["rows"]
    return float(rows["native source"]["rank1"] - rows["translated gallery"]["rank1"])
