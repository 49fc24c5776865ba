"""`facebridge gallery`: what an operator does to the galleries of a data folder while no service uses it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from models.feature_set import FeatureSet
from models.parquet import write_parquet
from service.command_files import console, read_feature_set
from service.entities import NewTemplates
from service.errors import SpaceMismatchError
from service.galleries.embedded import EmbeddedGalleryStore
from service.usecases.samples import samples_of

_A_TIME = 65_536


def run(options: Mapping[str, Any]) -> int:
    """Run `list`, `check`, `export` or `import` as parsed; the exit code."""
    store = EmbeddedGalleryStore(options["data"], is_made=False)
    try:
        return _COMMANDS[options["action"]](store, options)
    finally:
        store.close()


def _list(store: EmbeddedGalleryStore, _: Mapping[str, Any]) -> int:
    table = Table("gallery", "space", "generation", "templates", "subjects", "created")
    for one in store.list_galleries():
        numbers = (one.generation, one.num_templates, one.num_subjects)
        table.add_row(one.name, one.space.name, *(f"{number:,}" for number in numbers), one.created_at)
    console().print(table)
    return 0


def _check(store: EmbeddedGalleryStore, options: Mapping[str, Any]) -> int:
    names = [options["gallery"]] if options["gallery"] else [one.name for one in store.list_galleries()]
    table = Table("gallery", "what", "is", "detail")
    is_sound = True
    for name in names:
        for check in store.check(name):
            table.add_row(name, check.what, "sound" if check.is_sound else "[bold red]damaged[/]", check.detail)
            is_sound = is_sound and check.is_sound
    console().print(table)
    return 0 if is_sound else 1


def _export(store: EmbeddedGalleryStore, options: Mapping[str, Any]) -> int:
    folder: Path = options["folder"]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for feature_set in store.export(options["gallery"]):
        # Two spaces may have one name.
        space = f"{feature_set.space.name}.{feature_set.space.fingerprint}"
        path = folder / f"{options['gallery']}.{space}.parquet"
        draft = path.with_name(f".{path.name}.draft")
        draft.touch(mode=0o600)
        draft.write_bytes(write_parquet(feature_set))
        draft.replace(path)
        console().print(f"{path}: {len(feature_set):,} templates", soft_wrap=True)
    return 0


def _import(store: EmbeddedGalleryStore, options: Mapping[str, Any]) -> int:
    gallery = store.get(options["gallery"])
    if gallery.beside:
        raise SpaceMismatchError(
            f"gallery {gallery.name} has a generation in the space {gallery.beside[0].space.name} too; enrol through a service, "
            "which translates for it"
        )
    sets = {path: read_feature_set(path) for path in options["files"]}
    for path, feature_set in sets.items():
        if feature_set.space.fingerprint != gallery.space.fingerprint:
            raise SpaceMismatchError(
                f"{path}: is of the space {feature_set.space.name}, and the gallery is in {gallery.space.name}; enrol it through "
                "a service, which translates it"
            )
        samples_of(feature_set, options["metadata"])
    for path, feature_set in sets.items():
        for start in range(0, len(feature_set), _A_TIME):
            part = feature_set.take(np.arange(start, min(len(feature_set), start + _A_TIME)))
            store.enrol(options["gallery"], _templates(part, options["metadata"]), replaces=options["replace"])
        console().print(f"{path}: {len(feature_set):,} templates", soft_wrap=True)
    return 0


def _templates(part: FeatureSet, metadata: Sequence[str] | None) -> NewTemplates:
    samples = samples_of(part, metadata)
    return NewTemplates(
        samples.subjects,
        part.feature,
        part.space,
        part.feature,
        part.space,
        norm=part.norm,
        keys=samples.keys,
        metadata=samples.metadata,
        provenance=[{"sent_as": "import"}] * len(part),
    )


_COMMANDS = {"list": _list, "check": _check, "export": _export, "import": _import}
