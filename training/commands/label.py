"""Label a published data set of photos and sketches: who is on each picture, and which are probes and gallery.

Unpack its archives into one folder. Two lists are written: --out is given to extract as --images, and roles.csv beside it to
evaluate as --roles. The list of pictures lies in the folder or in one around it, as its paths are relative to it.

Layouts: cufs (CUHK students, AR, XM2VTS), cufsf (FERET), prip-hdc, and lfw-sketch for photos of many people with sketches drawn
from some. What each expects is in docs/layouts.md.
"""

import argparse
from collections import Counter
from pathlib import Path

from training.commands.terminal import out
from training.data.layouts.folder import open_folder
from training.data.layouts.listing import Listing
from training.data.layouts.published import LAYOUTS, Layout
from training.data.layouts.writing import check_place, write_listing
from training.data.sources import LABELS
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
        "--roles", type=Path, metavar="CSV", help=f"list of roles to write (default: {ROLES} beside --out)"
    )


def run(options: argparse.Namespace) -> None:
    """Look, write and count."""
    labels, roles = options.out, options.roles or options.out.with_name(ROLES)
    for path in (labels, roles):
        if path.suffix.lower() != ".csv":
            raise TrainingError(f"{path}: a list ends in .csv")
        if path.exists() or path.is_symlink():
            raise TrainingError(f"{path}: is there already; give another name, or move it away")
    if labels.absolute() == roles.absolute():
        raise TrainingError("--out and --roles are two files; give two names")
    folder = open_folder(options.images)
    prefix = check_place(labels, options.images)
    layout = LAYOUTS[options.layout]
    listing = layout.read(folder)
    write_listing(listing, labels, roles, prefix)
    console = out()
    for line in (*_counted(labels, roles, listing, layout), *_left(folder.left_out, listing)):
        console.print(line, soft_wrap=True)


def _counted(labels: Path, roles: Path, listing: Listing, layout: Layout) -> list[str]:
    """What is in both lists."""
    modalities = Counter(item.modality for item in listing.items)
    counted = ", ".join(f"{modality} {count}" for modality, count in sorted(modalities.items()))
    purpose = Counter(listing.role.values())
    subjects = len({item.subject for item in listing.items})
    return [
        f"{labels}: {len(listing.items)} pictures of {subjects} subjects ({counted})",
        f"{roles}: {purpose['probe']} probes, {purpose['gallery']} pictures in the gallery; the paper has "
        f"{layout.num_probes} and {layout.num_gallery}",
    ]


def _left(left_out: dict[str, list[str]], listing: Listing) -> list[str]:
    """What was left out and why, and what is still to be done."""
    lines = [f"left out: {len(places)} {reason}, {places[0]!r} first" for reason, places in sorted(left_out.items())]
    bare = [item.key for item in listing.items if item.landmarks is None]
    if bare:
        lines.append(
            f"{len(bare)} pictures have no landmarks, {bare[0]!r} first: they must be aligned crops, or fill in that column"
        )
    return lines
