"""Label a published data set: who is on each picture, and which are probes and gallery, or what pictures show.

Unpack its archives into one folder. Of photos with sketches or caricatures two lists are written: --out is given to extract as
--images, and roles.csv beside it to evaluate as --roles. Of pictures that are known by what they show, a class and attributes,
there is one: --out is given to fit --method coupled as --images. The list of pictures lies in the folder or in one around it, as
its paths are relative to it.

Layouts: cufs (CUHK students, AR, XM2VTS), cufsf (FERET), prip-hdc, and lfw-sketch for photos of many people with sketches drawn
from some; of caricatures webcaricature and cavi. Where the protocols of webcaricature are there, their lists are written beside
--out too: roles-c2p.csv, roles-p2c.csv and roles-unrestricted.csv for evaluate --roles, pairs.csv for evaluate --pairs, and
train-1.csv to train-10.csv, the pictures that each fold may train with. What pictures show is told by affectnet and raf-db
(expressions), emotionet (action units), aff-wild2 (both), celeba (attributes of people) and cub (species and attributes of
birds). What each layout expects is in docs/layouts.md.
"""

import argparse
from collections import Counter
from pathlib import Path

from training.commands.terminal import out
from training.data.labelled import counted_classes
from training.data.layouts.folder import open_folder
from training.data.layouts.listing import FurtherList, Listing
from training.data.layouts.published import LAYOUTS, Layout
from training.data.layouts.writing import check_place, write_listing
from training.data.protocols import PairList, RoleList
from training.data.sources import LABELS, PictureItem
from training.errors import TrainingError

ROLES = "roles.csv"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--layout", required=True, choices=tuple(LAYOUTS), help="which data set")
    parser.add_argument("--images", required=True, type=Path, metavar="DIR", help="its folder, unpacked")
    parser.add_argument(
        "--out",
        required=True,
        type=Path,
        metavar="CSV",
        help=f"list of pictures to write, in DIR or around it ({LABELS})",
    )
    parser.add_argument(
        "--roles",
        type=Path,
        metavar="CSV",
        help=f"list of roles to write, where there are probes and a gallery (default: {ROLES} beside --out)",
    )


def run(options: argparse.Namespace) -> None:
    """Look, write and count."""
    layout = LAYOUTS[options.layout]
    if options.roles is not None and not layout.has_roles:
        raise TrainingError(
            f"--roles: {options.layout} tells what pictures show, and has neither probes nor a gallery; leave it out"
        )
    labels: Path = options.out
    roles: Path | None = (options.roles or labels.with_name(ROLES)) if layout.has_roles else None
    for path in (labels, roles):
        if path is None:
            continue
        if path.suffix.lower() != ".csv":
            raise TrainingError(f"{path}: a list ends in .csv")
        if path.exists() or path.is_symlink():
            raise TrainingError(f"{path}: is there already; give another name, or move it away")
    if roles is not None and labels.absolute() == roles.absolute():
        raise TrainingError("--out and --roles are two files; give two names")
    folder = open_folder(options.images)
    prefix = check_place(labels, options.images)
    listing = layout.read(folder)
    _check_names(labels, roles, listing)
    write_listing(listing, labels, roles, prefix)
    console = out()
    for line in (*_counted(labels, roles, listing, layout), *_left(folder.left_out, listing)):
        console.print(line, soft_wrap=True)


def _check_names(labels: Path, roles: Path | None, listing: Listing) -> None:
    """Raises `TrainingError` where --out or --roles takes the name of a further list."""
    further = {labels.with_name(name).absolute() for name in listing.lists}
    for path in (labels, roles):
        if path is not None and path.absolute() in further:
            raise TrainingError(f"{path}: another list of this data set is written there; give another name")


def _counted(labels: Path, roles: Path | None, listing: Listing, layout: Layout) -> list[str]:
    """What is in each list."""
    lines = [_of_pictures(labels, listing.items)]
    if roles is None:
        return [*lines, *_of_labels(listing)]
    purpose = Counter(listing.role.values())
    return [
        *lines,
        f"{roles}: {purpose['probe']} probes, {purpose['gallery']} pictures in the gallery; the paper has "
        f"{layout.num_probes} and {layout.num_gallery}",
        *(_of_further(labels.with_name(name), further) for name, further in listing.lists.items()),
    ]


def _of_labels(listing: Listing) -> list[str]:
    """Of how many pictures each class is known, and how many tell attributes."""
    lines = []
    classes = Counter(item.labels[listing.class_label] for item in listing.items if listing.class_label)
    unknown = classes.pop("", 0)
    if listing.class_label:
        lines.append(f"{listing.class_label}: {counted_classes(classes)}; not known of {unknown} pictures")
    if listing.attributes:
        telling = [item for item in listing.items if any(item.labels[name] for name in listing.attributes)]
        told = f"attributes: {len(listing.attributes)}, told of by {len(telling)} of {len(listing.items)} pictures"
        both = sum(item.labels[listing.class_label] != "" for item in telling) if listing.class_label else 0
        lines.append(f"{told}, {both} of which tell the class too" if listing.class_label else told)
    return lines


def _of_pictures(path: Path, items: list[PictureItem]) -> str:
    modalities = Counter(item.modality for item in items)
    counted = ", ".join(f"{modality} {count}" for modality, count in sorted(modalities.items()))
    subjects = {item.subject for item in items} - {""}
    whose = f"of {len(subjects)} subjects" if subjects else "of subjects who are not told"
    return f"{path}: {len(items)} pictures {whose} ({counted})"


def _of_further(path: Path, further: FurtherList) -> str:
    match further:
        case RoleList():
            num_probes, num_folds = int(further.is_probe_N.sum()), len(set(further.fold_N.tolist()))
            in_gallery = len(further.image) - num_probes
            return f"{path}: {num_probes} probes, {in_gallery} pictures in the gallery, in {num_folds} folds"
        case PairList():
            num_same, num_folds = int(further.is_same_N.sum()), len(set(further.fold_N.tolist()))
            return f"{path}: {len(further.a)} pairs, {num_same} of them of one person, in {num_folds} folds"
        case _:
            return _of_pictures(path, further)


def _left(left_out: dict[str, list[str]], listing: Listing) -> list[str]:
    """What was left out and why, and what is still to be done."""
    lines = [f"left out: {len(places)} {reason}, {places[0]!r} first" for reason, places in sorted(left_out.items())]
    bare = [item.key for item in listing.items if item.landmarks is None]
    if bare:
        lines.append(
            f"{len(bare)} pictures have no landmarks, {bare[0]!r} first: they must be aligned crops, or fill in that column"
        )
    return lines
