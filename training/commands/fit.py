"""Fit a translator from one space to another, or an encoder, and write it as a bundle.

A translator: the two feature sets are joined by `image`; no labels are needed. Subjects, where known, are split into training,
validation (hyperparameters, choice of method, operating points) and test (the figures reported). `auto` fits
procrustes, ridge, low-rank and residual-mlp and keeps, of those that identify validation subjects equally well within one
standard error, the one with the highest mean cosine.

R3AN, its parts and what is built on it (--method r3an, r3an-student, arch1 to arch7, fc) are trained for minutes
to hours. All but arch3 and fc learn from pictures: --images are the ones that the features were made from. Interrupted,
the same command goes on after the last epoch. A student learns from an R3AN that is trained before, or is given as
--teacher.

Across modalities (--method wsgan, its parts wsgan-c and wsgan-ac, contrastive-head, shrunken-ridge): --source holds
pictures of a weak modality such as sketches, --target photos of the same people, in whatever picture; they are joined by
subject. With --images and --encoder, WSGAN trains the encoder of the weak pictures too, and writes it as BUNDLE-encoder;
with --shared-encoder it is of photos as well, and galleries are enrolled with it. Its published baselines (--method
fine-tuning, fixed-fine-tuning, joint-training, dann-u, dann-s, sdt, jan-s) train one encoder for both.

One network for three tasks (--method dynamic-mtl, its rivals static-mtl, naive-dynamic-mtl, uncertainty-mtl, gradnorm-mtl,
and one task alone, single-verification): the encoder of both modalities, and two classifiers, of who of the training people is
on a weak picture and on a photo. Takes --images and --encoder as those above.

Classes and attributes (--method coupled, its parts distribution-matching and soft-co-annotation, its rivals uncoupled,
student-teacher, mgda-ub, and one task alone, single-class, single-attributes): one network tells both of a picture, learned
from pictures of which one or the other is known, and a service can search among those who have an attribute.

A common space (--method cca, two-sided): every set gets a projection, a bundle each, and is compared there.

An encoder (--method encoder): trained with ArcFace on the labelled pictures of --images, a folder, zip or CSV. Subjects
are split in the same way. Interrupted, the same command goes on after the last finished epoch.
"""

import argparse
import json
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from pydantic import JsonValue
from rich.console import Console

from models.bundle import COMMON_SPACE_METHODS, Manifest, read_bundle
from models.calibration import Calibration
from models.confidence import ConfidenceModel
from models.split import SplitRule
from training.commands import fit_across, fit_adapted, fit_attributes, fit_common, fit_encoder, fit_r3an, fit_tasks
from training.commands.arguments import add_registry_argument, add_split_arguments, check_shares, share
from training.commands.report import draw_report
from training.commands.terminal import NO_CONFIDENCE, evaluation_table, out, thresholds_line
from training.data.feature_set_files import load_feature_set
from training.data.pairs import Pairs, join_by_image
from training.data.partial import sole_partial
from training.errors import TrainingError
from training.evaluation.calibration import HeldOut, calibrate
from training.export.bundles import all_or_none, check_bundle_path, write_translator_bundle
from training.recipes import adapted, attributes, modalities, tasks
from training.recipes.confidence import fit_confidence
from training.recipes.cross_fitting import NUM_FOLDS, cross_fitted
from training.recipes.r3an import LEFT
from training.recipes.tasks import HELD
from training.recipes.translators import AUTO, METHODS, STUDENT, FittedMethod, SplitPairs, fit_methods
from training.recipes.wsgan import VARIANTS

ENCODER = "encoder"
_ACROSS = (*modalities.METHODS, *adapted.OF_ONE_ENCODER, *tasks.OF_AN_ENCODER)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--source", type=Path, metavar="SET", help="features to translate from")
    parser.add_argument("--target", type=Path, metavar="SET", help="features to translate to")
    parser.add_argument(
        "--also", type=Path, nargs="+", metavar="SET", default=[], help="further sets, for a common space"
    )
    parser.add_argument(
        "--method",
        choices=(*METHODS, *_ACROSS, *attributes.METHODS, *COMMON_SPACE_METHODS, AUTO, ENCODER),
        default=AUTO,
        help="default: %(default)s",
    )
    parser.add_argument(
        "--out", required=True, type=Path, metavar="BUNDLE", help="new folder; its name is the bundle's"
    )
    add_split_arguments(parser)
    parser.add_argument(
        "--calibration-folds",
        type=int,
        default=NUM_FOLDS,
        metavar="N",
        help="measure thresholds on training people too, by N translators that have not seen a share of them; 0 for "
        "validation people alone (default: %(default)s)",
    )
    parser.add_argument(
        "--confidence",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="learn how far translations can be trusted, and what features of the spaces look like (default: yes)",
    )
    parser.add_argument(
        "--report",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="put a report into the bundle, a page of HTML (default: yes)",
    )
    parser.add_argument("--half-weights", action="store_true", help="store weights as float16: half the size")
    parser.add_argument(
        "--teacher", type=Path, metavar="BUNDLE", help="for --method r3an-student: an R3AN that is trained already"
    )
    parser.add_argument(
        "--with-reconstruction",
        action="store_true",
        help="write R3AN's generator too, as BUNDLE-reconstruction: it paints the faces that features are of",
    )
    parser.add_argument("--licence", default="unknown", help="of the bundle; mind the encoders' own")
    fit_encoder.add_arguments(parser)
    _add_arguments_across(parser)
    fit_attributes.add_arguments(parser)


def _add_arguments_across(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("across modalities", "WSGAN heeds --images, --recipe, --epochs, --batch too")
    group.add_argument(
        "--encoder",
        metavar="ENCODER",
        help="of the weak pictures, or of those whose attributes are learned, to be trained; as `extract` takes it",
    )
    group.add_argument(
        "--shared-encoder",
        action="store_true",
        help="of photos too: galleries are enrolled with it anew, and more is found; --recipe paper does so",
    )
    group.add_argument(
        "--held",
        type=share,
        metavar="SHARE",
        help=f"of the pictures of people that three tasks learn, kept apart to tell how well they are known (default: {HELD})",
    )
    add_registry_argument(group)


def run(options: argparse.Namespace) -> None:
    """Fit, compare, choose, calibrate, write."""
    if options.method not in COMMON_SPACE_METHODS:
        check_bundle_path(options.out)
    check_shares(options)
    if options.teacher and options.method != STUDENT:
        raise TrainingError(f"--teacher is for --method {STUDENT}")
    if options.with_reconstruction and not _is_trained(options.method):
        raise TrainingError("--with-reconstruction is for r3an and the parts of it that paint")
    if options.method == ENCODER:
        _check_of_weak(options)
        fit_encoder.run(options)
    elif options.method in attributes.METHODS:
        _check_heeded(options)
        fit_attributes.run(options)
    elif options.method in _ACROSS:
        _check_heeded(options)
        of_method = {**dict.fromkeys(modalities.METHODS, fit_across), **dict.fromkeys(tasks.METHODS, fit_tasks)}
        of_method.get(options.method, fit_adapted).run(options)
    elif options.method in COMMON_SPACE_METHODS:
        _fit_common_space(options)
    else:
        _fit_translator(options)


def _fit_common_space(options: argparse.Namespace) -> None:
    if options.source is None or options.target is None:
        raise TrainingError("a common space is fitted on --source and --target, and as many --also as there are")
    _check_heeded(options)
    fit_common.run(options, [options.source, options.target, *options.also])


def _fit_translator(options: argparse.Namespace) -> None:
    if options.source is None or options.target is None:
        raise TrainingError("a translator is fitted on --source and --target; --images alone is for --method encoder")
    _check_heeded(options)
    pairs = join_by_image(load_feature_set(options.source), load_feature_set(options.target))
    by = "subject" if pairs.source.has_subjects else "image"
    parts = SplitPairs.of(pairs, SplitRule(by, options.seed, options.validation, options.test))  # type: ignore[arg-type]
    console = out()
    with ExitStack() as held:
        if _is_trained(options.method):
            partial = held.enter_context(sole_partial(options.out, LEFT))
            results = fit_r3an.run(options, parts, partial)
        else:
            with console.status("") as status:
                results = fit_methods(
                    parts,
                    options.method,
                    options.seed,
                    half_weights=options.half_weights,
                    on_method=lambda name: status.update(f"fitting {name}"),
                )
        best = results[0]
        crossed = _cross_fitted(options, parts, best.method, console)
        with all_or_none() as written:
            unseen = HeldOut(parts.validation, best.translate(parts.validation.source.feature))
            calibration = calibrate(unseen.pairs, unseen.translated_NT, crossed)
            confidence = (
                fit_confidence(parts, [unseen, *crossed], calibration, options.seed) if options.confidence else None
            )
            manifest = _write(options, pairs, parts, results, calibration=calibration, confidence=confidence)
            written.append(options.out)
            generator = fit_r3an.write_generator(options.out, manifest, best)
    shown = [(result.method, result.test or result.validation) for result in results]
    part = "test" if best.test is not None else "validation"
    console.print(evaluation_table(f"{pairs.source.space.name} to {pairs.target.space.name}: {part} {by}s", shown))
    chosen = f"{best.method} {json.dumps(best.fitted.hyperparameters)}"
    console.print(
        f"{options.out}: {chosen}, fitted on {len(parts.train)} pairs, digest {manifest.digest[:16]}", soft_wrap=True
    )
    if parts.validation.source.has_subjects:
        people = [len(np.unique(one.source.subject)) for one in (parts.validation, *(held.pairs for held in crossed))]
        console.print(thresholds_line(calibration.points.get("translated", ()), people), soft_wrap=True)
    if options.confidence and confidence is None:
        console.print(NO_CONFIDENCE, soft_wrap=True)
    if generator:
        console.print(f"{generator}: paints the faces that features are of; keep it from whoever must not see them")


def _cross_fitted(options: argparse.Namespace, parts: SplitPairs, method: str, console: Console) -> list[HeldOut]:
    """The training people, each translated by a translator that has not seen them."""
    with console.status("") as status:
        return cross_fitted(
            parts,
            method,
            options.seed,
            options.calibration_folds,
            on_fold=lambda fold: status.update(f"calibrating on training people, fold {fold + 1}"),
        )


def _teacher_digest(options: argparse.Namespace) -> dict[str, str]:
    return {"teacher": read_bundle(options.teacher).manifest.digest} if options.teacher else {}


def _is_trained(method: str) -> bool:
    """Whether it is trained as R3AN, with a recipe and progress."""
    return method in METHODS and METHODS[method].paths is not None


def _check_heeded(options: argparse.Namespace) -> None:
    """Refuse options that the method would not heed."""
    if options.also and options.method not in COMMON_SPACE_METHODS:
        methods = " or ".join(COMMON_SPACE_METHODS)
        raise TrainingError(f"--also is for --method {methods}: a translator has one source and one target")
    _check_of_weak(options)
    is_trained = _is_trained(options.method)
    is_across, is_of_labels = options.method in _ACROSS, options.method in attributes.METHODS
    if is_across or is_of_labels:
        _check_of_translators(options)
    for name in fit_encoder.given(options):
        of_r3an = name in fit_r3an.HEEDED
        heeded = fit_across.HEEDED if is_across else fit_attributes.HEEDED if is_of_labels else ()
        if not (is_trained and of_r3an) and name not in heeded:
            methods = "encoder or r3an" if of_r3an else "encoder"
            raise TrainingError(f"{name} is for --method {methods} and has no effect on --method {options.method}")


def _check_of_translators(options: argparse.Namespace) -> None:
    """Refuse what is of translators between two encoders alone."""
    without = {
        "--half-weights": options.half_weights,
        "--calibration-folds": options.calibration_folds != NUM_FOLDS,
        "--no-confidence": not options.confidence,
    }
    for name, is_given in without.items():
        if is_given:
            raise TrainingError(f"{name} has no effect on --method {options.method}")


def _check_of_weak(options: argparse.Namespace) -> None:
    """Refuse what is of weak pictures, or of three tasks, where there are none."""
    is_of_labels = options.method in attributes.METHODS
    if options.encoder is not None and options.method not in _ACROSS and not is_of_labels:
        raise TrainingError(f"--encoder is for weak pictures, and has no effect on --method {options.method}")
    for name in ("attributes", "classes", "relatedness", "match", "label_target"):
        if getattr(options, name) is not None and not is_of_labels:
            flag = name.replace("_", "-")
            raise TrainingError(
                f"--{flag} is for {', '.join(attributes.METHODS)}, and has no effect on --method {options.method}"
            )
    if options.shared_encoder and (options.method not in VARIANTS or options.encoder is None):
        raise TrainingError(f"--shared-encoder is for an --encoder that {', '.join(VARIANTS)} train")
    if options.held is not None and options.method not in tasks.METHODS:
        raise TrainingError(f"--held is for three tasks, and has no effect on --method {options.method}")


def _write(
    options: argparse.Namespace,
    pairs: Pairs,
    parts: SplitPairs,
    results: list[FittedMethod],
    *,
    calibration: Calibration,
    confidence: ConfidenceModel | None,
) -> Manifest:
    best = results[0]

    def page(manifest: Manifest) -> bytes:
        measured_on = f"{'test' if parts.test else 'validation'} {parts.rule.by}s of its split"
        return draw_report(
            manifest,
            parts.test or parts.validation,
            best.translate,
            calibration=calibration,
            # It was learned from validation people.
            confidence=confidence if parts.test else None,
            measured_on=measured_on,
        )

    metrics: dict[str, JsonValue] = {
        "parity": best.parity,
        "num_training_pairs": len(parts.train),
        "validation": best.validation.to_json(),
        "test": best.test.to_json() if best.test else None,
        "compared": {
            result.method: {
                "hyperparameters": result.fitted.hyperparameters,
                "validation": result.validation.to_json(),
                "test": result.test.to_json() if result.test else None,
            }
            for result in results
        },
    }
    return write_translator_bundle(
        options.out,
        source=pairs.source.space,
        target=pairs.target.space,
        data_digests={"source": pairs.source.digest, "target": pairs.target.digest} | _teacher_digest(options),
        method=best.method,
        graph=best.graph,
        calibration=calibration,
        licence=options.licence,
        seed=options.seed,
        split=parts.rule,
        hyperparameters=best.fitted.hyperparameters,
        metrics=metrics,
        test=best.test,
        confidence=confidence,
        report=page if options.report else None,
    )
