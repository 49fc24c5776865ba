"""Sketches among photos: the simple methods, WSGAN and its parts on features as they are, and with the encoder of sketches."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean

import numpy as np

from benchmarks.document import table
from benchmarks.faces import Faces
from models.feature_set import FeatureSet
from models.split import SplitRule
from training.data.extraction import ExtractionSettings, discard_partial, extract_features
from training.data.modalities import ModalityParts, join_by_subject
from training.data.views import ViewSource
from training.evaluation.cross_modal import CrossModalFigures, figures_of, mean_figures, score_samples
from training.export.loaded import GraphSampler, GraphTranslator
from training.recipes.modal_pictures import ModalPictures
from training.recipes.modalities import NUM_SAMPLES, ROUNDS, TRANSLATORS, Extras, FittedAcross, Measured, fit_across
from training.recipes.wsgan import VARIANTS, small_end_to_end
from training.trainers.fitted import Workplace
from training.trainers.wsgan_recipe import WSGANRecipe

ENCODER = "mobilefacenet-128"
SPLITS = (0, 1, 2)
VALIDATION, TEST = 0.15, 0.2
DRAWN, OTHERS = "fs2k112", "cuhk112"
END_TO_END = "wsgan, with the encoder"
SHARED = f"{END_TO_END}, of photos too"
LEARNED = f"{SHARED}, learned from both sets"
_HEADER = ["rank-1", "rank-5", "rank-10", "TAR@1e-2", "TAR@1e-3"]
_FIELDS = ("rank1", "rank5", "rank10", "tar_far_1e2", "tar_far_1e3")


def measure(faces: Faces) -> str:
    """Three splits of FS2K on features, one with the encoder, and what each makes of CUHK, whose artist none of them saw; and
    what is made of half of CUHK by who learned from the other half as well.
    """
    both, others = (_features(faces, name) for name in (DRAWN, OTHERS))
    found = join_by_subject(both, both)
    parts = {seed: ModalityParts.of(found, SplitRule("subject", seed, VALIDATION, TEST)) for seed in SPLITS}
    fitted = {
        method: [fit_across(parts[seed], method, seed) for seed in SPLITS] for method in (*TRANSLATORS, *VARIANTS)
    }
    with tempfile.TemporaryDirectory() as folder:
        trained = {
            name: _trained(faces, parts[SPLITS[0]], Path(folder) / name, [DRAWN], shares_encoder=name == SHARED)
            for name in (END_TO_END, SHARED)
        }
        asked = {name: _asked_anew(one, faces, others, Path(folder) / name) for name, one in trained.items()}
        halves = [_half(faces, half, Path(folder) / str(half)) for half in range(2)]
    seeds = ", ".join(map(str, SPLITS))
    text = (
        f"`{DRAWN}.zip`, encoder {ENCODER}; people split by {100 - 100 * (VALIDATION + TEST):.0f} : {100 * VALIDATION:.0f} : "
        f"{100 * TEST:.0f}, everything chosen on validation people, test people's sketches among all "
        f"{len(parts[0].gallery)} photos; "
        f"{NUM_SAMPLES} samples of each, figures are means of {ROUNDS} rounds of noise."
    )
    return "\n\n".join(
        [
            text,
            f"Features as they are, mean over splits {seeds}:",
            table(["method", *_HEADER, "one sample: rank-5", "intra-sim"], _best_bold(_frozen_rows(fitted))),
            f"With the encoder of sketches trained too, split {SPLITS[0]} alone, beside the same split on features; photos as "
            "they are, or by that encoder too (`--shared-encoder`):",
            table(["method", *_HEADER, "one sample: rank-5", "intra-sim"], _best_bold(_trained_rows(fitted, trained))),
            f"The bundles of split {SPLITS[0]} asked about `{OTHERS}.zip`, 88 students drawn by another artist in another "
            "manner, of whom none was seen; and about either half of them what learned from both sets but for it, photos by its "
            "encoder too:",
            table(["method", *_HEADER], _best_bold([*_others_rows(fitted, others, asked), [LEARNED, *_cells(halves)]])),
        ]
    )


def _trained(
    faces: Faces, parts: ModalityParts, folder: Path, names: Sequence[str], *, shares_encoder: bool
) -> FittedAcross:
    """The sampler with its encoder, on pictures of these sets."""
    folder.mkdir(exist_ok=True)
    pictures = ModalPictures(ViewSource(faces.sets(*names)), faces.encoder(ENCODER), "sketches", folder)

    def recipe() -> WSGANRecipe:
        return replace(small_end_to_end(), shares_encoder=shares_encoder)

    return fit_across(parts, "wsgan", SPLITS[0], Extras(recipe, Workplace(), pictures))


def _half(faces: Faces, half: int, folder: Path) -> CrossModalFigures:
    """Half of the others asked about among all of them, by what was trained on both sets without that half."""
    both = _features(faces, DRAWN, OTHERS)
    assert both.modality is not None
    is_other = np.char.startswith(both.subject, f"{OTHERS}/")
    is_left_out = np.isin(both.subject, np.unique(both.subject[is_other])[half::2])
    learned = both.take(~is_left_out)
    parts = ModalityParts.of(join_by_subject(learned, learned), SplitRule("subject", SPLITS[0], VALIDATION, 0.0))
    trained = _trained(faces, parts, folder, [DRAWN, OTHERS], shares_encoder=True)
    asked = both.take(is_other & (is_left_out | (both.modality == "photo")))
    return _asked_anew(trained, faces, asked, folder, DRAWN, OTHERS)


def _asked_anew(
    trained: FittedAcross, faces: Faces, others: FeatureSet, folder: Path, *names: str
) -> CrossModalFigures:
    """Other sketches by the encoder that was trained, among photos by it, or as they are."""
    assert trained.encoder is not None
    assert others.modality is not None
    pictures = ModalPictures(ViewSource(faces.sets(*names or (OTHERS,))), trained.encoder, "others", folder)
    sketches, photos = (others.take(others.modality == modality) for modality in ("sketch", "photo"))
    drawn = pictures.encoded(sketches, trained.encoder, "others")
    is_of_both = trained.target == trained.encoder.space
    return _asked(trained, drawn, pictures.encoded(photos, trained.encoder, "photos") if is_of_both else photos)


def _frozen_rows(fitted: dict[str, list[FittedAcross]]) -> list[list[str]]:
    first = [_test(one) for one in fitted["shrunken-ridge"]]
    rows = [["none", *_cells([one.untouched for one in first if one.untouched]), "", ""]]
    return rows + [_row(method, [_test(one) for one in of_splits]) for method, of_splits in fitted.items()]


def _trained_rows(fitted: dict[str, list[FittedAcross]], trained: dict[str, FittedAcross]) -> list[list[str]]:
    of_split = {method: [_test(of_splits[0])] for method, of_splits in fitted.items()}
    untouched = of_split["wsgan"][0].untouched
    assert untouched is not None
    kept = [_row(method, of_split[method]) for method in ("contrastive-head", "wsgan")]
    rows = [
        _row(f"{name} (share {one.hyperparameters['encoder_share']})", [_test(one)]) for name, one in trained.items()
    ]
    return [["none", *_cells([untouched]), "", ""], *kept, *rows]


def _others_rows(
    fitted: dict[str, list[FittedAcross]], others: FeatureSet, asked: dict[str, CrossModalFigures]
) -> list[list[str]]:
    assert others.modality is not None
    photos, sketches = others.take(others.modality == "photo"), others.take(others.modality == "sketch")
    untouched = figures_of(sketches.feature @ photos.feature.T, sketches.subject, photos.subject)
    rows = [["none", *_cells([untouched])]]
    for method, of_splits in fitted.items():
        rows.append([method, *_cells([_asked(of_splits[0], sketches, photos)])])
    return [*rows, *([name, *_cells([found])] for name, found in asked.items())]


def _asked(fitted: FittedAcross, sketches: FeatureSet, photos: FeatureSet) -> CrossModalFigures:
    if fitted.sampling is None:
        scores = [GraphTranslator(fitted.graph)(sketches.feature) @ photos.feature.T]
    else:
        sampler = GraphSampler(fitted.graph, fitted.sampling.num_noise, fitted.sampling.num_samples)
        scores = [
            score_samples(sampler(sketches.feature, seed), photos.feature, fitted.sampling.sigma)
            for seed in range(ROUNDS)
        ]
    return mean_figures([figures_of(score_PG, sketches.subject, photos.subject) for score_PG in scores])


def _best_bold(rows: list[list[str]]) -> list[list[str]]:
    """The highest figure of each column stands out."""
    best = [max(row[column] for row in rows) for column in range(1, len(_HEADER) + 1)]
    return [
        [
            row[0],
            *(f"**{cell}**" if cell == best[at] else cell for at, cell in enumerate(row[1 : len(best) + 1])),
            *row[len(best) + 1 :],
        ]
        for row in rows
    ]


def _row(method: str, measured: Sequence[Measured]) -> list[str]:
    one_sample = [one.by_samples[1].rank5 for one in measured if one.by_samples]
    intra = [one.generated.intra_sim for one in measured if one.generated and one.generated.intra_sim is not None]
    more = [f"{mean(values):.3f}" if values else "" for values in (one_sample, intra)]
    return [method, *_cells([one.figures for one in measured]), *more]


def _cells(figures: Sequence[CrossModalFigures]) -> list[str]:
    found = mean_figures(figures)
    values = [getattr(found, field) for field in _FIELDS]
    return ["-" if value is None else f"{value:.3f}" for value in values]


def _test(fitted: FittedAcross) -> Measured:
    assert fitted.test is not None
    return fitted.test


def _features(faces: Faces, *names: str) -> FeatureSet:
    with tempfile.TemporaryDirectory() as folder:
        partial = Path(folder) / "partial"
        found = extract_features(faces.encoder(ENCODER), faces.sets(*names), partial, ExtractionSettings()).feature_set
        discard_partial(partial)
    return found
