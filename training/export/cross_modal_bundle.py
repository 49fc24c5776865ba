"""Bundles that are for pictures of one weak modality: samplers, and translators of their features."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from pydantic import JsonValue

from models.bundle import CALIBRATION, MODEL, Manifest, Provenance, Sampling
from models.calibration import Calibration
from models.documents import readable_json
from models.graph import check_graph
from models.space import Space
from training.export.bundles import CARD, REPORT, write_files
from training.export.model_card import cross_modal_card


def write_cross_modal_bundle(
    folder: Path,
    *,
    kind: Literal["translator", "sampler"],
    method: str,
    spaces: tuple[Space, Space],
    graph: bytes,
    modality: str,
    sampling: Sampling | None,
    calibration: Calibration,
    licence: str,
    training: Provenance,
    metrics: dict[str, JsonValue],
    report: Callable[[Manifest], bytes] | None = None,
) -> Manifest:
    """Write it; `spaces` are of weak features and of strong ones, and may be one. Raises `BundleError`."""
    signature = check_graph(graph, takes_noise=kind == "sampler")
    source, target = spaces
    manifest = Manifest(
        name=folder.name,
        kind=kind,
        method=method,
        source=source,
        target=target,
        input_name=signature.input_name,
        output_name=signature.output_name,
        opset=signature.opset,
        licence=licence,
        provenance=training,
        metrics=metrics,
        modality=modality,
        sampling=sampling,
    )
    files = {
        MODEL: graph,
        CALIBRATION: readable_json(calibration.to_json()),
        CARD: cross_modal_card(manifest).encode(),
    }
    if report:
        files[REPORT] = report(manifest)
    return write_files(folder, manifest, files)
