"""The small world of these tests: four spaces, three translators, two encoders, and what they must answer, by hand.

    a (8) -> b (16) -> c (8) -> a        d (8) has an encoder and no translator

Shapes: N rows, S source and T target dimension.
"""

import base64
import io
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
from fastapi import FastAPI
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from models.bundle import Bundle, Manifest, Provenance, Sampling, write_bundle
from models.calibration import Calibration
from models.documents import readable_json
from models.features import FloatArray, unit_features
from models.graph import check_graph
from models.linear import LinearMap
from models.operating_point import OperatingPoint
from models.space import InputPreparation, Space
from service.inference.engine import Engine, Picture
from training.export.linear_graph import linear_graph

Rows = npt.NDArray[np.float64]

A = Space("a", 8, "sha256:" + "a" * 64, InputPreparation())
B = Space("b", 16, "external:b")
C = Space("c", 8, "external:c")
D = Space("d", 8, "sha256:" + "d" * 64, InputPreparation())
OTHER_A = Space("a", 8, "external:another encoder of the name a")

A_TO_B_POINTS = (
    OperatingPoint(fmr=0.01, threshold=0.25, fnmr=0.05, num_genuine=100, num_impostors=10_000),
    OperatingPoint(fmr=0.001, threshold=0.75, fnmr=0.2, num_genuine=100, num_impostors=100_000),
)
NATIVE_B_POINTS = (OperatingPoint(fmr=0.01, threshold=0.5, fnmr=0.01, num_genuine=100, num_impostors=10_000),)
NATIVE_A_POINTS = (OperatingPoint(fmr=0.01, threshold=0.125, fnmr=0.02, num_genuine=100, num_impostors=10_000),)


def _map(seed: int, num_source: int, num_target: int) -> LinearMap:
    rng = np.random.default_rng(seed)
    weight_ST = rng.normal(size=(num_source, num_target)).astype(np.float32)
    return LinearMap(weight_ST, (0.1 * rng.normal(size=num_target)).astype(np.float32))


A_TO_B, B_TO_C, C_TO_A = _map(1, 8, 16), _map(2, 16, 8), _map(3, 8, 8)
COLOURS_TO_A = LinearMap(
    (np.random.default_rng(4).normal(size=(3, 8)) / 255).astype(np.float32), np.full(8, 0.1, dtype=np.float32)
)


def unit(raw: npt.ArrayLike) -> Rows:
    """Rows of length one, in float64."""
    rows = np.asarray(raw, dtype=np.float64)
    normalised: Rows = rows / np.linalg.norm(rows, axis=-1, keepdims=True)
    return normalised


def by_hand(raw: npt.ArrayLike, *maps: LinearMap) -> Rows:
    """What a chain of translators must answer: normalise, map, normalise."""
    rows = unit(raw)
    for linear in maps:
        rows = unit(rows @ linear.weight_ST.astype(np.float64) + linear.bias_T.astype(np.float64))
    return rows


def encoded_by_hand(picture: bytes) -> Rows:
    """What the encoder of space a must answer, (8,): a linear map of the mean colour."""
    with Image.open(io.BytesIO(picture)) as image:
        colour = np.asarray(image.convert("RGB"), dtype=np.float64).mean(axis=(0, 1))
    return unit(colour @ COLOURS_TO_A.weight_ST.astype(np.float64) + COLOURS_TO_A.bias_T.astype(np.float64))


def features(num_rows: int, dimension: int = 8, seed: int = 0) -> Rows:
    """Rows of any length."""
    return np.random.default_rng(seed).normal(size=(num_rows, dimension))


def picture_bytes(colour: tuple[int, int, int], *, size: int = 112, format_: str = "JPEG") -> bytes:
    """A picture of one colour."""
    stream = io.BytesIO()
    Image.new("RGB", (size, size), colour).save(stream, format_)
    return stream.getvalue()


def base64_of(data: bytes | Rows) -> str:
    """Base64 of bytes, or of numbers as little-endian float32."""
    return base64.b64encode(data if isinstance(data, bytes) else data.astype("<f4").tobytes()).decode()


def npy(array: npt.NDArray[Any]) -> bytes:
    """The bytes of a `.npy` file, objects allowed."""
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def npz(space: Space | str, columns: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """A feature set's bytes as a careless client would write them: nothing is checked."""
    stream = io.BytesIO()
    text = space if isinstance(space, str) else readable_json(space.to_json()).decode()
    np.savez(stream, allow_pickle=True, space=np.array(text), **columns)
    return stream.getvalue()


def feature_set(space: Space, rows: Rows, subjects: list[str], **more: npt.NDArray[Any]) -> bytes:
    """A sound `.npz` feature set whose pictures are called p0, p1 ..."""
    columns = {
        "feature": rows.astype(np.float32),
        "image": np.array([f"p{row}" for row in range(len(rows))]),
        "subject": np.array(subjects),
    }
    return npz(space, columns | more)


def generator_graph(num_source: int, side: int = 4) -> bytes:
    """Paints every pixel of channel k with 300 times number k of the unit feature: `source_feature` to `picture`."""
    graph = helper.make_graph(
        [
            helper.make_node("Slice", ["source_feature", "first", "last", "axis"], ["colour"]),
            helper.make_node("Mul", ["colour", "scale"], ["scaled"]),
            helper.make_node("Unsqueeze", ["scaled", "places"], ["pixel"]),
            helper.make_node("Tile", ["pixel", "repeats"], ["picture"]),
        ],
        "paint-by-numbers",
        [helper.make_tensor_value_info("source_feature", TensorProto.FLOAT, ["batch", num_source])],
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, ["batch", 3, side, side])],
        [
            numpy_helper.from_array(np.array(values), name)
            for name, values in (
                ("first", [0]),
                ("last", [3]),
                ("axis", [1]),
                ("places", [2, 3]),
                ("repeats", [1, 1, side, side]),
            )
        ]
        + [numpy_helper.from_array(np.array(300.0, dtype=np.float32), "scale")],
    )
    data: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8
    ).SerializeToString()
    return data


def encoder_graph(linear: LinearMap) -> bytes:
    """Mean colour, then a linear map: `picture` (N, 3, 112, 112) to `feature` (N, 8)."""
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["picture"], ["mean"]),
            helper.make_node("Flatten", ["mean"], ["colour"], axis=1),
            helper.make_node("Gemm", ["colour", "weight", "bias"], ["feature"]),
        ],
        "mean-colour",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, ["batch", 3, 112, 112])],
        [helper.make_tensor_value_info("feature", TensorProto.FLOAT, ["batch", linear.weight_ST.shape[1]])],
        [numpy_helper.from_array(linear.weight_ST, "weight"), numpy_helper.from_array(linear.bias_T, "bias")],
    )
    data: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8
    ).SerializeToString()
    return data


def write(
    folder: Path,
    graph: bytes,
    source: Space | None,
    target: Space,
    *,
    name: str | None = None,
    quality: float | None = None,
    calibration: Calibration | None = None,
    kind: Any = None,
    method: str = "procrustes",
    more: Mapping[str, bytes] | None = None,
    data_digests: Mapping[str, str] | None = None,
    modality: str | None = None,
    sampling: Sampling | None = None,
    metrics: Mapping[str, Any] | None = None,
) -> Manifest:
    """Write a bundle: an encoder where there is no source, else a translator."""
    signature = check_graph(graph, takes_noise=kind == "sampler")
    manifest = Manifest(
        name=name or folder.name,
        kind=kind or ("translator" if source else "encoder"),
        method=method if source else "encoder",
        source=source,
        target=target,
        input_name=signature.input_name,
        output_name=signature.output_name,
        opset=signature.opset,
        licence="MIT",
        provenance=Provenance(
            created_at="2026-01-01T00:00:00Z", code_version="0", libraries={}, data_digests=dict(data_digests or {})
        ),
        metrics=dict(metrics or {})
        if quality is None
        else {"test": {"rows": {"translated probes": {"mean_cosine": quality}}}},
        modality=modality,
        sampling=sampling,
    )
    files = {
        "model.onnx": graph,
        "calibration.json": readable_json((calibration or Calibration()).to_json()),
        "MODEL_CARD.md": b"# A test bundle\n",
        **(more or {}),
    }
    return write_bundle(folder, manifest, files)


def write_translator(
    folder: Path,
    linear: LinearMap,
    source: Space,
    target: Space,
    *,
    name: str | None = None,
    quality: float | None = None,
) -> Manifest:
    """Write a linear translator without calibration."""
    return write(folder, linear_graph(linear, source.dimension), source, target, name=name, quality=quality)


def write_world(folder: Path, *, more: dict[str, bytes] | None = None) -> Path:
    """Write all bundles of this world below `folder`, with `more` files of that from a to b."""
    calibration = Calibration(
        {"translated": A_TO_B_POINTS, "native-target": NATIVE_B_POINTS, "native-source": NATIVE_A_POINTS}
    )
    write(folder / "a-to-b", linear_graph(A_TO_B, 8), A, B, quality=0.9, calibration=calibration, more=more or {})
    write_translator(folder / "b-to-c", B_TO_C, B, C, quality=0.8)
    write_translator(folder / "c-to-a", C_TO_A, C, A, quality=0.7)
    write(folder / "encode-a", encoder_graph(COLOURS_TO_A), None, A)
    write(folder / "encode-d", encoder_graph(COLOURS_TO_A), None, D)
    return folder


@asynccontextmanager
async def running(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client of `app` while its lifespan runs; a failure of the app is an answer, as it is for any other client."""
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://facebridge") as client:
            yield client


@dataclass
class FakeEngine:
    """Repeats the numbers it is given until the target's dimension is full. It can be held, and can fail."""

    dimension: int
    device: str = "cpu"
    max_rows: int = 256
    started: threading.Event = field(default_factory=threading.Event)
    may_go_on: threading.Event = field(default_factory=threading.Event)
    fail_with: Exception | None = None

    def __post_init__(self) -> None:
        self.may_go_on.set()

    def prepare(self, item: FloatArray | Picture) -> FloatArray:
        return np.ones((1, self.dimension), dtype=np.float32) if isinstance(item, Picture) else item

    def run(self, rows: FloatArray) -> FloatArray:
        self.started.set()
        assert self.may_go_on.wait(10)
        if self.fail_with is not None:
            raise self.fail_with
        return np.stack([np.resize(row, self.dimension) for row in rows])

    def finish(self, rows: FloatArray) -> FloatArray:
        return unit_features(rows)


@dataclass
class FakeEngines:
    """`EngineFactory` without ONNX; the engine of each bundle is kept by the bundle's name."""

    by_name: dict[str, FakeEngine] = field(default_factory=dict)
    change: Callable[[FakeEngine], None] = lambda engine: None

    def translator(self, bundle: Bundle) -> Engine[FloatArray]:
        return self._make(bundle)

    def encoder(self, bundle: Bundle) -> Engine[Picture]:
        return self._make(bundle)

    def generator(self, bundle: Bundle) -> Engine[FloatArray]:
        return self._make(bundle)

    def sampler(self, bundle: Bundle) -> Engine[Any]:
        return self._make(bundle)

    def classifier(self, bundle: Bundle) -> Engine[Picture]:
        return self._make(bundle)

    def attributes(self, bundle: Bundle) -> Engine[Picture]:
        return self._make(bundle)

    def _make(self, bundle: Bundle) -> FakeEngine:
        engine = FakeEngine(bundle.manifest.target.dimension)
        self.change(engine)
        self.by_name[bundle.manifest.name] = engine
        return engine
