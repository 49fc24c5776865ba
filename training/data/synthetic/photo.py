"""One picture of one person, painted from the back to the front and seen through a camera."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from models.picture import ARCFACE_5PT
from training.data.synthetic.action_units import motion_of
from training.data.synthetic.anatomy import Anatomy
from training.data.synthetic.canvas import Canvas, FloatArray
from training.data.synthetic.conditions import Conditions
from training.data.synthetic.features import paint_brows, paint_eyes, paint_mouth, paint_nostrils
from training.data.synthetic.hair import paint_beard, paint_hair_before, paint_hair_behind
from training.data.synthetic.person import Person
from training.data.synthetic.pose import Pose, Shape
from training.data.synthetic.relief import relief_of
from training.data.synthetic.skin import (
    face_distance,
    light_on,
    paint_ears,
    paint_face,
    paint_neck,
    skin_colour,
)
from training.data.synthetic.worn import paint_earrings, paint_glasses, paint_hat, paint_occlusion


@dataclass(frozen=True, slots=True)
class Scene:
    """What was painted, colour planes (3, H, W), and where its five points truly are, in pixels."""

    colour_CHW: FloatArray
    points: list[tuple[float, float]]


def paint_scene(person: Person, conditions: Conditions, side: int) -> Scene:
    """A person, or what a drawing makes of one, under the conditions, before any camera."""
    traits, worn, light = person.traits, conditions.worn, conditions.light
    anatomy = Anatomy.of(traits, motion_of(conditions.units))
    shape = Shape(traits.nose_height, traits.nose_length)
    template = (ARCFACE_5PT + conditions.aligned_error_52) * (side / 112.0)
    pose = Pose.aligned((conditions.yaw, conditions.pitch), shape, anatomy.points, template)
    canvas, depth_HW = pose.canvas(side)
    relief = relief_of(anatomy, canvas)
    length = traits.hair_length + conditions.hair_change
    bare_HW = light_on(depth_HW, light, canvas.pixel)
    _paint_background(conditions, canvas)
    paint_hair_behind(person, canvas, length, bare_HW)
    paint_neck(anatomy, canvas, skin_colour(traits), conditions.clothes)
    paint_ears(anatomy, canvas, skin_colour(traits))
    distance = face_distance(anatomy, canvas)
    face = canvas.inside(distance)
    paint_face(anatomy, person, canvas, relief, distance)
    paint_mouth(anatomy, canvas, pose, has_lipstick=worn["lipstick"])
    paint_nostrils(anatomy, canvas, pose)
    if worn["beard"] or worn["moustache"]:
        paint_beard(anatomy, person, canvas, face, beard=worn["beard"], moustache=worn["moustache"])
    paint_eyes(anatomy, canvas, pose, conditions.gaze, is_made_up=worn["lipstick"])
    paint_brows(anatomy, canvas, pose)
    shaded = light_on(depth_HW + relief.height_HW, light, canvas.pixel)
    canvas.shade(1.0 + face * (shaded - 1.0))
    if worn["earrings"]:
        paint_earrings(anatomy, person, canvas)
    paint_hair_before(anatomy, person, canvas, length, bare_HW, has_bangs=worn["bangs"])
    if worn["eyeglasses"]:
        paint_glasses(anatomy, person, canvas, pose)
    if worn["hat"]:
        paint_hat(person, canvas, bare_HW)
    if worn["occluded"]:
        paint_occlusion(conditions.occlusion, canvas, bare_HW)
    canvas.shade(np.array(light.colour, dtype=np.float32)[:, None, None])
    return Scene(canvas.colour_CHW, [pose.project(u, v) for u, v in anatomy.points])


def photograph(colour_CHW: FloatArray, conditions: Conditions) -> npt.NDArray[np.uint8]:
    """What the camera makes of a scene, (H, W, 3) of 0..255."""
    camera = conditions.camera
    seen = (colour_CHW - 0.5) * camera.contrast + 0.5
    seen = blurred(seen, camera.blur)
    random = np.random.default_rng(conditions.seed)
    # Most of what a sensor adds is brightness; colour noise is coarser and fainter.
    seen += camera.noise * random.standard_normal(seen.shape[1:], dtype=np.float32)
    coarse = random.standard_normal((3, *(-(-size // 2) for size in seen.shape[1:])), dtype=np.float32)
    coarse *= 0.5 * camera.noise
    seen += coarse.repeat(2, axis=1).repeat(2, axis=2)[:, : seen.shape[1], : seen.shape[2]]
    return to_bytes(seen)


def blurred(planes_CHW: FloatArray, deviation: float) -> FloatArray:
    """A Gaussian blur of planes (..., H, W), `deviation` in pixels; its two passes are matrix products."""
    if deviation < 0.2:
        return planes_CHW
    kernel = _kernel(planes_CHW.shape[-1], round(deviation, 2))
    result: FloatArray = kernel @ planes_CHW @ kernel.T
    return result


@lru_cache(maxsize=512)
def _kernel(size: int, deviation: float) -> FloatArray:
    place = np.arange(size, dtype=np.float32)
    kernel: FloatArray = np.exp(np.square(place[:, None] - place[None, :]) * (-0.5 / deviation**2))
    kernel /= kernel.sum(axis=1, keepdims=True)
    return kernel


def to_bytes(planes_CHW: FloatArray) -> npt.NDArray[np.uint8]:
    """Planes of 0..1 as a picture (H, W, 3) of 0..255."""
    scaled = planes_CHW * np.float32(255.0)
    scaled += np.float32(0.5)
    np.maximum(scaled, 0.0, out=scaled)
    np.minimum(scaled, 255.0, out=scaled)
    return np.ascontiguousarray(scaled.astype(np.uint8).transpose(1, 2, 0))


def _paint_background(conditions: Conditions, canvas: Canvas) -> None:
    """Two colours that run into each other."""
    one, other = (np.array(colour, dtype=np.float32)[:, None, None] for colour in conditions.background)
    side = canvas.u_HW.shape[0]
    slope = np.linspace(0.0, 1.0, side, dtype=np.float32)
    turn = (conditions.seed % 628) / 100.0
    share = np.clip(0.5 + math.cos(turn) * (slope[None, :] - 0.5) + math.sin(turn) * (slope[:, None] - 0.5), 0.0, 1.0)
    canvas.colour_CHW[:] = one + (other - one) * share
