"""Tables 3 to 6 of the R3AN paper on five real encoders: R3AN as published, its parts, and the naive model beside ridge."""

from collections.abc import Iterable

from benchmarks.document import table
from benchmarks.faces import Faces
from benchmarks.r3an_trainings import FACES, SEED, Measured, TrainedOn, Trainings
from benchmarks.translation import SIDES
from training.recipes.r3an import ARCHITECTURES, small

SMALL_TO_LARGE = ("mobileface-v2-256", "reid-retail-0095-256")
FOUR_KINDS = (
    ("mobileface-v3-256", "mobileface-v2-256"),
    SMALL_TO_LARGE,
    ("reid-retail-0095-256", "mobileface-v2-256"),
    ("mobilefacenet-128", "edgeface-xxs-512"),
)
"""As the paper has them: small to small, small to large, large to small, large to large; every encoder is in one."""
COMPARED = ("ridge", "fc", "r3an")
BEYOND = ("ridge", "residual-mlp", "r3an", "r3an-skip", "r3an-student")
PUBLISHED = {
    "fc": 83.92,
    "arch1": 85.65,
    "arch2": 83.41,
    "arch3": 94.05,
    "arch4": 94.21,
    "arch5": 94.93,
    "arch6": 94.80,
    "arch7": None,
    "r3an": 95.97,
}
"""Rank-1 in percent among a million distractors, Mb-6 to Res101: Table 3."""
FEWER: tuple[TrainedOn, ...] = ("a quarter", "lfw112")
PLACES: tuple[TrainedOn, ...] = ("lfw112", "elsewhere")


def measure(faces: Faces) -> str:
    """All four tables, and what was built on R3AN; Table 6 is the other side of trainings of Table 5."""
    run = Trainings(faces)
    return "\n\n".join([_setting(), _table3(run), _table5(run), _table6(run), _table4(run), _beyond(run)])


def _setting() -> str:
    recipe = small(ARCHITECTURES["r3an"])
    return (
        f"Trained with the recipe `small` ({recipe.epochs} epochs, batches of {recipe.batch}; as many steps on other faces; the "
        f"paper: 200,000 iterations of 512 on some millions of faces), seed {SEED}, split and protocol as above; rank-1, in "
        "percent. Gallery: about 1,740 subjects, the paper: a million distractors."
    )


def _rank1(measured: Measured, row: str) -> float:
    return 100 * float(measured["rows"][row]["rank1"])


def _table3(run: Trainings) -> str:
    source, target = SMALL_TO_LARGE
    ridge = run.measured(source, target, "ridge")
    rows = [
        ["native source", f"{_rank1(ridge, 'native source'):.2f}", "", "92.84"],
        ["native target", f"{_rank1(ridge, 'native target'):.2f}", "", "98.12"],
        ["ridge", f"{_rank1(ridge, 'translated probes'):.2f}", _cosine(ridge), ""],
    ]
    for method, published in PUBLISHED.items():
        found = run.measured(source, target, method)
        shown = "not converged" if published is None else f"{published:.2f}"
        rows.append([method, f"{_rank1(found, 'translated probes'):.2f}", _cosine(found), shown])
    fc, r3an = (100 - _rank1(run.measured(source, target, method), "translated probes") for method in ("fc", "r3an"))
    caption = f"Table 3, {source} to {target}. R3AN's error is **{r3an / fc:.0%}** of FC's (published: 25%):"
    shown = table(["architecture", "rank-1", "mean cosine", "published (Mb-6 to Res101)"], rows)
    return f"{caption}\n\n{shown}\n\n{_trend(run)}"


def _trend(run: Trainings) -> str:
    rows = []
    for trained_on in FEWER:
        row = [FACES[trained_on], f"{run.num_pairs(*SMALL_TO_LARGE, trained_on):,}"]
        for method in COMPARED:
            found = run.measured(*SMALL_TO_LARGE, method, trained_on)
            row += [f"{_rank1(found, 'translated probes'):.2f}", _cosine(found)]
        rows.append(row)
    columns = [f"{method}, {figure}" for method in COMPARED for figure in ("rank-1", "mean cosine")]
    shown = table(["faces", "pairs", *columns], rows)
    return f"With fewer pairs, as many steps of training:\n\n{shown}"


def _cosine(measured: Measured) -> str:
    return f"{measured['rows']['translated probes']['mean_cosine']:.4f}"


def _table5(run: Trainings) -> str:
    rows = _rows(run, FOUR_KINDS, "translated probes")
    return f"Table 5, translated probes against a native gallery:\n\n{table(_header(), rows)}"


def _table6(run: Trainings) -> str:
    rows = _rows(run, FOUR_KINDS, "translated gallery")
    return f"Table 6, native probes against a translated gallery:\n\n{table(_header(), rows)}"


def _table4(run: Trainings) -> str:
    rows = []
    for source, target in FOUR_KINDS:
        for trained_on in PLACES:
            found = {method: run.measured(source, target, method, trained_on) for method in COMPARED}
            rows.append([source, target, FACES[trained_on], *_cells(found, "translated probes")])
    header = ["source", "target", "trained on", *_header()[2:]]
    return f"Table 4, trained on faces of other sets, photos only:\n\n{table(header, rows)}"


def _beyond(run: Trainings) -> str:
    rows = []
    for source, target in (FOUR_KINDS[1], FOUR_KINDS[3]):
        for method in BEYOND:
            found = run.measured(source, target, method)
            rows.append([source, target, method, *(f"{_rank1(found, side):.2f}" for side in SIDES), _cosine(found)])
    header = ["source", "target", "method", *SIDES, "mean cosine"]
    return f"What was built on R3AN, beside what does not look at pictures:\n\n{table(header, rows)}"


def _header() -> list[str]:
    return ["source", "target", "native source", "native target", *COMPARED, "R3AN's error of FC's"]


def _rows(run: Trainings, directions: Iterable[tuple[str, str]], side: str) -> list[list[str]]:
    return [
        [*direction, *_cells({method: run.measured(*direction, method) for method in COMPARED}, side)]
        for direction in directions
    ]


def _cells(found: dict[str, Measured], side: str) -> list[str]:
    natives = [_rank1(found["ridge"], row) for row in ("native source", "native target")]
    values = [_rank1(found[method], side) for method in COMPARED]
    error = (100 - values[-1]) / (100 - values[-2])
    return [*(f"{value:.2f}" for value in (*natives, *values)), f"{error:.0%}"]
