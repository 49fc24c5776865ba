"""Signed verdicts on jobs. Shapes: N probes, D dimension of a generation's space."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from models.feature_set import FeatureSet
from service.entities import FloatArray, Gallery, Generation, Job, Side
from service.errors import NoRouteError, RollbackExpiredError
from service.galleries.failpoints import reached
from service.galleries.port import GalleryStore
from service.inference.inference import Inference
from service.usecases.judging import Judge
from service.usecases.labelled import Labelled, ProbesFigures, measure
from service.usecases.migration_plan import Asked
from service.usecases.pace import Pace
from service.usecases.receipts import Signer

_RATE = 0.01
"""At which misses of native and of translated probes are compared: the one that most pairs were counted for."""
_LARGEST_RATIO = 3.0


class Verdicts:
    """On the generations that jobs build."""

    def __init__(self, inference: Inference, store: GalleryStore, signer: Signer, pace: Pace | None = None) -> None:
        self._inference = inference
        self._store = store
        self._signer = signer
        self._judge = Judge(store, pace or Pace())

    def __call__(
        self, job: Job, probes: FeatureSet | None = None, go_on: Callable[[], bool] = lambda: True
    ) -> dict[str, Any]:
        """Of a job whose generation is complete and not the active one; by labelled probes too, if there are any.

        Raises `JobStateError` where it is not to `go_on`, `NotFoundError`, `RollbackExpiredError`.
        """
        gallery, generation = self._found(job)
        policy = Asked.of_json(job.asked).gates
        figures = None if probes is None else self._by_probes(gallery, generation, probes, job)
        reached("migration-in-verdict")
        judged = self._judge(gallery, generation, policy, figures, native_ratio=self._native_ratio(job), go_on=go_on)
        facts = {"kind": "verdict", "job": job.job_id, "gallery": job.gallery, "plan": job.asked["plan"]}
        numbers = {"generation": generation.number, "generation_before": gallery.generation, "policy": asdict(policy)}
        return self._signer.seal(facts | numbers | judged.to_json())

    def of_routes(self, job: Job) -> dict[str, Any]:
        """Of a job that changes nothing of its gallery: by which route probes come, as it was measured when that was fitted."""
        facts = {"kind": "verdict", "job": job.job_id, "gallery": job.gallery, "plan": job.asked["plan"]}
        return self._signer.seal(facts | {"gates": [], "is_passed": True})

    def _found(self, job: Job) -> tuple[Gallery, Generation]:
        gallery = self._store.get(job.gallery)
        for one in gallery.beside:
            if one.job == job.job_id:
                return gallery, one
        raise RollbackExpiredError("its generation is not beside the active one")

    def _native_ratio(self, job: Job) -> float | None:
        """Of the encoder that most templates are of."""
        plan, origins = job.asked["plan"], self._store.generations.origins(job.gallery)
        source = max(origins, key=lambda one: one[1])[0].fingerprint if origins else ""
        if plan["routes"].get(source) is None:
            return None
        bundles = tuple(one["name"] for one in plan["routes"][source]["bundles"])
        return native_ratio(self._inference, Side(plan["target_fingerprint"]), Side(source, bundles))

    def _by_probes(
        self, gallery: Gallery, generation: Generation, probes: FeatureSet, job: Job
    ) -> dict[str, ProbesFigures | None]:
        policy = Asked.of_json(job.asked).gates
        fpir = policy.fnir.fpir if policy.fnir else 0.01
        labelled = Labelled(probes.subject.tolist(), self._is_enrolled(gallery.name, probes))
        found: dict[str, ProbesFigures | None] = {}
        sides = (("before", gallery.generation, gallery.space), ("after", generation.number, generation.space))
        for name, number, space in sides:
            try:
                route = self._inference.catalog.route(probes.space, space)
            except NoRouteError:
                found[name] = None
                continue
            features: FloatArray = probes.feature
            if route.steps:
                features = self._inference.blocking(route.steps)(probes.feature, probes.norms).features
            found[name] = measure(self._store, gallery.name, (number, space), features, labelled=labelled, fpir=fpir)
        return found

    def _is_enrolled(self, gallery: str, probes: FeatureSet) -> Mapping[str, bool]:
        names = sorted(set(probes.subject.tolist()))
        return {name: bool(self._store.templates(gallery, subject=name, limit=1).templates) for name in names}


def native_ratio(inference: Inference, native: Side, translated: Side) -> float | None:
    """How many times as many genuine pairs are missed where one side is native as where both are translated, as it was measured
    of the translators, between a third and three; None where it was not.
    """
    thresholds = inference.catalog.thresholds
    points = [thresholds.between(one, translated).point_at(_RATE) for one in (native, translated)]
    if points[0] is None or points[1] is None or not points[1].fnmr:
        return None
    return float(np.clip(points[0].fnmr / points[1].fnmr, 1 / _LARGEST_RATIO, _LARGEST_RATIO))
