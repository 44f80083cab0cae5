"""Reconstructs 3D faces from aligned faces."""
import itertools
import warnings
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import numpy as np
import torch

from models.checkpoints import build_regressor, check_camera, load_checkpoint, trained_with
from models.coefficients import IDENTITY, SIZE, SLICES, split, turn_coefficients
from models.coordinates import (
    CROP_SIZE,
    camera_to_world,
    crop_to_projection,
    projection_to_crop,
    turn_points,
    turn_trans_params,
)
from models.face_model import FaceModel
from models.face_model_files import choose_face_model
from models.face_rendering import build_face_model, render_over
from models.fitting import FIT_WEIGHTS, SHORT_FIT_STEPS, SHORT_FIT_WEIGHTS, Fitter
from models.landmarks import roll
from models.records import AlignedFace, FaceResult, Origin
from models.renderer import MeshRenderer
from util import assets
from util.files import InputError

REPOSITORY = Path(__file__).parents[1]
# Finds and crops the face in a photo (H, W, 3) uint8 RGB, or returns None. The further arguments are the points of the
# face or None, the name of the photo, and whether landmarks and attention for a fit are wanted.
FindFace = Callable[[np.ndarray, np.ndarray | None, str, bool], AlignedFace | None]

# What is computed of a face only if an output needs it: its vertices and colours, and the render over its crop.
PARTS = ("mesh", "overlay")
NO_FILES = Origin()


class Reconstructor:
    """Computes coefficients, meshes and pictures of aligned faces: by the network, then by a fit to each photo.

    regressor: the network; None starts the fit from the mean face. fitter: fits the coefficients to the photos in
    `fit_iters` steps; None makes no fit. device: where everything is computed. origin: the files of the face model and
    of the network, for outputs that name them. find_face: finds and crops the face in a photo, see `load`.
    """

    def __init__(self, face_model: FaceModel, renderer: MeshRenderer, regressor: torch.nn.Module | None,
                 fitter: Fitter | None, fit_iters: int, device: torch.device, origin: Origin = NO_FILES,
                 find_face: FindFace | None = None):
        self.face_model, self.renderer, self.device = face_model.to(device), renderer, device
        self.regressor = regressor.to(device, memory_format=torch.channels_last).eval() if regressor else None
        self.fitter = fitter.to(device) if fitter else None
        self.fit_iters, self.origin, self.find_face = fit_iters, origin, find_face

    @classmethod
    def load(cls, name: str, epoch: str | int, device: torch.device | str = "cpu", find_face: FindFace | None = None, *,
             fit_iters: int = 0, fit_color: bool = False, net_recog: str = "auto", net_recog_path: Path | None = None,
             checkpoints_dir: Path = REPOSITORY / "checkpoints", bfm_folder: Path = REPOSITORY / "BFM",
             bfm_model: str | None = None, net_recon: str | None = None, focal: float = 1015, center: float = 112,
             camera_d: float = 10, z_near: float = 5, z_far: float = 15, renderer: str = "auto",
             say: Callable[[str], None] = warnings.warn) -> "Reconstructor":
        """Returns a reconstructor with the network of a checkpoint and the face model that belongs to it.

        name, epoch: the checkpoint <checkpoints_dir>/<name>/epoch_<epoch>.pth. Epoch 0 uses no network: the fit then
        starts from the mean face, and without a fit every face is the mean face. find_face: finds the face in a photo,
        which only `reconstruct` needs. Usually it is a `datasets.face_finder.FaceFinder`; it is an argument since files
        in models/ do not import those of datasets/. fit_iters: number of steps of the fit of all coefficients to each
        photo; 0 makes none. fit_color: if fit_iters is 0, makes a fit of SHORT_FIT_STEPS steps without a recognition
        network. net_recog, net_recog_path: the recognition network by which the fit makes the face look like the
        person, see `choose_recognition`; the path of None is the usual one in checkpoints_dir. bfm_model: the file name
        of the face model in bfm_folder; None: see `choose_face_model`. net_recon: the backbone that the network must
        have; None accepts any. say: prints a remark on the camera, see `check_camera`. The other arguments are those of
        `Reconstructor` and of `build_face_model`.
        Raises InputError if a file is missing, is broken or does not fit the others.
        """
        path = regressor = trained_face_model = None
        if str(epoch) != "0":
            path = checkpoints_dir / name / f"epoch_{epoch}.pth"
            checkpoint = load_checkpoint(path)
            check_camera(checkpoint, path, focal, center, camera_d, say)
            regressor = build_regressor(checkpoint, path, net_recon)
            trained_face_model = trained_with(checkpoint)
        bfm_model = choose_face_model(bfm_folder, bfm_model, trained_face_model)
        face_model, mesh_renderer = build_face_model(bfm_folder, bfm_model, focal=focal, center=center,
                                                     camera_d=camera_d, z_near=z_near, z_far=z_far, renderer=renderer)
        fitter = None
        if fit_iters:
            from models.recognition import choose_recognition  # the import takes a second
            net_recog_path = net_recog_path or checkpoints_dir / assets.RECOGNITION.name
            recognition, weight = choose_recognition(net_recog, net_recog_path)
            fitter = Fitter(face_model, mesh_renderer, recognition, FIT_WEIGHTS | {"feat": weight})
        elif fit_color:
            fitter, fit_iters = Fitter(face_model, mesh_renderer, weights=SHORT_FIT_WEIGHTS), SHORT_FIT_STEPS
        return cls(face_model, mesh_renderer, regressor, fitter, fit_iters, torch.device(device),
                   Origin(bfm_model, path), find_face)

    def reconstruct(self, images: Sequence[np.ndarray], points: Sequence[np.ndarray | None] | None = None,
                    batch_size: int = 8, parts: Collection[str] = PARTS) -> list[FaceResult | None]:
        """Returns one face for each image, in their order; None where no face is found.

        images: (H, W, 3) uint8 RGB each, of any size, upright. points: for each image (5, 2) or (68, 2) px in the
        image, y down, where its face is, see `datasets.face_points`; None for an image searches for its largest face,
        and None instead of the list does so for all. batch_size: how many faces are computed at once. parts: what is
        computed in addition to the coefficients and the landmarks, of PARTS.
        Raises InputError if an image is of another type, or if points cannot be those of a face. It names the image by
        its number, from 0.
        """
        if self.find_face is None:
            raise ValueError("faces cannot be found without find_face: Reconstructor.load(..., FaceFinder())")
        if points is None:
            points = [None] * len(images)
        faces: dict[int, AlignedFace] = {}   # by the number of the image
        for number, (image, given) in enumerate(zip(images, points, strict=True)):
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
                raise InputError(f"image {number} must be (H, W, 3) uint8 RGB, not {image.shape} {image.dtype}")
            face = self.find_face(image, given, f"image {number}", self.fitter is not None)
            if face:
                faces[number] = face
        results: dict[int, FaceResult] = {}
        for start in range(0, len(faces), batch_size):
            batch = dict(itertools.islice(faces.items(), start, start + batch_size))
            results |= zip(batch, self(list(batch.values()), parts), strict=True)
        return [results.get(number) for number in range(len(images))]

    def __call__(self, faces: list[AlignedFace], parts: Collection[str] = PARTS, identity: np.ndarray | None = None
                 ) -> list[FaceResult]:
        """Returns the result of each face. All faces are computed at once, as one batch.

        parts: which of PARTS are computed in addition to the coefficients and the landmarks. identity: the coefficients
        IDENTITY (160,) of the person, if all faces are of one; None: each face has its own.
        """
        upright_coefficients = self.coefficients(faces, self.upright_photos(faces), identity)
        coefficients = self.turned_as_in_crops(upright_coefficients, faces)
        landmarks = None
        if self.fitter:   # unlike the network, the fit has placed each face exactly on the pixels that show it
            landmarks = self.landmarks_in_crops(upright_coefficients, faces)
        return self.results(coefficients, faces, parts, landmarks)

    def estimate(self, faces: list[AlignedFace], identity: np.ndarray | None = None, fit: bool = True) -> np.ndarray:
        """Returns the coefficients (B, 257) of faces in their crops, computed as one batch, and nothing else.

        identity: see `__call__`. fit: no: by the network alone; without a network, they are those of the mean face.
        """
        coefficients = self.coefficients(faces, self.upright_photos(faces), identity, fit)
        return self.turned_as_in_crops(coefficients, faces).cpu().numpy()

    def upright_photos(self, faces: list[AlignedFace]) -> torch.Tensor:
        """Returns the crops (B, 3, 224, 224) RGB 0..1 of faces, turned upright by `face.turns`."""
        return self.to_tensor([np.rot90(face.crop, face.turns) for face in faces])

    def turned_as_in_crops(self, upright_coefficients: torch.Tensor, faces: list[AlignedFace]) -> torch.Tensor:
        """Returns the coefficients (B, 257) of faces in the crops as they are, from those in upright crops."""
        turns = torch.tensor([face.turns for face in faces], device=self.device)
        return turn_coefficients(upright_coefficients, -turns)

    def results(self, coefficients: torch.Tensor, faces: list[AlignedFace], parts: Collection[str] = PARTS,
                landmarks: list[np.ndarray] | None = None) -> list[FaceResult]:
        """Returns the result of each face from its coefficients (B, 257), which belong to the crops as they are.

        parts: see `__call__`. landmarks: (2, 68, 2) px in the crop, y up, of each face, see `projected_landmarks`;
        None: they are projected as the published method does it.
        """
        computed = {}
        with torch.no_grad():
            if parts:
                drawn = self.face_model(coefficients)
            if "overlay" in parts:
                photos = self.to_tensor([face.crop for face in faces])
                computed["overlay"] = render_over(self.renderer, self.face_model, drawn, photos).cpu().numpy()
            if "mesh" in parts:
                computed["vertices"] = camera_to_world(drawn.vertices, self.face_model.camera_d).cpu().numpy()
                computed["colors"] = drawn.color.clamp(0, 1).cpu().numpy()
        if landmarks is None:
            landmarks = self.projected_landmarks(coefficients)
        split_coefficients = {name: part.cpu().numpy() for name, part in split(coefficients).items()}
        return [FaceResult(face, {name: part[i] for name, part in split_coefficients.items()}, landmarks[i][0],
                           detectable_landmarks=landmarks[i][1],
                           **{name: values[i] for name, values in computed.items()})
                for i, face in enumerate(faces)]

    def landmarks_in_crops(self, upright_coefficients: torch.Tensor, faces: list[AlignedFace]) -> list[np.ndarray]:
        """Returns the landmarks (2, 68, 2) px in the crop, y up, of each fitted face, see `projected_landmarks` and
        `projection_to_crop`.

        upright_coefficients: (B, 257), as `coefficients` returns them.
        """
        return [turn_points(projection_to_crop(points, upright_trans_params(face)), (CROP_SIZE, CROP_SIZE), -face.turns)
                for points, face in zip(self.projected_landmarks(upright_coefficients), faces, strict=True)]

    def projected_landmarks(self, coefficients: torch.Tensor) -> np.ndarray:
        """Returns the landmarks (B, 2, 68, 2) px, y up, of coefficients (B, 257) as the published method projects them:
        first where people would annotate them, then where a detector would find them."""
        vertices = torch.cat([self.face_model.annotated_keypoints, self.face_model.keypoints])
        with torch.no_grad():
            return self.face_model.landmarks(coefficients, vertices).unflatten(1, (2, -1)).cpu().numpy()

    def to_tensor(self, crops: list[np.ndarray]) -> torch.Tensor:
        """Returns B crops (224, 224, 3) uint8 as photos (B, 3, 224, 224) RGB 0..1 on the device."""
        return torch.from_numpy(np.stack(crops)).to(self.device).permute(0, 3, 1, 2).float() / 255

    def coefficients(self, faces: list[AlignedFace], photos: torch.Tensor, identity: np.ndarray | None = None,
                     fit: bool = True) -> torch.Tensor:
        """Returns the coefficients (B, 257) of B faces in upright crops.

        photos: the crops, see `upright_photos`. identity, fit: see `estimate`.
        """
        coefficients = torch.zeros(len(photos), SIZE, device=self.device)
        if self.regressor:
            with torch.inference_mode():
                coefficients = self.regressor(photos)
            coefficients = coefficients.clone()   # autograd, which the fit needs, rejects tensors of inference mode
        if identity is not None:
            coefficients[:, IDENTITY] = torch.from_numpy(identity).to(coefficients)
        if not self.fitter or not fit:
            return coefficients
        attention = np.stack([np.rot90(face.attention, face.turns) for face in faces])
        attention = torch.from_numpy(attention).to(photos)[:, None] / 255
        upright = [turn_points(face.landmarks, (CROP_SIZE, CROP_SIZE), face.turns) for face in faces]
        landmarks = [crop_to_projection(points, upright_trans_params(face))
                     for points, face in zip(upright, faces, strict=True)]
        if not self.regressor:   # start with the face turned as in the crop, which is upright within 45 degrees
            angle_z = SLICES["angle"].stop - 1
            coefficients[:, angle_z] = torch.tensor([roll(points) for points in upright]).to(coefficients)
        return self.fitter(coefficients, photos, torch.from_numpy(np.stack(landmarks)).to(photos), attention,
                           self.fit_iters, hold_identity=identity is not None)


def upright_trans_params(face: AlignedFace) -> np.ndarray:
    """Returns the trans_params (5,) of the photo and the crop, both turned so that the face is upright."""
    return turn_trans_params(face.trans_params, face.turns)
