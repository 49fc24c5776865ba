"""What is worn or held before the face: glasses, hats, earrings, and things that hide."""

import math

import numpy as np

from training.data.synthetic.anatomy import Anatomy
from training.data.synthetic.canvas import Canvas, Colour, FloatArray, ellipse
from training.data.synthetic.conditions import Occlusion
from training.data.synthetic.features import around
from training.data.synthetic.person import Person
from training.data.synthetic.pose import Pose


def paint_glasses(anatomy: Anatomy, person: Person, canvas: Canvas, pose: Pose) -> None:
    """Rims, bridge and temples; the frame is the person's own."""
    random = np.random.default_rng(person.texture + 4)
    width, height = float(random.uniform(0.26, 0.34)), float(random.uniform(0.16, 0.27))
    roundness, thickness = float(random.uniform(1.6, 6.0)), float(random.uniform(0.022, 0.06))
    colour: Colour = (0.07, 0.06, 0.06) if random.random() < 0.6 else tuple(random.uniform(0.1, 0.6, 3).tolist())
    window = around(canvas, pose, 0.0, 0.04, (1.25, height + 0.25))
    u, v = np.abs(window.u_HW), window.v_HW - 0.04
    centre = max(anatomy.eyes.u + 0.02, width + 0.06)
    across, along = np.abs(u - centre) * (1.0 / width), np.abs(v) * (1.0 / height)
    reach = np.power(across**roundness + along**roundness + np.float32(1e-9), np.float32(1.0 / roundness))
    rim = (reach - 1.0) * min(width, height)
    window.paint(0.1 * window.inside(rim), (0.85, 0.92, 1.0))
    window.paint(window.line(rim, thickness), colour)
    bridge = np.maximum(np.abs(v + 0.06 - 0.3 * u * u) - 0.5 * thickness, u - (centre - width))
    temple = np.maximum(np.abs(v + 0.05) - 0.5 * thickness, np.maximum(centre + width - u, u - 1.02))
    window.paint(window.inside(np.minimum(bridge, temple)), colour)


def paint_hat(person: Person, canvas: Canvas, light_HW: FloatArray) -> None:
    """A hat down to the upper forehead."""
    random = np.random.default_rng(person.texture + 5)
    colour, band = random.uniform(0.08, 0.8, (2, 3))
    low, brim = float(random.uniform(-0.78, -0.6)), float(random.uniform(0.06, 0.16))
    u, v = canvas.u_HW, canvas.v_HW
    edge = v - (low + 0.09 * u * u)
    crown = np.maximum(edge + brim, np.abs(u) - person.traits.face_width - 0.12)
    canvas.paint(canvas.inside(crown), _lit(colour, light_HW))
    canvas.paint(canvas.inside(np.maximum(crown, -(edge + brim + 0.12))), _lit(band, light_HW))
    rim = np.maximum(np.maximum(edge, -(edge + brim)), np.abs(u) - person.traits.face_width - 0.3)
    canvas.paint(canvas.inside(rim), _lit(0.8 * colour, light_HW))


def paint_earrings(anatomy: Anatomy, person: Person, canvas: Canvas) -> None:
    """A drop below each ear."""
    random = np.random.default_rng(person.texture + 6)
    size = float(random.uniform(0.035, 0.075))
    colour: Colour = tuple(random.uniform(0.55, 1.0, 3).tolist())
    traits = anatomy.traits
    u = np.abs(canvas.u_HW) - 0.97 * traits.face_width - traits.ear_out
    drop = ellipse(u, canvas.v_HW - 0.2 - traits.ear_size - size, size, 1.4 * size)
    canvas.paint(canvas.inside(drop), colour)


def paint_occlusion(thing: Occlusion, canvas: Canvas, light_HW: FloatArray) -> None:
    """A bar across the face (an arm, a scarf, a post) whose far end lies outside the picture."""
    cosine, sine = math.cos(thing.angle), math.sin(thing.angle)
    u, v = canvas.u_HW - thing.u, canvas.v_HW - thing.v
    along, across = cosine * u + sine * v, cosine * v - sine * u
    distance = np.maximum(np.abs(across) - thing.size, -along - 0.1)
    canvas.paint(canvas.inside(distance, 0.02), _lit(np.array(thing.colour), light_HW))


def _lit(colour: np.ndarray, light_HW: FloatArray) -> FloatArray:
    return colour.astype(np.float32)[:, None, None] * light_HW
