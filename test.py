"""Photos -> 3D faces.

    python test.py --name=open_face --epoch=20 --img_folder=DIR    with the network checkpoints/open_face/epoch_20.pth
    python test.py --epoch=0 --fit_iters=100 --img_folder=DIR      without a network, by a fit to each photo
    python test.py --name=M --epoch=20 --gpu_ids=0,1 --img_folder=DIR          the photos shared by GPUs of this machine
    torchrun --nproc_per_node=4 test.py --name=M --epoch=20 --img_folder=DIR   or by 4 processes

Writes <photo>.png, .obj and .mat to checkpoints/<name>/results/<folder>/epoch_<epoch>_000000/, and to skipped.txt there
what was left out and why. Exit status: 0 everything done, 1 something left out, 2 wrong usage.
"""
import os
import sys

from options.testing import parse

# Threads that wait leave the cores to those that read and write; read when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def main() -> int:
    options = parse()
    # Imported after the options: --help and wrong options answer at once.
    from models.reconstruction import reconstruct_folder
    from util.command import run_command
    from util.distributed import run_on_gpus
    return run_command(lambda: run_on_gpus(reconstruct_folder, options), options.verbose)


if __name__ == "__main__":
    sys.exit(main())
