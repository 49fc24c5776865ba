"""What the commands print of one network for three tasks."""

from rich.table import Table
from rich.text import Text

from training.commands.terminal import number
from training.evaluation.tasks import ClosedSetFigures
from training.recipes.task_comparison import TaskComparison
from training.recipes.tasks import FittedNetwork


def tasks_table(modality: str, method: str, fitted: FittedNetwork) -> Table:
    """One network's features, both ways, before and after, among everybody's photos and among those of the people measured."""
    own = fitted.measured.untouched_among_own
    title = f"{own.num_weak} {modality}s of {fitted.part} people, and photos"
    columns = ("encoder", "photos of", "rank-1", "rank-10", "back", "TAR@1e-2", "TAR@1e-3", "AUC")
    caption = f"back: rank-1 of a photo among {modality}s"
    table = Table(*columns, title=Text(title), title_justify="left", caption=Text(caption), caption_justify="left")
    of_whom = (
        ("everybody", fitted.measured.untouched_among_all, fitted.measured.among_all),
        ("these people", fitted.measured.untouched_among_own, fitted.measured.among_own),
    )
    for place, name in enumerate(("as it came", method)):
        for photos, *both in of_whom:
            found = both[place]
            if found is None:
                continue
            there, back = found.weak_to_photo, found.photo_to_weak
            cells = (there.rank1, there.rank10, back.rank1, there.tar_far_1e2, there.tar_far_1e3, found.auc)
            table.add_row(name, f"{photos} ({found.num_photos})", *map(number, cells))
    return table


def task_comparison_tables(comparison: TaskComparison) -> list[Table]:
    """A row a method: verification and identification by features, and who is it of those who are known.

    Source: Ming et al. (IJDAR 2021), Tables 2 to 5.
    """
    modality, own = comparison.modality, comparison.untouched_among_own
    title = f"{own.num_weak} {modality}s of {comparison.part} people and their {own.num_photos} photos, in {comparison.space}"
    columns = ("method", "TAR@1e-3", "TAR@1e-2", "AUC", "rank-1", "rank-10", "back: rank-1", "rank-10", "among all")
    num_photos = comparison.untouched_among_all.num_photos
    caption = f"back: of photos among {modality}s; among all: rank-1 among everybody's {num_photos} photos"
    found = Table(*columns, title=Text(title), title_justify="left", caption=Text(caption), caption_justify="left")
    rows = [("as it came", own, comparison.untouched_among_all)]
    rows += [(row.method, row.among_own, row.among_all) for row in comparison.rows if row.among_own and row.among_all]
    for name, measured, among_all in rows:
        there, back = measured.weak_to_photo, measured.photo_to_weak
        cells = (there.tar_far_1e3, there.tar_far_1e2, measured.auc, there.rank1, there.rank10, back.rank1, back.rank10)
        found.add_row(name, *map(number, (*cells, among_all.weak_to_photo.rank1)))
    known = comparison.rows[0].known
    title = f"who is it, of those who are known: {known.num_photos} photos and {known.num_weak} {modality}s kept apart"
    caption = "in turn: by the classifier of the other modality"
    of_known = ("method", "photos", f"{modality}s", f"{modality}s in turn", "photos in turn")
    closed = Table(*of_known, title=Text(title), title_justify="left", caption=Text(caption), caption_justify="left")
    for row in comparison.rows:
        one = row.known
        closed.add_row(row.method, *map(number, (one.photo, one.weak, one.weak_by_photo, one.photo_by_weak)))
    return [found, closed]


def known_table(modality: str, known: ClosedSetFigures) -> Table:
    """How often a classifier names the right one of those whom it knows, on pictures that were kept apart."""
    title = f"who is it, of those who are known: {known.num_weak} {modality}s and {known.num_photos} photos kept apart"
    table = Table("classifier", f"{modality}s", "photos", title=Text(title), title_justify="left")
    table.add_row(f"of {modality}s", number(known.weak), number(known.photo_by_weak))
    table.add_row("of photos", number(known.weak_by_photo), number(known.photo))
    return table
