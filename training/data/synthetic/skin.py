"""Head, neck and ears: outline, skin and how light falls on it."""

import math

import numpy as np

from training.data.synthetic.anatomy import Anatomy
from training.data.synthetic.canvas import Canvas, Colour, FloatArray, ellipse, mixed, table
from training.data.synthetic.conditions import Light
from training.data.synthetic.person import Person
from training.data.synthetic.relief import Relief
from training.data.synthetic.traits import Traits

_FROM, _TO, _STEPS = -1.9, 2.1, 512
_WIDEST_AT = 0.15
_CROWN = -1.55
_TONES: tuple[Colour, ...] = ((0.95, 0.8, 0.72), (0.87, 0.67, 0.54), (0.68, 0.46, 0.34), (0.36, 0.23, 0.17))


def skin_colour(traits: Traits) -> Colour:
    """The skin's own colour in white light."""
    place = traits.melanin * (len(_TONES) - 1)
    lower = min(int(place), len(_TONES) - 2)
    tone = mixed(_TONES[lower], _TONES[lower + 1], place - lower)
    blood = 0.05 * (traits.redness - 0.4)
    return (tone[0] + 0.5 * blood, tone[1] - blood, tone[2] - blood)


def face_distance(anatomy: Anatomy, canvas: Canvas) -> FloatArray:
    """Signed distance (H, W) from the outline of the face, about right near it."""
    traits = anatomy.traits
    v = np.linspace(_FROM, _TO, _STEPS, dtype=np.float32)
    above = np.clip((_WIDEST_AT - v) / (_WIDEST_AT - _CROWN), 0.0, 1.0)
    below = np.clip((v - _WIDEST_AT) / (anatomy.chin_v - _WIDEST_AT), 0.0, 1.0)
    half = np.sqrt(1.0 - above**2.4)
    half *= np.power(1.0 - np.power(below, np.float32(traits.jaw_square)), np.float32(0.48))
    half *= 1.0 - traits.jaw_taper * below
    width = traits.face_width * half.astype(np.float32)
    # Beyond crown and chin the outline is as far as they are.
    beyond = np.maximum(v - anatomy.chin_v, _CROWN - v)
    width -= np.where(beyond > 0, 1.2 * beyond, 0.0).astype(np.float32)
    distance = np.abs(canvas.u_HW) - table(width, _FROM, _TO, canvas.v_HW)
    distance *= np.float32(0.8)
    return distance


def paint_neck(anatomy: Anatomy, canvas: Canvas, skin: Colour, clothes: Colour) -> None:
    """Neck and collar, in the shadow of the chin."""
    rows = canvas.v_HW > 0.8
    if not rows.any():
        return
    top = int(np.argmax(rows.any(axis=1)))
    below = canvas.window(slice(top, None), slice(None))
    half = 0.62 * anatomy.traits.face_width
    shadow = mixed(skin, (0.0, 0.0, 0.0), 0.4)
    below.paint(below.inside(np.abs(below.u_HW) - half, 0.05), shadow)
    collar = 1.72 + 0.25 * np.square(below.u_HW)
    below.paint(below.inside(np.maximum(collar - below.v_HW, np.abs(below.u_HW) - 1.5), 0.02), clothes)


def paint_ears(anatomy: Anatomy, canvas: Canvas, skin: Colour) -> None:
    """Both ears, where hair will not cover them."""
    traits = anatomy.traits
    centre = 0.97 * traits.face_width + traits.ear_out
    u = np.abs(canvas.u_HW) - centre
    v = canvas.v_HW - 0.2
    outer = ellipse(u, v, 0.11, traits.ear_size)
    canvas.paint(canvas.inside(outer), mixed(skin, (0.7, 0.25, 0.2), 0.12))
    canvas.paint(0.45 * canvas.inside(outer + 0.05, 0.05), mixed(skin, (0.2, 0.05, 0.03), 0.5))


def paint_face(anatomy: Anatomy, person: Person, canvas: Canvas, relief: Relief, distance_HW: FloatArray) -> None:
    """Skin with its blood, creases, freckles and moles."""
    traits = anatomy.traits
    skin = skin_colour(traits)
    blood = np.array([-0.02, -0.16, -0.13], dtype=np.float32)
    planes = blood[:, None, None] * relief.red_HW
    planes += np.array(skin, dtype=np.float32)[:, None, None]
    planes *= 1.0 - np.minimum(relief.dark_HW, 0.85) * (0.85 - 0.25 * traits.melanin)
    canvas.paint(canvas.inside(distance_HW), planes)
    if traits.freckles > 0.0:
        _paint_freckles(person, canvas, 0.5 * traits.freckles, skin)
    for mark in person.marks:
        spot = np.square(canvas.u_HW - mark.u) + np.square(canvas.v_HW - mark.v)
        coverage = mark.darkness * canvas.inside(np.sqrt(spot) - mark.size, 0.01)
        canvas.paint(coverage, (0.22, 0.12, 0.09))


def _paint_freckles(person: Person, canvas: Canvas, strength: float, skin: Colour) -> None:
    """Spots at places of the person's own, thickest across nose and cheeks."""
    spots = np.random.default_rng(person.texture).random((64, 64), dtype=np.float32)
    u, v = np.abs(canvas.u_HW), canvas.v_HW
    row = ((v + 1.6) * 18.0).astype(np.int32) & 63
    column = ((canvas.u_HW + 1.8) * 18.0).astype(np.int32) & 63
    coverage = (spots[row, column] > 0.72).astype(np.float32)
    coverage *= strength * np.exp(-np.square(u * (1 / 0.75)) - np.square((v - 0.38) * (1 / 0.4)))
    canvas.paint(coverage, mixed(skin, (0.45, 0.2, 0.08), 0.75))


def light_on(height_HW: FloatArray, light: Light, pixel: float) -> FloatArray:
    """How much light a surface sends back (H, W): about 1 where it faces a viewer beside the lamp, never below 0."""
    slope_x, slope_y = np.zeros_like(height_HW), np.zeros_like(height_HW)
    slope_x[:, 1:-1] = height_HW[:, 2:] - height_HW[:, :-2]
    slope_y[1:-1] = height_HW[2:] - height_HW[:-2]
    slope_x *= 0.5 / pixel
    slope_y *= 0.5 / pixel
    towards_x = math.sin(light.azimuth) * math.cos(light.elevation)
    towards_y = -math.sin(light.elevation)
    towards_z = math.cos(light.azimuth) * math.cos(light.elevation)
    facing = towards_z - towards_x * slope_x - towards_y * slope_y
    facing /= np.sqrt(1.0 + slope_x * slope_x + slope_y * slope_y)
    np.maximum(facing, 0.0, out=facing)
    facing *= 1.2 * (1.0 - light.ambient)
    facing += light.ambient
    facing *= light.exposure
    return facing
