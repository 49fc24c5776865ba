"""Tables 3 to 6 of the R3AN paper on five real encoders: R3AN as published, its parts, and the naive model beside ridge."""

from collections.abc import Iterable, Sequence
from statistics import mean

from benchmarks.document import table
from benchmarks.faces import Faces
from benchmarks.kept import Measured
from benchmarks.r3an_trainings import FACES, SEEDS, TrainedOn, Training, Trainings
from benchmarks.translation import SIDES
from training.recipes.r3an import ARCHITECTURES, small

Direction = tuple[str, str]
SMALL_TO_LARGE = ("mobileface-v2-256", "reid-retail-0095-256")
FOUR_KINDS = (
    ("mobileface-v3-256", "mobileface-v2-256"),
    SMALL_TO_LARGE,
    ("reid-retail-0095-256", "mobileface-v2-256"),
    ("mobilefacenet-128", "edgeface-xxs-512"),
)
"""As the paper has them: small to small, small to large, large to small, large to large; every encoder is in one."""
COMPARED = ("ridge", "fc", "r3an")
BEYOND = ("ridge", "residual-mlp", "r3an", "r3an-student")
REPEATED = ("fc", "r3an")
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
TREND: tuple[TrainedOn, ...] = ("a quarter", "lfw112", "longer", "views")
PLACES: tuple[TrainedOn, ...] = ("lfw112", "elsewhere")


def measure(faces: Faces) -> str:
    """All four tables, and what was built on R3AN; Table 6 is the other side of trainings of Table 5."""
    run = Trainings(faces)
    tables = [_table3(run), _trend(run), _table5(run), _table6(run), _table4(run), _beyond(run)]
    return "\n\n".join([_setting(run), *tables])


def _setting(run: Trainings) -> str:
    recipe = small(ARCHITECTURES["r3an"])
    return (
        f"Trained with the recipe `small` ({recipe.epochs} epochs, batches of {recipe.batch}; as many steps on other faces; the "
        "paper: 200,000 iterations of 512 on some millions of faces), split and protocol as above, seed "
        f"{SEEDS[0]} where nothing else is said; rank-1, in percent. Gallery: about 1,740 subjects, the paper: a million "
        "distractors. FC, R3AN and its parts keep their figures under `docs/measured/r3an`, where they were measured: "
        f"{'; '.join(run.machines)}. Ridge, residual-mlp and the student are fitted anew each time."
    )


def _rank1(measured: Measured, row: str = "translated probes") -> float:
    return 100 * float(measured["rows"][row]["rank1"])


def _cosine(measured: Measured) -> str:
    return f"{measured['rows']['translated probes']['mean_cosine']:.4f}"


def _share(r3an: float, fc: float) -> str:
    """Of the errors, from rank-1 in percent."""
    return f"{(100 - r3an) / (100 - fc):.0%}"


def _table3(run: Trainings) -> str:
    ridge = run.measured(Training(*SMALL_TO_LARGE, "ridge"))
    rows = [
        ["native source", f"{_rank1(ridge, 'native source'):.2f}", "", "92.84"],
        ["native target", f"{_rank1(ridge, 'native target'):.2f}", "", "98.12"],
        ["ridge", f"{_rank1(ridge):.2f}", _cosine(ridge), ""],
    ]
    for method, published in PUBLISHED.items():
        found = run.measured(Training(*SMALL_TO_LARGE, method))
        shown = "not converged" if published is None else f"{published:.2f}"
        rows.append([method, f"{_rank1(found):.2f}", _cosine(found), shown])
    repeated = {
        method: [_rank1(run.measured(Training(*SMALL_TO_LARGE, method, seed=seed))) for seed in SEEDS]
        for method in REPEATED
    }
    by_seed = ", ".join(f"{method} {' / '.join(f'{value:.2f}' for value in repeated[method])}" for method in REPEATED)
    error = _share(mean(repeated["r3an"]), mean(repeated["fc"]))
    shown = table(["architecture", "rank-1", "mean cosine", "published (Mb-6 to Res101)"], rows)
    return (
        f"Table 3, {' to '.join(SMALL_TO_LARGE)}, translated probes against a native gallery:\n\n{shown}\n\n"
        f"Trained with seeds {', '.join(map(str, SEEDS))}: {by_seed}. R3AN's error is **{error}** of FC's (published: 25%)."
    )


def _trend(run: Trainings) -> str:
    rows = []
    for trained_on in TREND:
        found = [run.measured(Training(*SMALL_TO_LARGE, method, trained_on)) for method in COMPARED]
        num_pairs = run.num_pairs(Training(*SMALL_TO_LARGE, COMPARED[0], trained_on))
        cells = [cell for measured in found for cell in (f"{_rank1(measured):.2f}", _cosine(measured))]
        shares = [_share(_rank1(found[-1], side), _rank1(found[-2], side)) for side in SIDES]
        rows.append([FACES[trained_on], f"{num_pairs:,}", *cells, *shares])
    columns = [f"{method}, {figure}" for method in COMPARED for figure in ("rank-1", "mean cosine")]
    shown = table(["faces", "pairs", *columns, *(f"R3AN's error of FC's, {side}" for side in SIDES)], rows)
    return f"The same with fewer pairs (as many steps), for longer, and with more pairs of the same people:\n\n{shown}"


def _table5(run: Trainings) -> str:
    rows = _rows(run, FOUR_KINDS, SIDES[0])
    return f"Table 5, translated probes against a native gallery:\n\n{table(_header(), rows)}"


def _table6(run: Trainings) -> str:
    rows = _rows(run, FOUR_KINDS, SIDES[1])
    return f"Table 6, native probes against a translated gallery:\n\n{table(_header(), rows)}"


def _table4(run: Trainings) -> str:
    rows = [
        [*direction, FACES[trained_on], *_cells(_compared(run, direction, trained_on), SIDES[0])]
        for direction in FOUR_KINDS
        for trained_on in PLACES
    ]
    header = ["source", "target", "trained on", *_header()[2:]]
    return f"Table 4, trained on faces of other sets, photos only:\n\n{table(header, rows)}"


def _beyond(run: Trainings) -> str:
    rows = []
    for direction in (FOUR_KINDS[1], FOUR_KINDS[3]):
        for method in BEYOND:
            found = run.measured(Training(*direction, method))
            shown = [*(f"{_rank1(found, side):.2f}" for side in SIDES), _cosine(found)]
            rows.append([*direction, method, *shown, str(found.get("teacher_share", ""))])
    header = ["source", "target", "method", *SIDES, "mean cosine", "taught by R3AN"]
    return (
        "What was built on R3AN, beside what does not look at pictures. The last column: which share of R3AN's answers, beside "
        "the target encoder's own, the validation subjects chose for the student to learn; with 0 it "
        f"is `residual-mlp`:\n\n{table(header, rows)}"
    )


def _header() -> list[str]:
    return ["source", "target", "native source", "native target", *COMPARED, "R3AN's error of FC's"]


def _rows(run: Trainings, directions: Iterable[Direction], side: str) -> list[list[str]]:
    return [[*direction, *_cells(_compared(run, direction, "lfw112"), side)] for direction in directions]


def _compared(run: Trainings, direction: Direction, trained_on: TrainedOn) -> list[Measured]:
    return [run.measured(Training(*direction, method, trained_on)) for method in COMPARED]


def _cells(found: Sequence[Measured], side: str) -> list[str]:
    """Of COMPARED, in their order."""
    natives = [_rank1(found[0], row) for row in ("native source", "native target")]
    values = [_rank1(measured, side) for measured in found]
    return [*(f"{value:.2f}" for value in (*natives, *values)), _share(values[-1], values[-2])]
