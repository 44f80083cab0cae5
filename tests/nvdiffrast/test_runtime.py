"""Tests of compiling, caching, threads and processes."""

import importlib
import os
import re
import subprocess
import sys
import threading

import pytest
import torch
import warp as wp

import nvdiffrast.torch as dr
from nvdiffrast.torch import runtime
from tests.helpers import ROOT, draw, soup

DRAW = """
import torch, nvdiffrast.torch as dr
torch.set_num_threads(2)
tri = torch.tensor([[0, 1, 2]], dtype=torch.int32)
pos = torch.tensor([[-1.0, -1, 0, 1], [3, -1, 0, 1], [-1, 3, 0, 1]]).expand(2, 3, 4).contiguous()
def draw():
    rast, _ = dr.rasterize(dr.RasterizeGLContext(), pos, tri, (4, 4))
    assert (rast[..., 3] == 1).all()
    assert dr.interpolate(pos, rast, tri)[0].isfinite().all()
draw()
"""


def start(code, **environment):
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | environment,
    )


def test_first_use_by_several_processes_is_silent(tmp_path):
    """Both compile into the same empty cache at the same time."""
    processes = [start(DRAW, WARP_CACHE_PATH=str(tmp_path)) for _ in range(2)]
    outputs = [process.communicate(timeout=600)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert outputs == ["", ""]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_after_a_fork():
    """Like the worker of a data loader that is started after its parent has drawn with threads."""
    code = (
        "import os\nchild = os.fork()\ndraw()\nif not child: os._exit(0)\nassert os.waitpid(child, 0)[1] == 0"
    )
    process = start(DRAW + code)
    output = process.communicate(timeout=600)[0]
    assert process.returncode == 0, output


def test_example_of_the_readme():
    readme = ROOT / "nvdiffrast" / "README.md"
    example = max(re.findall(r"```python\n(.*?)```", readme.read_text(), re.DOTALL), key=len)
    process = start(example)
    output = process.communicate(timeout=600)[0]
    assert process.returncode == 0 and output.count("tensor") == 2, output


def test_from_several_python_threads():
    pos, tri = soup("plain", 1, batch=4)
    expected = draw(pos, tri, (32, 32))[0]
    wrong = []

    def work():
        for _ in range(20):
            if not torch.equal(draw(pos, tri, (32, 32))[0], expected):
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_the_same_bits_from_run_to_run():
    """Images and gradients of every operation on two threads, also for a texture that the batch shares."""
    pos, tri = soup("plain", 5, batch=5)
    tex = torch.rand(1, 16, 16, 3, generator=torch.Generator().manual_seed(0))

    def run():
        leaves = pos.clone().requires_grad_(), tex.clone().requires_grad_()
        rast, rast_db = draw(leaves[0], tri, (40, 40))
        uv, uv_da = dr.interpolate(leaves[0][..., :2].contiguous(), rast, tri, rast_db, diff_attrs="all")
        image = dr.antialias(dr.texture(leaves[1], uv, uv_da), rast, leaves[0], tri)
        return image.detach(), *torch.autograd.grad(image.square().sum(), leaves)

    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        first = run()
        for _ in range(5):
            assert all(torch.equal(a, b) for a, b in zip(run(), first, strict=True))
    finally:
        torch.set_num_threads(threads)


def test_inference_mode_and_no_grad():
    pos, tri = soup("plain", 2)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            rast, _ = draw(pos.requires_grad_(False), tri, (8, 8))
            out, _ = dr.interpolate(pos, rast, tri)
            assert not dr.antialias(out, rast, pos, tri).requires_grad


@pytest.mark.skipif(sys.platform == "darwin", reason="Warp has no CUDA compiler there")
def test_kernels_compile_for_cuda(tmp_path):
    """For the GPUs from Turing to Blackwell. NVRTC comes with Warp and needs no GPU. One module for all kernels reads
    Warp's headers once."""
    wp.init()
    module = wp.get_module("all kernels")
    module.options["enable_backward"] = False
    for name in ("antialias", "barycentrics", "interpolate", "texture", "visibility"):
        for kernel in vars(importlib.import_module(f"nvdiffrast.kernels.{name}")).values():
            if isinstance(kernel, wp.Kernel):
                wp.Kernel(func=kernel.func, module=module)
    architectures = [75, 80, 90, 100]
    wp.compile_aot_module(module, arch=architectures, module_dir=tmp_path, use_ptx=True)
    for architecture in architectures:
        (compiled,) = tmp_path.glob(f"*.sm{architecture}.ptx")
        assert compiled.read_bytes().count(b".entry") == len(module.kernels) == 11


def test_a_batch_whose_items_are_too_large_to_index_is_refused():
    """Warp's strides are 32-bit numbers of bytes. Tensors on the device meta have no memory."""
    large = torch.empty((2, 11586 * 11586, 4), device="meta")
    with pytest.raises(ValueError, match="takes 2 GiB or more"):
        runtime.vectors(large)
