"""Metrics of talking heads: how much the faces of two videos differ, frame by frame or as distributions.

Papers give one name to different numbers, so each number has a name here that says which one it is. Numbers can only be
compared if they come from the same face model and the same network.
"""
import numpy as np

from models.coefficients import SLICES
from models.landmarks import INNER_LIPS, OUTER_LIPS

MOUTH = slice(OUTER_LIPS.start, INNER_LIPS.stop)   # 20 landmarks
EFID = "E-FID_exp64"
# What each number is. All but E-FID are means over the frames in which both videos show a face.
METRICS = {
    "AED_mean64": "distance of expressions: |difference|, mean of the 64 coefficients",
    "AED_sum64": "the same, sum of the 64 coefficients",
    "APD_mean3": "distance of poses: |difference|, mean of the 3 angles, radian",
    "APD_sum3": "the same, sum of the 3 angles",
    "APD_mean6": "the same, mean of the 3 angles, radian, and the 3 numbers of the translation, decimetres",
    "APD_sum6": "the same, sum of these 6 numbers",
    EFID: "Frechet distance of the expressions (64 coefficients), all frames of each side as one Gaussian",
    "LMD_68_px": "distance of landmarks, mean of all 68, px of the frame",
    "LMD_68_centred_px": "the same, after the means of the 68 landmarks are brought to the same place",
    "LMD_mouth20_px": "the same of the 20 landmarks of the mouth",
    "LMD_mouth20_centred_px": "the same, after the means of the 20 landmarks are brought to the same place",
    "identity_cosine_id80": "cosine of the 80 identity coefficients: 1 is the same face",
    "identity_cosine_dlib": "cosine of the embeddings of dlib's recognition network; of different persons about 0.8",
    "identity_cosine_r50": "the same of ArcFace's network r50; of different persons about 0",
}


def coefficient_distances(first: np.ndarray, second: np.ndarray) -> dict[str, np.ndarray]:
    """Returns AED, APD and the cosine of the identities of each frame, (n,) each, by their names in METRICS.

    first, second: the coefficients (n, 257) of the n frames of two videos.
    """
    expression, angles, translation = (np.abs(first[:, SLICES[name]] - second[:, SLICES[name]])
                                       for name in ("exp", "angle", "trans"))
    pose = np.concatenate([angles, translation], 1)
    one, other = first[:, SLICES["id"]], second[:, SLICES["id"]]
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return {"AED_mean64": expression.mean(1), "AED_sum64": expression.sum(1),
            "APD_mean3": angles.mean(1), "APD_sum3": angles.sum(1), "APD_mean6": pose.mean(1), "APD_sum6": pose.sum(1),
            "identity_cosine_id80": (one * other).sum(1) / np.maximum(lengths, 1e-12)}


def landmark_distances(first: np.ndarray, second: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the distances of landmarks of each frame, (n,) each, by their names in METRICS.

    first, second: the landmarks (n, 68, 2) px in the n frames of two videos, whose frames have the same size.
    """
    distances = {}
    for name, chosen in (("68", slice(None)), ("mouth20", MOUTH)):
        difference = first[:, chosen] - second[:, chosen]
        distances[f"LMD_{name}_px"] = np.linalg.norm(difference, axis=2).mean(1)
        centred = difference - difference.mean(1, keepdims=True)
        distances[f"LMD_{name}_centred_px"] = np.linalg.norm(centred, axis=2).mean(1)
    return distances


def expression_frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Returns E-FID: the Frechet distance of two Gaussians with the means and the covariances of the expressions.

    first, second: the coefficients (n, 257) and (m, 257) of the frames of two videos. nan for less than two frames.
    """
    first, second = (values[:, SLICES["exp"]].astype(float) for values in (first, second))
    if min(len(first), len(second)) < 2:
        return float("nan")
    shift = first.mean(0) - second.mean(0)
    one, other = np.cov(first.T), np.cov(second.T)
    # The trace of the root of one @ other, by symmetric matrices only, whose eigenvalues are real.
    values, vectors = np.linalg.eigh(one)
    root = vectors * np.sqrt(values.clip(0)) @ vectors.T
    trace = np.sqrt(np.linalg.eigvalsh(root @ other @ root).clip(0)).sum()
    return float(shift @ shift + np.trace(one) + np.trace(other) - 2 * trace)
