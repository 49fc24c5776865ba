"""Measure what scores mean on pictures or scores of your own, and write the bundle anew with that.

With feature sets: of a translator --source and --target, of the same pictures; of a bundle of a weak modality such as sketches
--source with these and --target with photos of the same people; of an encoder --target alone. Subjects must be
known. By default only people count whom the bundle's split kept from training; --subjects all counts everybody, which is honest
only for people the bundle was not fitted to.

Of a projection into a common space --target is of another encoder, and --other that one's projection; each of the two is
measured by itself. Of a route of several translators --bundle is the last, --after names those before it, and --source is of
the space where the route begins.

What features of the bundle's spaces look like is measured anew too, so that a service does not suspect people who are unlike
those that the bundle was fitted on.

With --scores: a .csv with the columns a, b (who is on either picture) and score, as the service answered them; the comparison
is of the kind that --comparison names. Every two people count once, however many scores they have. Of a sampler they must have
been asked for with as many samples as the bundle draws.
"""

import argparse
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from models.bundle import CALIBRATION_ROLE, COMMON_SPACE_METHODS, MEASURED_ANEW, Bundle, Manifest, chain_of, read_bundle
from models.calibration import COMPARISON_PATTERN, Calibration, ChainCalibration, comparison_of
from models.confidence import ConfidenceModel
from models.feature_set import FeatureSet
from models.operating_point import STATED_RATES, people_needed
from models.space import Space
from training.commands.terminal import calibration_table, out, tell_lonely
from training.data.feature_set_files import load_feature_set
from training.data.modalities import join_by_subject
from training.data.pairs import Pairs
from training.data.scores import read_scores
from training.errors import JoinError, TrainingError
from training.evaluation.calibration import (
    FEWEST_GENUINE,
    calibrate,
    calibrate_across,
    calibrate_native,
    calibrate_scores,
    fewer_of,
)
from training.evaluation.common_space import CROSS, calibrate_projection, measured_anew_against
from training.evaluation.cross_modal import score_samples
from training.evaluation.references import FEWEST_PEOPLE
from training.export.bundles import check_bundle_path, write_recalibrated_bundle
from training.export.loaded import LoadedAcross, LoadedChain, LoadedTranslator, check_chain, parts_of
from training.recipes.confidence import measured_anew
from training.recipes.modalities import ROUNDS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--bundle", required=True, type=Path, help="the translator, sampler or encoder")
    parser.add_argument("--source", type=Path, metavar="SET", help="features of its source space")
    parser.add_argument("--target", type=Path, metavar="SET", help="features of its target space")
    parser.add_argument(
        "--other", type=Path, metavar="BUNDLE", help="for a common space: the projection of --target's features into it"
    )
    parser.add_argument(
        "--after",
        type=Path,
        nargs="+",
        default=[],
        metavar="BUNDLE",
        help="translators that features come through before this one, first to last; what routes of several state",
    )
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
    if options.scores:
        measure = _of_scores
    elif options.after:
        measure = _of_chain
    elif bundle.manifest.modality:
        measure = _of_modality
    else:
        measure = _of_pairs if options.source else _of_encoder
    found = measure(options, bundle)
    measured, confidence, digests = found.calibration, found.confidence, found.digests
    if not measured.points:
        needed = people_needed(max(STATED_RATES))
        raise TrainingError(
            f"{found.num_people} people are too few to state any threshold: {max(STATED_RATES):g} takes {needed}, "
            f"{FEWEST_GENUINE} of them with {'a picture of either modality' if bundle.manifest.modality else 'two pictures'}"
        )
    calibration = _with(bundle, found)
    manifest = write_recalibrated_bundle(
        options.out, options.bundle, bundle, calibration=calibration, confidence=confidence, data_digests=digests
    )
    out().print(calibration_table(f"{manifest.name}: from {found.num_people:,} people", measured))
    if found.after:
        out().print(f"of the route through {' and '.join(path.name for path in options.after)}; all else is as it was")
    for words, names in (
        ("as they were", () if found.after else calibration.points.keys() - measured.points.keys()),
        ("gone, as they count pictures and not people", _stated(bundle.calibration) - _stated(calibration)),
    ):
        if names:
            out().print(f"{words}: {', '.join(sorted(names))}", soft_wrap=True)
    if bundle.confidence is not None and confidence is not None and not found.after:
        is_of_another = found.other is not None and found.other.name != _told_of(bundle)
        _print_confidence(bundle.confidence, confidence, told_of=_told_of(bundle) if is_of_another else "")
    out().print(f"{options.out}: digest {manifest.digest[:16]}", soft_wrap=True)


def _stated(calibration: Calibration) -> set[str]:
    with_others = (f"with the space {key}" for key in calibration.against)
    return {*calibration.points, *with_others}


def _print_confidence(old: ConfidenceModel, new: ConfidenceModel, *, told_of: str) -> None:
    too_few = f"as it was: that takes {FEWEST_PEOPLE} people of whom it has seen nothing, in photos, as feature sets"
    words = too_few if new.source is old.source else "measured anew too"
    out().print(f"what features of its spaces look like: {words}")
    as_it_was = f"as it was{f', of comparisons with {told_of}' if told_of else ''}"
    words = as_it_was if new.plain is old.plain else "measured anew too"
    out().print(f"what confidence in translations says: {words}")
    if old.with_norm is not None and new.with_norm is None:
        out().print(
            "confidence by norms: left out, as too few of these features come with norms of the scale that it knows"
        )


def _check(options: argparse.Namespace, bundle: Bundle) -> None:
    """Refuse what does not belong together."""
    manifest = bundle.manifest
    is_translator = manifest.kind in ("translator", "sampler")
    is_other = str(options.comparison or "").partition("/")[0] != "native-target"
    if options.comparison and not is_translator and is_other:
        raise TrainingError(
            "--comparison: an encoder has native-target alone, with /sketch or another modality behind it"
        )
    if not is_translator and manifest.kind != "encoder":
        wanted = "translators, samplers and encoders have scores"
        raise TrainingError(f"bundle {manifest.name}: is of kind {manifest.kind}; {wanted}")
    if options.after or options.other:
        _check_of_photos(manifest)
    if manifest.modality and options.comparison not in (None, comparison_of("translated", manifest.modality)):
        own = comparison_of("translated", manifest.modality)
        raise TrainingError(f"bundle {manifest.name}: --comparison: there is {own} alone")
    is_projection = manifest.method in COMMON_SPACE_METHODS
    if is_projection and not is_other:
        raise TrainingError("--comparison: native-target of a common space is with the other encoder's own bundle")
    needs_other = is_projection and str(options.comparison or CROSS).partition("/")[0] == CROSS
    if needs_other != bool(options.other):
        wanted = "is compared with another encoder's features in a common space: give that one's projection as --other"
        raise TrainingError(f"bundle {manifest.name}: {wanted if needs_other else 'has no use for --other here'}")
    kind = str(options.comparison or CROSS).partition("/")[0]
    if options.after and (not is_translator or is_projection or kind.startswith("native")):
        raise TrainingError(f"bundle {manifest.name}: --after is for translators at the end of a route of several")
    if options.after and bundle.calibration.points and bundle.calibration.counted != "people":
        raise TrainingError(
            f"bundle {manifest.name}: its thresholds count pictures, not people; calibrate it without --after first"
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


@dataclass(frozen=True, slots=True)
class _Measured:
    calibration: Calibration
    num_people: int
    digests: dict[str, str]
    confidence: ConfidenceModel | None = None
    """By what these people's features look like."""
    other: Space | None = None
    """From which the other projection leads into the common space."""
    after: str = ""
    """`chain_of` the translators before this one."""


def _of_scores(options: argparse.Namespace, bundle: Bundle) -> _Measured:
    scores = read_scores(options.scores)
    measured = calibrate_scores(scores.a, scores.b, scores.score_N, options.comparison)
    other = LoadedTranslator(bundle, "cpu").beside(options.other, "cpu").source if options.other else None
    before = _before(options)
    check_chain([*before, bundle])
    after = chain_of(one.manifest for one in before)
    digests = {f"{CALIBRATION_ROLE} scores of {options.comparison}{_beside(other, after)}": scores.digest}
    return _Measured(measured, len({*scores.a, *scores.b}), digests, bundle.confidence, other, after)


def _before(options: argparse.Namespace) -> list[Bundle]:
    """The translators of --after. Raises `TrainingError` for one of a modality."""
    bundles = [read_bundle(path) for path in options.after]
    for bundle in bundles:
        _check_of_photos(bundle.manifest)
    return bundles


def _check_of_photos(manifest: Manifest) -> None:
    if manifest.modality:
        raise TrainingError(f"bundle {manifest.name}: is of {manifest.modality} pictures alone, and part of no route")


def _digests(pairs: Pairs, other: Space | None = None, after: str = "") -> dict[str, str]:
    beside = _beside(other, after)
    return {
        f"{CALIBRATION_ROLE} source{beside}": pairs.source.digest,
        f"{CALIBRATION_ROLE} target{beside}": pairs.target.digest,
    }


def _beside(other: Space | None, after: str) -> str:
    """What else was there when something was measured, in the names of data digests."""
    return f" with {other.name}" if other else f" after {after}" if after else ""


def _of_encoder(options: argparse.Namespace, bundle: Bundle) -> _Measured:
    target = load_feature_set(options.target).originals()
    _check_known(target, options.target)
    if target.space.fingerprint != bundle.manifest.target.fingerprint:
        raise JoinError(f"{options.target}: is not of the encoder's space {bundle.manifest.target.name!r}")
    counted = target.take(_counted(options, bundle, target))
    return _Measured(calibrate_native(counted), _num(counted), {CALIBRATION_ROLE: target.digest})


def _of_chain(options: argparse.Namespace, bundle: Bundle) -> _Measured:
    """Of people whom none of the translators was trained on. Confidence is told of each translator by itself."""
    before = _before(options)
    chain = LoadedChain([*before, bundle], options.device)
    pairs = chain.pairs(options.source, options.target)
    _check_known(pairs.source, options.source)
    _check_known(pairs.target, options.target)
    is_counted = np.logical_and.reduce([_counted(options, one, pairs.source) for one in (*before, bundle)])
    if not is_counted.any():
        raise TrainingError(
            "none of these people is kept apart by the splits of all translators; use --subjects all on new ones"
        )
    pairs = pairs.take(is_counted)
    found = calibrate(pairs, chain(pairs.source.feature))
    own = {name: points for name, points in found.points.items() if not name.startswith("native")}
    measured = replace(found, points=own, scales={name: found.scales[name] for name in own})
    after = chain_of(one.manifest for one in before)
    digests = _digests(pairs, after=after)
    return _Measured(measured, _num(pairs.source), digests, bundle.confidence, after=after)


def _of_pairs(options: argparse.Namespace, bundle: Bundle) -> _Measured:
    translator = LoadedTranslator(bundle, options.device)
    other = translator.beside(options.other, options.device) if options.other else None
    pairs = translator.pairs(options.source, options.target, other)
    _check_known(pairs.source, options.source)
    _check_known(pairs.target, options.target)
    pairs = pairs.take(_counted(options, bundle, pairs.source))
    digests = _digests(pairs, other.source if other else None)
    if other:
        pairs = other.with_targets(pairs, what=str(options.target))
    translated = translator(pairs.source.feature)
    measured = calibrate_projection(pairs, translated) if other else calibrate(pairs, translated)
    # Confidence was learned from the validation people too.
    is_unseen = np.ones(len(pairs), dtype=bool)
    if options.subjects != "all":
        is_unseen = parts_of(bundle, pairs.source) == "test"
    confidence = bundle.confidence
    if confidence and is_unseen.any():
        confidence = measured_anew(
            confidence,
            pairs.take(is_unseen),
            translated[is_unseen],
            measured,
            is_told_of_these=not other or _told_of(bundle) == other.source.name,
        )
        if bundle.confidence and confidence.source is not bundle.confidence.source:
            digests[MEASURED_ANEW] = pairs.source.digest
    return _Measured(measured, _num(pairs.source), digests, confidence, other.source if other else None)


def _of_modality(options: argparse.Namespace, bundle: Bundle) -> _Measured:
    """Weak pictures against photos of the people who are on them, over as many rounds of noise as are measured in `fit`."""
    across = LoadedAcross(bundle, options.device)
    sets = [load_feature_set(path) for path in (options.source, options.target)]
    for path, feature_set in zip((options.source, options.target), sets, strict=True):
        _check_known(feature_set, path)
    if sets[0].modality is None:
        wanted = f"which of its pictures are of the modality {across.modality!r}"
        raise JoinError(f"{options.source}: does not say {wanted}; extract them with a labels.csv that does")
    found = join_by_subject(sets[0], sets[1], across.modality)
    tell_lonely(found.num_lonely)
    for path, side, space in (
        (options.source, found.weak, across.source),
        (options.target, found.strong, across.target),
    ):
        if side.space.fingerprint != space.fingerprint:
            raise JoinError(f"{path}: is not of the space {space.name!r} ({space.fingerprint}), as the bundle's")
    weak = found.weak.originals()
    probes = weak.take(_counted(options, bundle, weak))
    photos = found.strong.originals()
    photos = photos.take(np.isin(photos.subject, np.unique(probes.subject)))
    num_people = _num(probes)
    probes, photos = fewer_of(probes, photos)
    seeds = range(ROUNDS if across.is_sampler else 1)
    scores = [score_samples(across(probes.feature, seed), photos.feature, across.sigma) for seed in seeds]
    measured = calibrate_across(scores, probes, photos, across.modality)
    digests = {f"{CALIBRATION_ROLE} source": found.weak.digest, f"{CALIBRATION_ROLE} target": found.strong.digest}
    return _Measured(measured, num_people, digests, bundle.confidence)


def _told_of(bundle: Bundle) -> str:
    """The space in comparisons with which confidence in a projection is told."""
    return str(bundle.manifest.metrics.get("hardest", ""))


def _num_others(bundle: Bundle) -> int:
    """How many other encoders' features are projected into a common space."""
    spaces = bundle.manifest.provenance.hyperparameters.get("spaces")
    return len(spaces) - 1 if isinstance(spaces, list) else 0


def _check_known(feature_set: FeatureSet, path: Path) -> None:
    if not feature_set.has_subjects:
        raise TrainingError(f"{path}: does not say who is on its pictures, and thresholds need that")


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


def _with(bundle: Bundle, found: _Measured) -> Calibration:
    """The old calibration with some comparisons measured anew; nothing of one that counted in another way."""
    old, measured = bundle.calibration, found.calibration
    if found.after:
        known = old.after.get(found.after, ChainCalibration({}, {}))
        chain = ChainCalibration(known.points | measured.points, known.scales | measured.scales)
        return replace(old, after=old.after | {found.after: chain}, counted=measured.counted)
    if found.other:
        return measured_anew_against(old, found.other.fingerprint, measured, _num_others(bundle))
    if old.counted != measured.counted:
        return measured
    return replace(old, points=old.points | measured.points, scales=old.scales | measured.scales)
