"""Tables 1 and 3 of Weak-Strong GAN (AAAI 2019) on people who do not exist: every method that trains the encoder, on pictures.

A training takes minutes and all of them hours, so what was measured is kept under docs/measured/sketches, one file each, and
only what is missing, or was trained in another way, is trained. To train all of it again, delete the folder.
"""

import shutil
from dataclasses import asdict
from pathlib import Path
from statistics import mean, stdev

from rich.console import Console

from benchmarks.document import table
from benchmarks.faces import KEPT, ROOT, Faces
from benchmarks.kept import Measured, kept_or_measured
from deploy.demo.people import BUNDLES, EDGE
from models.documents import canonical_json, sha256_hex
from models.feature_set import FeatureSet
from models.split import SplitRule
from training.data.encoders import Encoder, find_encoder
from training.data.extraction import ExtractionSettings, discard_partial, extract_features
from training.data.modalities import ModalityParts, join_by_subject
from training.data.sources import open_source
from training.data.synthetic.files import Order, make_pictures
from training.data.synthetic.world import WorldSettings
from training.data.views import ViewSource
from training.evaluation.cross_modal import SIGMAS
from training.recipes import adaptation, adapted, wsgan
from training.recipes.adapted import AdaptationExtras
from training.recipes.modal_comparison import compare_across
from training.recipes.modal_pictures import ModalPictures
from training.recipes.modalities import NOTHING, NUM_SAMPLES, ROUNDS, TRANSLATORS, Extras
from training.recipes.shares import SHARES
from training.trainers import adaptation as adaptation_trainer
from training.trainers import wsgan as wsgan_trainer
from training.trainers.encoder import choose_torch_device
from training.trainers.fitted import Workplace

MEASURED = ROOT / "docs" / "measured" / "sketches"
SEEDS = (0, 1, 2)
"""Of the split and of the training."""
METHODS = (NOTHING, *TRANSLATORS, *adapted.METHODS, *wsgan.VARIANTS)
WORLD = Order(WorldSettings(seed=11), 2000, {"photo": 4, "sketch": 1})
"""Of seed 12 were the worlds that recipes were chosen in."""
VALIDATION, TEST = 0.15, 0.4
FIELDS = {
    "rank-1": "rank1",
    "rank-5": "rank5",
    "rank-50": "rank50",
    "TAR@1e-2": "tar_far_1e2",
    "TAR@1e-3": "tar_far_1e3",
}
COMPARED = ("rank-5", "TAR@1e-2")
BEST = "wsgan"


def measure(_faces: Faces) -> str:
    """All methods, three splits and seeds each."""
    trainings = Trainings()
    found = {method: [trainings.measured(method, seed) for seed in SEEDS] for method in METHODS}
    counts = " ".join(f"{modality}={num}" for modality, num in WORLD.num_pictures.items())
    shares = " : ".join(f"{100 * share:.0f}" for share in (1 - VALIDATION - TEST, VALIDATION, TEST))
    num_photos = WORLD.num_subjects * WORLD.num_pictures["photo"]
    text = (
        f"`synth --subjects {WORLD.num_subjects} --modalities {counts} --seed {WORLD.world.seed}`, people split by {shares}: "
        f"{found[NOTHING][0]['num_probes']} test people's sketches among {num_photos:,} photos. The encoder that is trained is "
        f"the demo's `{EDGE}`, which has learned photos of other procedural people. Everything is chosen on validation people, "
        "recipes in worlds of another seed. Photos are encoded by the encoder that was trained too, but for the first three "
        "rows and cross-modal networks, which have another for photos; most methods so have learned many people of the gallery, "
        f"whom they may tell from strangers by that alone. Means over {len(SEEDS)} splits of the same people, each with a "
        f"training, and their standard deviation. The last columns: how much {BEST} is ahead on the same splits, and its "
        "standard error."
    )
    rows = [_row(method, of_seeds, found[BEST]) for method, of_seeds in found.items()]
    one_sample = [_one_sample(of_seed) for of_seed in found[BEST]]
    rows.insert(len(rows) - 1, _row(f"{BEST}, one sample", one_sample, found[BEST]))
    machines = sorted({one["measured"] for of_seeds in found.values() for one in of_seeds if "measured" in one})
    header = ["method", *FIELDS, *(f"ahead in {name}" for name in COMPARED)]
    return "\n\n".join([text, table(header, rows), _samples(found), "Trained: " + "; ".join(machines) + "."])


class Trainings:
    """What is trained once, and its figures on test people."""

    def __init__(self) -> None:
        self._device = choose_torch_device("auto")
        self._folder = KEPT / "procedural-sketches"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._encoder = find_encoder(str(BUNDLES / EDGE), None)
        self._features = _features(self._pictures, self._encoder, self._folder)
        self._console = Console(stderr=True)

    @property
    def _pictures(self) -> Path:
        path = self._folder / f"world-{sha256_hex(canonical_json(asdict(WORLD)))[:12]}.zip"
        if not path.is_file():
            make_pictures(WORLD, path, 2)
        return path

    def measured(self, method: str, seed: int) -> Measured:
        """The figures of one method on one split: a row of a comparison."""
        if method == NOTHING or method in TRANSLATORS:
            # What takes seconds is fitted again, so that it is never of another day's code.
            return self._fitted(method, seed)
        path = MEASURED / f"procedural-{method}-seed-{seed}.json"
        return kept_or_measured(path, self._plan(method, seed), self._device, lambda: self._fitted(method, seed))

    def _plan(self, method: str, seed: int) -> Measured:
        is_adapted = method in adapted.METHODS
        recipe = (
            adaptation.VARIANTS[method](adaptation.small())
            if is_adapted
            else wsgan.VARIANTS[method](wsgan.small_shared())
        )
        return {
            "method": method,
            "seed": seed,
            "version": (adaptation_trainer if is_adapted else wsgan_trainer).VERSION,
            "recipe": asdict(recipe),
            "world": asdict(WORLD),
            "encoder": self._encoder.space.fingerprint,
            "split": [VALIDATION, TEST],
            "pictures": len(self._features),
            "measured by": [list(SHARES), list(SIGMAS), NUM_SAMPLES, ROUNDS],
        }

    def _fitted(self, method: str, seed: int) -> Measured:
        self._console.print(f"{method}, seed {seed}")
        rule = SplitRule("subject", seed, VALIDATION, TEST)
        parts = ModalityParts.of(join_by_subject(self._features, self._features), rule)
        # Whoever interrupts a training goes on with it.
        folder = self._folder / f"procedural-{method}-seed-{seed}"
        folder.mkdir(exist_ok=True)
        pictures = ModalPictures(ViewSource(open_source(self._pictures)), self._encoder, "sketches", folder)
        workplace = Workplace(self._device)
        extras = Extras(wsgan.small_shared, workplace, pictures)
        adaptation_extras = AdaptationExtras(pictures, adaptation.small, workplace)
        comparison = compare_across(parts, [method], extras, adaptation_extras, seed=seed)
        shutil.rmtree(folder)
        return {"num_probes": comparison.num_probes, **asdict(comparison.rows[0])}


def _features(pictures: Path, encoder: Encoder, folder: Path) -> FeatureSet:
    partial = folder / "partial"
    found = extract_features(encoder, open_source(pictures), partial, ExtractionSettings()).feature_set
    discard_partial(partial)
    return found


def _row(method: str, of_seeds: list[Measured], best: list[Measured]) -> list[str]:
    cells = []
    for field in FIELDS.values():
        values = [one["figures"][field] for one in of_seeds]
        cells.append(f"{mean(values):.3f} ± {stdev(values):.3f}")
    is_best = method == BEST
    ahead = [] if is_best else [_ahead(of_seeds, best, FIELDS[name]) for name in COMPARED]
    return [f"**{method}**" if is_best else method, *cells, *(ahead or [""] * len(COMPARED))]


def _ahead(of_seeds: list[Measured], best: list[Measured], field: str) -> str:
    gains = [one["figures"][field] - other["figures"][field] for one, other in zip(best, of_seeds, strict=True)]
    return f"{mean(gains):+.3f} ± {stdev(gains) / len(gains) ** 0.5:.3f}"


def _one_sample(measured: Measured) -> Measured:
    return measured | {"figures": measured["one_sample"]}


def _samples(found: dict[str, list[Measured]]) -> str:
    """How alike what is sampled of one person is, beside photos of one person."""
    sampled, real = (mean(one[side]["intra_sim"] for one in found[BEST]) for side in ("generated", "real"))
    return (
        f"{NUM_SAMPLES} samples of each sketch unless it says otherwise. Cosine of two samples of one person: **{sampled:.3f}**; "
        f"of two photos of one person by the encoder that was trained: {real:.3f}."
    )
