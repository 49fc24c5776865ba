"""PRIP Hand-Drawn Composite database (PRIP-HDC): 47 mugshots, and what forensic artists drew from eyewitnesses' words.

It is handed out on request, and no public documentation of it is known. Taken are the two folders that a public script reads
from its release: `sketches/MI_001.bmp`, and beside them `photos/MI_001.bmp` with the same name. If yours is named otherwise,
bring it into this form. It has no fiducial points that are known of.

Source: Klum et al., The FaceSketchID system (TIFS 2014); Weak-Strong GAN (AAAI 2019), Table 2.
"""

from pathlib import PurePosixPath

from training.data.layouts.folder import Folder, stem
from training.data.layouts.listing import Listing, listing_of_pairs

EXPECTED = "sketches/NAME.bmp and photos/NAME.bmp, the same name in both folders"
_FOLDERS = {"sketch": "sketches", "sketches": "sketches", "photo": "photos", "photos": "photos"}


def read_prip_hdc(folder: Folder) -> Listing:
    """Every name with a photo and a sketch. Raises `SourceError`."""
    photos: dict[str, str] = {}
    sketches: dict[str, str] = {}
    for place in folder.pictures:
        kind = _FOLDERS.get(PurePosixPath(place).parent.name.casefold())
        if kind is None:
            folder.leave_out("pictures in other folders", place)
        else:
            folder.keep_one(photos if kind == "photos" else sketches, stem(place), place)
    if not photos.keys() & sketches.keys():
        folder.refuse(EXPECTED, len(photos), len(sketches))
    return listing_of_pairs(folder, photos, sketches, lambda place: None)
