"""Closed-form translators: the strong simple methods beside which every other is shown.

Shapes: N pairs, S source and T target dimension. Hyperparameters are chosen by mean cosine on validation subjects.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.features import FloatArray
from models.linear import LinearMap
from training.trainers.fitted import Fitted, TrainingData, best_on_validation

DoubleArray = npt.NDArray[np.float64]

RIDGE_STRENGTHS = (1e-5, 1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)
"""Penalties, as multiples of the mean variance of a source dimension.

Never less: encoders leave directions almost empty (86 of 256 and 344 of 512 in two real ones), and weights of a thousand
that fit their noise give other numbers on every machine.
"""
RANKS = (8, 16, 32, 64, 96, 128, 192, 256, 384, 512)


def fit_procrustes(data: TrainingData) -> Fitted[LinearMap]:
    """The map with orthonormal rows or columns that brings source nearest to target; nothing to choose.

    Source: Schönemann, A generalized solution of the orthogonal Procrustes problem (Psychometrika 1966); for S != T the
    semi-orthogonal form, U V' of the thin SVD.
    """
    u, _, vt = np.linalg.svd(data.source_NS.T.astype(np.float64) @ data.target_NT, full_matrices=False)
    weight_ST = u @ vt
    return Fitted(_linear_map(weight_ST, np.zeros(weight_ST.shape[1])))


def fit_ridge(data: TrainingData) -> Fitted[LinearMap]:
    """Least squares with an unpenalised intercept and a penalty on the weights.

    Source: Hoerl and Kennard, Ridge regression (Technometrics 1970).
    """
    moments = Moments.of(data)

    def candidates() -> Iterator[Fitted[LinearMap]]:
        for strength in RIDGE_STRENGTHS:
            yield Fitted(moments.map(moments.ridge(strength)), {"strength": strength})

    return best_on_validation(data, candidates())


def fit_low_rank(data: TrainingData) -> Fitted[LinearMap]:
    """Ridge whose fitted values lie in the few directions that explain most of them.

    Source: Izenman, Reduced-rank regression for the multivariate linear model (J. Multivariate Analysis 1975), with
    identity weighting: the ridge weights projected on the leading right singular vectors of the fitted values.
    """
    strength = float(str(fit_ridge(data).hyperparameters["strength"]))
    moments = Moments.of(data)
    weight_ST = moments.ridge(strength)
    fitted_covariance_TT = weight_ST.T @ moments.covariance_SS @ weight_ST
    directions_TT = np.linalg.eigh(fitted_covariance_TT)[1][:, ::-1]
    most = min(weight_ST.shape)

    def candidates() -> Iterator[Fitted[LinearMap]]:
        for rank in sorted({rank for rank in RANKS if rank < most} | {most}):
            kept_TR = directions_TT[:, :rank]
            projected_ST = weight_ST @ kept_TR @ kept_TR.T
            yield Fitted(moments.map(projected_ST), {"strength": strength, "rank": rank})

    return best_on_validation(data, candidates())


@dataclass(frozen=True, slots=True)
class Moments:
    """Means, covariance and cross-covariance of the training pairs, with the covariance's eigenvectors."""

    source_mean_S: DoubleArray
    target_mean_T: DoubleArray
    covariance_SS: DoubleArray
    cross_ST: DoubleArray
    eigenvalue_S: DoubleArray
    eigenvector_SS: DoubleArray

    @classmethod
    def of(cls, data: TrainingData) -> "Moments":
        """Of training pairs."""
        return cls.between(data.source_NS, data.target_NT)

    @classmethod
    def between(cls, source_NS: FloatArray, target_NT: FloatArray) -> "Moments":
        """Of pairs, row by row."""
        source, target = source_NS.astype(np.float64), target_NT.astype(np.float64)
        source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
        source -= source_mean
        target -= target_mean
        covariance = source.T @ source / len(source)
        values, vectors = np.linalg.eigh(covariance)
        return cls(source_mean, target_mean, covariance, source.T @ target / len(source), values, vectors)

    def ridge(self, strength: float) -> DoubleArray:
        """(C + p I)^-1 K, p the strength times the mean eigenvalue; directions without variance get no weight."""
        penalised_S = self.eigenvalue_S + strength * self.eigenvalue_S.mean()
        usable_S = penalised_S > 1e-10 * self.eigenvalue_S.max()
        inverse_S = np.where(usable_S, 1.0 / np.where(usable_S, penalised_S, 1.0), 0.0)
        weight_ST: DoubleArray = (self.eigenvector_SS * inverse_S) @ (self.eigenvector_SS.T @ self.cross_ST)
        return weight_ST

    def map(self, weight_ST: DoubleArray) -> LinearMap:
        """The linear map with the intercept that belongs to the weights."""
        return _linear_map(weight_ST, self.target_mean_T - self.source_mean_S @ weight_ST)


def _linear_map(weight_ST: DoubleArray, bias_T: DoubleArray) -> LinearMap:
    return LinearMap(weight_ST.astype(np.float32), bias_T.astype(np.float32))
