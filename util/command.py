"""What the scripts do about errors and signals."""
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from util.files import InputError


def run_command(command: Callable[[], int], verbose: bool) -> int:
    """The exit status that the command returns; 2 where it raises InputError, or OSError as of a full disk, after its
    message and, if verbose, its trace; 130 where Ctrl-C has stopped it."""
    try:
        return command()
    except (InputError, OSError) as error:
        if verbose:
            traceback.print_exc()
        print(f"{Path(sys.argv[0]).name}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{Path(sys.argv[0]).name}: stopped; what it has written stays", file=sys.stderr)
        return 128 + signal.SIGINT


def ignore_signals(_):
    """Of a process that reads photos: signals to stop are often sent to all processes of a program, and its first one
    ends the others."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
