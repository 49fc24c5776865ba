"""Loading the folder of bundles: what is sound is served, what is not is named with the reason and left out."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from models.bundle import Bundle, read_bundle
from models.errors import ContractError
from models.features import FloatArray
from models.runtime import Device, DeviceError, InferenceError
from service.errors import StartupError
from service.inference.engine import EncoderEngine, Engine, Picture, TranslatorEngine


class EngineFactory(Protocol):
    """Makes the engines; a test gives one that needs no weights."""

    def translator(self, bundle: Bundle) -> Engine[FloatArray]:
        """Raises `InferenceError`."""

    def encoder(self, bundle: Bundle) -> Engine[Picture]:
        """Raises `InferenceError`."""


@dataclass(frozen=True, slots=True)
class OnnxEngines:
    """Engines on ONNX Runtime."""

    device: Device
    max_pixels: int

    def translator(self, bundle: Bundle) -> Engine[FloatArray]:
        """A translator's engine."""
        return TranslatorEngine(bundle, self.device)

    def encoder(self, bundle: Bundle) -> Engine[Picture]:
        """An encoder's engine."""
        preparation = bundle.manifest.target.preparation
        if preparation is None:
            raise InferenceError("an encoder bundle must say how pictures are prepared")
        return EncoderEngine(bundle, self.device, preparation, self.max_pixels)


@dataclass(frozen=True, slots=True)
class LoadedBundle:
    """A bundle with its engine."""

    bundle: Bundle
    engine: Engine[Any]
    """Takes features (n, S) where the bundle is a translator, a `Picture` where it is an encoder."""


@dataclass(frozen=True, slots=True)
class RejectedBundle:
    """A folder that was not loaded, and why."""

    folder: str
    reason: str


@dataclass(frozen=True, slots=True)
class LoadedBundles:
    """Everything found in the folder of bundles."""

    translators: tuple[LoadedBundle, ...] = ()
    encoders: tuple[LoadedBundle, ...] = ()
    rejected: tuple[RejectedBundle, ...] = ()


def load_bundles(folder: Path, engines: EngineFactory) -> LoadedBundles:
    """Load every bundle below `folder`, in order of their names.

    Raises `StartupError` where the folder is missing, or where CUDA was asked for and a bundle did not get it.
    """
    if not folder.is_dir():
        raise StartupError(f"{folder}: the folder of bundles does not exist; make it or give another --bundles")
    translators: list[LoadedBundle] = []
    encoders: list[LoadedBundle] = []
    rejected: list[RejectedBundle] = []
    names: set[str] = set()
    for path in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
        try:
            bundle = read_bundle(path)
            if bundle.manifest.name in names:
                raise InferenceError(f"another bundle has the name {bundle.manifest.name} already")
            if bundle.manifest.kind == "translator":
                translators.append(LoadedBundle(bundle, engines.translator(bundle)))
            elif bundle.manifest.kind == "encoder":
                encoders.append(LoadedBundle(bundle, engines.encoder(bundle)))
            else:
                raise InferenceError(f"bundles of kind {bundle.manifest.kind} are not served by this version")
            names.add(bundle.manifest.name)
        except DeviceError as failure:
            raise StartupError(f"bundle {path.name}: {failure}") from None
        except (ContractError, InferenceError) as failure:
            rejected.append(RejectedBundle(path.name, str(failure)))
    return LoadedBundles(tuple(translators), tuple(encoders), tuple(rejected))
