"""Folders of photos -> a training set for train.py.

    python data_preparation.py --img_folder A B                      datasets/A, datasets/B -> datalist/train
    python data_preparation.py --img_folder C --mode=val             datasets/C -> datalist/val
    torchrun --nproc_per_node=4 data_preparation.py --img_folder A   the photos shared by 4 processes

Writes landmarks/<photo>.txt, mask/<photo>.png and vis/ in each folder, to skipped.txt there what was left out and why,
and then the lists datalist/<mode>/{landmarks,images,masks}.txt. What is done is not done again.
Exit status: 0 everything done, 1 something left out, 2 wrong usage.
"""
import sys

from options.preparation import parse


def main() -> int:
    options = parse()
    # Imported after the options: --help and wrong options answer at once.
    from datasets.preparation import prepare_folders
    from util.command import run_command
    return run_command(lambda: 1 if prepare_folders(options) else 0, options.verbose)


if __name__ == "__main__":
    sys.exit(main())
