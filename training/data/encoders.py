"""Encoders to extract with: an ONNX file and a small JSON that says how a picture is prepared for it.

    {"name": "mine", "file": "mine.onnx", "dim": 512, "colour": "RGB", "crop": [0, 0, 112, 112],
     "resize": [112, 112], "mean": [127.5, 127.5, 127.5], "std": [127.5, 127.5, 127.5], "licence": "MIT"}

A file may hold one such description or `{"encoders": [...]}`. A bundle of kind encoder serves as well as either.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, TypeAdapter

from models.bundle import read_bundle
from models.documents import parse_document, sha256_hex
from models.errors import ContractError
from models.space import Finite, InputPreparation, Name, Pixels, Positive, Space
from training.errors import EncoderError


class EncoderDescription(BaseModel):
    """One entry of an encoders file. Fields that are not listed here are for people and ignored."""

    model_config = ConfigDict(extra="ignore")

    name: Name
    file: str
    dim: Annotated[int, Field(ge=1, le=65536)]
    colour: Literal["RGB", "BGR"] = "RGB"
    size: tuple[Pixels, Pixels] = (112, 112)
    crop: tuple[Pixels, Pixels, Pixels, Pixels] = (0, 0, 112, 112)
    resize: tuple[Pixels, Pixels] = (112, 112)
    mean: tuple[Finite, Finite, Finite] = (0.0, 0.0, 0.0)
    std: tuple[Positive, Positive, Positive] = (1.0, 1.0, 1.0)
    licence: str = "unknown"


class _EncodersFile(BaseModel):
    model_config = ConfigDict(extra="ignore")

    encoders: Annotated[list[EncoderDescription], Field(min_length=1)]


def _kind(document: object) -> str:
    return "list" if isinstance(document, dict) and "encoders" in document else "encoder"


_FILE: TypeAdapter[_EncodersFile | EncoderDescription] = TypeAdapter(
    Annotated[
        Annotated[_EncodersFile, Tag("list")] | Annotated[EncoderDescription, Tag("encoder")],
        Discriminator(_kind),
    ]
)


@dataclass(frozen=True, slots=True)
class Encoder:
    """An encoder ready to load: its space, its ONNX bytes and its licence."""

    space: Space
    preparation: InputPreparation
    model: bytes
    licence: str


def find_encoder(spec: str, registry: Path | None) -> Encoder:
    """The encoder that `spec` names: NAME in `registry`, FILE.json, FILE.json#NAME, or a bundle folder.

    Raises `EncoderError`.
    """
    path_text, _, name = spec.partition("#")
    path = Path(path_text)
    if path.is_dir():
        return _from_bundle(path)
    if path.suffix == ".onnx":
        raise EncoderError(
            f"{path}: give the JSON file that describes this encoder and how pictures are prepared for it"
        )
    if path.suffix == ".json" or path.is_file():
        return _from_file(path, name or None)
    if registry is None:
        raise EncoderError(
            f"encoder {spec!r} is neither a file nor a folder; to use it as a name give --encoders FILE "
            "(or set FACEBRIDGE_ENCODERS)"
        )
    return _from_file(registry, spec)


def _from_bundle(folder: Path) -> Encoder:
    try:
        bundle = read_bundle(folder)
    except ContractError as failure:
        raise EncoderError(str(failure)) from None
    space = bundle.manifest.target
    if bundle.manifest.kind != "encoder" or space.preparation is None:
        raise EncoderError(f"{folder}: is a bundle of kind {bundle.manifest.kind}, not an encoder")
    return Encoder(space, space.preparation, bundle.model, bundle.manifest.licence)


def _from_file(path: Path, name: str | None) -> Encoder:
    try:
        text = path.read_bytes()
    except OSError as failure:
        raise EncoderError(f"{path}: cannot be read ({failure.strerror})") from None
    try:
        document = parse_document(_FILE, text, what=str(path), error=ContractError)
    except ContractError as failure:
        raise EncoderError(str(failure)) from None
    descriptions = document.encoders if isinstance(document, _EncodersFile) else [document]
    chosen = [description for description in descriptions if name is None or description.name == name]
    if len(chosen) != 1:
        known = ", ".join(description.name for description in descriptions)
        raise EncoderError(f"{path}: name one of its encoders: {known}")
    return _load(chosen[0], path)


def _load(description: EncoderDescription, described_in: Path) -> Encoder:
    path = described_in.parent / description.file
    try:
        model = path.read_bytes()
    except OSError as failure:
        raise EncoderError(f"{path}: the encoder's file cannot be read ({failure.strerror})") from None
    try:
        preparation = InputPreparation(
            size=description.size,
            crop=description.crop,
            resize=description.resize,
            colour=description.colour,
            mean=description.mean,
            std=description.std,
        )
    except ContractError as failure:
        raise EncoderError(f"{described_in}: {description.name}: {failure}") from None
    space = Space(description.name, description.dim, f"sha256:{sha256_hex(model)}", preparation)
    return Encoder(space, preparation, model, description.licence)
