"""What was found in the frames of a video, kept in memory and, for a run that is interrupted, in a file."""
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from models.clips import Track
from util.files import atomic_write

# The columns of the rows: a row is a face in a frame. TrackedFace, AlignedFace and Track describe them.
_COLUMNS = {"frame": ((), np.int64), "track": ((), np.int64), "starts": ((), bool), "confidence": ((), np.float64),
            "landmarks": ((68, 2), np.float32), "trans_params": ((5,), np.float64), "turns": ((), np.int64),
            "coefficients": ((257,), np.float32)}
_GROWTH = 1024   # rows that are added at once


class Recording:
    """The times of the frames that were searched for faces, and a row of numbers for each face in them."""

    def __init__(self):
        self.times: list[float] = []
        self.fitted = 0   # rows whose coefficients are fitted
        self.count = 0    # rows
        # The numbers of frames and rows that are complete, and the state of the follower of faces after these frames
        self.complete: tuple[int, int, dict[str, np.ndarray]] = 0, 0, {}
        self._columns = {name: np.empty((0, *shape), kind) for name, (shape, kind) in _COLUMNS.items()}

    def __getitem__(self, name: str) -> np.ndarray:
        """The column of that name. Its numbers may be changed."""
        return self._columns[name][:self.count]

    def add(self, **values: object):
        """Add a row. values: of all columns, by name."""
        if self.count == len(self._columns["frame"]):
            self._columns = {name: np.concatenate([column, np.empty((_GROWTH, *column.shape[1:]), column.dtype)])
                             for name, column in self._columns.items()}
        for name, column in self._columns.items():
            column[self.count] = values[name]
        self.count += 1

    def commit(self, state: dict[str, np.ndarray]):
        """Note that all frames so far are complete, so that `save` writes them. state: of the follower of the faces."""
        self.complete = len(self.times), self.count, state   # at once: an interruption can come between two lines

    def tracks(self, least: int) -> list[np.ndarray]:
        """Returns the rows of each person, for those who were found in that many frames at least."""
        numbers = self["track"]
        rows = [np.flatnonzero(numbers == number) for number in range(numbers.max(initial=-1) + 1)]
        return [one for one in rows if len(one) >= least]

    def track(self, rows: Sequence[int]) -> Track:
        """Returns the track of these rows."""
        coefficients = self["coefficients"][rows]
        return Track(self["frame"][rows], self["starts"][rows], self["confidence"][rows], self["trans_params"][rows],
                     self["turns"][rows], coefficients, coefficients)

    def save(self, path: Path, settings: str):
        """Write what is complete to a file. settings: what the numbers depend on."""
        path.parent.mkdir(parents=True, exist_ok=True)
        frames, rows, state = self.complete
        columns = {f"row_{name}": self[name][:rows] for name in _COLUMNS}
        state = {f"state_{name}": values for name, values in state.items()}
        with atomic_write(path) as temporary:
            np.savez(temporary, settings=settings, times=self.times[:frames], fitted=self.fitted, **columns, **state)

    @classmethod
    def load(cls, path: Path, settings: str) -> "Recording | None":
        """Returns what `save` wrote. None if there is no such file, if it is broken, or if it was made with other
        settings."""
        recording = cls()
        try:
            with np.load(path) as file:
                if str(file["settings"]) != settings:
                    return None
                recording.times, recording.fitted = file["times"].tolist(), int(file["fitted"])
                recording._columns = {name: file[f"row_{name}"] for name in _COLUMNS}
                state = {name.removeprefix("state_"): file[name] for name in file.files if name.startswith("state_")}
        except Exception:   # for a broken file, exceptions of many kinds
            return None
        recording.count = len(recording._columns["frame"])
        recording.commit(state)
        return recording
