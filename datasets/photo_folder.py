"""A folder of photos as aligned faces: read a photo, find its faces, crop them."""
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch.utils.data import Dataset

from datasets.alignment import points_outside, share_outside
from datasets.face_detection import FaceDetector, face_detector, landmarks_found
from datasets.face_finder import FacePoints, align_face
from datasets.face_points import DETECTIONS, points_file, read_points
from datasets.frozen_landmarks import landmark_detector
from datasets.photos import read_incomplete_photo
from datasets.point_checks import check_points
from models.records import AlignedFace
from util.files import InputError

# A remark tells if more of the crop, or of the landmarks, lies outside the photo: 0..1.
MOST_OUTSIDE, MOST_POINTS_OUTSIDE = 1 / 3, 0.1


@dataclass(frozen=True)
class Photo:
    """The result of reading one photo."""
    path: Path
    faces: list[AlignedFace]   # largest first; empty if the photo is left out
    problem: str = ""          # why the photo, or some of its faces, are left out
    remark: str = ""           # what the user should know about the photo


class FaceFiles(Dataset):
    """Files of which each is read as a `Photo`; item i is that of paths[i]. An error leaves out only its own file.

    verbose: add the trace of an unexpected error to the photo's remark. root: the folder that the names of results are
    relative to; None: results have the name of the file alone.
    """

    def __init__(self, paths: list[Path], verbose: bool, root: Path | None):
        self.paths, self.verbose, self.root = paths, verbose, root

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Photo:
        path = self.paths[index]
        try:
            return self.read(path)
        except Exception as error:   # one file must not stop the others
            return Photo(path, [], *problem_and_remark(error, path, self.verbose))

    def read(self, path: Path) -> Photo:
        """Returns the photo of a file. Raises InputError if it has none."""
        raise NotImplementedError

    def name_of_results(self, path: Path) -> str:
        return path.relative_to(self.root or path.parent).with_suffix("").as_posix()


class PhotoFolder(FaceFiles):
    """The photos of a folder.

    photos: paths. for_fit: also find the 68 landmarks and the attention mask of each face. all_faces: return every face
    that is found in a photo; otherwise the one of detections/, or the largest. lm_model: folder that may hold a
    TensorFlow landmark detector. detector: name of the face detector, of DETECTORS. verbose, root: see
    `FaceFiles`.
    """

    def __init__(self, photos: list[Path], for_fit: bool = False, all_faces: bool = False,
                 lm_model: Path = Path("checkpoints/lm_model"), detector: str = "mediapipe", verbose: bool = False,
                 root: Path | None = None):
        super().__init__(photos, verbose, root)
        self.all_faces = all_faces
        self.detector = face_detector(detector)
        self.landmark_detector = landmark_detector(lm_model, self.detector) if for_fit else None

    def read(self, path: Path) -> Photo:
        """Returns the photo's aligned faces. Raises InputError if the photo cannot be read or shows no face."""
        photo, remark_on_file = read_incomplete_photo(path)
        found, remark = find_faces(path, photo, self.detector, self.all_faces)
        photo_name = self.name_of_results(path)
        faces, problems, remarks = [], [], list(filter(None, (remark_on_file, remark)))
        for number, face in enumerate(found):
            name = f"{photo_name}_{number}" if self.all_faces else photo_name
            try:
                faces.append(align_face(path, photo_name, name, photo, face, self.landmark_detector))
                if (share_outside(faces[-1].trans_params) > MOST_OUTSIDE
                        or points_outside(face.points, photo.shape) > MOST_POINTS_OUTSIDE):
                    remarks.append(f"{path}: {f'face {number}: ' * self.all_faces}the edge of the photo cuts the face, "
                                   "or is close to it: what the photo does not show is a guess")
            except InputError as error:
                problems.append(f"{path}: {f'face {number}: ' * self.all_faces}{error}")
        return Photo(path, faces, "; ".join(problems), "\n".join(remarks))


def batches(photos: Iterable[Photo], size: int) -> Iterator[tuple[list[Photo], list[AlignedFace]]]:
    """Collects the faces of photos in batches of `size` faces; the last batch may be smaller.

    Yields the photos that are complete with this batch, and the faces of the batch. The faces of a group photo may
    spread over several batches; the photo comes with its last face. A photo without faces comes at once, alone.
    """
    waiting: list[Photo] = []
    faces: list[AlignedFace] = []   # of the photos that are waiting, unless an earlier batch had them
    for photo in photos:
        if not photo.faces:
            yield [photo], []
            continue
        waiting.append(photo)
        faces += photo.faces
        while len(faces) >= size:
            batch, faces = faces[:size], faces[size:]   # all faces that remain are of the last photo
            yield waiting[:-1] if faces else waiting, batch
            waiting = [photo] if faces else []
    if faces:
        yield waiting, faces


def name_collisions(photos: list[Path], files: Iterable[str] = ("",)) -> dict[Path, str]:
    """Returns the photos whose results would overwrite those of an earlier photo in the list, with the reason to leave
    each of them out.

    files: what follows the photo's path without its suffix in the names of its results, such as _texture.png.
    """
    owners: dict[str, Path] = {}   # by the name of a result
    collisions: dict[Path, str] = {}
    for path in photos:
        names = [f"{path.with_suffix('')}{file}" for file in files]
        if owner := next((owners[name] for name in names if name in owners), None):
            collisions[path] = f"{path}: its results would overwrite those of {owner.name}: rename one"
        else:
            owners |= dict.fromkeys(names, path)
    return collisions


def problem_and_remark(error: Exception, photo: Path, verbose: bool) -> tuple[str, str]:
    """Returns why the error leaves the photo out and, if verbose, the trace of an error that is no InputError."""
    if isinstance(error, InputError):
        return str(error), ""
    return (f"{photo}: {type(error).__name__}: {error}",
            "".join(traceback.format_exception(error)) if verbose else "")


def find_faces(path: Path, photo: np.ndarray, detector: FaceDetector,
               all_faces: bool = False) -> tuple[list[FacePoints], str]:
    """Returns the faces of a photo, and a remark for the user or "".

    If the folder `detections` beside the photo has a file of points for it, its face is the only one. Otherwise the
    detector searches the photo, and the largest face is returned. With all_faces that file is not read, and every face
    found is returned, largest first.

    path: of the photo. photo: (H, W, 3) uint8 RGB.
    Raises InputError if the file does not hold the points of a face in this photo, or if no face is found.
    """
    folder = path.parent / DETECTIONS
    given = points_file(folder, path.stem)
    if given and not all_faces:
        size = photo.shape[1], photo.shape[0]
        points, selection = read_points(given, lambda: size)
        points, correction = check_points(points, given, size, lambda: landmarks_found(photo))
        return [FacePoints(points, given=True)], "; ".join(filter(None, (selection, correction)))
    found = [FacePoints(face.landmarks, given=False, mesh=face.mesh) for face in detector.detect(photo, all_faces)]
    if not found:
        raise InputError(f"{path}: no face found; if there is one, give its five points in "
                         f"{folder / path.stem}.txt")
    if all_faces or len(found) == 1:
        return found, ""
    return found[:1], f"{path}: the largest of {len(found)} faces"
