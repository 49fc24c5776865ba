"""The bundle's page for people."""

from collections.abc import Mapping
from typing import Literal

from models.attributes import AttributeTable
from models.bundle import PICTURE_INSIDE_METHODS, Manifest
from models.calibration import PHOTO
from training.evaluation.cross_space import CrossSpaceEvaluation, NativeEvaluation

_WARNING = [
    "Inside, a feature becomes a small picture before it becomes a feature again. No service answers with that picture, but "
    "whoever has `model.onnx` can cut the network there and see a face. Give the file to nobody who must not; "
    "`--method r3an-student` makes a translator without a picture in it.",
    "",
]


def translator_card(
    manifest: Manifest, evaluation: CrossSpaceEvaluation | None, split_by: Literal["subject", "image"]
) -> str:
    """What the translator does, what it was made from, how well it does, and what it must not be used for.

    `evaluation` is of the test part of a split by subject, or by picture where nobody knew who is on them.
    """
    assert manifest.source is not None
    lines = [
        f"# {manifest.name}",
        "",
        f"Translates features of `{manifest.source.name}` ({manifest.source.dimension} numbers, fingerprint "
        f"`{manifest.source.fingerprint}`) into the space of `{manifest.target.name}` ({manifest.target.dimension}, "
        f"`{manifest.target.fingerprint}`). Method: {manifest.method}. Licence: {manifest.licence}.",
        "",
        *_figures(evaluation, split_by),
        "",
        "It translates features of faces like those it was fitted on, and of the two spaces named above only. It knows "
        "nothing of who is alive in front of a camera, and its figures hold for pictures of the kind it was measured on.",
        "",
        *(_WARNING if manifest.method in PICTURE_INSIDE_METHODS else []),
    ]
    return "\n".join(lines)


def cross_modal_card(manifest: Manifest) -> str:
    """For pictures of which modality it is, how well it finds their people among photos, and what it must not be used for."""
    assert manifest.source is not None
    does = (
        f"Draws, from the feature of a {manifest.modality} and noise, features that a photo of the same person could have"
        if manifest.sampling
        else f"Turns the feature of a {manifest.modality} into one such as a photo of the same person has"
    )
    asked = (
        f" A probe is {manifest.sampling.num_samples} of them, and a template's score their density (sigma "
        f"{manifest.sampling.sigma:g})."
        if manifest.sampling
        else ""
    )
    return "\n".join(
        [
            f"# {manifest.name}",
            "",
            f"{does}: from the space `{manifest.source.name}` ({manifest.source.dimension} numbers, fingerprint "
            f"`{manifest.source.fingerprint}`) into that of `{manifest.target.name}` ({manifest.target.dimension}, "
            f"`{manifest.target.fingerprint}`).{asked} Method: {manifest.method}. Licence: {manifest.licence}.",
            "",
            *_cross_modal_figures(manifest),
            "",
            f"A {manifest.modality} is a witness's memory or an artist's eye. A candidate is a lead to be followed, and never "
            "evidence; the figures hold for pictures of the kind it was measured on. Give it nothing but "
            f"{manifest.modality} features: what it makes of a photo's means nothing.",
            "",
        ]
    )


def _cross_modal_figures(manifest: Manifest) -> list[str]:
    parts = {name: manifest.metrics.get(name) for name in ("test", "validation")}
    part, measured = next(((name, found) for name, found in parts.items() if isinstance(found, dict)), ("", None))
    if not isinstance(measured, dict):
        return ["It was not measured on people kept apart."]
    rows = {"as it is": measured.get("untouched"), manifest.method: measured.get("figures")}
    names = {"rank1": "rank-1", "rank5": "rank-5", "tar_far_1e2": "TAR@FAR 1e-2", "tar_far_1e3": "TAR@FAR 1e-3"}
    lines = [
        f"Measured on {measured.get('num_probes')} pictures of {part} people:",
        "",
        "| compared | " + " | ".join(names.values()) + " |",
        "|---|" + "---|" * len(names),
    ]
    for name, row in rows.items():
        if isinstance(row, dict):
            cells = [row.get(key) for key in names]
            figures = ["" if not isinstance(cell, float) else f"{cell:.4f}" for cell in cells]
            lines.append(f"| {name} | " + " | ".join(figures) + " |")
    return lines


def generator_card(manifest: Manifest, translator: str) -> str:
    """What the generator paints, and why a service does not serve it by itself."""
    assert manifest.source is not None
    return "\n".join(
        [
            f"# {manifest.name}",
            "",
            f"Paints the faces that features of `{manifest.source.name}` ({manifest.source.dimension} numbers, fingerprint "
            f"`{manifest.source.fingerprint}`) are of: the reconstruction path of the translator `{translator}`. "
            f"Licence: {manifest.licence}.",
            "",
            "Whoever has it can see who is in a stolen gallery. A service refuses it unless it is told otherwise; "
            "`facebridge-train privacy` measures how well it does. What it paints is a guess, and never evidence of how "
            "somebody looks.",
            "",
        ]
    )


def encoder_card(manifest: Manifest, measured: Mapping[str, NativeEvaluation] | None = None) -> str:
    """What the encoder takes and gives, and how it does on parts of its split that it was not trained on."""
    preparation = manifest.target.preparation
    assert preparation is not None
    return "\n".join(
        [
            f"# {manifest.name}",
            "",
            f"Encodes an aligned face crop of {preparation.size[0]} x {preparation.size[1]} pixels as a feature of "
            f"{manifest.target.dimension} numbers in the space `{manifest.target.name}` (fingerprint "
            f"`{manifest.target.fingerprint}`). Licence: {manifest.licence}.",
            "",
            *(_native_figures(measured) if measured else []),
        ]
    )


def classifier_card(manifest: Manifest) -> str:
    """Whom it knows, how often it is right, and what it must not be asked."""
    known = manifest.metrics.get("known")
    share = known.get("photo" if manifest.modality == PHOTO else "weak") if isinstance(known, dict) else None
    measured = (
        f"Of their pictures that were kept apart from its training, the most probable person is right for {share:.1%}."
        if isinstance(share, float)
        else "It was not measured on pictures kept apart."
    )
    return "\n".join(
        [
            f"# {manifest.name}",
            "",
            f"Says of a {manifest.modality} how probable it is that each of {manifest.target.dimension} people is on it, who are "
            f"named in `labels.json`. Method: {manifest.method}. Licence: {manifest.licence}.",
            "",
            measured,
            "",
            "It knows these people and nobody else: a stranger's picture is given to one of them, and no probability says that "
            "it is a stranger's. For who may be anybody, ask a gallery. Whoever is to be forgotten is in its weights: erase the "
            "bundle, and train it anew without them.",
            "",
        ]
    )


def attributes_card(manifest: Manifest, table: AttributeTable) -> str:
    """What it tells, how often it is right, and what that must not be taken for."""
    label, classes = table.label or "class", ", ".join(one.name for one in table.classes)
    tells = [f"which {label} it shows ({classes})"] if table.classes else []
    asked = manifest.provenance.hyperparameters.get("attributes")
    by_value = [one for one in asked if "=" in str(one)] if isinstance(asked, list) else []
    named = {str(one).partition("=")[0]: f" ({one})" for one in by_value}
    shown = ", ".join(f"{one.name}{named.get(one.name, '')}" for one in table.attributes)
    tells += [f"whether it shows: {shown}"] if shown else []
    measured, unseen = (
        manifest.metrics.get("test") or manifest.metrics.get("validation"),
        manifest.metrics.get("unseen"),
    )
    found = measured if isinstance(measured, dict) else {}
    missing = (
        f" Nothing that it learned from tells of: {', '.join(map(str, unseen))}."
        if isinstance(unseen, list) and unseen
        else ""
    )
    said = []
    for what, key in (("the class", "classes"), ("attributes, each by itself,", "attributes")):
        figures = found.get(key)
        if isinstance(figures, dict) and isinstance(figures["accuracy"], float) and isinstance(figures["f1"], float):
            said.append(f"{what} {figures['accuracy']:.1%} (mean F1 {figures['f1']:.3f})")
    return "\n".join(
        [
            f"# {manifest.name}",
            "",
            f"Tells of a {manifest.modality or 'picture'} of a face {' and '.join(tells)}. Method: {manifest.method}. "
            f"Licence: {manifest.licence}.",
            "",
            (
                f"On pictures that its training has not seen it is right on {' and on '.join(said)}."
                if said
                else "It was not measured on pictures kept apart."
            )
            + missing,
            "",
            "`attributes.json` holds, for each, thresholds by which a search may leave pictures out, and how often one that is "
            "meant is left out by them, in the mean over the people that they may be measured on. These hold for pictures like "
            "those that they were measured on.",
            "",
            "It tells what a face shows on one picture, as annotators named it: a smile is not a mood, and what somebody looks "
            "like is not what somebody is. Decide nothing about anybody by it.",
            "",
        ]
    )


def _native_figures(measured: Mapping[str, NativeEvaluation]) -> list[str]:
    lines = [
        "| subjects it has not seen | in the gallery | probes | rank-1 | rank-5 | TAR@FAR 1e-3 |",
        "|---|---|---|---|---|---|",
    ]
    for part, evaluation in measured.items():
        counts = (str(evaluation.num_gallery_subjects), str(evaluation.num_probes))
        row = evaluation.figures
        figures = ["" if figure is None else f"{figure:.4f}" for figure in (row.rank1, row.rank5, row.tar_far_1e3)]
        lines.append("| " + " | ".join((part, *counts, *figures)) + " |")
    return [
        "Trained with ArcFace; `bundle.json` holds recipe, split and the digest of the pictures.",
        "",
        *lines,
        "",
        "It knows faces like those it was trained on, aligned in the same way; on others its figures do not hold.",
        "",
    ]


def _figures(evaluation: CrossSpaceEvaluation | None, split_by: Literal["subject", "image"]) -> list[str]:
    if evaluation is None:
        return [f"It was not measured on {'subjects' if split_by == 'subject' else 'pictures'} kept apart."]
    what = "pictures of test subjects" if split_by == "subject" else "test pictures"
    roles = f" ({evaluation.num_gallery_subjects} in the gallery, {evaluation.num_probes} probes)"
    lines = [
        f"Measured on {evaluation.num_pictures} {what}{roles if evaluation.num_gallery_subjects else ''}:",
        "",
        "| comparison | rank-1 | rank-5 | TAR@FAR 1e-3 | mean cosine |",
        "|---|---|---|---|---|",
    ]
    for name, row in evaluation.rows.items():
        cells = (row.rank1, row.rank5, row.tar_far_1e3, row.mean_cosine)
        lines.append(f"| {name} | " + " | ".join("" if cell is None else f"{cell:.4f}" for cell in cells) + " |")
    return lines
