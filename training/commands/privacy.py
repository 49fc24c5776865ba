"""Report what features give away: paint faces from them, and see whether an encoder knows whose they are.

The generator is what `fit --with-reconstruction` writes beside a translator; that of --method arch1 learns to paint and
nothing else, as an attacker's would. By default only people whom its split kept apart are painted. The judge may be the
encoder that made the features (can a stolen gallery open the door it came from?) or another one (any other door?).
"""

import argparse
import io
import json
from pathlib import Path

from models.bundle import read_bundle
from training.commands.arguments import add_encoder_arguments
from training.commands.terminal import out, privacy_table, progress_bar
from training.data.encoders import find_encoder
from training.data.extraction import ExtractionSettings
from training.data.feature_set_files import load_feature_set
from training.data.partial import check_writable, sole_partial
from training.data.sources import open_sources
from training.errors import TrainingError
from training.recipes.privacy import LEFT, Judge, held_out, paint, report, sheet


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--generator", required=True, type=Path, metavar="BUNDLE", help="what paints")
    parser.add_argument("--features", required=True, type=Path, metavar="SET", help="what was stolen")
    parser.add_argument(
        "--images",
        required=True,
        nargs="+",
        type=Path,
        metavar="DIR|ZIP|CSV",
        help="the pictures that the features are of",
    )
    add_encoder_arguments(parser)
    parser.add_argument("--subjects", choices=("held-out", "all"), default="held-out", help="default: %(default)s")
    parser.add_argument("--out", required=True, type=Path, metavar="FILE.json", help="where the figures go")
    parser.add_argument("--sheet", type=Path, metavar="FILE.png", help="draw real faces above painted ones there")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: %(default)s")


def run(options: argparse.Namespace) -> None:
    """Paint, judge, print."""
    for path in (options.out, *([options.sheet] if options.sheet else [])):
        if path.is_dir() or not path.parent.is_dir():
            raise TrainingError(f"{path}: is a folder itself, or its folder does not exist")
        check_writable(path)
    if options.sheet and options.sheet.suffix.lower() != ".png":
        raise TrainingError(f"--sheet {options.sheet}: must end in .png")
    generator = read_bundle(options.generator)
    feature_set = held_out(generator, load_feature_set(options.features), everybody=options.subjects == "all")
    judge = find_encoder(options.encoder, options.encoders)
    source = open_sources(options.images)
    with sole_partial(options.out, LEFT) as partial:
        with progress_bar() as progress:
            faces = paint(generator, feature_set, source, options.device, partial)
            task = progress.add_task(judge.space.name, total=None, rate="")
            settings = ExtractionSettings(options.device)
            found = report(faces, source, Judge(judge, settings, partial, lambda done: progress.advance(task, done)))
        _write(options.out, json.dumps(found.to_json(), indent=2).encode() + b"\n")
        if options.sheet:
            drawn = io.BytesIO()
            sheet(faces).save(drawn, "PNG")
            _write(options.sheet, drawn.getvalue())
    title = f"{feature_set.space.name} painted by {generator.manifest.name}, judged by {judge.space.name}"
    out().print(privacy_table(title, found))
    if found.paints_nobody:
        out().print(
            "This generator has not learned to paint faces: the figures say nothing of what features give away."
        )


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as failure:
        raise TrainingError(f"{path}: cannot be written ({failure.strerror})") from None
