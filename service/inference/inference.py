"""Translating and encoding for many callers at once: one micro-batcher a bundle.

Shapes: n rows of one call, S source and T target dimension of a route.
"""

import asyncio
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np

from models.confidence import ConfidenceModel
from models.features import FloatArray
from models.space import Space
from service.entities import RouteStep
from service.errors import ImageRejectedError, NoRouteError
from service.inference.batcher import MicroBatcher
from service.inference.blocking import BlockingRoute, BlockingStep
from service.inference.catalog import Catalog
from service.inference.engine import Picture
from service.inference.loading import LoadedBundles
from service.inference.watch import Seen, Watch

_OF_PICTURES = ("encoder", "classifier", "attributes")
OFF_LOOP_JUDGED = 32
"""Rows from which on what is thought of features is thought on a thread: 255 of 512 numbers take 10 ms."""


class Inference:
    """The catalog's bundles at work."""

    def __init__(
        self,
        loaded: LoadedBundles,
        *,
        batch_rows: int,
        queue_rows: int,
        queue_pictures: int,
        on_batch: Callable[[str, int], None] = lambda bundle, num_rows: None,
    ) -> None:
        """`on_batch` hears the bundle's name and the size of every batch that is run."""
        self.loaded = loaded
        self._confidence = {entry.bundle.manifest.name: entry.bundle.confidence for entry in loaded.translators}
        self.catalog = Catalog(
            (entry.bundle for entry in (*loaded.translators, *loaded.samplers)),
            (entry.bundle for entry in loaded.encoders),
        )
        num_threads = max(2, os.cpu_count() or 1)
        self._executor = ThreadPoolExecutor(num_threads, thread_name_prefix="inference")
        self._prepare_executor = ThreadPoolExecutor(num_threads, thread_name_prefix="prepare")
        self._batchers: dict[str, MicroBatcher[Any]] = {
            entry.bundle.manifest.name: MicroBatcher(
                entry.engine,
                self._executor,
                self._prepare_executor,
                max_rows=min(batch_rows, entry.engine.max_rows),
                max_queue_rows=queue_pictures if entry.bundle.manifest.kind in _OF_PICTURES else queue_rows,
                on_batch=partial(on_batch, entry.bundle.manifest.name),
            )
            for entry in loaded.served
        }

    def start(self) -> None:
        """Start every batcher; needs a running event loop."""
        for batcher in self._batchers.values():
            batcher.start()

    async def stop(self) -> None:
        """Finish what runs and refuse what waits."""
        for batcher in self._batchers.values():
            await batcher.stop()
        self._executor.shutdown()
        self._prepare_executor.shutdown()

    def new_watch(self, on_suspicion: Callable[[Space, Seen], None] = lambda space, seen: None) -> Watch:
        """Over what one tenant sends: `on_suspicion` hears of spaces whose features begin or end to look as if of another."""
        return Watch((entry.bundle for entry in self.loaded.translators), on_suspicion)

    @property
    def queued_rows(self) -> dict[str, int]:
        """Of each bundle, the rows that wait for it."""
        return {name: batcher.num_queued_rows for name, batcher in self._batchers.items()}

    async def translate(self, features: FloatArray, steps: Iterable[RouteStep]) -> FloatArray:
        """Unit features (n, S) along the steps of a route to unit features (n, T)."""
        for step in steps:
            features = await self._batchers[step.bundle].submit(features)
        return features

    async def translate_judged(
        self, features: FloatArray, steps: Iterable[RouteStep], norm: FloatArray | None = None
    ) -> tuple[FloatArray, FloatArray | None]:
        """As `translate`, and the confidence (n,) in what came of it: the least over the steps. `norm` is that of the features.

        None where nothing was translated, a translator does not tell, or two mean different things by it.
        """
        confidence: FloatArray | None = None
        steps = list(steps)
        is_told = self.is_told(steps)
        for step in steps:
            translated = await self._batchers[step.bundle].submit(features)
            model = self._confidence[step.bundle]
            if model is not None and is_told:
                in_step = await self._off_loop(model, features, translated, norm)
                confidence = in_step if confidence is None else np.minimum(confidence, in_step)
            features, norm = translated, None
        return features, confidence if is_told else None

    async def sample(self, features: FloatArray, step: RouteStep, noise_MZ: FloatArray) -> FloatArray:
        """Unit features (n, W) of a weak modality and noise to unit features (n M, T), M of each one after the other."""
        made: FloatArray = await self._batchers[step.bundle].submit((features, noise_MZ))
        return made

    def is_told(self, steps: Iterable[RouteStep]) -> bool:
        """Whether there are steps, all tell of confidence, and mean the same by it."""
        models = [self._confidence[step.bundle] for step in steps]
        meanings = {(model.meaning, model.fmr) if model else None for model in models}
        return len(meanings) == 1 and None not in meanings

    async def _off_loop(
        self, model: ConfidenceModel, features: FloatArray, translated: FloatArray, norm: FloatArray | None
    ) -> FloatArray:
        if len(features) < OFF_LOOP_JUDGED:
            return model(features, translated, norm)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._prepare_executor, model, features, translated, norm)

    @property
    def painted_spaces(self) -> dict[str, Space]:
        """The spaces of whose features pictures can be painted, by generator."""
        manifests = (entry.bundle.manifest for entry in self.loaded.generators)
        return {manifest.name: manifest.source for manifest in manifests if manifest.source is not None}

    async def paint(self, features: FloatArray, space: Space) -> FloatArray:
        """Unit features (n, D) of `space` as pictures (n, 3, H, W), by the first generator by name that knows it.

        Raises `NoRouteError` where none is there.
        """
        painted = sorted(self.painted_spaces.items())
        name = next((name for name, known in painted if known.fingerprint == space.fingerprint), None)
        if name is None:
            raise NoRouteError(
                f"no generator of the space {space.name} is loaded; --allow-reconstruction serves those there are"
            )
        return await self._batchers[name].submit(features)

    def projections(self, common: Space) -> dict[str, Callable[[FloatArray], FloatArray]]:
        """By the fingerprint of the space that they start from, the projections into a common space.

        Each is a call that blocks, (G, S) to (G, T), for what is not a request; it raises `EngineError`.
        """
        return {step.source.fingerprint: self._projector(step) for step in self.catalog.steps_into(common)}

    def blocking(self, steps: Sequence[RouteStep]) -> BlockingRoute:
        """The translators of a route, for what is not a request."""
        by_name = {entry.bundle.manifest.name: entry.engine for entry in self.loaded.translators}
        of_steps = [BlockingStep(step.bundle, by_name[step.bundle], self._confidence[step.bundle]) for step in steps]
        return BlockingRoute(of_steps, steps[-1].target.dimension, self.is_told(steps))

    def _projector(self, step: RouteStep) -> Callable[[FloatArray], FloatArray]:
        engine = next(entry.engine for entry in self.loaded.translators if entry.bundle.manifest.name == step.bundle)

        def project(features: FloatArray) -> FloatArray:
            blocks = [features[start : start + engine.max_rows] for start in range(0, len(features), engine.max_rows)]
            return np.concatenate([engine.finish(engine.run(engine.prepare(block))) for block in blocks])

        return project

    async def encode(self, picture: Picture, space: Space) -> FloatArray:
        """One picture as a unit feature (D,) of `space`. Raises `ImageRejectedError`, also where no encoder is there."""
        name = self.catalog.encoder_of(space)
        if name is None:
            raise ImageRejectedError(
                f"no encoder bundle of the space {space.name} is loaded, so pictures cannot be taken; send features"
            )
        encoded = await self._batchers[name].submit(picture)
        feature: FloatArray = encoded[0]
        return feature

    async def classify(self, picture: Picture, bundle: str) -> FloatArray:
        """One picture as the probabilities (C,) of what a classifier, or a bundle of attributes, knows.

        Raises `ImageRejectedError`.
        """
        found = await self._batchers[bundle].submit(picture)
        probability_C: FloatArray = found[0]
        return probability_C
