"""Aff-Wild2, as its challenges (ABAW) give it: frames of videos, whose expressions or action units, or both, are told.

- `EXPR_Recognition_Challenge/Train_Set/VIDEO.txt` and `Validation_Set/VIDEO.txt`: a line of the expressions' names, then a
  number for each frame, which of the names it is, counted from 0; -1 is not known. The folder is one whose name begins with
  `EXPR`.
- `AU_Detection_Challenge/Train_Set/VIDEO.txt` likewise, in one that begins with `AU`: `AU1,AU2,AU4,...`, then for each frame
  1, 0 or -1 of each.
- `cropped_aligned/VIDEO/00001.jpg`: crops of 112 x 112 pixels. Frame 1 is told by the line after the names. Frames without a
  face have no picture, and some have a picture and no line.

Whoever else is in a video is `VIDEO_left` or `VIDEO_right`, and a subject too. A video may be trained with for its
expressions and be for validation of its action units: each has its own part. `other` is what none of the seven expressions
is. Valence and arousal are not read, nor are the lists of the multi-task challenge; of videos to test with nothing is told.

Source: Kollias and Zafeiriou, Aff-Wild2 (2018); Kollias, ABAW: valence-arousal estimation, expression recognition, action
unit detection and multi-task learning challenges (CVPR workshops 2022).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from training.data.expressions import EXPRESSIONS
from training.data.layouts.annotations import Line, lines_of, meaning, refuse
from training.data.layouts.folder import Folder
from training.data.layouts.listing import PHOTO, Listing
from training.data.sources import PictureItem
from training.errors import SourceError

EXPECTED = "EXPR.../Train_Set/VIDEO.txt or AU.../Train_Set/VIDEO.txt, and frames as cropped_aligned/VIDEO/00001.jpg"
_EXPRESSION, _EXPRESSION_PART, _UNIT_PART = "expression", "expression_part", "au_part"
_KINDS = {_EXPRESSION_PART: re.compile(r"expr", re.IGNORECASE), _UNIT_PART: re.compile(r"au(?![a-z])", re.IGNORECASE)}
_PARTS = {"train_set": "train", "training_set": "train", "validation_set": "validation"}
_NAMES = {*EXPRESSIONS, "other"}
_UNIT = re.compile(r"au0*([1-9]\d?)", re.ASCII)
_HAS = {"0": "0", "1": "1", "-1": ""}
_FRAME = re.compile(r"\d{1,8}", re.ASCII)
_Known = tuple[tuple[str, str], ...]
"""Columns of what is known, and what stands in them."""


@dataclass(frozen=True, slots=True)
class _Video:
    """What is told of a video: its parts, and of frames, counted from 1, the expression and action units that are known."""

    parts: dict[str, str] = field(default_factory=dict)
    expression: dict[int, str] = field(default_factory=dict)
    units: dict[int, _Known] = field(default_factory=dict)


def read_aff_wild2(folder: Folder) -> Listing:
    """All frames of which an expression or an action unit is known. Raises `SourceError`."""
    videos, columns = _videos(folder)
    nothing = dict.fromkeys(columns, "")
    labels: dict[tuple[str, _Known, _Known], dict[str, str]] = {}
    items = []
    for name, frames in _frames(folder).items():
        video = videos.get(name, _Video())
        for number, place in frames.items():
            expression, units = video.expression.pop(number, ""), video.units.pop(number, ())
            if not expression and not units:
                folder.leave_out("frames of which nothing is known", place)
                continue
            # Frames that are told the same share it: there are millions.
            told = nothing | video.parts | dict(units) | ({_EXPRESSION: expression} if expression else {})
            shared = labels.setdefault((expression, units, tuple(sorted(video.parts.items()))), told)
            items.append(PictureItem(place, place, name, PHOTO, shared))
    for name, video in sorted(videos.items()):
        for number in sorted(video.expression.keys() | video.units.keys()):
            folder.leave_out("frames that are told of and have no picture", f"{name}/{number:05d}")
    if not items:
        refuse(folder, EXPECTED)
    attributes = tuple(name for name in columns if name not in (_EXPRESSION, *_KINDS))
    items.sort(key=lambda item: item.key)
    return Listing(items, {}, class_label=_EXPRESSION if _EXPRESSION in columns else "", attributes=attributes)


def _frames(folder: Folder) -> dict[str, dict[int, str]]:
    """Pictures by their video and number."""
    found: dict[str, dict[int, str]] = {}
    kept: dict[str, str] = {}
    for place in folder.pictures:
        path = PurePosixPath(place)
        if not any(part.casefold().startswith("cropped_aligned") for part in path.parts[:-2]):
            folder.leave_out("pictures in other folders", place)
        elif not _FRAME.fullmatch(path.stem):
            folder.leave_out("pictures with other names", place)
        else:
            video, number = path.parts[-2], int(path.stem)
            folder.keep_one(kept, f"{video}/{number:05d}", place)
            found.setdefault(video, {})[number] = kept[f"{video}/{number:05d}"]
    return found


def _videos(folder: Folder) -> tuple[dict[str, _Video], list[str]]:
    """What is told of each video, and the columns for it, in order. Raises `SourceError`."""
    videos: dict[str, _Video] = {}
    places: dict[tuple[str, str], str] = {}
    units: set[int] = set()
    for place in folder.others:
        *_, which, inner, name = ("", "", *PurePosixPath(place).parts)
        part = _PARTS.get(inner.casefold())
        kind = next((kind for kind, pattern in _KINDS.items() if pattern.match(which)), None)
        if part is None or kind is None or not name.casefold().endswith(".txt"):
            continue
        video = PurePosixPath(name).stem
        before = places.setdefault((kind, video), place)
        if before != place:
            raise SourceError(f"{folder.path}: tells of {video} twice, in {before!r} and {place!r}; leave one")
        told = videos.setdefault(video, _Video())
        told.parts[kind] = part
        if kind == _UNIT_PART:
            units |= _add_units(told, folder.path / place)
        else:
            _add_expressions(told, folder.path / place)
    kinds = {kind for kind, _ in places}
    return videos, [
        *([_EXPRESSION] if _EXPRESSION_PART in kinds else []),
        *(f"au_{unit}" for unit in sorted(units)),
        *sorted(kinds, reverse=True),
    ]


def _add_expressions(video: _Video, path: Path) -> None:
    """Raises `SourceError`."""
    lines = lines_of(path, ",")
    header = _header(path, lines)
    names = [name.casefold() for name in header.fields]
    if not set(names) <= _NAMES or len(set(names)) != len(names):
        header.refuse("expected names of expressions, as Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other")
    meanings = {"-1": ""} | {str(number): name for number, name in enumerate(names)}
    for line in lines:
        name = meaning(line.where, line.need(1, "a number")[0], meanings, "the expression")
        if name:
            video.expression[_frame(line)] = name


def _add_units(video: _Video, path: Path) -> set[int]:
    """The action units that are told of. Raises `SourceError`."""
    lines = lines_of(path, ",")
    header = _header(path, lines)
    named = [_UNIT.fullmatch(name.casefold()) for name in header.fields]
    units = [int(one[1]) for one in named if one]
    if len(set(units)) != len(named):
        header.refuse("expected names of action units, as AU1,AU2,AU4")
    same: dict[tuple[str, ...], _Known] = {}
    for line in lines:
        texts = tuple(line.fields)
        if texts not in same:
            line.need(len(units), f"{len(units)} numbers with commas between them")
            has = {
                f"au_{unit}": meaning(line.where, text, _HAS, f"action unit {unit}")
                for unit, text in zip(units, texts, strict=True)
            }
            same[texts] = tuple((column, text) for column, text in has.items() if text)
        if same[texts]:
            video.units[_frame(line)] = same[texts]
    return set(units)


def _header(path: Path, lines: Iterator[Line]) -> Line:
    """Raises `SourceError`."""
    header = next(lines, None)
    if header is None:
        raise SourceError(f"{path}: is empty; expected a line of names")
    return header


def _frame(line: Line) -> int:
    """Which frame a line is about: the second line is about the first."""
    return line.number - 1
