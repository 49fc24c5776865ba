"""Extract features of pictures with an ONNX encoder.

The encoder is NAME (looked up in --encoders), FILE.json, FILE.json#NAME, or a bundle folder. Pictures come from a
folder, a zip archive or a CSV list; with a labels.csv beside them, it says who is on them. Of several such sets the names of
pictures and people begin with the set's. Interrupted, the same command goes on where it stopped.
"""

import argparse
import time
from pathlib import Path

from models.feature_set import FeatureSet
from models.space import Space
from training.commands.arguments import add_encoder_arguments, natural, positive
from training.commands.terminal import out, progress_bar
from training.data.encoders import find_encoder
from training.data.extraction import LEFT, ExtractionSettings, extract_features
from training.data.feature_set_files import check_feature_set_path, load_feature_set, save_feature_set
from training.data.partial import sole_partial
from training.data.sources import open_sources
from training.data.views import ViewSource


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    add_encoder_arguments(parser)
    parser.add_argument(
        "--images", required=True, nargs="+", type=Path, metavar="DIR|ZIP|CSV", help="the pictures; several sets as one"
    )
    parser.add_argument("--out", required=True, type=Path, metavar="SET", help="feature set to write (.npz, .parquet)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: %(default)s")
    parser.add_argument(
        "--views", type=positive, default=1, metavar="N", help="of each picture: as it is, and N - 1 more (default: 1)"
    )
    parser.add_argument(
        "--blends",
        type=natural,
        default=0,
        metavar="N",
        help="of each picture with others', to learn from (default: 0)",
    )
    parser.add_argument("--batch-size", type=natural, default=0, help="pictures a run (default: what suits the device)")
    parser.add_argument("--workers", type=natural, default=0, help="threads (default: one a core)")
    parser.add_argument("--skip-unreadable", action="store_true", help="leave out pictures that cannot be read")


def run(options: argparse.Namespace) -> None:
    """Extract and write the feature set."""
    check_feature_set_path(options.out)
    encoder = find_encoder(options.encoder, options.encoders)
    source = ViewSource(open_sources(options.images), options.views, options.blends, encoder.preparation.size)
    settings = ExtractionSettings(options.device, options.batch_size, options.workers, options.skip_unreadable)
    with sole_partial(options.out, LEFT) as partial:
        started = time.monotonic()
        with progress_bar() as progress:
            task = progress.add_task(encoder.space.name, total=len(source.items), rate="")

            def advance(done: int) -> None:
                progress.advance(task, done)
                rate = progress.tasks[0].completed / max(1e-9, time.monotonic() - started)
                progress.update(task, rate=f"{rate:.0f}/s")

            extraction = extract_features(encoder, source, partial, settings, advance)
        save_feature_set(extraction.feature_set, options.out)
    console = out()
    if extraction.num_resumed:
        console.print(f"{extraction.num_resumed} were taken over from an interrupted run")
    if extraction.skipped:
        console.print(f"{len(extraction.skipped)} unreadable pictures were left out, {extraction.skipped[0]} first")
    console.print(_summary(options.out, load_feature_set(options.out), encoder.space), soft_wrap=True)


def _summary(path: Path, feature_set: FeatureSet, space: Space) -> str:
    subjects = len(set(feature_set.subject.tolist())) if feature_set.has_subjects else "unknown"
    return (
        f"{path}: {len(feature_set)} features of {space.dimension} numbers, {subjects} subjects, "
        f"space {space.name} ({space.fingerprint})"
    )
