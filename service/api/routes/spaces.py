"""`/spaces`, `/routes` and `/bundles`: what this service can compare, and with what."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query

from models.calibration import PHOTO
from service.api.deps import ServicesDep
from service.api.problems import documented
from service.api.schemas.spaces import (
    ArrivingView,
    BundleList,
    BundleView,
    ConfidenceView,
    ListedRoute,
    ListedSpace,
    RejectedView,
    RouteView,
    SamplingView,
    SpaceView,
    TellsView,
)
from service.entities import Route

router = APIRouter(tags=["spaces"])


@router.get("/spaces")
async def list_spaces(services: ServicesDep) -> list[ListedSpace]:
    """The spaces that the loaded bundles know, and which of them can take pictures."""
    catalog = services.inference.catalog
    watched = services.watch.spaces
    return [
        ListedSpace(
            **SpaceView.of(space).model_dump(),
            encoder=catalog.encoder_of(space),
            arriving=ArrivingView(**asdict(watched[space.fingerprint])) if space.fingerprint in watched else None,
        )
        for space in catalog.spaces
    ]


@router.get("/routes", responses=documented(409, 422))
async def list_routes(
    services: ServicesDep,
    source: Annotated[str | None, Query(description="only from this space")] = None,
    target: Annotated[str | None, Query(description="only to this space")] = None,
) -> list[ListedRoute]:
    """The ways to compare every two spaces: the best translators, and the common spaces, with their measured quality."""
    catalog = services.inference.catalog
    routes: list[tuple[Route, str]] = [
        (route, modality)
        for route, modality in (*((route, PHOTO) for route in catalog.routes()), *catalog.routes_across())
        if source in (None, route.source.name, route.source.fingerprint)
        and target in (None, route.target.name, route.target.fingerprint)
    ]
    if source is not None and target is not None and not routes:
        # The same space twice, or the reason why there is none.
        routes = [(services.translate.find_route(source, target), PHOTO)]
    return [
        ListedRoute(
            **RouteView.of(route).model_dump(),
            quality=catalog.quality(route) if modality == PHOTO else None,
            false_match_rates=[point.fmr for point in catalog.operating_points(route, modality)],
            modality=None if modality == PHOTO else modality,
        )
        for route, modality in routes
    ]


@router.get("/bundles")
async def list_bundles(services: ServicesDep) -> BundleList:
    """The loaded bundles, the device each runs on, and what was rejected and why."""
    loaded = services.inference.loaded
    views = []
    for entry in loaded.served:
        manifest, told = entry.bundle.manifest, entry.bundle.confidence
        views.append(
            BundleView(
                name=manifest.name,
                kind=manifest.kind,
                method=manifest.method,
                source=SpaceView.of(manifest.source) if manifest.source else None,
                target=SpaceView.of(manifest.target),
                device=entry.engine.device,
                digest=manifest.digest,
                licence=manifest.licence,
                confidence=ConfidenceView(
                    meaning=told.meaning, fmr=told.fmr or None, uses_norms=told.with_norm is not None
                )
                if told
                else None,
                modality=manifest.modality,
                sampling=SamplingView(samples=manifest.sampling.num_samples, sigma=manifest.sampling.sigma)
                if manifest.sampling
                else None,
                num_people=len(entry.bundle.labels) or None,
                tells=TellsView.of(entry.bundle.attributes) if entry.bundle.attributes else None,
            )
        )
    rejected = [RejectedView(folder=entry.folder, reason=entry.reason) for entry in loaded.rejected]
    return BundleList(bundles=views, rejected=rejected)
