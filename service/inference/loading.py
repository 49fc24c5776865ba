"""Loading the folder of bundles: what is sound is served, what is not is named with the reason and left out."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from models.bundle import Bundle, read_bundle
from models.errors import ContractError
from models.features import FloatArray
from models.runtime import Device, DeviceError, InferenceError
from models.space import InputPreparation
from service.errors import StartupError
from service.inference.engine import (
    AttributesEngine,
    ClassifierEngine,
    EncoderEngine,
    Engine,
    GeneratorEngine,
    Picture,
    SamplerEngine,
    TranslatorEngine,
)
from service.inference.trial import try_sampler


class EngineFactory(Protocol):
    """Makes the engines; a test gives one that needs no weights."""

    def translator(self, bundle: Bundle) -> Engine[FloatArray]:
        """Raises `InferenceError`."""

    def encoder(self, bundle: Bundle) -> Engine[Picture]:
        """Raises `InferenceError`."""

    def generator(self, bundle: Bundle) -> Engine[FloatArray]:
        """Raises `InferenceError`."""

    def classifier(self, bundle: Bundle) -> Engine[Picture]:
        """Raises `InferenceError`."""

    def attributes(self, bundle: Bundle) -> Engine[Picture]:
        """Raises `InferenceError`."""

    def sampler(self, bundle: Bundle) -> Engine[tuple[FloatArray, FloatArray]]:
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
        return EncoderEngine(bundle, self.device, _preparation(bundle), self.max_pixels)

    def classifier(self, bundle: Bundle) -> Engine[Picture]:
        """A classifier's engine."""
        return ClassifierEngine(bundle, self.device, _preparation(bundle), self.max_pixels)

    def attributes(self, bundle: Bundle) -> Engine[Picture]:
        """The engine of what tells attributes."""
        return AttributesEngine(bundle, self.device, _preparation(bundle), self.max_pixels)

    def generator(self, bundle: Bundle) -> Engine[FloatArray]:
        """A generator's engine."""
        return GeneratorEngine(bundle, self.device)

    def sampler(self, bundle: Bundle) -> Engine[tuple[FloatArray, FloatArray]]:
        """A sampler's engine."""
        return SamplerEngine(bundle, self.device)


@dataclass(frozen=True, slots=True)
class LoadedBundle:
    """A bundle with its engine."""

    bundle: Bundle
    engine: Engine[Any]
    """Takes features (n, S) where the bundle is a translator or generator, with noise (M, Z) where it is a sampler, a `Picture`
    where it is an encoder, a classifier, or tells attributes.
    """


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
    generators: tuple[LoadedBundle, ...] = ()
    samplers: tuple[LoadedBundle, ...] = ()
    classifiers: tuple[LoadedBundle, ...] = ()
    attributes: tuple[LoadedBundle, ...] = ()
    rejected: tuple[RejectedBundle, ...] = ()

    @property
    def served(self) -> tuple[LoadedBundle, ...]:
        """All that were not rejected."""
        of_pictures = (*self.classifiers, *self.attributes)
        return (*self.encoders, *self.translators, *self.samplers, *of_pictures, *self.generators)


def load_bundles(
    folder: Path, engines: EngineFactory, *, allow_reconstruction: bool = False, max_samples: int = 1024
) -> LoadedBundles:
    """Load every bundle below `folder`, in order of their names; generators are refused unless they are allowed, and samplers
    that draw more than `max_samples` of a probe.

    Raises `StartupError` where the folder is missing, or where CUDA was asked for and a bundle did not get it.
    """
    if not folder.is_dir():
        raise StartupError(f"{folder}: the folder of bundles does not exist; make it or give another --bundles")
    loaded: dict[str, list[LoadedBundle]] = {
        kind: [] for kind in ("translator", "encoder", "generator", "sampler", "classifier", "attributes")
    }
    rejected: list[RejectedBundle] = []
    names: set[str] = set()
    for path in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
        try:
            bundle = read_bundle(path)
            manifest = bundle.manifest
            if manifest.name in names:
                raise InferenceError(f"another bundle has the name {manifest.name} already")
            if manifest.kind == "generator" and not allow_reconstruction:
                raise InferenceError("it paints the faces that features are of; --allow-reconstruction serves it")
            sampling = manifest.sampling
            if sampling and sampling.num_samples > max_samples:
                raise InferenceError(
                    f"it draws {sampling.num_samples} samples of a probe, --max-samples is {max_samples}"
                )
            entry = LoadedBundle(bundle, _engine(bundle, engines))
            if sampling:
                try_sampler(bundle, entry.engine)
            loaded[manifest.kind].append(entry)
            names.add(manifest.name)
        except DeviceError as failure:
            raise StartupError(f"bundle {path.name}: {failure}") from None
        except (ContractError, InferenceError) as failure:
            rejected.append(RejectedBundle(path.name, str(failure)))
    of_kind = {f"{kind.removesuffix('s')}s": tuple(entries) for kind, entries in loaded.items()}
    return LoadedBundles(**of_kind, rejected=tuple(rejected))


def _engine(bundle: Bundle, engines: EngineFactory) -> Engine[Any]:
    match bundle.manifest.kind:
        case "translator":
            return engines.translator(bundle)
        case "encoder":
            return engines.encoder(bundle)
        case "generator":
            return engines.generator(bundle)
        case "sampler":
            return engines.sampler(bundle)
        case "classifier":
            return engines.classifier(bundle)
        case "attributes":
            return engines.attributes(bundle)


def _preparation(bundle: Bundle) -> InputPreparation:
    preparation = bundle.manifest.target.preparation
    if preparation is None:
        raise InferenceError("a bundle that takes pictures must say how they are prepared")
    return preparation
