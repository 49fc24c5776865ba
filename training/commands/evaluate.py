"""Measure a translator bundle on two feature sets of the same pictures.

By default only on subjects that the bundle's own split kept apart; `--subjects all` measures on everybody, which is
honest only for feature sets of people the translator was not fitted on. A bundle fitted without subjects was split by
picture: on sets that name subjects, only those count all of whose pictures it kept apart.

With --source and --roles alone, measure one encoder as it is: who of the list's probes is found in its gallery.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from models.bundle import read_bundle
from training.commands.arguments import natural
from training.commands.evaluate_roles import roles_across, roles_within
from training.commands.terminal import OfPairs, OfRoles, details_table, evaluation_table, out, pairs_table, roles_tables
from training.data.feature_set_files import load_feature_set
from training.data.pairs import Pairs
from training.data.partial import check_writable
from training.data.protocols import find_rows, read_pairs
from training.errors import TrainingError
from training.evaluation.cross_space import comparisons, evaluate_translation, in_common_space
from training.evaluation.details import detailed, details_in_common_space
from training.evaluation.protocols import pair_figures
from training.export.loaded import LoadedTranslator, held_out


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--bundle", type=Path, help="the translator")
    parser.add_argument("--source", required=True, type=Path, metavar="SET", help="features of its source space")
    parser.add_argument("--target", type=Path, metavar="SET", help="features of its target space")
    parser.add_argument(
        "--other", type=Path, metavar="BUNDLE", help="for a common space: the projection of --target's features into it"
    )
    parser.add_argument(
        "--pairs",
        type=Path,
        metavar="FILE",
        help="compare these too: LFW's pairs.txt, or a .csv with a, b, same, fold",
    )
    parser.add_argument(
        "--roles",
        metavar="FILE",
        help="identify these too: a .csv with image, role (gallery or probe), fold; or all pictures of two modalities, as "
        "caricature-to-photo",
    )
    parser.add_argument(
        "--fold", type=natural, metavar="N", help="of --pairs and --roles these alone, as the list counts them"
    )
    parser.add_argument(
        "--fusion",
        choices=("max", "mean"),
        default="max",
        help="of several templates of a subject, with --roles (default: %(default)s)",
    )
    parser.add_argument("--subjects", choices=("held-out", "all"), help="default: held-out")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: %(default)s")


def run(options: argparse.Namespace) -> None:
    """Measure and print."""
    if options.json and (options.json.is_dir() or not options.json.parent.is_dir()):
        raise TrainingError(f"{options.json}: is a folder itself, or its folder does not exist")
    if options.json:
        check_writable(options.json)
    if options.fold is not None and not (options.pairs or options.roles):
        raise TrainingError("--fold is one of a list: give --pairs or --roles")
    if options.bundle is None:
        _measure_native(options)
    elif options.target is None:
        raise TrainingError("--bundle translates from --source to --target: give features of both")
    else:
        _measure_translated(options)


def _measure_native(options: argparse.Namespace) -> None:
    """Roles in the space of one encoder. Raises `TrainingError` for options that only a bundle has a use for."""
    for name in ("target", "other", "pairs", "subjects"):
        if getattr(options, name) is not None:
            raise TrainingError(f"--{name} is for a translator: give --bundle too")
    if options.roles is None:
        raise TrainingError("give a translator as --bundle, or --roles to measure one encoder as it is")
    feature_set = load_feature_set(options.source).originals()
    found = roles_within(options.roles, feature_set, options.fusion, options.fold)
    console = out()
    for table in roles_tables(found):
        console.print(table)
    if options.json:
        _write_json(options.json, {"space": feature_set.space.name, "roles": asdict(found)})


def _measure_translated(options: argparse.Namespace) -> None:
    """A translator on both its spaces."""
    options.subjects = options.subjects or "held-out"
    bundle = read_bundle(options.bundle)
    translator = LoadedTranslator(bundle, options.device)
    other = translator.beside(options.other, options.device) if options.other else None
    pairs = translator.pairs(options.source, options.target, other)
    if other:
        pairs = other.with_targets(pairs, what=str(options.target))
    chosen = pairs if options.subjects == "all" else held_out(bundle, pairs)
    lists = _of_lists(options, chosen, translator)
    evaluation = evaluate_translation(chosen, translator)
    if options.other:
        evaluation = in_common_space(evaluation)
    what = f"{len(chosen)} of {len(pairs)} pictures ({_kept_apart(options.subjects, pairs)})"
    console = out()
    console.print(evaluation_table(f"{bundle.manifest.name}: {what}", [(bundle.manifest.method, evaluation)]))
    details = detailed(chosen, translator)
    if options.other:
        details = details_in_common_space(details)
    if details:
        console.print(details_table(details))
    for found in lists.values():
        for table in [pairs_table(found)] if isinstance(found, OfPairs) else roles_tables(found):
            console.print(table)
    if options.json:
        document = {
            "bundle": bundle.manifest.name,
            "digest": bundle.manifest.digest,
            "subjects": options.subjects,
            "evaluation": evaluation.to_json(),
            "details": {name: found.to_json() for name, found in details.items()},
        }
        document |= {name: asdict(found) for name, found in lists.items()}
        _write_json(options.json, document)


def _of_lists(options: argparse.Namespace, chosen: Pairs, translator: LoadedTranslator) -> dict[str, OfPairs | OfRoles]:
    """What came of the lists that were given, by the name of the option."""
    found: dict[str, OfPairs | OfRoles] = {}
    if options.pairs:
        found["pairs"] = _of_pairs(options, chosen, translator, is_projected=bool(options.other))
    if options.roles:
        translated = translator(chosen.source.feature)
        sides = comparisons(chosen, translated, is_projected=bool(options.other))
        found["roles"] = roles_across(options.roles, chosen, sides, options.fusion, options.fold)
    return found


def _of_pairs(
    options: argparse.Namespace, chosen: Pairs, translator: LoadedTranslator, *, is_projected: bool
) -> OfPairs:
    """The pairs of the list whose pictures are both measured. Raises `TrainingError` where there are none."""
    path: Path = options.pairs
    asked = read_pairs(path).of_fold(options.fold)
    image = chosen.source.image.tolist()
    row_a, row_b = find_rows(image, asked.a), find_rows(image, asked.b)
    is_there = (row_a >= 0) & (row_b >= 0)
    if not is_there.any():
        raise TrainingError(
            f"{path}: of none of its pairs are both pictures among those that are measured; see --subjects"
        )
    row_a, row_b = row_a[is_there], row_b[is_there]
    source, target = chosen.source.feature, chosen.target.feature
    translated = translator(source)
    sides = {
        "native source": (source, source),
        f"{'projected' if is_projected else 'native'} target": (target, target),
        "translated": (translated, target),
    }
    figures = {
        name: pair_figures(np.sum(a[row_a] * b[row_b], axis=1), asked.is_same_N[is_there], asked.fold_N[is_there])
        for name, (a, b) in sides.items()
    }
    return OfPairs(int(is_there.sum()), len(asked.a), figures)


def _write_json(path: Path, document: dict[str, Any]) -> None:
    try:
        path.write_text(json.dumps(document, indent=2) + "\n")
    except OSError as failure:
        raise TrainingError(f"{path}: cannot be written ({failure.strerror})") from None


def _kept_apart(subjects: str, pairs: Pairs) -> str:
    return subjects if subjects == "all" or pairs.source.has_subjects else "held-out pictures"
