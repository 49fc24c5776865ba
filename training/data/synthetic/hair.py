"""Hair on the head and on the face."""

import numpy as np

from training.data.synthetic.anatomy import Anatomy
from training.data.synthetic.attributes import is_gray
from training.data.synthetic.canvas import Canvas, Colour, FloatArray, ellipse, mixed
from training.data.synthetic.person import Person
from training.data.synthetic.traits import Traits

_STRANDS = 256


def hair_colour(traits: Traits) -> Colour:
    """Blond, brown to black, with red, or gray in age."""
    light, dark = (0.82, 0.66, 0.42), (0.09, 0.07, 0.06)
    middle = (0.36, 0.23, 0.14)
    share = traits.hair_dark
    colour = mixed(light, middle, 2 * share) if share < 0.5 else mixed(middle, dark, 2 * share - 1)
    colour = mixed(colour, (0.55, 0.2, 0.08), 0.6 * traits.hair_red * (1.0 - 0.7 * share))
    return mixed(colour, (0.72, 0.71, 0.7), 0.8) if is_gray(traits) else colour


def _outline(traits: Traits, canvas: Canvas, length: float) -> FloatArray:
    """Signed distance from the outline of all hair seen from in front, the face not yet cut out."""
    half = traits.face_width + 0.55 * traits.hair_volume + 0.03
    u, v = np.abs(canvas.u_HW), canvas.v_HW + 0.1
    # A rounded box: as wide as the head up to the temples, then closing over the crown.
    rise = np.maximum(-v, 0.0) * (1.0 / (1.5 + traits.hair_volume))
    cap = np.sqrt(np.square(u * (1.0 / half)) + rise * rise * rise)
    cap -= 1.0
    cap *= half
    taper = np.maximum(v - length + 0.2, 0.0)
    below = np.maximum(u - half - 0.06 * np.maximum(v, 0.0) + 0.8 * taper * taper, v - 0.1 - length)
    outline: FloatArray = np.where(v > 0, np.maximum(cap, below), cap)
    return outline


def _strands(person: Person, canvas: Canvas, grain: float) -> FloatArray:
    """Brightness of single locks (H, W), 0.78 to 1.2: stripes that hang, wavier with curl."""
    traits = person.traits
    lock = np.random.default_rng(person.texture + 1).uniform(0.72, 1.2, _STRANDS).astype(np.float32)
    lock = 0.5 * lock + 0.25 * (np.roll(lock, 1) + np.roll(lock, -1))
    wave = np.sin(canvas.v_HW * (5.0 + 7.0 * traits.hair_curl) + 3.0 * canvas.u_HW)
    place = canvas.u_HW * grain + (0.4 + 4.0 * traits.hair_curl) * wave + 5.0 * canvas.v_HW * traits.hair_curl
    brightness: FloatArray = lock[(2.0 * place).astype(np.int32) & (_STRANDS - 1)]
    return brightness


def _planes(colour: Colour, brightness_HW: FloatArray) -> FloatArray:
    return np.array(colour, dtype=np.float32)[:, None, None] * brightness_HW


def paint_hair_behind(person: Person, canvas: Canvas, length: float, light_HW: FloatArray) -> None:
    """Hair behind head and neck."""
    traits = person.traits
    brightness = _strands(person, canvas, 22.0)
    brightness *= light_HW
    brightness *= 0.72
    canvas.paint(canvas.inside(_outline(traits, canvas, length), 0.03), _planes(hair_colour(traits), brightness))


def paint_hair_before(
    anatomy: Anatomy, person: Person, canvas: Canvas, length: float, light_HW: FloatArray, *, has_bangs: bool
) -> None:
    """Hair above the hairline and beside the face, and bangs over the forehead."""
    traits = anatomy.traits
    u, v = np.abs(canvas.u_HW), canvas.v_HW
    line = traits.hairline + traits.hair_peak * np.exp(u * u * (-1.0 / 0.05))
    line -= 0.7 * traits.hair_recession * (np.exp(np.square(u - 0.5) * (-1.0 / 0.06)) - 0.25)
    line += 0.5 * np.maximum(u - 0.62, 0.0)
    edge = v - line
    if has_bangs:
        fringe = np.random.default_rng(person.texture + 2).uniform(-0.4, -0.27, 64).astype(np.float32)
        edge = v - np.maximum(line, fringe[((canvas.u_HW + 2.0) * 14.0).astype(np.int32) & 63] + 0.1 * u * u)
    reach = 0.93 * traits.face_width - 0.1 * min(0.3, traits.hair_volume)
    taper = np.maximum(v - length + 0.3, 0.0)
    beside = np.maximum(reach - u + 0.12 * np.maximum(v, 0.0) + 1.4 * taper * taper, v - length)
    distance = np.maximum(np.minimum(edge, beside), _outline(traits, canvas, length))
    brightness = _strands(person, canvas, 30.0)
    brightness *= light_HW
    gloss = 0.16 * np.exp(np.square(v + 1.02 - 0.3 * u * u) * (-1.0 / 0.02))
    canvas.paint(canvas.inside(distance, 0.025), _planes(hair_colour(traits), brightness + gloss))


def paint_beard(
    anatomy: Anatomy, person: Person, canvas: Canvas, face_HW: FloatArray, *, beard: bool, moustache: bool
) -> None:
    """Beard along jaw and chin, moustache above the lip; density and grain are the person's own."""
    traits, mouth = anatomy.traits, anatomy.mouth
    density = 0.5 + 0.45 * min(1.0, max(0.0, 0.5 + traits.beard_growth))
    colour = mixed(hair_colour(traits), (0.1, 0.07, 0.05), 0.35)
    grain = np.random.default_rng(person.texture + 3).uniform(0.6, 1.15, (32, 32)).astype(np.float32)
    u, v = np.abs(canvas.u_HW), canvas.v_HW
    coverage = np.zeros_like(u)
    if beard:
        top = (
            mouth.v
            + 0.1
            + mouth.opening
            - 0.85 * np.square(np.maximum(u - 0.2, 0.0))
            - 0.25 * (u > 0.9).astype(np.float32)
        )
        coverage = canvas.inside(top - v, 0.14)
        coverage *= 1.0 - 0.9 * canvas.inside(ellipse(u, v - mouth.v - mouth.opening - 0.1, 0.3, 0.1), 0.05)
    if moustache:
        low = mouth.v - 0.9 * mouth.upper + 0.3 * np.square(u)
        high = 0.5 * (anatomy.nose_v + 0.08 + mouth.v - mouth.upper) - 0.03
        stripe = np.maximum(np.maximum(high + 0.3 * u * u - v, v - low), u - mouth.half_width - 0.06)
        coverage = np.maximum(coverage, canvas.inside(stripe, 0.05))
    coverage *= face_HW
    rows, columns = ((v + 2.0) * 26.0).astype(np.int32) & 31, ((canvas.u_HW + 2.0) * 26.0).astype(np.int32) & 31
    coverage *= density * np.minimum(grain[rows, columns], 1.0)
    canvas.paint(coverage, colour)
