"""What every bundle's manifest says of where it came from."""

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata

from pydantic import JsonValue

from models.bundle import Provenance
from models.split import SplitRule
from training.errors import TrainingError

_LIBRARIES = ("numpy", "onnx", "onnxruntime", "onnxruntime-gpu", "torch")


def provenance(
    *,
    data_digests: Mapping[str, str] | None = None,
    seed: int | None = None,
    split: SplitRule | None = None,
    hyperparameters: Mapping[str, JsonValue] | None = None,
) -> Provenance:
    """Now, with the versions that are installed. `SOURCE_DATE_EPOCH` fixes the time, for builds that repeat exactly."""
    return Provenance(
        created_at=_now().isoformat(timespec="seconds"),
        code_version=metadata.version("facebridge"),
        libraries=_installed_versions(),
        data_digests=dict(data_digests or {}),
        seed=seed,
        split=split,
        hyperparameters=dict(hyperparameters or {}),
    )


def _now() -> datetime:
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if not epoch:
        return datetime.now(UTC)
    try:
        return datetime.fromtimestamp(int(epoch), UTC)
    except (ValueError, OverflowError, OSError):
        raise TrainingError("SOURCE_DATE_EPOCH must be a number of seconds since 1970") from None


def _installed_versions() -> dict[str, str]:
    versions = {}
    for name in _LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions
