"""Identify among the people whom a classifier knows, and nobody else: no gallery is asked."""

import asyncio
from dataclasses import dataclass

import numpy as np

from service.errors import InvalidInputError, NotFoundError
from service.inference.engine import Picture
from service.inference.inference import Inference
from service.inference.loading import LoadedBundle


@dataclass(frozen=True, slots=True)
class Recognised:
    """Whom a picture may be of: the most probable first."""

    bundle: str
    digest: str
    """Of the bundle."""
    num_people: int
    """Whom the classifier knows."""
    people: tuple[tuple[str, float], ...]
    """Subject and probability."""


class ClosedSet:
    """The verb."""

    def __init__(self, inference: Inference) -> None:
        self._inference = inference

    async def __call__(self, picture: Picture, modality: str, *, top_k: int, bundle: str | None = None) -> Recognised:
        """Whom it is of, by the classifier of this modality, or that of this name.

        Raises `NotFoundError` where there is none, `InvalidInputError` where there are several and none is named, or the one that
        is named is for other pictures, and what is wrong with the picture.
        """
        chosen = self._chosen(modality, bundle)
        manifest, labels = chosen.bundle.manifest, chosen.bundle.labels
        probability_C = await self._inference.classify(picture, manifest.name)
        order = await asyncio.to_thread(np.argsort, -probability_C, kind="stable")
        ranked = tuple((labels[place], float(probability_C[place])) for place in order[:top_k].tolist())
        return Recognised(manifest.name, manifest.digest, len(labels), ranked)

    def _chosen(self, modality: str, bundle: str | None) -> LoadedBundle:
        classifiers = self._inference.loaded.classifiers
        if bundle is not None:
            named = next((one for one in classifiers if one.bundle.manifest.name == bundle), None)
            if named is None:
                raise NotFoundError("no classifier of this name is loaded; see /bundles")
            if named.bundle.manifest.modality != modality:
                raise InvalidInputError(
                    f"this classifier is for pictures of the modality {named.bundle.manifest.modality}; name that of the probe"
                )
            return named
        fitting = [one for one in classifiers if one.bundle.manifest.modality == modality]
        if not fitting:
            raise NotFoundError("no classifier of pictures of this modality is loaded; see /bundles")
        if len(fitting) > 1:
            names = ", ".join(one.bundle.manifest.name for one in fitting)
            raise InvalidInputError(f"several classifiers are for this modality: name the bundle ({names})")
        return fitting[0]
