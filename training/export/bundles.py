"""Writing what was fitted or found as bundles."""

import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from pydantic import JsonValue

from models.attributes import ATTRIBUTES, AttributeTable, attributes_json
from models.bundle import CALIBRATION, MODEL, STATS, Bundle, Manifest, Provenance, write_bundle
from models.calibration import Calibration
from models.confidence import ConfidenceModel
from models.documents import readable_json, sha256_hex
from models.errors import BundleError
from models.graph import check_graph
from models.labels import LABELS, labels_json
from models.space import NAME_PATTERN, Space
from models.split import SplitRule
from training.data.encoders import Encoder
from training.data.partial import check_writable
from training.evaluation.cross_space import CrossSpaceEvaluation, NativeEvaluation
from training.export.encoder_graph import encoder_graph
from training.export.manifest import provenance
from training.export.model_card import attributes_card, classifier_card, encoder_card, generator_card, translator_card

CARD = "MODEL_CARD.md"
REPORT = "report/index.html"


def check_bundle_path(folder: Path) -> None:
    """Raises `BundleError` or `TrainingError` where no new bundle of that name can be written; call it before long work."""
    if not re.fullmatch(NAME_PATTERN, folder.name):
        raise BundleError(f"{folder}: the folder's name is the bundle's: lower case letters, digits, '.', '_' and '-'")
    if folder.exists():
        raise BundleError(f"{folder}: exists already; bundles are immutable: choose another name or delete it")
    check_writable(folder)


@contextmanager
def all_or_none() -> Iterator[list[Path]]:
    """A list for the bundles that belong together, as they are written: where one cannot be, the others go too."""
    written: list[Path] = []
    try:
        yield written
    except BaseException:
        for folder in written:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def write_translator_bundle(
    folder: Path,
    *,
    source: Space,
    target: Space,
    data_digests: Mapping[str, str],
    method: str,
    graph: bytes,
    calibration: Calibration,
    licence: str,
    seed: int,
    split: SplitRule,
    hyperparameters: dict[str, JsonValue],
    metrics: dict[str, JsonValue],
    test: CrossSpaceEvaluation | None,
    confidence: ConfidenceModel | None = None,
    report: Callable[[Manifest], bytes] | None = None,
) -> Manifest:
    """Write a translator's bundle; `data_digests` name what it was fitted on by role, `report` makes its page.

    Raises `BundleError`.
    """
    signature = check_graph(graph)
    manifest = Manifest(
        name=folder.name,
        kind="translator",
        method=method,
        source=source,
        target=target,
        input_name=signature.input_name,
        output_name=signature.output_name,
        opset=signature.opset,
        licence=licence,
        provenance=provenance(
            data_digests=data_digests,
            seed=seed,
            split=split,
            hyperparameters=hyperparameters,
        ),
        metrics=metrics,
    )
    files = {
        MODEL: graph,
        CALIBRATION: readable_json(calibration.to_json()),
        CARD: translator_card(manifest, test, split.by).encode(),
    }
    if confidence:
        files[STATS] = confidence.to_bytes()
    if report:
        files[REPORT] = report(manifest)
    return write_files(folder, manifest, files)


def write_generator_bundle(folder: Path, translator: Manifest, graph: bytes) -> Manifest:
    """Write the reconstruction path of a translator as a bundle of its own, with the translator's provenance.

    Raises `BundleError`.
    """
    signature = check_graph(graph)
    manifest = replace(
        translator,
        name=folder.name,
        kind="generator",
        input_name=signature.input_name,
        output_name=signature.output_name,
        opset=signature.opset,
        metrics={"translator": translator.digest},
        files={},
        digest="",
    )
    files = {
        MODEL: graph,
        CALIBRATION: readable_json(Calibration().to_json()),
        CARD: generator_card(manifest, translator.name).encode(),
    }
    return write_files(folder, manifest, files)


def write_encoder_bundle(
    folder: Path,
    encoder: Encoder,
    *,
    training: Provenance | None = None,
    metrics: dict[str, JsonValue] | None = None,
    measured: Mapping[str, NativeEvaluation] | None = None,
    calibration: Calibration | None = None,
    report: Callable[[Manifest], bytes] | None = None,
) -> Manifest:
    """Write an encoder's bundle, its output normalised inside the graph. Raises `BundleError`, `EncoderError`.

    Where it was trained here, `training` says on what, `metrics` and `measured` (by part of the split) how well it does,
    `calibration` its thresholds, and `report` makes its page.
    """
    graph = encoder_graph(encoder)
    signature = check_graph(graph)
    manifest = Manifest(
        name=folder.name,
        kind="encoder",
        method="encoder",
        source=None,
        target=encoder.space,
        input_name=signature.input_name,
        output_name=signature.output_name,
        opset=signature.opset,
        licence=encoder.licence,
        provenance=training or provenance(),
        metrics=metrics or {},
    )
    files = {
        MODEL: graph,
        CALIBRATION: readable_json((calibration or Calibration()).to_json()),
        CARD: encoder_card(manifest, measured).encode(),
    }
    if report:
        files[REPORT] = report(manifest)
    return write_files(folder, manifest, files)


def write_classifier_bundle(
    folder: Path,
    graph: bytes,
    space: Space,
    labels: Sequence[str],
    *,
    modality: str,
    method: str,
    licence: str,
    training: Provenance,
    metrics: dict[str, JsonValue],
) -> Manifest:
    """Write a classifier of pictures of one modality: `space` says how they are prepared, `labels` whom it knows.

    Raises `BundleError`.
    """
    signature = check_graph(graph)
    manifest = Manifest(
        name=folder.name,
        kind="classifier",
        method=method,
        source=None,
        target=space,
        input_name=signature.input_name,
        output_name=signature.output_name,
        opset=signature.opset,
        licence=licence,
        provenance=training,
        metrics=metrics,
        modality=modality,
    )
    files = {
        MODEL: graph,
        CALIBRATION: readable_json(Calibration().to_json()),
        LABELS: labels_json(labels),
        CARD: classifier_card(manifest).encode(),
    }
    return write_files(folder, manifest, files)


def write_attributes_bundle(
    folder: Path,
    graph: bytes,
    space: Space,
    table: AttributeTable,
    *,
    modality: str | None,
    method: str,
    licence: str,
    training: Provenance,
    metrics: dict[str, JsonValue],
    report: Callable[[Manifest], bytes] | None = None,
) -> Manifest:
    """Write what tells classes and attributes of pictures, of one modality where it is named: `space` says how they are prepared,
    `table` what it tells.

    Raises `BundleError`.
    """
    signature = check_graph(graph)
    manifest = Manifest(
        name=folder.name,
        kind="attributes",
        method=method,
        source=None,
        target=space,
        input_name=signature.input_name,
        output_name=signature.output_name,
        opset=signature.opset,
        licence=licence,
        provenance=training,
        metrics=metrics,
        modality=modality,
    )
    files = {
        MODEL: graph,
        CALIBRATION: readable_json(Calibration().to_json()),
        ATTRIBUTES: attributes_json(table),
        CARD: attributes_card(manifest, table).encode(),
    }
    if report:
        files[REPORT] = report(manifest)
    return write_files(folder, manifest, files)


def write_recalibrated_bundle(
    folder: Path,
    original: Path,
    bundle: Bundle,
    *,
    calibration: Calibration,
    confidence: ConfidenceModel | None,
    data_digests: Mapping[str, str],
) -> Manifest:
    """Write the bundle that lies at `original` once more under another name, with other calibration and confidence.

    `data_digests` name what that was measured on, by role. Raises `BundleError`.
    """
    manifest = bundle.manifest
    made = replace(manifest.provenance, data_digests=manifest.provenance.data_digests | dict(data_digests))
    files = _files_of(original, manifest) | {CALIBRATION: readable_json(calibration.to_json())}
    if confidence is not None:
        files[STATS] = confidence.to_bytes()
    # A report is of the thresholds that were there before.
    files.pop(REPORT, None)
    return write_files(folder, replace(manifest, name=folder.name, provenance=made, files={}, digest=""), files)


def write_bundle_with_report(folder: Path, original: Path, bundle: Bundle, page: bytes) -> Manifest:
    """Write the bundle that lies at `original` once more under another name, with a report in it. Raises `BundleError`."""
    files = _files_of(original, bundle.manifest) | {REPORT: page}
    return write_files(folder, replace(bundle.manifest, name=folder.name, files={}, digest=""), files)


def _files_of(original: Path, manifest: Manifest) -> dict[str, bytes]:
    files = {name: (original / name).read_bytes() for name in manifest.files}
    for name, data in files.items():
        if sha256_hex(data) != manifest.files[name]:
            raise BundleError(f"{original}/{name}: was changed while it was read")
    return files


def write_files(folder: Path, manifest: Manifest, files: Mapping[str, bytes]) -> Manifest:
    """A bundle of these files. Raises `BundleError`."""
    try:
        return write_bundle(folder, manifest, files)
    except OSError as failure:
        raise BundleError(f"{folder}: cannot be written ({failure.strerror})") from None
