"""What scores mean in a common space: of one encoder's features there with those of each other encoder, and with all.

Shapes: N pictures, K dimension of the common space.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from models.calibration import PHOTO, Calibration, ScoreScale, comparison_of, strictest
from models.features import FloatArray
from models.operating_point import OperatingPoint
from training.data.pairs import Pairs
from training.evaluation.calibration import HeldOut, calibrate

CROSS = "translated"
"""The comparison with the other side."""


def calibrate_projection(pairs: Pairs, projected_NK: FloatArray, others: Sequence[HeldOut] = ()) -> Calibration:
    """As `calibrate`, of pairs whose targets are projected features of another encoder; that encoder's own comparisons are
    left to its own bundle.
    """
    measured = calibrate(pairs, projected_NK, others)
    return replace(
        measured,
        points={name: points for name, points in measured.points.items() if not name.startswith("native-target")},
        scales={name: scale for name, scale in measured.scales.items() if not name.startswith("native-target")},
    )


def of_all(calibrations: Mapping[str, Calibration], num_others: int | None = None) -> Calibration:
    """What was measured with each other space, by its fingerprint, and what holds with any of them, of whom there are
    `num_others`, by default as many as there are calibrations.

    That is the highest threshold at each rate that all state, so that no comparison is above its rate. What this
    encoder's own features are compared with among themselves is the same whatever the other space is.
    """
    num_others = len(calibrations) if num_others is None else num_others
    of_any = next(iter(calibrations.values()))
    points = {name: found for name, found in of_any.points.items() if not _is_cross(name)}
    scales = {name: found for name, found in of_any.scales.items() if not _is_cross(name)}
    against: dict[str, tuple[OperatingPoint, ...]] = {}
    scales_against: dict[str, ScoreScale] = {}
    for name in sorted({name for found in calibrations.values() for name in found.points if _is_cross(name)}):
        modality = name.partition("/")[2] or PHOTO
        own = {comparison_of(other, modality): found.points.get(name) for other, found in calibrations.items()}
        stated = {key: found for key, found in own.items() if found}
        own_scales = {comparison_of(other, modality): found.scales.get(name) for other, found in calibrations.items()}
        measured = {key: scale for key, scale in own_scales.items() if scale}
        if len(stated) == num_others:
            points[name] = tuple(
                max(at_one_rate, key=lambda point: (point.threshold, point.fnmr))
                for at_one_rate in zip(*stated.values(), strict=False)
            )
        if len(measured) == num_others:
            scales[name] = strictest(list(measured.values()))
        against |= stated
        scales_against |= measured
    kept = {name: found for name, found in points.items() if found}
    return Calibration(kept, against, of_any.counted, scales, scales_against)


def against(calibration: Calibration, fingerprint: str) -> Calibration:
    """Of a projection's calibration what holds with the space of this fingerprint, as a translator would have it."""
    own = {name: found for name, found in calibration.points.items() if not _is_cross(name)}
    own_scales = {name: found for name, found in calibration.scales.items() if not _is_cross(name)}
    crossed = {_cross(key): found for key, found in calibration.against.items() if _space(key) == fingerprint}
    scales = {_cross(key): found for key, found in calibration.scales_against.items() if _space(key) == fingerprint}
    return Calibration(own | crossed, {}, calibration.counted, own_scales | scales)


def measured_anew_against(
    calibration: Calibration, fingerprint: str, measured: Calibration, num_others: int
) -> Calibration:
    """A projection's calibration with some comparisons with the space of this fingerprint, one of `num_others`, measured anew,
    and its own among themselves; nothing of one that counted in another way.
    """
    others: dict[str, Calibration] = {}
    if calibration.counted == measured.counted:
        old = against(calibration, fingerprint)
        measured = replace(measured, points=old.points | measured.points, scales=old.scales | measured.scales)
        others = {name: against(calibration, name) for name in spaces_against(calibration) - {fingerprint}}
    return of_all({fingerprint: measured, **others}, num_others)


def spaces_against(calibration: Calibration) -> set[str]:
    """The fingerprints of the spaces with which comparisons were measured."""
    return {_space(key) for key in (*calibration.against, *calibration.scales_against)}


def _space(key: str) -> str:
    return key.partition("/")[0]


def _cross(key: str) -> str:
    """The comparison that a key of `against` is of."""
    return comparison_of(CROSS, key.partition("/")[2] or PHOTO)


def _is_cross(comparison: str) -> bool:
    """Whether it is with the other side, of any modality."""
    return comparison.partition("/")[0] == CROSS
