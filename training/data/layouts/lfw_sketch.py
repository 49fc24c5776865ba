"""The data of Weak-Strong GAN's Table 1: photos of many people, and sketches that were drawn from some of them.

The paper's sketches of LFW (and of MS-Celeb-1M, to train with) were never published. This is the plainest form to bring one's
own into:

- `photos/Ann_Lee/Ann_Lee_0001.jpg`: a folder a person, as LFW is unpacked;
- `sketches/Ann_Lee/Ann_Lee_0001.png`, or `sketches/Ann_Lee_0001.png` where no two people have photos of that name: a sketch
  is named after the photo that it was drawn from.

That photo is left out of the list: neither is it in the gallery, nor does anybody train with it, so that no sketch and photo are
of one moment. Of 13,233 photos of LFW with 1,000 sketches there remain a gallery of 12,233; people without a sketch stay in it.
A sketch of somebody of whom there is no other photo is left out.

Source: Weak-Strong GAN (AAAI 2019), Experimental Settings.
"""

from collections import defaultdict
from pathlib import PurePosixPath

from training.data.layouts.folder import Folder, stem
from training.data.layouts.listing import PHOTO, SKETCH, Listing
from training.data.sources import PictureItem

EXPECTED = (
    "photos/PERSON/PHOTO.jpg, and sketches/PERSON/PHOTO.png or sketches/PHOTO.png named after the photo drawn from"
)


def read_lfw_sketch(folder: Folder) -> Listing:
    """All photos but those that sketches were drawn from, and the sketches. Raises `SourceError`."""
    photos, drawings = _photos(folder), _below(folder, "sketches")
    people_of: defaultdict[str, set[str]] = defaultdict(set)
    for place, person in photos.items():
        people_of[stem(place)].add(person)
    sketches: dict[str, str] = {}
    person_of: dict[str, str] = {}
    names = {person.casefold(): person for person in photos.values()}
    for place, parts in drawings.items():
        in_folder = {names[part] for part in [parts[0].casefold()] if len(parts) == 2 and part in names}
        people = people_of[stem(place)] if len(parts) == 1 else in_folder
        if not people:
            folder.leave_out("sketches of nobody who has photos", place)
        elif len(people) > 1:
            folder.leave_out("sketches whose name photos of several people have", place)
        else:
            (person_of[place],) = people
            folder.keep_one(sketches, f"{person_of[place]}/{stem(place)}", place)
    listing = _listing(folder, photos, {place: person_of[place] for place in sketches.values()})
    if not {"probe", "gallery"} <= set(listing.role.values()):
        folder.refuse(EXPECTED, len(photos), len(sketches))
    return listing


def _listing(folder: Folder, photos: dict[str, str], sketches: dict[str, str]) -> Listing:
    """Of photos and sketches, each with its person."""
    sources = {(person, stem(place)) for place, person in sketches.items()}
    is_source = {place: (person, stem(place)) in sources for place, person in photos.items()}
    known = {person for place, person in photos.items() if not is_source[place]}
    items, role = [], {}
    for place, person in photos.items():
        if is_source[place] and person in known:
            folder.leave_out("photos that a sketch was drawn from", place)
            continue
        items.append(PictureItem(place, place, person, PHOTO))
        role[place] = "gallery"
    for place, person in sketches.items():
        if person not in known:
            folder.leave_out("sketches of people without another photo", place)
            continue
        items.append(PictureItem(place, place, person, SKETCH))
        role[place] = "probe"
    return Listing(items, role)


def _photos(folder: Folder) -> dict[str, str]:
    """Photos, and the person of each: folders whose names differ in large and small letters alone are one person's."""
    names: dict[str, str] = {}
    photos = {}
    for place, parts in _below(folder, "photos").items():
        if len(parts) == 2:
            photos[place] = names.setdefault(parts[0].casefold(), parts[0])
        else:
            folder.leave_out("photos that are not in a person's folder", place)
    for place in folder.pictures:
        if _inner(place, "photos") is None and _inner(place, "sketches") is None:
            folder.leave_out("pictures in other folders", place)
    return photos


def _below(folder: Folder, kind: str) -> dict[str, tuple[str, ...]]:
    """Pictures in a folder of that name, and the way to each from there."""
    ways = {place: _inner(place, kind) for place in folder.pictures}
    return {place: way for place, way in ways.items() if way is not None}


def _inner(place: str, kind: str) -> tuple[str, ...] | None:
    """The way from the first of the folders `photos` and `sketches` on; None where that is not the one of this kind."""
    parts = PurePosixPath(place).parts
    for depth, part in enumerate(parts[:-1]):
        if part.casefold() in ("photos", "sketches"):
            return parts[depth + 1 :] if part.casefold() == kind else None
    return None
