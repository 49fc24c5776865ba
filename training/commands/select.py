"""Take some rows of a feature set: a part of a bundle's split, gallery or probe pictures, some subjects, one modality.

With --role gallery the first picture of each subject is taken, with --role probes all the others.
"""

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.bundle import read_bundle
from models.feature_set import FeatureSet
from training.commands.arguments import positive
from training.commands.terminal import out
from training.data.feature_set_files import check_feature_set_path, load_feature_set, save_feature_set
from training.errors import TrainingError
from training.evaluation.cross_space import gallery_and_probes
from training.export.loaded import parts_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--in", dest="source", required=True, type=Path, metavar="SET")
    parser.add_argument("--out", required=True, type=Path, metavar="SET")
    parser.add_argument("--bundle", type=Path, help="the bundle whose split counts")
    parser.add_argument("--part", choices=("train", "validation", "test"), help="of --bundle's split (default: test)")
    parser.add_argument("--num-subjects", type=positive, help="at most so many, those with the most pictures first")
    parser.add_argument("--modality", help="only pictures of this modality")
    parser.add_argument("--role", choices=("gallery", "probes"))


def run(options: argparse.Namespace) -> None:
    """Select and write."""
    check_feature_set_path(options.out, read_from=options.source)
    if options.part and not options.bundle:
        raise TrainingError("--part is a part of a bundle's split: give --bundle too")
    chosen = load_feature_set(options.source).originals()
    if (options.num_subjects or options.role) and not chosen.has_subjects:
        raise TrainingError(f"{options.source}: does not say who is on its pictures; --num-subjects and --role need it")
    if options.modality is not None:
        chosen = _rows(chosen, _is_of(chosen, options.modality))
    if options.bundle:
        chosen = _rows(chosen, parts_of(read_bundle(options.bundle), chosen) == (options.part or "test"))
    if options.num_subjects is not None:
        chosen = _rows(chosen, np.isin(chosen.subject, _fullest_subjects(chosen, options.num_subjects)))
    if options.role:
        gallery, probes = gallery_and_probes(chosen.subject)
        rows = np.zeros(len(chosen), dtype=bool)
        rows[gallery if options.role == "gallery" else probes] = True
        chosen = _rows(chosen, rows)
    save_feature_set(chosen, options.out)
    subjects = len(set(chosen.subject.tolist())) if chosen.has_subjects else "unknown"
    out().print(f"{options.out}: {len(chosen)} features of {subjects} subjects", soft_wrap=True)


def _fullest_subjects(feature_set: FeatureSet, most: int) -> list[str]:
    subjects, counts = np.unique(feature_set.subject, return_counts=True)
    order = np.lexsort((subjects, -counts))
    return [str(subject) for subject in subjects[order[:most]]]


def _is_of(feature_set: FeatureSet, modality: str) -> npt.NDArray[np.bool_]:
    known = set() if feature_set.modality is None else set(feature_set.modality.tolist())
    if feature_set.modality is None or modality not in known:
        raise TrainingError(
            f"no picture is of the modality {modality!r}; there are: {', '.join(sorted(known)) or 'none'}"
        )
    return np.asarray(feature_set.modality == modality)


def _rows(feature_set: FeatureSet, rows: np.ndarray) -> FeatureSet:
    if not rows.any():
        raise TrainingError("nothing is left of the feature set after this selection")
    return feature_set.take(rows)
