"""Measure what scores mean on pictures or scores of your own, and write the bundle anew with that.

With feature sets: of a translator --source and --target, of the same pictures; of an encoder --target alone. Subjects must be
known. By default only people count whom the bundle's split kept from training; --subjects all counts everybody, which is honest
only for people the bundle was not fitted to.

What features of the bundle's spaces look like is measured anew too, so that a service does not suspect people who are unlike
those that the bundle was fitted on.

With --scores: a .csv with the columns a, b (who is on either picture) and score, as the service answered them; the comparison
is of the kind that --comparison names. Every two people count once, however many scores they have.
"""

import argparse
import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from models.bundle import COMMON_SPACE_METHODS, MEASURED_ANEW, Bundle, read_bundle
from models.calibration import COMPARISON_PATTERN, Calibration
from models.confidence import ConfidenceModel
from models.feature_set import FeatureSet
from models.operating_point import STATED_RATES, people_needed
from training.commands.terminal import calibration_table, out
from training.data.feature_set_files import load_feature_set
from training.data.pairs import join_by_image
from training.data.scores import read_scores
from training.errors import JoinError, TrainingError
from training.evaluation.calibration import FEWEST_GENUINE, calibrate, calibrate_native, calibrate_scores
from training.evaluation.references import FEWEST_PEOPLE
from training.export.bundles import check_bundle_path, write_recalibrated_bundle
from training.export.loaded import LoadedTranslator, parts_of
from training.recipes.confidence import measured_anew


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--bundle", required=True, type=Path, help="the translator or encoder")
    parser.add_argument("--source", type=Path, metavar="SET", help="features of its source space")
    parser.add_argument("--target", type=Path, metavar="SET", help="features of its target space")
    parser.add_argument("--scores", type=Path, metavar="FILE", help="a .csv with a, b, score in place of feature sets")
    parser.add_argument(
        "--comparison",
        default=None,
        metavar="NAME",
        help="what --scores are of: native-source, native-target, translated or both-translated, with /sketch or another "
        "modality behind it",
    )
    parser.add_argument("--subjects", choices=("held-out", "all"), default="held-out", help="default: %(default)s")
    parser.add_argument(
        "--out", required=True, type=Path, metavar="BUNDLE", help="new folder; its name is the bundle's"
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: %(default)s")


def run(options: argparse.Namespace) -> None:
    """Measure, write, print."""
    check_bundle_path(options.out)
    bundle = read_bundle(options.bundle)
    _check(options, bundle)
    confidence = bundle.confidence
    if options.scores:
        scores = read_scores(options.scores)
        measured = calibrate_scores(scores.a, scores.b, scores.score_N, options.comparison)
        num_people, digests = len({*scores.a, *scores.b}), {"calibration scores": scores.digest}
    else:
        measured, num_people, digests, confidence = _of_sets(options, bundle)
    if not measured.points:
        needed = people_needed(max(STATED_RATES))
        raise TrainingError(
            f"{num_people} people are too few to state any threshold: {max(STATED_RATES):g} takes {needed}, {FEWEST_GENUINE} of "
            "them with two pictures"
        )
    if bundle.confidence is not None and confidence is not None and confidence.source is not bundle.confidence.source:
        digests[MEASURED_ANEW] = digests["calibration source"]
    calibration = _with(bundle.calibration, measured)
    manifest = write_recalibrated_bundle(
        options.out, options.bundle, bundle, calibration=calibration, confidence=confidence, data_digests=digests
    )
    out().print(calibration_table(f"{manifest.name}: from {num_people:,} people", measured))
    for words, names in (
        ("as they were", calibration.points.keys() - measured.points.keys()),
        ("gone, as they count pictures and not people", bundle.calibration.points.keys() - calibration.points.keys()),
    ):
        if names:
            out().print(f"{words}: {', '.join(sorted(names))}", soft_wrap=True)
    if bundle.confidence is not None and confidence is not None:
        is_new = confidence.source is not bundle.confidence.source
        as_it_was = (
            f"as it was: that takes {FEWEST_PEOPLE} people of whom it has seen nothing, in photos, as feature sets"
        )
        words = "measured anew too" if is_new else as_it_was
        out().print(f"what features of its spaces look like: {words}")
        is_new = confidence.step_K is not bundle.confidence.step_K
        out().print(f"what confidence in translations says: {'measured anew too' if is_new else 'as it was'}")
    out().print(f"{options.out}: digest {manifest.digest[:16]}", soft_wrap=True)


def _check(options: argparse.Namespace, bundle: Bundle) -> None:
    """Refuse what does not belong together."""
    manifest = bundle.manifest
    is_translator = manifest.kind == "translator"
    is_other = str(options.comparison or "").partition("/")[0] != "native-target"
    if options.comparison and not is_translator and is_other:
        raise TrainingError(
            "--comparison: an encoder has native-target alone, with /sketch or another modality behind it"
        )
    if not is_translator and manifest.kind != "encoder":
        raise TrainingError(f"bundle {manifest.name}: is of kind {manifest.kind}; translators and encoders have scores")
    if manifest.method in COMMON_SPACE_METHODS:
        raise TrainingError(
            f"bundle {manifest.name}: projects into a common space; its thresholds are measured with all its sides, by fit"
        )
    if bool(options.scores) != bool(options.comparison):
        raise TrainingError("--scores and --comparison belong together")
    if options.comparison and not re.fullmatch(COMPARISON_PATTERN, options.comparison):
        raise TrainingError("--comparison: there is no comparison of this name; see --help")
    if options.scores and (options.source or options.target):
        raise TrainingError("give either --scores or feature sets")
    if not options.scores and (options.target is None or (options.source is None) == is_translator):
        wanted = "--source and --target" if is_translator else "--target alone, the encoder's own features"
        raise TrainingError(f"bundle {manifest.name}: is measured with {wanted}, or --scores")


def _of_sets(
    options: argparse.Namespace, bundle: Bundle
) -> tuple[Calibration, int, dict[str, str], ConfidenceModel | None]:
    """What was measured, on how many people, the digests of the sets, and confidence by what these spaces look like."""
    target = _known(options.target).originals()
    if options.source is None:
        if target.space.fingerprint != bundle.manifest.target.fingerprint:
            raise JoinError(f"{options.target}: is not of the encoder's space {bundle.manifest.target.name!r}")
        rows = _counted(options, bundle, target)
        return calibrate_native(target.take(rows)), _num(target.take(rows)), {"calibration": target.digest}, None
    translator = LoadedTranslator(bundle, options.device)
    pairs = join_by_image(_known(options.source).originals(), target)
    translator.check_source(pairs.source.space, what=str(options.source))
    if pairs.target.space.fingerprint != bundle.manifest.target.fingerprint:
        raise JoinError(f"{options.target}: is not of the bundle's target space {bundle.manifest.target.name!r}")
    pairs = pairs.take(_counted(options, bundle, pairs.source))
    translated = translator(pairs.source.feature)
    measured = calibrate(pairs, translated)
    digests = {"calibration source": pairs.source.digest, "calibration target": pairs.target.digest}
    # Confidence was learned from the validation people too.
    is_unseen = np.ones(len(pairs), dtype=bool)
    if options.subjects != "all":
        is_unseen = parts_of(bundle, pairs.source) == "test"
    confidence = bundle.confidence
    if confidence and is_unseen.any():
        confidence = measured_anew(confidence, pairs.take(is_unseen), translated[is_unseen], measured)
    return measured, _num(pairs.source), digests, confidence


def _known(path: Path) -> FeatureSet:
    feature_set = load_feature_set(path)
    if not feature_set.has_subjects:
        raise TrainingError(f"{path}: does not say who is on its pictures, and thresholds need that")
    return feature_set


def _counted(options: argparse.Namespace, bundle: Bundle, feature_set: FeatureSet) -> np.ndarray:
    if options.subjects == "all":
        return np.ones(len(feature_set), dtype=bool)
    if bundle.manifest.provenance.split is None:
        raise TrainingError(
            f"bundle {bundle.manifest.name}: does not say whom it was trained on; use --subjects all on other people"
        )
    rows: np.ndarray = parts_of(bundle, feature_set) != "train"
    if not rows.any():
        raise TrainingError("the bundle's split keeps none of these people apart; use --subjects all on new ones")
    return rows


def _num(feature_set: FeatureSet) -> int:
    return len(np.unique(feature_set.subject))


def _with(old: Calibration, measured: Calibration) -> Calibration:
    """The old calibration with some comparisons measured anew; nothing of one that counted in another way."""
    if old.counted != measured.counted:
        return measured
    return replace(measured, points=old.points | measured.points, scales=old.scales | measured.scales)
