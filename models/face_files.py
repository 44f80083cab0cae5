"""Writes the result files of reconstructed faces."""
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from models.outputs.details import FaceDetails, OutputSettings
from models.outputs.table import OUTPUTS, parts_of
from models.records import FaceResult


class FaceWriter:
    """Writes the files of faces in threads, so that the next faces can be computed at the same time.

    folder: where the files go. outputs: names in OUTPUTS. settings: what all outputs share. threads: how many faces are
    written at once. At the end of a `with` block all files are complete, also if the block raises an error.
    """

    def __init__(self, folder: Path, outputs: Collection[str], settings: OutputSettings, threads: int):
        self.folder, self.settings = folder, settings
        self.parts = parts_of(outputs)   # what the Reconstructor has to compute
        self.of_faces = [name for name in outputs if not OUTPUTS[name].of_photo]
        self.of_photos = [name for name in outputs if OUTPUTS[name].of_photo]
        self.pool = ThreadPoolExecutor(threads)
        self.started: list[tuple[Path, Future]] = []   # the photo that the files belong to, and their writing
        self.waiting: dict[Path, list[FaceResult]] = {}   # faces of photos that may have more, if of_photos needs them

    def __enter__(self) -> "FaceWriter":
        return self

    def __exit__(self, *_):
        self.pool.shutdown()

    def start(self, results: list[FaceResult]):
        """Start to write the files of these faces."""
        for result in results:
            photo = result.face.photo
            if self.of_faces:
                self._submit(photo, write_face, self.folder, result, self.of_faces, self.settings)
            if self.of_photos:
                self.waiting.setdefault(photo, []).append(result)

    def start_photo(self, photo: Path):
        """Start to write the files of a whole photo, now that `start` was called with all its faces."""
        if results := self.waiting.pop(photo, []):
            self._submit(photo, write_photo, self.folder, results, self.of_photos, self.settings)

    def finish(self) -> list[tuple[Path, BaseException]]:
        """Wait until everything that was started is written. Returns the errors, each with its photo."""
        errors = [(photo, writing.exception()) for photo, writing in self.started]
        self.started.clear()
        return [(photo, error) for photo, error in errors if error]

    def _submit(self, photo: Path, write: Callable, *arguments):
        self.started.append((photo, self.pool.submit(write, *arguments)))


def write_face(folder: Path, result: FaceResult, outputs: Collection[str], settings: OutputSettings):
    """Write the files of a face, <face's name>.png and so on. outputs: names of those of OUTPUTS that belong to a face.
    """
    details = FaceDetails(result, settings)
    write_files(folder, result.face.name, details, outputs)


def write_photo(folder: Path, results: list[FaceResult], outputs: Collection[str], settings: OutputSettings):
    """Write the files of a whole photo, <photo's name>_overlay.png and so on.

    results: all faces of the photo. outputs: names of those of OUTPUTS that belong to a photo.
    """
    details = [FaceDetails(result, settings) for result in results]
    write_files(folder, results[0].face.photo_name, details, outputs)


def write_files(folder: Path, name: str, details: FaceDetails | list[FaceDetails], outputs: Collection[str]):
    """Write the files of some of OUTPUTS. name: of the face or of the photo. details: what the outputs are made of."""
    for output in map(OUTPUTS.get, outputs):
        stem = folder / output.folder / name
        stem.parent.mkdir(parents=True, exist_ok=True)   # a name may have folders in it
        output.write(stem, details)
