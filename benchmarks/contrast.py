"""When contrast between people helps a translator: with few of them or with many.

Procedural faces, the demo's encoders.
"""

import tempfile
from collections import defaultdict
from pathlib import Path
from statistics import mean

from benchmarks.demo import features_of
from benchmarks.document import table
from benchmarks.faces import Faces
from benchmarks.translation import SEEDS, SIDES, TEST, VALIDATION
from deploy.demo.people import CLOUD, EDGE
from models.split import SplitRule
from training.data.pairs import Pairs, join_by_image
from training.data.synthetic.files import Order, make_pictures
from training.data.synthetic.world import WorldSettings
from training.recipes.translators import SplitPairs, fit_methods

WORLD = 11
PEOPLE = (1600, 8000)
OF_A_PERSON = 5
COMPARED = ("ridge", "residual-mlp", "contrastive-mlp")
FIELDS = ("rank1", "tar_far_1e3")


def measure(_faces: Faces) -> str:
    """Both directions, both sides, every seed."""
    rows = []
    for people in PEOPLE:
        pairs = _pairs(people)
        for source, target in ((EDGE, CLOUD), (CLOUD, EDGE)):
            ordered = pairs if source == EDGE else Pairs(pairs.target, pairs.source)
            found = {method: _figures(ordered, method) for method in COMPARED}
            cells = [" / ".join(f"{found[method][column]:.4f}" for column in _columns()) for method in COMPARED]
            gain = mean(found["contrastive-mlp"].values()) - mean(found["residual-mlp"].values())
            rows.append([f"{people:,}", f"{source} to {target}", *cells, f"**{gain:+.4f}**"])
    text = (
        f"{OF_A_PERSON} photos of each person of one world; mean over seeds {', '.join(map(str, SEEDS))}, split as above: rank-1 "
        "of translated probes and of a translated gallery / TAR at FAR 1e-3 of both; what contrast adds to their mean."
    )
    header = ["people", "direction", *COMPARED, "contrast adds"]
    return f"{text}\n\n{table(header, rows)}"


def _columns() -> list[tuple[str, str]]:
    return [(field, side) for field in FIELDS for side in SIDES]


def _figures(pairs: Pairs, method: str) -> dict[tuple[str, str], float]:
    figures: dict[tuple[str, str], list[float]] = defaultdict(list)
    for seed in SEEDS:
        (fitted,) = fit_methods(SplitPairs.of(pairs, SplitRule("subject", seed, VALIDATION, TEST)), method, seed)
        assert fitted.test is not None
        for field, side in _columns():
            figures[field, side].append(float(getattr(fitted.test.rows[side], field)))
    return {column: mean(values) for column, values in figures.items()}


def _pairs(people: int) -> Pairs:
    order = Order(WorldSettings(seed=WORLD), people, {"photo": OF_A_PERSON})
    with tempfile.TemporaryDirectory() as folder:
        pictures = Path(folder) / "people.zip"
        make_pictures(order, pictures, 2)
        return join_by_image(*(features_of(space, pictures, Path(folder)) for space in (EDGE, CLOUD)))
