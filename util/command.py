"""Runs a command-line program: makes its output safe, and turns errors and signals into exit codes."""
import contextlib
import errno
import io
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from util.files import InputError

# The signals that stop a program in an orderly way. Windows has no SIGHUP, which a terminal sends when it is closed.
STOP_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
WAIT_FOR_FIRST = 10    # seconds: an error that the first process has not met by then is one of this process
CLOSED_PIPE = 128 + 13   # the exit status of a program that SIGPIPE has ended


def run_command(command: Callable[[], int], verbose: bool) -> int:
    """Returns the exit status of a program: what `command` returns, 2 after InputError or OSError, 128 + n after one of
    STOP_SIGNALS with the number n, for example 130 after Ctrl-C.

    The message of the error is printed. If verbose, its traceback is printed before. An error that all processes of
    torchrun meet is printed by the first one only: the others wait, and torchrun ends them meanwhile.
    """
    is_first = os.environ.get("RANK", "0") == "0"
    try:
        with handle_stop_signals(_interrupt):
            return command()
    except (InputError, OSError) as error:   # OSError: a full disk, mostly
        if not is_first:
            time.sleep(WAIT_FOR_FIRST)
        if verbose:
            traceback.print_exc()
        print(f"{Path(sys.argv[0]).name}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        if is_first:
            print(f"{Path(sys.argv[0]).name}: stopped; what it has written stays", file=sys.stderr)
        return 128 + (interrupt.args[0] if interrupt.args else signal.SIGINT)


def _interrupt(number: int):
    raise KeyboardInterrupt(number)


@contextlib.contextmanager
def handle_stop_signals(handler: Callable[[int], None]) -> Iterator[None]:
    """In this block, one of STOP_SIGNALS calls the handler with its number.

    A second Ctrl-C does what it did before this block. Other signals that arrive again are ignored, because `timeout`
    sends its signal twice. Signals that the program was started to ignore, as nohup does, stay ignored.
    """
    replaced = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    replaced = {number: old for number, old in replaced.items() if old not in (signal.SIG_IGN, None)}

    def handle(number: int, _):
        signal.signal(number, replaced[number] if number == signal.SIGINT else signal.SIG_IGN)
        handler(number)

    for number in replaced:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, old in replaced.items():
            signal.signal(number, old)


@contextlib.contextmanager
def safe_output() -> Iterator[None]:
    """In this block, printing works whatever the output is.

    Characters that its encoding cannot show are printed as escapes such as \\u4e2d. If a pipe that takes the output is
    closed, as `| head` does, the program ends with the status CLOSED_PIPE and without a message. If the terminal is
    closed, the program goes on, and what it prints is lost.
    """
    sys.stdout, sys.stderr = _safe(sys.stdout), _safe(sys.stderr)
    try:
        yield
    finally:
        sys.stdout.flush()


class _SafeOutput(io.TextIOWrapper):
    def write(self, text: str) -> int:
        with self._end_at_closed_pipe():
            return super().write(text)

    def flush(self):
        with self._end_at_closed_pipe():
            super().flush()

    @contextlib.contextmanager
    def _end_at_closed_pipe(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EINVAL, errno.EIO):   # EINVAL: EPIPE on Windows
                raise
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())   # what is still in the buffer, or printed while the program ends
            os.close(nowhere)
            if error.errno != errno.EIO:   # a closed terminal, which sends SIGHUP as well
                sys.exit(CLOSED_PIPE)


def _safe(stream: object) -> object:
    if not isinstance(stream, io.TextIOWrapper):   # not a file or a terminal but an object that replaces it
        return stream
    settings = {name: getattr(stream, name) for name in ("encoding", "line_buffering", "write_through")}
    return _SafeOutput(stream.detach(), errors="backslashreplace", **settings)
