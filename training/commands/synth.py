"""Make a world of procedural faces: nobody real, and every label exact.

Photos, sketches and caricatures of so many subjects, as a folder or zip that the other commands read, with a contact
sheet to look at and a manifest. The same seed and settings make the same pictures, on one kind of processor to the bit.
Interrupted, the same command goes on where it stopped.
"""

import argparse
import os
import time
from pathlib import Path

from training.commands.arguments import natural, positive, seed
from training.commands.terminal import out, progress_bar
from training.data.expressions import EXPRESSIONS
from training.data.synthetic.attributes import WORN
from training.data.synthetic.files import Order, make_pictures
from training.data.synthetic.world import MODALITIES, WorldSettings
from training.errors import TrainingError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--subjects", required=True, type=positive, metavar="N", help="how many people")
    parser.add_argument(
        "--images-per-subject", type=positive, default=5, metavar="K", help="in each modality (default: %(default)s)"
    )
    parser.add_argument(
        "--modalities",
        nargs="+",
        type=_counted,
        default=[("photo", None)],
        metavar="MODALITY[=K]",
        help=f"of {', '.join(MODALITIES)}; =K where it is not the number for all (default: photo)",
    )
    parser.add_argument("--out", required=True, type=Path, metavar="DIR|ZIP", help="new folder or .zip")
    parser.add_argument("--seed", type=seed, default=0, help="of the world (default: %(default)s)")
    parser.add_argument("--size", type=positive, default=112, help="pixels of a side (default: %(default)s)")
    parser.add_argument(
        "--expressions", nargs="+", default=list(EXPRESSIONS), metavar="NAME", help=f"of {', '.join(EXPRESSIONS)}"
    )
    parser.add_argument(
        "--attribute",
        action="append",
        type=_share,
        default=[],
        metavar="NAME=SHARE",
        help=f"share of photos with it, 0 to 1; of {', '.join(WORN)}",
    )
    parser.add_argument("--workers", type=natural, default=0, help="processes (default: one a core)")


def run(options: argparse.Namespace) -> None:
    """Make and write."""
    for words in (options.modalities, options.attribute, [(name,) for name in options.expressions]):
        _check_once([word[0] for word in words])
    world = WorldSettings(
        seed=options.seed, side=options.size, expressions=tuple(options.expressions), worn=dict(options.attribute)
    )
    counts = {modality: count or options.images_per_subject for modality, count in options.modalities}
    order = Order(world, options.subjects, counts)
    started = time.monotonic()
    with progress_bar() as progress:
        task = progress.add_task("synth", total=len(order), rate="")

        def advance(done: int) -> None:
            progress.advance(task, done)
            rate = progress.tasks[0].completed / max(1e-9, time.monotonic() - started)
            progress.update(task, rate=f"{rate:.0f}/s")

        made = make_pictures(order, options.out, options.workers or os.cpu_count() or 1, advance)
    console = out()
    if made.num_resumed:
        console.print(f"{made.num_resumed} were taken over from an interrupted run")
    counted = ", ".join(f"{modality} {count}" for modality, count in order.num_pictures.items())
    console.print(
        f"{options.out}: {len(order)} pictures of {order.num_subjects} subjects (of each: {counted}), "
        f"SHA-256 {made.digest[:16]}",
        soft_wrap=True,
    )
    console.print(f"{made.sheet}: to look at", soft_wrap=True)


def _check_once(names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise TrainingError(f"{name!r} is named more than once")


def _counted(text: str) -> tuple[str, int | None]:
    name, equals, count = text.partition("=")
    return name, positive(count) if equals else None


def _share(text: str) -> tuple[str, float]:
    name, _, share = text.partition("=")
    try:
        return name, float(share)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: give NAME=SHARE, for example eyeglasses=0.3") from None
