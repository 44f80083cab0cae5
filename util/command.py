"""Runs a command-line program and turns errors and signals into exit codes."""
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from util.files import InputError


def run_command(command: Callable[[], int], verbose: bool) -> int:
    """Returns the exit status of a program: what `command` returns, 2 after InputError or OSError, 130 after Ctrl-C.

    The message of the error is printed. If verbose, its traceback is printed before.
    """
    try:
        return command()
    except (InputError, OSError) as error:   # OSError: a full disk, mostly
        if verbose:
            traceback.print_exc()
        print(f"{Path(sys.argv[0]).name}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{Path(sys.argv[0]).name}: stopped; what it has written stays", file=sys.stderr)
        return 128 + signal.SIGINT


def ignore_signals(_):
    """Make this process ignore SIGINT and SIGTERM. A DataLoader calls this in its worker processes: such a signal is
    often sent to all processes of a program, but the first process must end the others."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
