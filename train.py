"""Train the network on photos, weakly supervised, or on rendered faces.

    python train.py --name=M                                      on the first GPU, or on the CPU where there is none
    python train.py --name=M --gpu_ids=0,1                        on GPUs of this machine
    python train.py --name=M --gpu_ids=-1                         on the CPU
    torchrun --nnodes=2 --nproc_per_node=8 --rdzv_backend=c10d --rdzv_endpoint=HOST:PORT train.py --name=M
                                                                  on several machines, the same line on each

Reads the datalists of data_preparation.py; writes checkpoints, logs and pictures to checkpoints/<name>/. The same
command continues from the newest checkpoint there. Exit status: 0 everything done, 1 some photos could not be read,
2 stopped by an error, 128 + n stopped by signal n.
"""
import os
import sys

from options.training import parse

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")   # TensorBoard imports TensorFlow where it is installed
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")   # threads that wait leave the cores to those that read photos


def main() -> int:
    options = parse()
    # Imported after the options: --help and wrong options answer at once.
    from models.training import train
    from util.command import run_command
    from util.distributed import run_on_gpus
    return run_command(lambda: run_on_gpus(lambda: train(options), options.gpu_ids, options.use_ddp), options.verbose)


if __name__ == "__main__":
    sys.exit(main())
