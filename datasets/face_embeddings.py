"""Whose face a photo, or each frame of a video, shows: embeddings by a recognition network."""
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch

from datasets.alignment import crop_again
from datasets.photos import read_incomplete_photo
from datasets.video import frames_of
from models.coordinates import flip_y, photo_to_crop
from models.recognition import Recognition
from util.files import InputError

FRAME_RATE = 25   # of a folder of numbered frames; only their order matters here


def pictures_of(source: Path, is_video: bool) -> Iterator[np.ndarray]:
    """Yields the pixels (H, W, 3) uint8 RGB of a photo, or of each frame of a video. Raises InputError."""
    if is_video:
        yield from (pixels for _, pixels in frames_of(source, FRAME_RATE))
    else:
        yield read_incomplete_photo(source)[0]


def embed_faces(pictures: Iterable[np.ndarray], trans_params: np.ndarray, landmarks: np.ndarray, found: np.ndarray,
                recognition: Recognition) -> np.ndarray:
    """Returns the embeddings (N, D) of the faces in N pictures, of unit length; nan where a picture shows no face.

    trans_params: (N, 5), see models/coordinates.py. landmarks: (N, 68, 2) px in the pictures, y down. found: (N,) bool.
    Raises InputError if the pictures have another number or another size than before.
    """
    embeddings = []
    try:
        for picture, params, points, has_face in zip(pictures, trans_params, landmarks, found, strict=True):
            if not has_face:
                embeddings.append(None)
                continue
            crop = torch.from_numpy(crop_again(picture, params).copy()).permute(2, 0, 1)[None].float() / 255
            in_crop = torch.from_numpy(photo_to_crop(flip_y(points, len(picture)), params)).float()[None]
            with torch.inference_mode():
                embeddings.append(recognition(crop, in_crop)[0].numpy())
    except ValueError as error:   # of zip
        raise InputError("the video has another number of frames than when it was reconstructed") from error
    size = next((len(embedding) for embedding in embeddings if embedding is not None), 1)
    return np.stack([np.full(size, np.nan) if embedding is None else embedding for embedding in embeddings])
