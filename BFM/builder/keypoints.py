"""The vertices of the 68 landmarks, chosen where a detector finds the landmarks, or where people annotate them.

A detector finds some landmarks a few millimetres beside the place that anatomy says. To bring its own landmarks there,
a fit would bend the shape of every face in the same wrong way. So each landmark is the vertex that lies nearest, on
average, to where the detector finds it. This is measured in pictures whose vertices are known: fitted faces, drawn over
their photos. The vertices where people annotate the landmarks are chosen by the annotations of the photos.
"""
from pathlib import Path

import numpy as np
import torch

from datasets.face_detection import FaceDetector
from datasets.training_photos import read_landmarks
from models.coefficients import split
from models.coordinates import CROP_SIZE, crop_to_projection, flip_y, photo_to_crop
from models.face_model import FaceModel
from models.landmarks import COUNT, JAW, MIRRORED_LANDMARKS, OUTER_EYE_CORNERS, five_points
from models.renderer import MeshRenderer
from util.files import InputError

from .photo_albedo import mirror_vertices

MOST_TURNED = 0.6            # radian to the side: heads that are turned further do not count
MOST_TURNED_FOR_JAW = 0.3    # the same for the jaw, whose outline lies on another place of a turned head
FARTHEST = 0.12              # decimetres from the old vertex to the new one
MIDDLE = 0.004               # decimetres from the plane of symmetry, for landmarks that lie on it
# In the next two, the unit of distances in the picture is the distance of the outer corners of the eyes.
OUTLIER = 0.008              # larger distances count linearly, so that a few wrong landmarks do little harm
PULL = 0.05                  # what each decimetre between the old and the new vertex costs
ANOTHER_FACE = 0.15          # mean distance of annotated from found landmarks that do not belong to the same face


@torch.no_grad()
def find_landmarks(face_model: FaceModel, renderer: MeshRenderer, detector: FaceDetector, coeffs: torch.Tensor,
                   crops: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What a detector finds in fitted faces that are drawn over their photos.

    coeffs: (B, 257). crops: (B, 224, 224, 3) uint8. Faces in whose picture the detector finds nothing are left out.
    Returns the found landmarks (b, 68, 2) and all vertices (b, N, 2), px, y up, where `FaceModel.project` puts them;
    and how far the heads are turned to the side (b,), radian.
    """
    face = face_model(coeffs)
    mask, _, image = renderer(face.vertices, face_model.tri, face.color)
    photos = torch.from_numpy(crops).permute(0, 3, 1, 2) / 255
    pictures = (image + (1 - mask) * photos).clamp(0, 1).mul(255).byte().permute(0, 2, 3, 1).contiguous().numpy()
    found, good = [], []
    for number, (picture, landmarks) in enumerate(zip(pictures, face.landmarks.numpy(), strict=True)):
        try:
            points = detector.face_at(picture, five_points(flip_y(landmarks - 0.5, CROP_SIZE))).landmarks
        except InputError:
            continue
        found.append(flip_y(points, CROP_SIZE) + 0.5)
        good.append(number)
    return (np.array(found).reshape(-1, COUNT, 2), face_model.project(face.vertices[good]).numpy(),
            split(coeffs)["angle"][good, 1].numpy())


def annotated_landmarks(photo: Path, found: np.ndarray, trans_params: np.ndarray) -> np.ndarray | None:
    """The landmarks (68, 2) that people annotated in landmarks/<photo>.txt beside a photo: px, y up, where
    `FaceModel.project` puts them. None if there is no such file, or if it annotates another face than the found one.

    found: (68, 2) px in the crop, y up. trans_params: (5,) of the crop. Raises InputError if the file is broken.
    """
    path = photo.parent / "landmarks" / f"{photo.stem}.txt"
    if not path.exists():
        return None
    landmarks = photo_to_crop(flip_y(read_landmarks(path, photo), trans_params[1]), trans_params)
    size = np.linalg.norm(np.subtract(*found[[*OUTER_EYE_CORNERS]]))
    if np.linalg.norm(landmarks - found, axis=1).mean() > ANOTHER_FACE * size:
        return None
    return crop_to_projection(landmarks, trans_params)


def choose_keypoints(face_model: FaceModel, found: np.ndarray, vertices: np.ndarray, turned: np.ndarray) -> np.ndarray:
    """The vertex (68,) of each landmark: near that of the face model, and where the landmark is found on average.

    found, vertices, turned: see `find_landmarks`; found may also be annotated landmarks. Left and right landmarks get
    vertices that mirror each other.
    """
    keypoints = face_model.keypoints.numpy()
    mirror = mirror_vertices(face_model)
    mean = face_model.mean_shape.view(-1, 3).numpy()
    left, right = (vertices[:, keypoints[corner]] for corner in OUTER_EYE_CORNERS)
    size = np.linalg.norm(left - right, axis=1)[:, None]

    def offsets(landmark: int, candidates: np.ndarray, heads: np.ndarray) -> np.ndarray:
        distance = np.linalg.norm(vertices[heads][:, candidates] - found[heads, landmark, None], axis=2) / size[heads]
        return np.hypot(distance, OUTLIER).mean(0)

    chosen = keypoints.copy()
    for landmark, mirrored in enumerate(MIRRORED_LANDMARKS):
        if mirrored < landmark:
            continue
        heads = np.abs(turned) < (MOST_TURNED_FOR_JAW if landmark < JAW.stop else MOST_TURNED)
        moved = np.linalg.norm(mean - mean[keypoints[landmark]], axis=1)
        candidates = np.flatnonzero(moved < FARTHEST)
        if mirrored == landmark:
            candidates = candidates[np.abs(mean[candidates, 0]) < MIDDLE]
        costs = (offsets(landmark, candidates, heads) + offsets(mirrored, mirror[candidates], heads)) / 2
        best = candidates[(costs + PULL * moved[candidates]).argmin()]
        chosen[[landmark, mirrored]] = best, best if mirrored == landmark else mirror[best]
    return chosen
