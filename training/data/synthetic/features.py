"""Eyes, brows, nostrils and mouth, each painted in a window around it."""

import numpy as np

from training.data.synthetic.anatomy import Anatomy
from training.data.synthetic.canvas import Canvas, Colour, FloatArray, ellipse, mixed
from training.data.synthetic.hair import hair_colour
from training.data.synthetic.pose import Pose
from training.data.synthetic.skin import skin_colour
from training.data.synthetic.traits import Traits

_DARK = (0.1, 0.06, 0.05)


def around(canvas: Canvas, pose: Pose, u: float, v: float, reach: tuple[float, float]) -> Canvas:
    """The window of a canvas that holds a part of the face at (u, v) with some reach in both directions."""
    column, row = pose.project(u, v)
    height, width = canvas.u_HW.shape
    half_width, half_height = reach[0] / canvas.pixel, reach[1] / canvas.pixel
    rows = slice(max(0, int(row - half_height)), max(1, min(height, int(row + half_height) + 2)))
    columns = slice(max(0, int(column - half_width)), max(1, min(width, int(column + half_width) + 2)))
    return canvas.window(rows, columns)


def paint_brows(anatomy: Anatomy, canvas: Canvas, pose: Pose) -> None:
    """Both brows: an arched stroke from the inner to the outer end, thinner outwards."""
    traits, motion = anatomy.traits, anatomy.motion
    inner = traits.brow_gap - motion.brow_squeeze
    colour = mixed(hair_colour(traits), _DARK, 0.55)
    middle = inner + 0.5 * traits.brow_length
    for side in (-1.0, 1.0):
        window = around(canvas, pose, side * middle, traits.brow_height, (0.62 * traits.brow_length + 0.12, 0.36))
        along = (side * window.u_HW - inner) * (1.0 / traits.brow_length)
        inside = np.clip(along, 0.0, 1.0)
        centre = traits.brow_height + motion.brow_inner * (1.0 - inside) + motion.brow_outer * inside
        centre += traits.brow_tilt * (1.0 - 2.0 * inside) - traits.brow_arch * (4.0 * inside * (1.0 - inside) - 0.4)
        half = traits.brow_thickness * (1.0 - 0.72 * inside * inside) * np.minimum(0.45 + 3.0 * inside, 1.0)
        beyond = (along - inside) * traits.brow_length
        distance = np.sqrt(np.square(window.v_HW - centre) + beyond * beyond) - half
        window.paint(traits.brow_dark * window.inside(distance, 0.035), colour)


def paint_eyes(anatomy: Anatomy, canvas: Canvas, pose: Pose, gaze: tuple[float, float], *, is_made_up: bool) -> None:
    """Both eyes: white, iris, pupil and glint between the lids, then the lids' edges and the crease above."""
    traits = anatomy.traits
    for side in (-1.0, 1.0):
        window = around(canvas, pose, side * anatomy.eyes.u, 0.0, (1.6 * anatomy.eyes.half_width, 0.3))
        # Towards the nose is negative in both eyes.
        u = (side * window.u_HW - anatomy.eyes.u) * (1.0 / anatomy.eyes.half_width)
        v = window.v_HW + traits.eye_tilt * anatomy.eyes.half_width * u
        span = np.maximum(1.0 - u * u, 0.0)
        upper = -anatomy.eyes.opening_above * span * (1.06 - 0.12 * u)
        lower = anatomy.eyes.opening_below * span * (1.0 + 0.15 * u)
        between = np.maximum(np.maximum(upper - v, v - lower), (np.abs(u) - 1.0) * anatomy.eyes.half_width)
        from_centre = (window.u_HW - side * anatomy.eyes.u - gaze[0], window.v_HW + 0.012 - gaze[1])
        _paint_ball(traits, window, window.inside(between), from_centre)
        on_lid = window.inside((np.abs(u) - 1.02) * 0.3)
        lash = 0.042 if is_made_up else 0.028
        window.paint(0.9 * on_lid * window.line(v - upper, lash), _DARK)
        window.paint(0.35 * on_lid * window.line(v - lower, 0.02), _DARK)
        crease = upper - 0.035 - 0.02 * span
        strength = 0.5 * traits.lid_crease
        window.paint(strength * on_lid * window.line(v - crease, 0.024), mixed(skin_colour(traits), _DARK, 0.7))


def _paint_ball(
    traits: Traits, window: Canvas, open_HW: FloatArray, from_centre: tuple[FloatArray, FloatArray]
) -> None:
    u, v = from_centre
    from_iris = np.sqrt(u * u + v * v)
    window.paint(open_HW, (0.88, 0.86, 0.84))
    window.paint(open_HW * window.inside(from_iris - traits.iris_size), _iris_colour(traits))
    window.paint(0.6 * open_HW * window.line(from_iris - traits.iris_size, 0.02), _DARK)
    window.paint(open_HW * window.inside(from_iris - 0.42 * traits.iris_size), (0.03, 0.02, 0.02))
    glint = np.sqrt(np.square(u - 0.03) + np.square(v + 0.035))
    window.paint(0.9 * open_HW * window.inside(glint - 0.016), (1.0, 1.0, 1.0))


def _iris_colour(traits: Traits) -> Colour:
    light = mixed((0.45, 0.62, 0.75), (0.45, 0.55, 0.3), traits.iris_hue)
    return mixed((0.2, 0.11, 0.06), light, traits.iris_light)


def paint_nostrils(anatomy: Anatomy, canvas: Canvas, pose: Pose) -> None:
    """The dark of the nostrils, and the edge of the wings."""
    traits, v0 = anatomy.traits, anatomy.nose_v + 0.045
    window = around(canvas, pose, 0.0, v0, (traits.nose_width + 0.16, 0.2))
    u, v = np.abs(window.u_HW), window.v_HW - v0
    hole = ellipse(
        u - 0.5 * traits.nose_width, v + 0.15 * (u - 0.5 * traits.nose_width), 0.32 * traits.nose_width, 0.028
    )
    window.paint((0.35 + 0.6 * traits.nostrils) * window.inside(hole, 0.02), (0.16, 0.07, 0.05))
    wing = ellipse(u - 0.62 * traits.nose_width, v + 0.05, 0.45 * traits.nose_width, 0.085)
    edge = window.line(wing, 0.022) * window.inside(0.35 * traits.nose_width - (u - 0.55 * traits.nose_width), 0.05)
    window.paint(0.28 * edge, _DARK)


def paint_mouth(anatomy: Anatomy, canvas: Canvas, pose: Pose, *, has_lipstick: bool) -> None:
    """Lips with what is between them: teeth above, the dark below."""
    mouth, traits, motion = anatomy.mouth, anatomy.traits, anatomy.motion
    window = around(canvas, pose, 0.0, mouth.v + 0.5 * mouth.opening, (1.35 * mouth.half_width, 0.3 + mouth.opening))
    across = window.u_HW * (1.0 / mouth.half_width)
    square = across * across
    span = np.maximum(1.0 - square, 0.0)
    middle = mouth.v + (mouth.corner_v - mouth.v) * square
    bow = traits.cupids_bow * mouth.upper * np.exp(square * (-1.0 / 0.05))
    inner_top = middle - (0.25 * mouth.opening + 0.5 * motion.upper_lip_up) * span
    inner_bottom = middle + 0.85 * mouth.opening * span
    top = inner_top - mouth.upper * span * (0.75 + 0.5 * span) + bow - 0.5 * motion.upper_lip_up * span
    bottom = inner_bottom + mouth.lower * np.sqrt(span) * (0.6 + 0.5 * span)
    ends = (np.abs(across) - 1.0) * mouth.half_width
    lips = window.inside(np.maximum(np.maximum(top - window.v_HW, window.v_HW - bottom), ends), 0.015)
    colour = _lip_colour(traits, has_lipstick=has_lipstick)
    window.paint(0.9 * lips, colour)
    below = window.inside(inner_bottom - window.v_HW, 0.03)
    window.paint(0.22 * lips * below, mixed(colour, (1.0, 0.85, 0.8), 0.5))
    gap = window.inside(np.maximum(np.maximum(inner_top - window.v_HW, window.v_HW - inner_bottom), ends))
    if motion.has_open_mouth:
        window.paint(gap, (0.16, 0.05, 0.05))
        teeth = inner_top + min(0.075, 0.55 * mouth.opening) * (0.7 + 0.3 * span) - window.v_HW
        window.paint(
            0.95 * gap * window.inside(-teeth) * window.inside((np.abs(across) - 0.82) * 0.3), (0.9, 0.88, 0.82)
        )
    window.paint(0.75 * window.line(window.v_HW - inner_top, 0.022) * window.inside(ends - 0.01), (0.25, 0.09, 0.08))


def _lip_colour(traits: Traits, *, has_lipstick: bool) -> Colour:
    skin = skin_colour(traits)
    if has_lipstick:
        return mixed((0.72, 0.1, 0.18), (0.5, 0.08, 0.2), traits.lip_red)
    return mixed(skin, (0.66, 0.24, 0.24), 0.3 + 0.4 * traits.lip_red)
