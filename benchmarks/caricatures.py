"""Tables 2 to 5 of dynamic multi-task learning (Ming et al., IJDAR 2021), on real caricatures and on people who do not exist.

A training takes minutes and all of them hours, so what was measured is kept under docs/measured/caricatures, one file each, and
only what is missing, or was trained in another way, is trained. To train all of it again, delete the folder.
"""

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev

from rich.console import Console

from benchmarks.document import table
from benchmarks.faces import KEPT, ROOT, Faces, made_world
from benchmarks.kept import Measured, kept_or_measured
from deploy.demo.people import BUNDLES, EDGE
from models.feature_set import FeatureSet
from models.split import SplitRule
from training.data.encoders import Encoder, find_encoder
from training.data.extraction import ExtractionSettings, discard_partial, extract_features
from training.data.modalities import ModalityParts, join_by_subject
from training.data.sources import PictureSource, open_source
from training.data.synthetic.files import Order
from training.data.synthetic.world import WorldSettings
from training.data.views import ViewSource
from training.recipes.modal_pictures import ModalPictures
from training.recipes.multi_task import VARIANTS, small
from training.recipes.shares import SHARES
from training.recipes.tasks import CARICATURE, TaskExtras, fit_network
from training.trainers import multi_task
from training.trainers.encoder import choose_torch_device
from training.trainers.fitted import Workplace

MEASURED = ROOT / "docs" / "measured" / "caricatures"
REAL, ENCODER = "caricature112", "mobilefacenet-128"
WORLD = Order(WorldSettings(seed=21), 300, {"photo": 8, "caricature": 5})
"""Of seed 22 was the world that recipes were looked at in."""
FOLDS, SEEDS = (0, 1, 2, 3, 4), (0, 1, 2)
OURS = "dynamic-mtl"


@dataclass(frozen=True, slots=True)
class Shares:
    """Of people, and of the pictures of those who are learned from."""

    validation: float
    test: float
    held: float


OF_FOLDS = Shares(0.06, 0.2, 0.0)
"""Nothing is kept apart that need not be: as much as there is to learn from."""
OF_RIVALS = Shares(0.12, 0.2, 0.2)


@dataclass(frozen=True, slots=True)
class FoldRule(SplitRule):
    """A split of which the test people are one of several parts that together are everybody."""

    fold: int = 0

    def place_of(self, key: str) -> float:
        """Turned round, so that the part that is the test's moves on."""
        return (SplitRule.place_of(self, key) - self.fold * self.test) % 1.0


class TaskTrainings:
    """What is trained once on one set of pictures, and its figures."""

    def __init__(self, name: str, source: PictureSource, encoder: Encoder) -> None:
        self._name, self._source, self._encoder = name, source, encoder
        self._device = choose_torch_device("auto")
        self._folder = KEPT / "caricatures"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._features = _features(source, encoder, self._folder / f"{name}.partial")
        self._console = Console(stderr=True)

    def fold(self, fold: int) -> Measured:
        """Of our method, one of five parts of the people tested on."""
        rule = FoldRule("subject", 0, OF_FOLDS.validation, OF_FOLDS.test, fold)
        return self._measured(f"fold-{fold}", OURS, rule, OF_FOLDS.held)

    def rival(self, method: str, seed: int) -> Measured:
        """Of one method, one split and one seed of its training."""
        rule = SplitRule("subject", seed, OF_RIVALS.validation, OF_RIVALS.test)
        return self._measured(f"{method}-seed-{seed}", method, rule, OF_RIVALS.held)

    def _measured(self, name: str, method: str, rule: SplitRule, held: float) -> Measured:
        name = f"{self._name}-{name}"
        plan = {
            "method": method,
            "version": multi_task.VERSION,
            "recipe": asdict(VARIANTS[method](small())),
            "pictures": self._features.digest,
            "split": asdict(rule),
            "measured by": ["rank and rate", list(SHARES), held],
        }
        return kept_or_measured(
            MEASURED / f"{name}.json", plan, self._device, lambda: self._fitted(name, method, rule, held)
        )

    def _fitted(self, name: str, method: str, rule: SplitRule, held: float) -> Measured:
        self._console.print(name)
        parts = ModalityParts.of(join_by_subject(self._features, self._features, CARICATURE), rule)
        # Whoever interrupts a training goes on with it.
        folder = self._folder / name
        folder.mkdir(exist_ok=True)
        pictures = ModalPictures(ViewSource(self._source), self._encoder, "caricatures", folder)
        workplace = Workplace(self._device, folder / "checkpoint.npz")
        fitted = fit_network(parts, method, rule.seed, TaskExtras(pictures, workplace=workplace, held=held))
        shutil.rmtree(folder)
        last = fitted.weight_ET[-len(fitted.weight_ET) // 5 :]
        return {
            **asdict(fitted.measured),
            "known": asdict(fitted.known),
            "photos": asdict(fitted.photos) if fitted.photos else None,
            "share": fitted.hyperparameters["encoder_share"],
            "last_weights": [round(float(weight), 4) for weight in last.mean(axis=0)],
        }


def real(faces: Faces) -> TaskTrainings:
    """On photos and caricatures of public figures."""
    return TaskTrainings("real", faces.sets(REAL), faces.encoder(ENCODER))


def procedural() -> TaskTrainings:
    """On people who do not exist."""
    path = made_world(WORLD, KEPT / "caricatures")
    return TaskTrainings("procedural", open_source(path), find_encoder(str(BUNDLES / EDGE), None))


def _features(source: PictureSource, encoder: Encoder, partial: Path) -> FeatureSet:
    found = extract_features(encoder, source, partial, ExtractionSettings()).feature_set
    discard_partial(partial)
    return found


def measure(faces: Faces) -> str:
    """Five folds of real people, and every way to weigh their tasks."""
    of_real = real(faces)
    folds = [of_real.fold(fold) for fold in FOLDS]
    share = 100 * OF_FOLDS.validation / (1 - OF_FOLDS.test)
    text = (
        f"`{REAL}.zip`, encoder {ENCODER}, five folds of people; of the others {share:.0f} % to validate on, and all pictures "
        "of the rest learned from (`--held 0`). Caricatures of a fold's people among the photos of everybody, of whom most were "
        "trained on and may be told from strangers by that alone, and among those of the fold's own. Means over folds and their "
        "standard deviation:"
    )
    return "\n\n".join(
        [
            text,
            table(_FOLD_HEADER, [_fold_row(name, folds) for name in _GALLERIES]),
            _trained(folds),
            *_rivals(f"`{REAL}.zip`", of_real),
        ]
    )


def measure_procedural(faces: Faces) -> str:
    """Every way to weigh the tasks of people who do not exist."""
    return "\n\n".join(_rivals(_world(), procedural()))


def _rivals(what: str, trainings: TaskTrainings) -> list[str]:
    found = {method: [trainings.rival(method, seed) for seed in SEEDS] for method in VARIANTS}
    return [
        f"{what}: every way to weigh three tasks, and one task alone. Means over {len(SEEDS)} splits, each with a training. "
        "Who is it, of those who are known, is of a fifth of their pictures, which were kept apart. The last column: what "
        "verification, caricatures and photos weigh in the last fifth of the training.",
        table(_HEADER, [_row(method, of_seeds) for method, of_seeds in found.items()]),
        _trained([one for of_seeds in found.values() for one in of_seeds]),
    ]


def _trained(measured: Sequence[Measured]) -> str:
    """When and on what."""
    return f"Trained: {'; '.join(sorted({one['measured'] for one in measured}))}."


_GALLERIES = {
    "everybody's photos, as it came": "untouched_among_all",
    f"everybody's photos, {OURS}": "among_all",
    "own photos, as it came": "untouched_among_own",
    f"own photos, {OURS}": "among_own",
}
_FOLD_HEADER = ["among", "rank-1", "rank-10", "TAR@1e-2", "TAR@1e-3", "AUC", "photo to caricature: rank-1"]
_HEADER = [
    "method",
    "who is on a photo",
    "on a caricature",
    "V2C",
    "C2V",
    "rank-1, own photos",
    "TAR@1e-2",
    "weights",
]


def _fold_row(name: str, folds: Sequence[Measured]) -> list[str]:
    found = [fold[_GALLERIES[name]] for fold in folds]
    columns = [
        [one["weak_to_photo"][field] for one in found] for field in ("rank1", "rank10", "tar_far_1e2", "tar_far_1e3")
    ]
    columns += [[one["auc"] for one in found], [one["photo_to_weak"]["rank1"] for one in found]]
    cells = [_spread(values) for values in columns]
    return [f"**{name}**", *(f"**{cell}**" for cell in cells)] if name.endswith(OURS) else [name, *cells]


def _row(method: str, of_seeds: Sequence[Measured]) -> list[str]:
    known = [[one["known"][field] for one in of_seeds] for field in ("photo", "weak", "weak_by_photo", "photo_by_weak")]
    own = [one["among_own"] for one in of_seeds]
    features = [[one and one["weak_to_photo"][field] for one in own] for field in ("rank1", "tar_far_1e2")]
    weights = " : ".join(f"{mean(one['last_weights'][task] for one in of_seeds):.2f}" for task in range(3))
    # Of a task that was not trained there is nothing.
    cells = ["" if None in values else _spread(values) for values in (*known, *features)]
    row = [method, *cells, weights]
    return [f"**{cell}**" for cell in row] if method == OURS else row


def _spread(values: Sequence[float]) -> str:
    return f"{mean(values):.3f} ± {stdev(values):.3f}"


def _world() -> str:
    counts = " ".join(f"{modality}={num}" for modality, num in WORLD.num_pictures.items())
    made = f"synth --subjects {WORLD.num_subjects} --modalities {counts} --seed {WORLD.world.seed}"
    return f"`{made}`, encoder `{EDGE}` of the demo"
