"""Shows the progress of long work: as a bar on a terminal, as plain lines in a log."""
import math
import sys
import time
from collections.abc import Callable, Hashable
from pathlib import Path

from tqdm import tqdm

from util.files import SKIPPED

LINE_EVERY = 10   # seconds between two lines in a log


class Progress:
    """Shows how many of `total` things are done.

    unit: the name of one thing, as "photo". done: how many are done at the start. quiet: show no progress; `say` still
    prints.
    """

    def __init__(self, total: int, unit: str, done: int = 0, quiet: bool = False):
        self.total, self.unit, self.first, self.done, self.quiet = total, unit, done, done, quiet
        self.start = self.last = time.monotonic()
        self.bar = tqdm(total=total, unit=unit, initial=done) if sys.stderr.isatty() and not quiet else None

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_):
        if self.bar:
            self.bar.close()

    def advance(self, count: int = 1):
        """Add `count` to the number of things that are done."""
        self.done += count
        if self.bar:
            self.bar.update(count)
            return
        now = time.monotonic()
        if not self.quiet and (self.done == self.total or now - self.last >= LINE_EVERY):
            self.last = now
            seconds = now - self.start
            rate = (self.done - self.first) / max(seconds, 1e-3)
            print(f"{self.done}/{self.total} {self.unit}s, {seconds:.0f} s, {rate:.1f} {self.unit}s/s", file=sys.stderr,
                  flush=True)

    def say(self, line: str):
        """Print a line to stderr without breaking the bar."""
        tqdm.write(line, file=sys.stderr)


class FirstLines:
    """Prints the first `most` lines that it is given, by the function `write`, and counts the others."""

    def __init__(self, write: Callable[[str], None], most: float):
        self.write, self.most, self.count = write, most, 0

    def say(self, line: str):
        self.count += 1
        if self.count <= self.most:
            self.write(line)

    @property
    def hidden(self) -> int:
        """The number of lines that were not printed."""
        return max(self.count - self.most, 0)


class LeftOut:
    """Collects which photos are left out, and why, and remarks. Prints the first ten reasons and remarks.

    say: prints a line. verbose: print all reasons and remarks.
    """

    def __init__(self, say: Callable[[str], None], verbose: bool):
        most = math.inf if verbose else 10
        self.say, self.first_reasons, self.first_remarks = say, FirstLines(say, most), FirstLines(say, most)
        self.reasons: dict[Hashable, str] = {}   # by photo
        self.remarks: dict[Hashable, str] = {}   # by photo

    def add(self, photo: Hashable, problem: str = "", remark: str = ""):
        """Take note of the problem that leaves a photo out, and of a remark; "" stands for none. Only the first problem
        of a photo counts."""
        if problem and photo not in self.reasons:
            self.reasons[photo] = problem
            self.first_reasons.say(f"left out: {problem}")
        if remark:
            self.remarks[photo] = remark
            self.first_remarks.say(remark)

    def count_others(self, folder: Path):
        """Print how many reasons and remarks were not printed. folder: where the list of all reasons is written."""
        if self.first_reasons.hidden:
            self.say(f"left out: {self.first_reasons.hidden} more photos, see {folder / SKIPPED}")
        if self.first_remarks.hidden:
            self.say(f"{self.first_remarks.hidden} more remarks like these: --verbose prints all of them")
