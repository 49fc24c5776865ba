"""How labels beside identity shape features (Ramakrishnan et al., 2021): encoders trained with triplets and ArcFace, alone and
with every term, on real faces and on people who do not exist; verification of people whom none of them has seen.

What was measured is kept under docs/measured/geometry, one file a training.
"""

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import mean, stdev

from rich.console import Console

from benchmarks.document import table
from benchmarks.faces import KEPT, ROOT, Faces, made_world
from benchmarks.kept import Measured, kept_or_measured
from models.documents import canonical_json, sha256_hex
from models.feature_set import FeatureSet
from models.split import SplitRule
from training.data.extraction import ExtractionSettings, extract_features
from training.data.sources import ChosenPictures, PictureSource, open_source
from training.data.synthetic.files import Order
from training.data.synthetic.world import WorldSettings
from training.evaluation.curves import equal_error_rate, error_curve
from training.evaluation.tasks import area_under
from training.evaluation.verification import score_pairs, tar_at_far
from training.recipes.encoders import Hooks, PictureParts, small, train_encoder
from training.trainers.encoder import choose_torch_device
from training.trainers.encoder_recipe import EncoderRecipe
from training.trainers.geometry_recipe import GeometryRecipe

MEASURED = ROOT / "docs" / "measured" / "geometry"
WORLD = Order(WorldSettings(seed=41), 300, {"photo": 10})
"""Of seed 42 was the world that recipes were looked at in."""
VALIDATION = 0.1
BACKBONE, WIDTH, SIDE = "resnet-50", 0.125, 56
"""A quarter of the pixels and an eighth of the channels, so that many steps are learned from in a minute or two."""
MARGIN, SCALE = 0.2, 16.0
"""Of ArcFace; with those of `small` it hardly learns from a few hundred people."""
BASIS_LENGTH = 0.2
"""Of labels from the first, where features are of length one."""
EUCLIDEAN = "FBV, Euclidean"
"""As published: features of any length, and labels that lie one apart; ArcFace is of angles."""
T_OF_95 = {3: 4.303, 5: 2.776, 10: 2.262}
"""Student's t of 95 % two-sided, by how many differences there are."""
BASES: Mapping[str, float] = {"triplet": 0.1, "arcface": 1.0}
"""With how much a term counts beside each: a tenth of what people are told apart by, or about as much."""
TERMS: Mapping[str, tuple[str, ...]] = {
    "alone": (),
    "PDM": ("minimization",),
    "PDP": ("preservation",),
    "FBV": ("basis",),
    EUCLIDEAN: ("basis",),
    "CE": ("composition",),
    "PDP + FBV": ("preservation", "basis"),
    "multi-task": ("joint",),
}


@dataclass(frozen=True, slots=True)
class Pictures:
    """What encoders are trained on, and the label that shapes them."""

    name: str
    label: str
    epochs: int
    test: float
    """The share of people to measure on."""
    num_splits: Mapping[str, int]
    """By what people are told apart by."""
    source: PictureSource


def encoder_recipe(base: str, term: str, label: str, epochs: int = 40) -> EncoderRecipe:
    """Of one base and one term."""
    return replace(
        small(BACKBONE),
        width=WIDTH,
        side=SIDE,
        epochs=epochs,
        margin=MARGIN,
        scale=SCALE,
        geometry=geometry_recipe(base, term, label),
    )


def geometry_recipe(base: str, term: str, label: str) -> GeometryRecipe:
    """What shapes features by a label."""
    shape = GeometryRecipe(
        base="triplet" if base == "triplet" else "arcface",
        label=label if TERMS[term] else "",
        is_spherical=term != EUCLIDEAN,
        basis_length=1.0 if term == EUCLIDEAN else BASIS_LENGTH,
    )
    return replace(shape, **dict.fromkeys(TERMS[term], BASES[base]))  # type: ignore[arg-type]


class ShapedTrainings:
    """What is trained once, and its figures on test people."""

    def __init__(self, pictures: Pictures) -> None:
        self._pictures = pictures
        self._folder = KEPT / "geometry"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._device = choose_torch_device("auto")
        self._console = Console(stderr=True)

    def measured(self, base: str, term: str, seed: int) -> Measured:
        """Of one base, one term, one split and one seed of its training."""
        name = f"{self._pictures.name}-{base}-{term.lower().replace(' + ', '-').replace(', ', '-')}-seed-{seed}"
        recipe = encoder_recipe(base, term, self._pictures.label, self._pictures.epochs)
        rule = SplitRule("subject", seed, VALIDATION, self._pictures.test)
        listing = [
            [item.key, item.subject, item.stamp, sorted(item.labels.items())] for item in self._pictures.source.items
        ]
        plan = {
            "recipe": asdict(recipe),
            "pictures": sha256_hex(canonical_json(listing)),
            "split": asdict(rule),
        }
        path = MEASURED / f"{name}.json"
        return kept_or_measured(path, plan, self._device, lambda: self._trained(name, recipe, rule))

    def _trained(self, name: str, recipe: EncoderRecipe, rule: SplitRule) -> Measured:
        self._console.print(name)
        parts = PictureParts.of(self._pictures.source, rule, None)
        folder = self._folder / name
        trained = train_encoder(
            parts,
            recipe,
            "shaped",
            licence="none",
            device="cpu" if self._device == "cpu" else "cuda",
            half_weights=False,
            partial=folder,
            hooks=Hooks(),
        )
        of_test = ChosenPictures(parts.source, parts.test)
        features = extract_features(trained.encoder, of_test, folder / "measured", ExtractionSettings()).feature_set
        shutil.rmtree(folder)
        return verification(features) | {"without": trained.without}


def verification(features: FeatureSet) -> Measured:
    """Of every two pictures: the area under the curve, equal errors, and what is accepted where one impostor in a thousand is."""
    count = len(features)
    genuine, impostor = score_pairs(features.feature, features.subject, features.feature, features.subject)
    # A picture is not compared with itself, whose score is the highest of its own.
    genuine = genuine[genuine.argsort()][: len(genuine) - count]
    return {
        "auc": area_under(genuine, impostor),
        "eer": equal_error_rate(error_curve(genuine, impostor)),
        "tar_far_1e3": tar_at_far(genuine, impostor, 1e-3),
        "num_pictures": count,
    }


def real(faces: Faces) -> Pictures:
    """Photos of public figures, most of them neutral or happy."""
    return Pictures("real", "emotion", 16, 0.3, {"triplet": 3, "arcface": 3}, faces.pictures())


def procedural() -> Pictures:
    """People who do not exist, each with seven expressions."""
    path = made_world(WORLD, KEPT / "geometry")
    return Pictures("procedural", "expression", 100, 0.7, {"triplet": 5, "arcface": 10}, open_source(path))


def measure(faces: Faces) -> str:
    """Both sets."""
    made = f"synth --subjects {WORLD.num_subjects} --images-per-subject {WORLD.num_pictures['photo']} --seed {WORLD.world.seed}"
    parts = []
    for pictures, what in ((procedural(), f"`{made}`, label expression"), (real(faces), "`lfw112.zip`, label emotion")):
        trainings = ShapedTrainings(pictures)
        found = {
            (base, term): [trainings.measured(base, term, seed) for seed in range(pictures.num_splits[base])]
            for base in BASES
            for term in TERMS
            if base == "triplet" or term != EUCLIDEAN
        }
        num_splits = " and ".join(f"{num} splits beside {base}" for base, num in pictures.num_splits.items())
        parts += [
            f"{what}; of the people {100 * VALIDATION:.0f} % to validate on and {100 * pictures.test:.0f} % to test on. Every "
            f"two pictures of test people; means over {num_splits}, each with a training, and their standard "
            "deviation; in brackets the mean of what is gained in each split on the base alone, with its interval of 95 % "
            "(Student's t), bold where that leaves out zero and it is better:",
            table(["trained with", "AUC", "EER", "TAR@1e-3"], _rows(found)),
        ]
    return "\n\n".join(parts)


def _rows(found: Mapping[tuple[str, str], Sequence[Measured]]) -> list[list[str]]:
    rows = []
    for base, term in found:
        cells = []
        for figure, is_better in (("auc", 1), ("eer", -1), ("tar_far_1e3", 1)):
            values, alone = ([one[figure] for one in found[base, name]] for name in (term, "alone"))
            told = f"{mean(values):.4f} ± {stdev(values):.4f}"
            if term != "alone":
                gained = [one - other for one, other in zip(values, alone, strict=True)]
                half = T_OF_95[len(gained)] * stdev(gained) / math.sqrt(len(gained))
                told = f"{told} ({mean(gained):+.4f} ± {half:.4f})"
                told = f"**{told}**" if is_better * mean(gained) > half else told
            cells.append(told)
        rows.append([f"{base} {term}", *cells])
    return rows
