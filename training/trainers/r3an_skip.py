"""R3AN beside the closed-form map: the network learns what the map misses.

Shapes: N pairs, S source and T target dimension.
"""

import copy
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from models.linear import LinearMap
from models.r3an import R3ANTranslator
from training.trainers.fitted import Fitted, TrainingData, best_on_validation
from training.trainers.linear import fit_ridge
from training.trainers.r3an import fit_r3an
from training.trainers.r3an_recipe import R3ANRecipe
from training.trainers.torch_translator import TorchTranslator

SHARES = (1.0, 0.75, 0.5, 0.25)
"""Of what the network adds; ordered so that of equals the most is taken."""


def fit_r3an_skip(data: TrainingData, recipe: R3ANRecipe) -> Fitted[TorchTranslator]:
    """Fit ridge, train R3AN towards what is left of the target features, and add the two.

    The representation path learns from pictures what the regression path learns from features: the target less the
    map's answer. How much of the network is added is chosen on validation subjects, as with `residual-mlp`.

    Raises `TrainingError` as `fit_r3an` does.
    """
    linear = _unit_scaled(fit_ridge(data).model, data)
    answer_NT = data.source_NS @ linear.weight_ST + linear.bias_T
    left = replace(data, target_NT=(data.target_NT - answer_NT).astype(np.float32))
    fitted = fit_r3an(left, recipe, start_at_zero=True)
    network = fitted.model.network
    assert isinstance(network, R3ANTranslator)
    candidates = (
        Fitted(TorchTranslator(_added(network, linear, share)), fitted.hyperparameters | {"share": share})
        for share in SHARES
    )
    return best_on_validation(data, candidates)


def _unit_scaled(ridge: LinearMap, data: TrainingData) -> LinearMap:
    """The map divided by the mean length of its answers, so that what it misses has the scale of unit features."""
    length = np.float32(np.linalg.norm(data.source_NS @ ridge.weight_ST + ridge.bias_T, axis=1).mean())
    return LinearMap(ridge.weight_ST / length, ridge.bias_T / length)


@torch.no_grad()
def _added(network: R3ANTranslator, linear: LinearMap, share: float) -> R3ANTranslator:
    layer = nn.Linear(*linear.weight_ST.shape)
    layer.weight.copy_(torch.from_numpy(np.ascontiguousarray(linear.weight_ST.T)))
    layer.bias.copy_(torch.from_numpy(linear.bias_T))
    extractor = copy.deepcopy(network.extractor)
    extractor.project.weight.mul_(share)
    extractor.project.bias.mul_(share)
    return R3ANTranslator(network.generator, extractor, layer)
