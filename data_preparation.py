"""Prepares folders of photos for train.py: 68 landmarks and a skin mask for each photo, and lists of all these files.

    python data_preparation.py --img_folder A B                      datasets/A and datasets/B -> datalist/train
    python data_preparation.py --img_folder C --mode=val             datasets/C -> datalist/val
    torchrun --nproc_per_node=4 data_preparation.py --img_folder A   the same work, shared by 4 processes

datasets/README.md describes all files that it reads and writes. A second run prepares only photos that are new or have
changed. Exit status: 0 if every photo was prepared, 1 if photos were left out, 2 if it could not start or go on,
128 + n if signal n has stopped it.
"""
import argparse
import sys
from datetime import timedelta
from typing import TYPE_CHECKING

from options.common import located
from options.preparation import parse
from util.command import run_command, safe_output

# All other modules are imported after the options are parsed, so that --help and wrong options are answered at once.
if TYPE_CHECKING:
    from datasets.preparation import PhotoPreparer
    from datasets.preparation_plan import TrainingFolder


def main() -> int:
    options = parse()
    return run_command(lambda: prepare_folders(options), options.verbose)


def prepare_folders(options: argparse.Namespace) -> int:
    """Prepare the photos of all folders and write the lists. Returns the exit status: 1 if photos were left out, or 0.

    Under torchrun, every process runs this function and prepares its share of the photos. The first process also plans
    the work and writes the lists. Raises InputError if the work cannot start or go on.
    """
    from datasets.preparation import PhotoPreparer
    from datasets.preparation_lists import check_datalist_folder, write_datalist
    from datasets.preparation_plan import find_folders, plan_folder
    from util.distributed import join_processes, leave_processes
    from util.files import InputError

    datalist_folder = options.datalist_dir / options.mode
    processes = join_processes("-1", timeout=timedelta(days=100))   # the others may have photos that take longer
    try:
        planned, finished = [], []
        if processes.is_first:
            check_datalist_folder(datalist_folder)
            paths = find_folders(options.data_root, options.img_folder)
            planned = [plan_folder(path, options.overwrite) for path in paths]
            for folder in planned:
                if folder.remark:
                    print(folder.remark, file=sys.stderr)
        for folder in processes.gather(planned)[0]:
            share = folder.to_prepare[processes.rank::processes.size]
            preparer = PhotoPreparer(folder.path, share, options.overwrite,
                                     located(options.checkpoints_dir, "lm_model"), options.detector, options.verbose)
            results = processes.gather(prepare_photos(preparer, processes.workers(options.num_threads),
                                                      options.verbose, quiet=not processes.is_first))
            for left_out, _ in results:
                folder = folder.without(left_out)
            if processes.is_first:
                finish_folder(folder, sum(written for _, written in results))
            finished.append(folder)
        if processes.is_first:
            write_datalist(datalist_folder, finished)
        processes.gather(None)   # torchrun stops all processes when the first one ends with a status other than 0
    except OSError as error:   # of writing: a file that cannot be read raises InputError
        raise InputError(f"cannot write: {error}. Files that are complete stay. Run the same command again to go on "
                         "from there") from error
    finally:
        leave_processes()
    return 1 if any(folder.left_out for folder in finished) else 0


def prepare_photos(preparer: "PhotoPreparer", workers: int, verbose: bool, quiet: bool) -> tuple[dict[str, str], int]:
    """Prepare photos in `workers` other processes (0: in this one).

    verbose: print a line for every photo that is left out, not only for the first ten. quiet: show no progress.
    Returns why photos were left out, by their names, and for how many of the others files were written.
    Raises InputError if memory runs out, OSError if a file cannot be written.
    """
    from util.devices import explain_out_of_memory
    from util.progress import LeftOut, Progress
    from util.readers import read_in_processes

    written = 0
    with explain_out_of_memory(), Progress(len(preparer), "photo", quiet=quiet) as progress:
        left_out = LeftOut(progress.say, verbose)
        for outcome in read_in_processes(preparer, workers, in_order=False):
            if outcome.failure:
                raise OSError(outcome.failure)
            left_out.add(outcome.name, outcome.problem, outcome.remark)
            written += outcome.written
            progress.advance()
        left_out.count_others(preparer.folder)
    return left_out.reasons, written


def finish_folder(folder: "TrainingFolder", written: int):
    """Write skipped.txt and the contact sheets of a folder, and print how many photos were prepared.

    written: the number of photos for which this run has written files.
    """
    from datasets.preparation_lists import write_skipped
    from datasets.preparation_sheets import write_contact_sheets

    skipped = write_skipped(folder)
    write_contact_sheets(folder)
    total = len(folder.files) + len(folder.left_out)
    left_out = f"; {len(folder.left_out)} left out: {skipped}" if folder.left_out else ""
    print(f"{folder.path}: {len(folder.files)} of {total} photos prepared, {written} now{left_out}", flush=True)


if __name__ == "__main__":
    with safe_output():
        sys.exit(main())
