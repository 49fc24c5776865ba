"""A picture of what a world holds: a row a person, its modalities side by side."""

from collections.abc import Mapping

from PIL import Image, ImageDraw

from training.data.synthetic.world import MODALITIES, World

_ROWS = 8
_COLUMNS = 12
_HEADER = 20
_GAP = 6
_PAPER = (255, 255, 255)
_WORDS = (60, 60, 60)


def contact_sheet(world: World, num_subjects: int, num_pictures: Mapping[str, int]) -> Image.Image:
    """The first pictures of the first subjects, as many of every modality as there is room for."""
    columns = _columns(num_pictures)
    rows = min(num_subjects, _ROWS)
    side = world.settings.side
    gaps = [_GAP * list(dict.fromkeys(m for m, _ in columns)).index(modality) for modality, _ in columns]
    sheet = Image.new("RGB", (len(columns) * side + gaps[-1], rows * side + _HEADER), _PAPER)
    words = ImageDraw.Draw(sheet)
    for place, (modality, number) in enumerate(columns):
        left = place * side + gaps[place]
        if number == 0:
            words.text((left + 4, 4), modality, fill=_WORDS)
        for person in range(rows):
            picture = Image.fromarray(world.picture(person, modality, number).pixels)
            sheet.paste(picture, (left, _HEADER + person * side))
    return sheet


def _columns(num_pictures: Mapping[str, int]) -> list[tuple[str, int]]:
    """Modality and number of each column; modalities take turns until all is shown or the row is full."""
    shown = dict.fromkeys((modality for modality in MODALITIES if modality in num_pictures), 0)
    while sum(shown.values()) < min(_COLUMNS, sum(num_pictures.values())):
        for modality in shown:
            if shown[modality] < num_pictures[modality] and sum(shown.values()) < _COLUMNS:
                shown[modality] += 1
    return [(modality, number) for modality, count in shown.items() for number in range(count)]
