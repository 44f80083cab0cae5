"""Shows the progress of long work: as a bar on a terminal, as plain lines in a log."""
import sys
import time
from collections.abc import Callable

from tqdm import tqdm

LINE_EVERY = 10   # seconds between two lines in a log


class Progress:
    """Shows how many of `total` things are done.

    unit: the name of one thing, as "photo". done: how many are done at the start. quiet: show no progress; `say` still
    prints.
    """

    def __init__(self, total: int, unit: str, done: int = 0, quiet: bool = False):
        self.total, self.unit, self.done, self.quiet = total, unit, done, quiet
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
            print(f"{self.done}/{self.total} {self.unit}s, {now - self.start:.0f} s", file=sys.stderr, flush=True)

    def say(self, line: str):
        """Print a line to stderr without breaking the bar."""
        tqdm.write(line, file=sys.stderr)


class FirstLines:
    """Prints the first `most` lines that it is given, by the function `write`, and counts the others."""

    def __init__(self, write: Callable[[str], None], most: float = 10):
        self.write, self.most, self.count = write, most, 0

    def say(self, line: str):
        self.count += 1
        if self.count <= self.most:
            self.write(line)

    @property
    def hidden(self) -> int:
        """The number of lines that were not printed."""
        return max(self.count - self.most, 0)
