"""A data set as a list: its pictures, who is on them, and what each is for in the protocol, or what it shows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from models.picture import Landmarks
from training.data.layouts.folder import Folder
from training.data.protocols import PairList, RoleList
from training.data.sources import PictureItem

PHOTO, SKETCH, CARICATURE = "photo", "sketch", "caricature"
FurtherList = list[PictureItem] | RoleList | PairList
"""Some of the pictures to train with, or what `evaluate` takes as --roles or --pairs."""


@dataclass(frozen=True, slots=True)
class Listing:
    """Pictures with their paths below the data set's folder as keys, in order."""

    items: list[PictureItem]
    role: dict[str, str]
    """`probe` or `gallery`, by the key; pictures beyond the protocol have none, nor has any of a set that tells what is shown."""
    lists: dict[str, FurtherList] = field(default_factory=dict)
    """What the data set's own protocols ask for beside, by the name of the file that it is written to."""
    class_label: str = ""
    """The label that names a picture's class, where there is one; all items have the same labels."""
    attributes: tuple[str, ...] = ()
    """Labels that are `1` where a picture shows it and `0` where it does not. Empty is not known, of a class too."""


def listing_of_pairs(
    folder: Folder,
    photos: Mapping[str, str],
    sketches: Mapping[str, str],
    landmarks: Callable[[str], Landmarks | None],
    *,
    part: Callable[[str], str] | None = None,
    in_protocol: Callable[[str], bool] = lambda subject: True,
) -> Listing:
    """Everybody of whom there are a photo, in the gallery, and a sketch, asked about. The others are left out."""
    for subject in sorted(sketches.keys() - photos.keys()):
        folder.leave_out("sketches without a photo", sketches[subject])
    for subject in sorted(photos.keys() - sketches.keys()):
        folder.leave_out("photos without a sketch", photos[subject])
    items, role = [], {}
    for modality, found, purpose in ((PHOTO, photos, "gallery"), (SKETCH, sketches, "probe")):
        for subject in sorted(photos.keys() & sketches.keys()):
            place = found[subject]
            labels = {"part": part(subject)} if part else {}
            items.append(PictureItem(place, place, subject, modality, labels, landmarks(place)))
            if in_protocol(subject):
                role[place] = purpose
    return Listing(items, role)


def listing_of_people(
    photos: Mapping[str, str], caricatures: Mapping[str, str], landmarks: Callable[[str], Landmarks | None]
) -> Listing:
    """All photos, in the gallery, and all caricatures, asked about, given with the person of each."""
    items, role = [], {}
    for modality, found, purpose in ((PHOTO, photos, "gallery"), (CARICATURE, caricatures, "probe")):
        for place, person in sorted(found.items()):
            items.append(PictureItem(place, place, person, modality, {}, landmarks(place)))
            role[place] = purpose
    return Listing(items, role)
