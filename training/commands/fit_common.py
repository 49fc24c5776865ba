"""The part of `fit` that makes a common space: `--method cca` or `two-sided` writes a bundle for each encoder."""

import argparse
from pathlib import Path

from pydantic import JsonValue

from models.bundle import Manifest
from models.space import Space
from models.split import SplitRule
from training.commands.report import draw_report
from training.commands.terminal import NO_CONFIDENCE, evaluation_table, out, thresholds_line
from training.data.feature_set_files import load_feature_set
from training.errors import TrainingError
from training.export.bundles import all_or_none, check_bundle_path, write_translator_bundle
from training.recipes.common_space import CommonSpace, Projection, make_common_space


def run(options: argparse.Namespace, files: list[Path]) -> None:
    """Fit, measure, write `NAME-SPACE` for each space, NAME being the common space's."""
    feature_sets = [load_feature_set(path) for path in files]
    for feature_set in feature_sets:
        check_bundle_path(_place(options.out, feature_set.space))
        if feature_set.space.name == options.out.name:
            raise TrainingError(
                f"--out {options.out}: would name the common space {options.out.name!r} as an encoder's own"
            )
    by = "subject" if any(feature_set.has_subjects for feature_set in feature_sets) else "image"
    rule = SplitRule(by, options.seed, options.validation, options.test)  # type: ignore[arg-type]
    console = out()
    with console.status("") as status:
        common = make_common_space(
            feature_sets,
            rule,
            options.out.name,
            options.method,
            half_weights=options.half_weights,
            num_folds=options.calibration_folds,
            with_confidence=options.confidence,
            on_step=lambda what: status.update(f"fitting {what}"),
        )
    with all_or_none() as written:
        for projection in common.projections:
            _write(options, common, projection, rule)
            written.append(_place(options.out, projection.source.space))
    for projection in common.projections:
        name = projection.source.space.name
        part = "test" if projection.test else "validation"
        for other, evaluation in (projection.test or projection.validation).items():
            title = f"{name} and {other} in {common.space.name}: {part} {by}s, {name} as source"
            console.print(evaluation_table(title, [(options.method, evaluation)]))
    console.print(
        f"{', '.join(map(str, written))}: {common.space.dimension} numbers, fitted on {common.num_training_pictures} pictures, "
        f"space {common.space.name} ({common.space.fingerprint})",
        soft_wrap=True,
    )
    if by == "subject":
        for projection in common.projections:
            stated = projection.calibration.points.get("translated", ())
            name = projection.source.space.name
            console.print(f"{name} with the others: {thresholds_line(stated, common.num_people)}", soft_wrap=True)
    if options.confidence and any(projection.confidence is None for projection in common.projections):
        console.print(NO_CONFIDENCE, soft_wrap=True)


def _place(asked: Path, space: Space) -> Path:
    return asked.with_name(f"{asked.name}-{space.name}")


def _write(options: argparse.Namespace, common: CommonSpace, projection: Projection, rule: SplitRule) -> None:
    hardest = projection.hardest
    other = next(one.source.space for one in common.projections if one.source.space.name == hardest)

    def page(manifest: Manifest) -> bytes:
        return draw_report(
            manifest,
            projection.compared,
            projection.project,
            calibration=projection.calibration,
            # It was learned from validation people.
            confidence=projection.confidence if projection.test else None,
            measured_on=f"{'test' if projection.test else 'validation'} {rule.by}s of its split, beside {hardest}",
            other=other,
        )

    test = projection.test.get(hardest)
    metrics: dict[str, JsonValue] = {
        "parity": projection.parity,
        "num_training_pairs": common.num_training_pictures,
        "hardest": hardest,
        "validation": projection.validation[hardest].to_json(),
        "test": test.to_json() if test else None,
        "against": {
            part: {other: evaluation.to_json() for other, evaluation in evaluations.items()}
            for part, evaluations in (("validation", projection.validation), ("test", projection.test))
        },
    }
    write_translator_bundle(
        _place(options.out, projection.source.space),
        source=projection.source.space,
        target=common.space,
        data_digests={one.source.space.name: one.source.digest for one in common.projections},
        method=options.method,
        graph=projection.graph,
        calibration=projection.calibration,
        licence=options.licence,
        seed=options.seed,
        split=rule,
        hyperparameters=common.hyperparameters,
        metrics=metrics,
        test=test,
        confidence=projection.confidence,
        report=page if options.report else None,
    )
