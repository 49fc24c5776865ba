"""`stats.npz` of a translator's bundle: what is needed to tell how far a translated feature can be trusted.

Confidence is what came of faces that the translator had not seen and that looked alike to it: of their genuine comparisons with
native features of the target space, the share that reached the threshold at the false-match rate `fmr` (`tar`); where
thresholds were not measured, the mean cosine with the native feature of the same picture (`cosine`). A feature that hardly
any of its space is like has the confidence 0. Where it is known how long a feature was before it was made of length one, that is
looked at too: many encoders make short features of poor pictures.

Source of that: Meng et al., MagFace: A universal representation for face recognition and quality assessment (CVPR 2021); here
which way it goes is learned, as encoders that were not trained for it differ.

Nothing here is a feature of anybody: the centres are means of many people.

Shapes: N features, S source and T target dimension, C centres, F inputs of the estimator, K steps.
"""

from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from models.errors import BundleError, ContractError
from models.features import FloatArray
from models.npy import read_arrays, write_arrays
from models.reference import SMALLEST_SD, SpaceReference, checked_arrays, whitened

NUM_SIGNALS = 4
NORM_SLACK = 0.7
"""How far, as a logarithm, a norm may lie beyond those that were seen: twice as long, or half. Others are of another scale."""
MAX_BYTES = 256 << 20

Meaning = Literal["tar", "cosine"]


@dataclass(frozen=True, slots=True)
class Signals:
    """What four numbers say of a feature and its translation, by people that neither is of."""

    mean_S: FloatArray
    basis_SS: FloatArray
    """Columns are directions of the source space over the standard deviation there."""
    mean_T: FloatArray
    basis_TT: FloatArray
    centre_CS: FloatArray
    """Unit vectors: means of people who are neighbours."""
    back_weight_TS: FloatArray
    """The ridge map back into the source space; how much of a feature comes back is the cycle's cosine."""
    back_bias_S: FloatArray

    def __call__(self, source_NS: FloatArray, translated_NT: FloatArray) -> FloatArray:
        """Mahalanobis distances in both spaces, cosines with the nearest centre and of what comes back, (N, 4)."""
        back_NS = translated_NT @ self.back_weight_TS + self.back_bias_S
        length_N = np.maximum(np.linalg.norm(back_NS, axis=1), 1e-9)
        return np.stack(
            [
                np.square(whitened(source_NS, self.mean_S, self.basis_SS)).mean(axis=1),
                np.square(whitened(translated_NT, self.mean_T, self.basis_TT)).mean(axis=1),
                (source_NS @ self.centre_CS.T).max(axis=1),
                np.einsum("ns,ns->n", source_NS, back_NS) / length_N,
            ],
            axis=1,
        ).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A linear map of inputs, and what came of features by what it puts out."""

    weight_F: FloatArray
    bias_1: FloatArray
    step_K: FloatArray
    """Values, ascending; entry k of `confidence_K` holds from `step_K[k]` to below the next."""
    confidence_K: FloatArray

    def value(self, input_NF: FloatArray) -> FloatArray:
        """What the map puts out, (N,)."""
        value_N: FloatArray = input_NF @ self.weight_F + self.bias_1
        return value_N

    def __call__(self, input_NF: FloatArray) -> FloatArray:
        """Confidences (N,); 0 where the value is no number."""
        value_N = self.value(input_NF)
        place_N = np.maximum(0, np.searchsorted(self.step_K, value_N, side="right") - 1)
        confidence_N: FloatArray = np.where(np.isfinite(value_N), self.confidence_K[place_N], np.float32(0))
        return confidence_N


@dataclass(frozen=True, slots=True)
class NormScale:
    """Of logarithms of norms."""

    mean: float
    sd: float
    low: float
    high: float

    def __call__(self, norm_N: FloatArray) -> FloatArray:
        """One more input of the estimator, (N, 1); NaN where the norm is not known or of another scale."""
        log_N: FloatArray = np.log(norm_N).astype(np.float32)
        log_N[(log_N < self.low - NORM_SLACK) | (log_N > self.high + NORM_SLACK)] = np.nan
        scaled_N: FloatArray = (log_N.clip(self.low, self.high) - np.float32(self.mean)) / np.float32(self.sd)
        return scaled_N[:, None]


@dataclass(frozen=True, slots=True)
class NormEstimate:
    """For features whose norm is known."""

    scale: NormScale
    estimate: Estimate
    """Its last input is the norm."""


@dataclass(frozen=True, slots=True)
class ConfidenceModel:
    """Looks at a feature and its translation, never at pictures."""

    meaning: Meaning
    fmr: float
    """Of the threshold that `tar` is of; 0 for `cosine`."""
    source: SpaceReference
    """With `target`, what features of the spaces look like, for those who watch them; may be measured anew."""
    target: SpaceReference | None
    """None of a common space, where features of several encoders lie, each like its own."""
    signals_of: Signals
    signal_mean_4: FloatArray
    signal_sd_4: FloatArray
    signal_limit_4: FloatArray
    """Beyond which hardly any feature of a face is: above for distances, below for cosines (`Signals`)."""
    plain: Estimate
    """For features whose norm is not known."""
    with_norm: NormEstimate | None = None
    """None where norms were not known of those it is made of."""

    def __call__(
        self, source_NS: FloatArray, translated_NT: FloatArray, norm_N: FloatArray | None = None
    ) -> FloatArray:
        """The confidence in each translation, (N,), in [0, 1]; `norm_N` of the source features, NaN where it is not known."""
        signal_N4 = self.signals_of(source_NS, translated_NT)
        input_NF = self.inputs(source_NS, translated_NT, signal_N4)
        confidence_N = self.plain(input_NF)
        if self.with_norm is not None and norm_N is not None:
            scaled_N1 = self.with_norm.scale(norm_N)
            known = np.flatnonzero(np.isfinite(scaled_N1[:, 0]))
            confidence_N[known] = self.with_norm.estimate(np.concatenate([input_NF[known], scaled_N1[known]], axis=1))
        is_odd_N = (np.array([1, 1, -1, -1]) * (signal_N4 - self.signal_limit_4) > 0).any(axis=1)
        is_odd_N |= self.source.is_outlier(self.source.whitened(source_NS))
        confidence_N[is_odd_N] = 0
        return confidence_N

    def inputs(self, source_NS: FloatArray, translated_NT: FloatArray, signal_N4: FloatArray) -> FloatArray:
        """What `plain` looks at, (N, F)."""
        return inputs(source_NS, translated_NT, (signal_N4 - self.signal_mean_4) / self.signal_sd_4)

    def to_bytes(self) -> bytes:
        """`stats.npz`; the same model gives the same bytes."""
        arrays: dict[str, npt.NDArray[Any]] = {"meaning": np.array(self.meaning)}
        for side, reference in (("source", self.source), ("target", self.target)):
            if reference is not None:
                arrays |= {f"{side}_{name}": array for name, array in reference.to_arrays().items()}
        arrays["fmr"] = np.array([self.fmr], dtype=np.float32)
        of_signals = {name: getattr(self.signals_of, field) for name, field in _SIGNAL_FIELDS.items()}
        own = {name: getattr(self, field) for name, field in _FIELDS.items()}
        own |= {name: getattr(self.plain, field) for name, field in _ESTIMATE_FIELDS.items()}
        if self.with_norm is not None:
            of_norm = self.with_norm.estimate
            own |= {f"norm_{name}": getattr(of_norm, field) for name, field in _ESTIMATE_FIELDS.items()}
            own["norm_scale"] = np.array(astuple(self.with_norm.scale), dtype=np.float32)
        return write_arrays(arrays | of_signals | own)


_SIGNAL_FIELDS = {
    "mean_of_source": "mean_S",
    "basis_of_source": "basis_SS",
    "mean_of_target": "mean_T",
    "basis_of_target": "basis_TT",
    "centre": "centre_CS",
    "back_weight": "back_weight_TS",
    "back_bias": "back_bias_S",
}
_FIELDS = {
    "signal_mean": "signal_mean_4",
    "signal_sd": "signal_sd_4",
    "signal_limit": "signal_limit_4",
}
_ESTIMATE_FIELDS = {
    "weight": "weight_F",
    "bias": "bias_1",
    "step": "step_K",
    "confidence": "confidence_K",
}


def inputs(source_NS: FloatArray, translated_NT: FloatArray, scaled_signal_N4: FloatArray) -> FloatArray:
    """What the estimator looks at, (N, S + T + 4): numbers of about one."""
    scaled = (side * np.float32(np.sqrt(side.shape[1])) for side in (source_NS, translated_NT))
    return np.concatenate([*scaled, scaled_signal_N4], axis=1, dtype=np.float32)


def read_confidence(data: bytes, num_source: int, num_target: int) -> ConfidenceModel:
    """Read `stats.npz` of a translator between spaces of these dimensions. Raises `BundleError`."""
    try:
        arrays = read_arrays(data, max_bytes=MAX_BYTES)
        source = SpaceReference.from_arrays(_of_side(arrays, "source"), num_source)
        of_target = _of_side(arrays, "target")
        target = SpaceReference.from_arrays(of_target, num_target) if of_target else None
        num_in = num_source + num_target + NUM_SIGNALS
        shapes = {
            "mean_of_source": (num_source,),
            "basis_of_source": (num_source, num_source),
            "mean_of_target": (num_target,),
            "basis_of_target": (num_target, num_target),
            "centre": (-1, num_source),
            "back_weight": (num_target, num_source),
            "back_bias": (num_source,),
            "fmr": (1,),
            **dict.fromkeys(("signal_mean", "signal_sd", "signal_limit"), (NUM_SIGNALS,)),
            **_estimate_shapes("", num_in),
        }
        has_norm = "norm_scale" in arrays
        if has_norm:
            shapes |= {"norm_scale": (4,), **_estimate_shapes("norm_", num_in + 1)}
        own = checked_arrays(arrays, shapes)
        _check(own, arrays.get("meaning"))
        known = {
            "meaning",
            *shapes,
            *(f"{side}_{name}" for side in ("source", "target") for name in source.to_arrays()),
        }
        if arrays.keys() - known:
            raise ContractError(f"holds an array that nothing reads: {sorted(arrays.keys() - known)[0]!a}")
        meaning: Any = str(arrays["meaning"])
        signals = Signals(*(own[name] for name in _SIGNAL_FIELDS))
        # As it was written: float32 has not the digits of 0.001.
        fmr = float(f"{own['fmr'][0]:.6g}")
        mean_4, sd_4, limit_4 = (own[name] for name in _FIELDS)
        plain, with_norm = _estimate(own, ""), None
        if has_norm:
            with_norm = NormEstimate(NormScale(*map(float, own["norm_scale"])), _estimate(own, "norm_"))
        return ConfidenceModel(meaning, fmr, source, target, signals, mean_4, sd_4, limit_4, plain, with_norm)
    except ContractError as failure:
        raise BundleError(f"stats.npz: {failure}") from None


def _of_side(arrays: Mapping[str, npt.NDArray[Any]], side: str) -> dict[str, npt.NDArray[Any]]:
    prefix = f"{side}_"
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _estimate_shapes(prefix: str, num_in: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"weight": (num_in,), "bias": (1,), "step": (-1,), "confidence": (-1,)}
    return {prefix + name: shape for name, shape in shapes.items()}


def _estimate(own: Mapping[str, npt.NDArray[np.float32]], prefix: str) -> Estimate:
    """Raises `ContractError`."""
    steps, confidence = own[f"{prefix}step"], own[f"{prefix}confidence"]
    if not len(steps) or steps.shape != confidence.shape:
        raise ContractError("as many steps as confidences are needed, and one at least")
    if (
        (np.diff(steps) < 0).any()
        or (np.diff(confidence) < 0).any()
        or not ((confidence >= 0) & (confidence <= 1)).all()
    ):
        raise ContractError("steps and confidences must rise, and confidences lie between 0 and 1")
    return Estimate(*(own[prefix + name] for name in _ESTIMATE_FIELDS))


def _check(own: Mapping[str, npt.NDArray[np.float32]], meaning: npt.NDArray[Any] | None) -> None:
    if meaning is None or meaning.shape != () or str(meaning) not in ("tar", "cosine"):
        raise ContractError("meaning must be tar or cosine")
    if not len(own["centre"]):
        raise ContractError("there is no centre")
    if not 0 <= own["fmr"][0] < 1:
        raise ContractError("fmr must be a false-match rate")
    if (own["signal_sd"] < SMALLEST_SD).any():
        raise ContractError(f"signal_sd must be {SMALLEST_SD:g} or more")
    if "norm_scale" in own:
        _, sd, low, high = own["norm_scale"]
        if sd < SMALLEST_SD or low > high:
            raise ContractError(f"norm_scale must be mean, sd of {SMALLEST_SD:g} or more, low, and high of low or more")
