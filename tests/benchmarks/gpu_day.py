"""Runs everything that needs a GPU, in at most 8 minutes, and writes the results as one Markdown table.

    python tests/benchmarks/gpu_day.py OUT             # on a machine with a GPU
    python tests/benchmarks/gpu_day.py OUT --dry_run   # tiny versions of the same steps on the CPU

Prints as it goes. OUT/report.md has the table, OUT/logs/ what each step printed. Run the same command again to do the
steps that are missing: those that had no time, or that failed. It needs no network.
"""
import argparse
import contextlib
import io
import os
import re
import runpy
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import torch

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "datasets" / "examples"
CORES = os.cpu_count() or 1
STEPS = 40   # of each training


@dataclass(frozen=True)
class Step:
    """A command, and how its output becomes rows of the table."""
    name: str
    seconds: int                                     # the longest time that it may take
    command: list[str]                               # what follows `python`
    rows: Callable[[str], list[tuple[str, str]]]     # what was measured, and the result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="OUT")
    parser.add_argument("--minutes", type=float, default=8, help="steps that would end later are left for the next run")
    parser.add_argument("--dry_run", action="store_true", help="run tiny versions of the steps on the CPU")
    options = parser.parse_args()
    folder, end = options.folder.absolute(), time.monotonic() + 60 * options.minutes
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    if not options.dry_run and not torch.cuda.is_available():
        raise SystemExit("PyTorch sees no GPU here: add --dry_run to try the steps on the CPU")
    if options.dry_run:
        torch.set_num_threads(1)   # for such small steps, other threads only take time from other programs
    device = "the CPU, a dry run" if options.dry_run else torch.cuda.get_device_name()
    versions = f"PyTorch {torch.__version__}, {CORES} CPU cores, {time.strftime('%Y-%m-%d')}"
    table = [f"# Results on {device}", "", versions, "",
             "| step | what | result |", "| --- | --- | --- |"]
    for step in steps(folder, options.dry_run):
        log = folder / "logs" / f"{step.name}.txt"
        result = run(step, log, end, here=options.dry_run and step.command[0] != "-m")
        rows = step.rows(log.read_text(encoding="utf-8")) if result == "done" else [("", result)]
        table += [f"| {step.name} | {what} | {value} |" for what, value in rows]
        print("\n".join(table[-len(rows):]), flush=True)
        (folder / "report.md").write_text("\n".join(table) + "\n", encoding="utf-8")
    print(folder / "report.md")


def run(step: Step, log: Path, end: float, here: bool) -> str:
    """Run a step that has no log yet. Returns "done", or what went wrong. here: in this process, which is quicker."""
    if log.exists():
        return "done"
    print(f"{step.name}: {' '.join(step.command)}", flush=True)
    failed = log.with_suffix(".failed.txt")
    with failed.open("w", encoding="utf-8") as file:
        limit = min(step.seconds, end - time.monotonic())
        if limit < 1:
            return "not run: no time was left"
        if here:
            status = run_here(step.command, file)
        else:
            try:
                status = subprocess.run([sys.executable, *step.command], cwd=ROOT, stdout=file, timeout=limit,
                                        stderr=subprocess.STDOUT).returncode
            except subprocess.TimeoutExpired:
                return f"stopped after {limit:.0f} s: {failed}"
    if status:
        return f"failed with status {status}: {failed}"
    failed.replace(log)
    return "done"


def run_here(command: list[str], file: io.TextIOBase) -> int:
    """Run a script in this process; its output goes to the file. Returns its exit status."""
    script, *arguments = command
    output, status = io.StringIO(), 0
    with (mock.patch.object(sys, "argv", [script, *arguments]), mock.patch.object(sys, "path", [str(ROOT), *sys.path]),
          contextlib.redirect_stdout(output), contextlib.redirect_stderr(output)):
        try:
            runpy.run_path(str(ROOT / script), run_name="__main__")
        except SystemExit as done:
            status = done.code or 0
        except Exception:
            traceback.print_exc()
            status = 1
    file.write(output.getvalue())
    return status


def steps(folder: Path, dry: bool) -> Iterator[Step]:
    """Yields the steps in their order; it prepares the files of a step before yielding it."""
    if dry:
        yield Step("tests", 300, ["-m", "pytest", "-q", "-m", "gpu", "--collect-only", "tests/models/test_renderer.py"],
                   last_line)
    else:
        yield Step("tests", 150, ["-m", "pytest", "-q", "-m", "gpu", "tests"], last_line)
        yield Step("parity", 60, ["-m", "pytest", "-q", "-rs", "tests/nvdiffrast/test_rasterizer_parity.py"], last_line)
    yield Step("rasteriser", 120, [
        "tests/benchmarks/bench_rasterizer.py",
        *("--device=cpu --sizes 32 --batches 1 --seconds 0" if dry else
          "--device=cuda --sizes 224 512 1024 --batches 1 8 32 --seconds 0.3").split()], table_rows)

    device = ["--gpu_ids=-1", "--num_threads=0"] if dry else [f"--num_threads={CORES}"]
    for name, count, more in (("network", 512, []), ("fit", 128, ["--fit_iters=8"])):
        photos = copy_photos(folder / f"photos_{name}", 1 if dry else count)
        yield Step(f"test.py, {name}", 100, [
            "test.py", "--name=photo_face", "--epoch=20", f"--checkpoints_dir={ROOT / 'checkpoints'}",
            f"--bfm_folder={ROOT / 'BFM'}", f"--img_folder={photos}", f"--results_dir={folder / f'results_{name}'}",
            "--batch_size=32", *device, *(more and ["--fit_iters=1"] if dry else more)], photos_per_second)

    batches = (2,) if dry else (32, 256)
    network = ["--net_recon=mobilenet_v3_large", "--image_size=32"] if dry else ["--net_recon=resnet50", "--amp=bf16"]
    for batch in batches:
        yield Step(f"step of {batch}", 60, ["tests/benchmarks/training_step.py", f"--batch_size={batch}", *network,
                                            f"--repeat={1 if dry else 10}"], step_times)

    photos = copy_photos(folder / "photos_training", 4 if dry else 256)
    yield Step("data preparation", 60, ["data_preparation.py", f"--data_root={folder}", "--img_folder", photos.name,
                                        f"--datalist_dir={folder / 'lists'}", device[-1]], photos_per_second)
    for batch in batches:
        for gpus in (1,) if dry or torch.cuda.device_count() < 2 else (1, 2):
            name = f"training, batch {batch}, {gpus} GPU"
            flist = repeat_lists(folder / "lists" / "train", batch * STEPS)
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)
            launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"] if gpus > 1 else []
            yield Step(name, 80, [
                *launch, "train.py", "--name=M", f"--checkpoints_dir={folder / 'checkpoints'}",
                f"--bfm_folder={ROOT / 'BFM'}", f"--flist={flist}", "--flist_val=none", "--init_path=", "--n_epochs=1",
                f"--batch_size={batch}", f"--print_freq={2 if dry else STEPS // 2}", "--net_recog=dlib", "--w_feat=1",
                f"--max_dataset_size={batch * (2 if dry else STEPS)}", *network, *device,
                *([] if dry else ["--gpu_ids=0,1" if gpus > 1 else "--gpu_ids=0"])], training_times)


def copy_photos(folder: Path, count: int) -> Path:
    """Fill a folder with copies of the example photos."""
    folder.mkdir(exist_ok=True)
    photos = [EXAMPLES / "astronaut.png", EXAMPLES / "grace_hopper.jpg"]
    for number in range(count):
        photo = photos[number % len(photos)]
        copy = folder / f"{number:04d}{photo.suffix}"
        if not copy.exists():
            shutil.copy(photo, copy)
    return folder


def repeat_lists(folder: Path, count: int) -> Path:
    """Write lists of `count` samples, those of the lists in a folder again and again. Returns the list of masks."""
    longer = folder.with_name(f"repeated_{count}")
    longer.mkdir(parents=True, exist_ok=True)
    for source in folder.glob("*.txt"):
        lines = source.read_text(encoding="utf-8").splitlines(keepends=True)
        text = "".join(lines[number % len(lines)] for number in range(count))
        (longer / source.name).write_text(text, encoding="utf-8")
    return longer / "masks.txt"


def last_line(output: str) -> list[tuple[str, str]]:
    return [("", output.strip().splitlines()[-1])]


def table_rows(output: str) -> list[tuple[str, str]]:
    """Rows of the table of bench_rasterizer.py: milliseconds per image."""
    rows = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in output.splitlines() if "|" in line]
    return [(f"{name}, {size} px, batch {batch}", f"forward {forward} ms, with backward {both or '-'} ms")
            for name, size, batch, _, forward, both, _ in rows[2:]]


def photos_per_second(output: str) -> list[tuple[str, str]]:
    count, seconds = re.findall(r"(\d+)/\1 photos, (\d+) s", output)[-1]
    return [("photos a second, without the start", f"{int(count) / max(int(seconds), 0.5):.1f}")]


def step_times(output: str) -> list[tuple[str, str]]:
    seconds, ratio = re.search(r"^step +([\d.]+) s +([\d.]+) x", output, re.MULTILINE).groups()
    return [("seconds", seconds), ("share of the networks' own time", f"{1 / float(ratio):.0%}")]


def training_times(output: str) -> list[tuple[str, str]]:
    seconds, waited = map(float, re.findall(r"time: ([\d.]+), data: ([\d.]+)", output)[-1])
    return [("seconds of a step", f"{seconds:.3f}"), ("share of waiting for data", f"{waited / seconds:.0%}")]


if __name__ == "__main__":
    main()
