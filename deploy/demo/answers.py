"""A picture of some answers: each probe with its first candidates, the right one framed."""

import io
from dataclasses import dataclass

from PIL import Image, ImageDraw

_FACE = 112
_GAP = 8
_LABEL = 18
_RIGHT = (20, 150, 60)
_WORDS = (60, 60, 60)
_FRAME = 4


@dataclass(frozen=True, slots=True)
class Answer:
    """A probe and its candidates, best first."""

    title: str
    probe: bytes
    candidates: list[tuple[bytes, float, bool]]
    """Picture, score, and whether it is the right person."""


def draw_answers(answers: list[Answer]) -> Image.Image:
    """A row an answer."""
    columns = 1 + max(len(answer.candidates) for answer in answers)
    height = len(answers) * (_LABEL + _FACE + _GAP)
    sheet = Image.new("RGB", (columns * (_FACE + _GAP) + 2 * _GAP, height), (255, 255, 255))
    words = ImageDraw.Draw(sheet)
    for row, answer in enumerate(answers):
        top = row * (_LABEL + _FACE + _GAP)
        words.text((2, top + 3), answer.title, fill=_WORDS)
        sheet.paste(_face(answer.probe), (0, top + _LABEL))
        for place, (picture, score, is_right) in enumerate(answer.candidates, start=1):
            left = place * (_FACE + _GAP) + 2 * _GAP
            words.text((left + 2, top + 3), f"{place}.  {score:.2f}", fill=_RIGHT if is_right else _WORDS)
            sheet.paste(_face(picture), (left, top + _LABEL))
            if is_right:
                corner = (left + _FACE - 1, top + _LABEL + _FACE - 1)
                words.rectangle(((left, top + _LABEL), corner), outline=_RIGHT, width=_FRAME)
    return sheet


def _face(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB").resize((_FACE, _FACE))
