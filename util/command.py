"""What the scripts do about errors."""
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from util.files import InputError


def run_command(command: Callable[[], int], verbose: bool) -> int:
    """The exit status that the command returns; 2 where it raises InputError, or OSError as of a full disk, after its
    message and, if verbose, its trace."""
    try:
        return command()
    except (InputError, OSError) as error:
        if verbose:
            traceback.print_exc()
        print(f"{Path(sys.argv[0]).name}: {error}", file=sys.stderr)
        return 2
