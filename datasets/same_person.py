"""The identity that several photos of one person share."""
import numpy as np

from datasets.photo_folder import PhotoFolder, batches
from models.clips import confidence
from models.coefficients import IDENTITY
from models.reconstruction import Reconstructor
from util.devices import explain_out_of_memory
from util.distributed import Processes
from util.progress import Progress
from util.readers import read_in_processes


def shared_identity(photos: PhotoFolder, reconstructor: Reconstructor, batch_size: int, workers: int,
                    processes: Processes) -> np.ndarray | None:
    """Returns the coefficients IDENTITY (160,) of the person in the photos of all processes: the mean over the faces,
    weighted by their confidence. None if no face is found.

    photos: of this process; those that cannot be used are left out. batch_size: faces that are computed at once.
    workers: number of processes that read photos. Raises InputError if memory runs out.
    """
    total, weight = np.zeros(len(IDENTITY)), 0.0
    with explain_out_of_memory(), Progress(len(photos), "photo", quiet=not processes.is_first) as progress:
        for complete_photos, faces in batches(read_in_processes(photos, workers), batch_size):
            if faces:
                coefficients = reconstructor.estimate(faces)
                sure = confidence(coefficients, np.stack([face.trans_params for face in faces]))
                total, weight = total + sure @ coefficients[:, IDENTITY], weight + sure.sum()
            progress.advance(len(complete_photos))
    totals, weights = zip(*processes.gather((total, weight)), strict=True)
    return (sum(totals) / sum(weights)).astype(np.float32) if sum(weights) else None
