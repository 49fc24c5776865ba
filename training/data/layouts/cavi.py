"""CaVI: photos and caricatures of 205 people, cropped to their faces.

- `Real/Angela_Merkel/Angela_Merkel_r_0.jpg` are photos;
- `Caricature/Angela_Merkel/Angela_Merkel_c_0.jpg` are caricatures. A picture is what its folders say, whatever its own name.

Both folders may lie in others, such as `CaVINet_Dataset`. A folder's name is the person, in large or small letters. No points
are published. The lists of its own training and testing pairs are not documented, and not read: everybody is listed.

Source: Garg et al., Deep cross modal learning for caricature verification and identification (ACM MM 2018); Ming et al.,
Cross-modal photo-caricature face recognition (IJDAR 2021), Table 2.
"""

from pathlib import PurePosixPath

from training.data.layouts.folder import Folder
from training.data.layouts.listing import Listing, listing_of_people

EXPECTED = "photos as Real/PERSON/PHOTO.jpg, and caricatures as Caricature/PERSON/CARICATURE.jpg"


def read_cavi(folder: Folder) -> Listing:
    """All photos and caricatures. Raises `SourceError` where there are not both."""
    names: dict[str, str] = {}
    found: dict[str, dict[str, str]] = {"real": {}, "caricature": {}}
    for place in folder.pictures:
        *_, kind, person, _ = ("", "", *PurePosixPath(place).parts)
        if kind.casefold() in found:
            found[kind.casefold()][place] = names.setdefault(person.casefold(), person)
        else:
            folder.leave_out("pictures in other folders", place)
    if not all(found.values()):
        folder.refuse(EXPECTED, len(found["real"]), len(found["caricature"]))
    return listing_of_people(found["real"], found["caricature"], lambda place: None)
