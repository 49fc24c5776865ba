"""A bundle: one exported model (encoder, translator, sampler, classifier, attributes, generator) as an immutable folder, every
byte of it accounted for.

    model.onnx        dynamic batch, opset stated, normalisation inside the graph
    calibration.json  operating points, and what scores mean
    stats.npz         what features of its spaces look like, and how far translations can be trusted; where it is known
    labels.json       of a classifier, whom it knows
    attributes.json   of what tells attributes, which, and how surely
    MODEL_CARD.md     for people
    bundle.json       the manifest: what it is, where it came from, SHA-256 of every file, and a digest of itself

Invariant: what `read_bundle` returns was hashed from the very bytes it hands on, and its graph passed `check_graph`.
"""

import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, JsonValue, StringConstraints, TypeAdapter

from models.attributes import ATTRIBUTES, AttributeTable, parse_attributes
from models.calibration import MODALITY_PATTERN, PHOTO, Calibration, parse_calibration
from models.confidence import ConfidenceModel, read_confidence
from models.documents import canonical_json, parse_document, readable_json, sha256_hex
from models.errors import BundleError, GraphError
from models.graph import GraphSignature, check_graph
from models.labels import LABELS, parse_labels
from models.parzen import LARGEST_SIGMA, SMALLEST_SIGMA
from models.space import Name, Space
from models.split import SplitRule

MANIFEST = "bundle.json"
MODEL = "model.onnx"
CALIBRATION = "calibration.json"
STATS = "stats.npz"
MAX_FILE_BYTES = 2 << 30
COMMON_SPACE_METHODS = ("cca", "two-sided")
"""Methods of translators into a common space, which is no encoder's own: there features of several are compared."""
CALIBRATION_ROLE = "calibration"
"""With which the roles begin, among a bundle's data, of what it was measured on after it was fitted."""
MEASURED_ANEW = "reference source"
"""The role among a bundle's data of what its references of spaces were measured on, where that is not what it was fitted on."""
PICTURE_INSIDE_METHODS = ("r3an", *(f"arch{number}" for number in range(1, 8)))
"""Methods of translators that paint a small picture on the way, and hold a generator: R3AN and its parts."""

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a bundle came from, so that it can be made again."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    created_at: str
    code_version: str
    libraries: dict[str, str]
    data_digests: dict[str, str] = field(default_factory=dict)
    """Of the feature sets it was fitted on, by role."""
    seed: int | None = None
    split: SplitRule | None = None
    hyperparameters: dict[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a sampler is asked: with so much noise, for so many features, of which densities are estimated so."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    num_noise: Annotated[int, Field(ge=1, le=4096)]
    num_samples: Annotated[int, Field(ge=1, le=1024)]
    """With which its thresholds were measured."""
    sigma: Annotated[float, Field(ge=SMALLEST_SIGMA, le=LARGEST_SIGMA)]


@dataclass(frozen=True, slots=True)
class Manifest:
    """`bundle.json`. An encoder has no source space; a translator or sampler goes from `source` to `target`.

    A classifier has none either: `target` says how its pictures are prepared and how many people it knows, and nothing is
    compared there; so it is with `attributes`, which are of so many classes and attributes. A generator paints the faces that
    features of `source` are of; `target` is the space whose features it was trained to make recognisable.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    name: Name
    kind: Literal["encoder", "translator", "sampler", "classifier", "attributes", "generator"]
    method: str
    source: Space | None
    target: Space
    input_name: str
    output_name: str
    opset: int
    licence: str
    provenance: Provenance
    metrics: dict[str, JsonValue] = field(default_factory=dict)
    files: dict[str, Digest] = field(default_factory=dict)
    modality: Annotated[str, StringConstraints(pattern=f"^{MODALITY_PATTERN}$")] | None = None
    """Of the pictures that it is for: of a sampler or translator other than photos, of whose features it makes such as photos
    have; None for all. A classifier names its own, and what tells attributes may."""
    sampling: Sampling | None = None
    """Of a sampler."""
    digest: str = ""
    """SHA-256 of the canonical JSON of everything else here; names this exact bundle."""
    format: Literal[1] = 1

    @property
    def is_calibrated(self) -> bool:
        """Whether something of it was measured again after it was fitted."""
        return any(role.partition(" ")[0] == CALIBRATION_ROLE for role in self.provenance.data_digests)

    def to_json(self) -> dict[str, Any]:
        """The manifest as JSON values; what only some bundles have is not named in others."""
        document = asdict(self)
        return {name: value for name, value in document.items() if value is not None or name not in _OF_SOME}

    def own_digest(self) -> str:
        """What `digest` must be."""
        fields = self.to_json()
        del fields["digest"]
        return sha256_hex(canonical_json(fields))


_OF_SOME = ("modality", "sampling")


def chain_of(manifests: Iterable[Manifest]) -> str:
    """What names translators one after another, first to last, by their models and spaces, whatever their bundles are called.

    A bundle that is calibrated anew keeps its model.
    """
    return "+".join(
        sha256_hex(canonical_json([one.source and one.source.fingerprint, one.target.fingerprint, one.files[MODEL]]))[
            :16
        ]
        for one in manifests
    )


@dataclass(frozen=True, slots=True)
class Bundle:
    """A verified bundle, its model in memory."""

    manifest: Manifest
    model: bytes
    graph: GraphSignature
    calibration: Calibration
    confidence: ConfidenceModel | None = None
    """Of a translator that has one."""
    labels: tuple[str, ...] = ()
    """Of a classifier, the subject of each of its probabilities."""
    attributes: AttributeTable | None = None
    """Of what tells attributes, what each of its probabilities is of."""


_MANIFEST = TypeAdapter(Manifest)


def write_bundle(folder: Path, manifest: Manifest, files: Mapping[str, bytes]) -> Manifest:
    """Write a new bundle at `folder`, whole or not at all, and return its completed manifest.

    Raises `BundleError` where something already stands there, or the graph is not allowed.
    """
    if folder.exists():
        raise BundleError(f"{folder}: exists already; bundles are immutable: choose another name or delete it")
    for name in (MODEL, CALIBRATION):
        if name not in files:
            raise BundleError(f"{folder}: a bundle needs {name}")
    for name in files:
        if name == MANIFEST or not _is_plain(name):
            raise BundleError(f"{folder}: {name!a} cannot be the name of a file in a bundle")
    parse_calibration(files[CALIBRATION])
    _confidence(manifest, files, str(folder))
    _labels(manifest, files, str(folder))
    _attributes(manifest, files, str(folder))
    # As it will be read again: checked, and with 0 for a float written as 0.0, or its digest would not hold.
    manifest = parse_document(_MANIFEST, _text(manifest, str(folder)), what=f"{folder}/{MANIFEST}", error=BundleError)
    complete = replace(manifest, files={name: sha256_hex(data) for name, data in sorted(files.items())})
    complete = replace(complete, digest=complete.own_digest())
    _check_kind(complete, str(folder))
    signature = check_graph(files[MODEL], takes_noise=manifest.kind == "sampler")
    _check_signature(complete, signature, str(folder))
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for name, data in (*files.items(), (MANIFEST, _text(complete, str(folder)))):
            path = draft / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        draft.chmod(0o755)
        os.replace(draft, folder)  # noqa: PTH105  (Path.replace is the same call; this name says atomic)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return complete


def read_bundle(folder: Path) -> Bundle:
    """Read and verify the bundle at `folder`. Raises `BundleError` saying which file is wrong and what to do."""
    where = folder.resolve().name
    text = _read(folder / MANIFEST, where)
    manifest = parse_document(_MANIFEST, text, what=f"{where}/{MANIFEST}", error=BundleError)
    if _text(manifest, where) != text or manifest.own_digest() != manifest.digest:
        raise BundleError(f"{where}/{MANIFEST}: was changed after it was written; export or copy the bundle again")
    contents = _read_files(folder, manifest, where)
    _check_kind(manifest, where)
    try:
        graph = check_graph(contents[MODEL], takes_noise=manifest.kind == "sampler")
    except GraphError as failure:
        raise BundleError(f"{where}/{failure}") from None
    _check_signature(manifest, graph, where)
    calibration = parse_calibration(contents[CALIBRATION])
    confidence, labels = _confidence(manifest, contents, where), _labels(manifest, contents, where)
    attributes = _attributes(manifest, contents, where)
    return Bundle(manifest, contents[MODEL], graph, calibration, confidence, labels, attributes)


def _read_files(folder: Path, manifest: Manifest, where: str) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    present = {path.relative_to(folder).as_posix() for path in found} - {MANIFEST}
    stray = sorted(present - manifest.files.keys())
    if stray:
        raise BundleError(f"{where}: holds a file that its manifest does not name ({stray[0]!a}); remove it")
    contents = {}
    for name, digest in manifest.files.items():
        if name not in present:
            raise BundleError(f"{where}: {name!a} is not among its files; copy the bundle again")
        contents[name] = _read(folder / name, where)
        if sha256_hex(contents[name]) != digest:
            raise BundleError(f"{where}/{name}: its SHA-256 is not the one in {MANIFEST}; copy the bundle again")
    for name in (MODEL, CALIBRATION):
        if name not in contents:
            raise BundleError(f"{where}/{MANIFEST}: names no {name}; export the bundle again")
    return contents


def _confidence(manifest: Manifest, files: Mapping[str, bytes], where: str) -> ConfidenceModel | None:
    if STATS not in files:
        return None
    if manifest.kind != "translator" or manifest.source is None:
        raise BundleError(f"{where}/{STATS}: is for translators")
    return read_confidence(files[STATS], manifest.source.dimension, manifest.target.dimension)


def _labels(manifest: Manifest, files: Mapping[str, bytes], where: str) -> tuple[str, ...]:
    if (manifest.kind == "classifier") != (LABELS in files):
        raise BundleError(f"{where}: a classifier, and nothing else, says in {LABELS} whom it knows")
    if manifest.kind != "classifier":
        return ()
    return parse_labels(files[LABELS], what=f"{where}/{LABELS}", dimension=manifest.target.dimension)


def _attributes(manifest: Manifest, files: Mapping[str, bytes], where: str) -> AttributeTable | None:
    if (manifest.kind == "attributes") != (ATTRIBUTES in files):
        raise BundleError(f"{where}: what tells attributes, and nothing else, says in {ATTRIBUTES} which")
    if manifest.kind != "attributes":
        return None
    return parse_attributes(files[ATTRIBUTES], what=f"{where}/{ATTRIBUTES}", dimension=manifest.target.dimension)


def _text(manifest: Manifest, where: str) -> bytes:
    try:
        return readable_json(manifest.to_json())
    except ValueError:
        raise BundleError(f"{where}/{MANIFEST}: holds NaN or infinity, which JSON does not know") from None


def _is_plain(name: str) -> bool:
    """Whether it names one place inside the folder, in the one way."""
    path = PurePosixPath(name)
    return path.as_posix() == name != "." and not path.is_absolute() and ".." not in path.parts


def _read(path: Path, where: str) -> bytes:
    if path.is_symlink() or not path.is_file():
        raise BundleError(f"{where}/{path.name}: missing, or not a plain file; copy the bundle again")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise BundleError(f"{where}/{path.name}: larger than {MAX_FILE_BYTES} bytes")
    try:
        return path.read_bytes()
    except OSError as failure:
        raise BundleError(f"{where}/{path.name}: cannot be read ({failure.strerror})") from None


def _check_kind(manifest: Manifest, where: str) -> None:
    """That a manifest says what its kind needs, and nothing that belongs to another."""
    takes_pictures = manifest.kind in ("encoder", "classifier", "attributes")
    if not takes_pictures and manifest.source is None:
        raise BundleError(f"{where}/{MANIFEST}: a {manifest.kind} needs a source space")
    if takes_pictures and manifest.source is not None:
        raise BundleError(f"{where}/{MANIFEST}: what takes pictures has no source space")
    if (manifest.kind == "sampler") != (manifest.sampling is not None):
        raise BundleError(f"{where}/{MANIFEST}: a sampler, and nothing else, says how it is sampled")
    if manifest.kind in ("sampler", "classifier") and manifest.modality is None:
        raise BundleError(f"{where}/{MANIFEST}: a {manifest.kind} must say of which modality its pictures are")
    if manifest.kind in ("classifier", "attributes"):
        return
    if manifest.modality == PHOTO or (manifest.modality and manifest.kind not in ("sampler", "translator")):
        raise BundleError(f"{where}/{MANIFEST}: samplers and translators are for a modality other than photos")


def _check_signature(manifest: Manifest, graph: GraphSignature, where: str) -> None:
    """That a manifest says what its model is."""
    if manifest.sampling and graph.noise_shape not in ((None, manifest.sampling.num_noise), (None, None)):
        raise BundleError(f"{where}: manifest and model disagree on the noise")
    if (manifest.input_name, manifest.output_name) != (graph.input_name, graph.output_name):
        raise BundleError(f"{where}: manifest and model disagree on the names of input and output")
    if manifest.opset != graph.opset:
        raise BundleError(f"{where}: manifest and model disagree on the opset")
    if graph.input_shape[:1] != (None,):
        raise BundleError(f"{where}: the batch extent of the model's input must be free")
    if manifest.source is not None and graph.input_shape[1:] not in ((manifest.source.dimension,), (None,)):
        raise BundleError(f"{where}: the model's input is not of the source space's dimension")
    if manifest.kind == "generator":
        if len(graph.output_shape) != 4 or graph.output_shape[1] != 3:
            raise BundleError(f"{where}: a generator's model must give colour pictures, (batch, 3, height, width)")
    elif manifest.kind in ("classifier", "attributes"):
        if graph.output_shape != (None, manifest.target.dimension):
            named = "people" if manifest.kind == "classifier" else "classes and attributes"
            raise BundleError(f"{where}: the model must give (batch, {named}) probabilities, as many as are named")
    elif graph.output_shape[-1:] not in ((manifest.target.dimension,), (None,)):
        raise BundleError(f"{where}: the model's output is not of the target space's dimension")
