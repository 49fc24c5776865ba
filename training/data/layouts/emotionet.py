"""EmotioNet: photos from the internet, and which of sixty action units are seen on them.

- `EmotioNet_FACS_aws_2020_24600.xlsx`, the pictures that people looked at, saved as CSV under a name that begins with
  `EmotioNet`: `URL`, `URL orig`, then `'AU 1'` to `'AU 60'`. Names of columns and addresses may stand in single quotes.
- `dataFile_0001.txt` and so on, the pictures that an algorithm looked at: address, original address and 60 numbers, with tabs
  between them and without a header line.

1 is there, 0 is not, 999 or nothing is not known. A picture is known by the name at the end of its address, such as
`N_0000000001_00001.jpg`, and may lie anywhere. Units of which no picture tells get no column. Neither points nor people are
told.

Source: Fabian Benitez-Quiroz et al., EmotioNet (CVPR 2016), and its challenge of 2020.
"""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from training.data.layouts.annotations import Line, lines_of, meaning, refuse, rows_of, tell_absent, tell_unlisted
from training.data.layouts.folder import Folder, stem
from training.data.layouts.listing import PHOTO, Listing
from training.data.sources import PictureItem
from training.errors import SourceError

EXPECTED = (
    "EmotioNet_FACS_aws_2020_24600.csv or dataFile_0001.txt, and the pictures that they name, as N_0000000001_00001.jpg"
)
_TABLE, _PLAIN = re.compile(r"emotionet.*\.csv"), re.compile(r"datafile_\d+\.txt", re.ASCII)
_UNIT = re.compile(r"au[ _]?0*([1-9]\d?)", re.ASCII | re.IGNORECASE)
_ADDRESS = ("url", "file")
_PLAIN_UNITS = tuple(range(1, 61))
_MEANINGS = {"0": "0", "1": "1", "999": "", "0.0": "0", "1.0": "1", "999.0": "", "": ""}
_Told = dict[int, str]
"""By action unit `1` or `0`, nothing where it is not known."""


def read_emotionet(folder: Folder) -> Listing:
    """All pictures that are listed and there. Raises `SourceError`."""
    pictures: dict[str, str] = {}
    for place in folder.pictures:
        folder.keep_one(pictures, stem(place), place)
    found: dict[str, tuple[tuple[int, str], ...]] = {}
    seen: set[str] = set()
    for line, address, told in _told(folder):
        name = stem(address.strip("'\" ").replace("\\", "/"))
        if not name or name in seen:
            line.refuse(f"{address!r} is listed a second time" if name else "names no picture")
        seen.add(name)
        if name in pictures:
            found[pictures.pop(name)] = tuple(told.items())
        else:
            tell_absent(folder, line)
    tell_unlisted(folder, pictures.values())
    if not found:
        refuse(folder, EXPECTED)
    different = set(found.values())
    units = sorted({unit for told in different for unit, text in told if text})
    if not units:
        raise SourceError(f"{folder.path}: of no picture that is there a single action unit is known")
    labels = {told: {f"au_{unit}": dict(told).get(unit, "") for unit in units} for told in different}
    items = [PictureItem(place, place, "", PHOTO, labels[told]) for place, told in sorted(found.items())]
    return Listing(items, {}, attributes=tuple(f"au_{unit}" for unit in units))


def _told(folder: Folder) -> Iterator[tuple[Line, str, _Told]]:
    """What each line of each list tells of a picture, and its address. Raises `SourceError`."""
    for place in folder.others:
        name = PurePosixPath(place).name.casefold()
        if _TABLE.fullmatch(name):
            yield from _told_by_table(folder.path / place)
        elif _PLAIN.fullmatch(name):
            for line in lines_of(folder.path / place, "\t"):
                address, _, *texts = line.need(2 + len(_PLAIN_UNITS), f"two addresses and {len(_PLAIN_UNITS)} numbers")
                yield line, address, _units(line, dict(zip(_PLAIN_UNITS, texts, strict=True)))


def _told_by_table(path: Path) -> Iterator[tuple[Line, str, _Told]]:
    rows = rows_of(path)
    header = next(rows, None)
    if header is None:
        return
    names = [name.strip("'\" ") for name in header.fields]
    addresses = [place for place, name in enumerate(names) if name.casefold() in _ADDRESS]
    units = {place: int(unit[1]) for place, name in enumerate(names) if (unit := _UNIT.fullmatch(name))}
    if len(addresses) != 1 or not units or len(set(units.values())) != len(units):
        header.refuse("expected a header with the column URL and columns 'AU 1', 'AU 2' and so on, each once")
    for line in rows:
        line.need(len(names), f"{len(names)} fields as in the header")
        yield line, line.fields[addresses[0]], _units(line, {unit: line.fields[place] for place, unit in units.items()})


def _units(line: Line, texts: _Told) -> _Told:
    return {unit: meaning(line.where, text, _MEANINGS, f"action unit {unit}") for unit, text in texts.items()}
