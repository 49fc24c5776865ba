"""Write a translator's report as one page of HTML: curves, scores, thresholds, confidence, groups.

Of a projection into a common space --target is of another encoder, and --other that one's projection. Measured, like `evaluate`,
on subjects that the bundle's own split kept apart, unless --subjects all is given. The page needs nothing beside it, and can be
put into the bundle with --into, which writes the bundle anew, as bundles do not change. With --images and --reconstruction it
shows pictures and what a generator paints of their features: keep such a page from whoever must not see them.
"""

import argparse
import base64
import importlib
import io
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from models.bundle import Manifest, read_bundle
from models.calibration import Calibration
from models.confidence import ConfidenceModel
from models.space import Space
from training.commands.terminal import out
from training.data.pairs import Pairs
from training.data.partial import check_writable
from training.data.sources import open_sources
from training.errors import TrainingError
from training.evaluation.common_space import against
from training.evaluation.cross_space import Translate
from training.evaluation.report import measure_report
from training.export.bundles import REPORT, check_bundle_path, write_bundle_with_report
from training.export.loaded import LoadedTranslator, held_out
from training.export.report_page import Plots, Reconstructions, ReportedBundle, report_page
from training.recipes.privacy import held_out as unseen_by_generator
from training.recipes.privacy import paint

SHOWN_FACES = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--bundle", required=True, type=Path, help="the translator")
    parser.add_argument("--source", required=True, type=Path, metavar="SET", help="features of its source space")
    parser.add_argument("--target", required=True, type=Path, metavar="SET", help="features of its target space")
    parser.add_argument(
        "--other", type=Path, metavar="BUNDLE", help="for a common space: the projection of --target's features into it"
    )
    parser.add_argument("--subjects", choices=("held-out", "all"), default="held-out", help="default: %(default)s")
    parser.add_argument(
        "--images", nargs="+", type=Path, help="the pictures that --source was made from; with --reconstruction"
    )
    parser.add_argument("--reconstruction", type=Path, metavar="BUNDLE", help="a generator of its source space")
    parser.add_argument("--out", required=True, type=Path, metavar="FILE.html", help="the page")
    parser.add_argument(
        "--into", type=Path, metavar="BUNDLE", help="write the bundle with the page in it, to a new folder"
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: %(default)s")


def run(options: argparse.Namespace) -> None:
    """Measure, draw, write."""
    if options.out.suffix.lower() != ".html":
        raise TrainingError(f"{options.out}: the page's name must end in .html")
    check_writable(options.out)
    if options.into:
        check_bundle_path(options.into)
    if bool(options.images) != bool(options.reconstruction):
        raise TrainingError("--images and --reconstruction belong together")
    if options.images and options.into:
        raise TrainingError("--into is for pages without faces: a bundle goes to whoever serves it")
    bundle = read_bundle(options.bundle)
    translator = LoadedTranslator(bundle, options.device)
    other = translator.beside(options.other, options.device) if options.other else None
    pairs = translator.pairs(options.source, options.target, other)
    other_space = pairs.target.space if other else None
    if other:
        pairs = other.with_targets(pairs, what=str(options.target))
    chosen = pairs if options.subjects == "all" else held_out(bundle, pairs)
    faces = _faces(options, chosen) if options.images else None
    page = draw_report(
        bundle.manifest,
        chosen,
        translator,
        calibration=bundle.calibration,
        confidence=bundle.confidence,
        measured_on=_measured_on(options.subjects, bundle.manifest),
        faces=faces,
        other=other_space,
    )
    options.out.write_bytes(page)
    out().print(f"{options.out}: {len(chosen)} of {len(pairs)} pictures, {len(page) / 1e6:.2f} MB", soft_wrap=True)
    if options.into:
        manifest = write_bundle_with_report(options.into, options.bundle, bundle, page)
        out().print(f"{options.into}: holds it as {REPORT}, digest {manifest.digest[:16]}", soft_wrap=True)


def _measured_on(subjects: str, manifest: Manifest) -> str:
    if subjects == "all":
        return "everybody in these sets"
    return "people it has not seen" + (
        ", some of whom its thresholds may have been measured on" if manifest.is_calibrated else ""
    )


def draw_report(
    manifest: Manifest,
    pairs: Pairs,
    translate: Translate,
    *,
    calibration: Calibration,
    confidence: ConfidenceModel | None,
    measured_on: str,
    faces: Reconstructions | None = None,
    other: Space | None = None,
) -> bytes:
    """The page of a translator, measured on pairs that it has not seen; of a projection into a common space with those of the
    space `other`, which the targets are.
    """
    assert manifest.source is not None
    if other is not None:
        calibration = against(calibration, other.fingerprint)
        # It is told of comparisons with that space alone.
        confidence = confidence if manifest.metrics.get("hardest") == other.name else None
    figures = measure_report(pairs, translate, calibration, confidence, is_projected=other is not None)
    plots = Plots()
    if figures is not None:
        # By name: whoever draws nothing need not wait for matplotlib.
        report_plots = importlib.import_module("training.commands.report_plots")
        plots = Plots(
            report_plots.det(figures),
            report_plots.cmc(figures),
            report_plots.histograms(figures),
            report_plots.feature_map(figures.feature_map, is_projected=other is not None)
            if figures.feature_map
            else "",
            report_plots.trust(figures.trust) if figures.trust else "",
        )
    of = ReportedBundle(
        manifest.name,
        manifest.method,
        manifest.source,
        manifest.target,
        manifest.licence,
        manifest.metrics,
        calibration,
        measured_on,
        other.name if other else "",
    )
    return report_page(of, figures, plots, faces)


def _faces(options: argparse.Namespace, chosen: Pairs) -> Reconstructions:
    """Some pictures, evenly spread, and what is painted of their features."""
    generator = read_bundle(options.reconstruction)
    unseen = unseen_by_generator(generator, chosen.source, everybody=options.subjects == "all")
    unseen = unseen.take(np.linspace(0, len(unseen) - 1, min(SHOWN_FACES, len(unseen))).astype(np.int64))
    with tempfile.TemporaryDirectory() as partial:
        painted = paint(generator, unseen, open_sources(options.images), options.device, Path(partial))
        return Reconstructions([_url(one) for one in painted.real_NHW3], [_url(one) for one in painted.painted_NHW3])


def _url(picture_HW3: npt.NDArray[np.uint8]) -> str:
    stream = io.BytesIO()
    Image.fromarray(picture_HW3).save(stream, "PNG")
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
