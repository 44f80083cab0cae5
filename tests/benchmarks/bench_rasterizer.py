"""Time per image of the rasteriser, against plain PyTorch and OpenCV.

    python tests/benchmarks/bench_rasterizer.py                 # CPU, all threads
    python tests/benchmarks/bench_rasterizer.py --threads 1
    python tests/benchmarks/bench_rasterizer.py --device cuda

A mesh of 70,688 triangles, about as many as a face model has, fills 60 % of the image. The
columns are milliseconds per image: visibility alone; rasterize with rast_db and interpolate of three
channels; the same with the gradients of positions and attributes. Plain PyTorch and OpenCV
(triangleRasterize, one image at a time) do visibility and colours, without gradients.
"""

import argparse
import functools
import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import nvdiffrast.torch as dr
from nvdiffrast.torch.rasterization import geometry, visible_keys

NEAR, FAR, FOV_TANGENT = 5.0, 15.0, 112 / 1015
CONTEXT = dr.RasterizeCudaContext()


def mesh(n=189):
    """Camera-space vertices (V, 3), y down and z forward, and tri (F, 3) of a bumpy dome."""
    grid = torch.linspace(-0.9, 0.9, n)
    y, x = torch.meshgrid(grid, grid, indexing="ij")
    z = 10 + 0.5 * (x * x + y * y) + 0.03 * torch.sin(9 * x) * torch.cos(11 * y)
    i = torch.arange(n * n).view(n, n)
    a, b, c, d = i[:-1, :-1], i[:-1, 1:], i[1:, :-1], i[1:, 1:]
    tri = torch.cat([torch.stack(t, -1).view(-1, 3) for t in ((a, b, c), (b, d, c))])
    return torch.stack([x, y, z], -1).view(-1, 3), tri.int().contiguous()


def clip_positions(vertices):
    x, y, z = vertices.unbind(-1)
    depth = (z * (FAR + NEAR) - 2 * FAR * NEAR) / (FAR - NEAR)
    return torch.stack([x / FOV_TANGENT, y / FOV_TANGENT, depth, z], -1)


def plain_torch(pos, tri, color, size):
    """Visibility by a scatter of all candidate pixels of all triangles, then colours: (H, W, 3)."""
    corner = (pos[:, :3] / pos[:, 3:])[tri.long()]
    xy = (corner[..., :2] + 1) * (size / 2)
    low = (xy.amin(1) - 0.5).ceil().clamp(0, size).long()
    high = (xy.amax(1) - 0.5).floor().clamp(-1, size - 1).long()
    extent = (high - low + 1).clamp(min=0)
    count = extent.prod(1)
    face = torch.arange(len(tri), device=pos.device).repeat_interleave(count)
    k = torch.arange(len(face), device=pos.device) - (count.cumsum(0) - count)[face]
    px = low[face, 0] + k % extent[face, 0]
    py = low[face, 1] + k // extent[face, 0]
    p, q, r = (xy[face] - torch.stack([px, py], -1)[:, None] - 0.5).unbind(1)
    edges = torch.stack([a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0] for a, b in ((q, r), (r, p), (p, q))], -1)
    weights = edges / edges.sum(-1, keepdim=True)
    inside = (weights >= 0).all(-1)
    z = (weights * corner[face][..., 2]).sum(-1)[inside]
    key = ((z + 1).view(torch.int32).long() << 32) | inside.nonzero()[:, 0]
    keys = torch.full((size * size,), 2**62, device=pos.device)
    keys.scatter_reduce_(0, (py * size + px)[inside], key, "amin")
    seen = keys < 2**62
    candidate = keys[seen] & 0xFFFFFFFF
    vertices = tri.long()[face[candidate]]
    perspective = weights[candidate] / pos[vertices][..., 3]
    image = torch.zeros(size * size, 3, device=pos.device)
    image[seen] = ((perspective / perspective.sum(-1, keepdim=True))[..., None] * color[vertices]).sum(1)
    return image.view(size, size, 3)


def opencv(cv2, vertices, tri, color, size):
    image = np.zeros((size, size, 3), np.float32)
    depth = np.full((size, size), FAR, np.float32)
    settings = cv2.TriangleRasterizeSettings()
    settings.setCullingMode(cv2.RASTERIZE_CULLING_NONE)
    settings.setShadingType(cv2.RASTERIZE_SHADING_SHADED)
    flip = np.diag([1, -1, -1, 1]).astype(np.float32)  # OpenCV's camera looks along -z, y up
    fov = 2 * np.arctan(FOV_TANGENT)
    cv2.triangleRasterize(vertices, tri, color, image, depth, flip, fov, NEAR, FAR, settings)
    return image


def milliseconds(function, images, device, seconds=1.5):
    """Mean time per image. On one CPU thread it is the thread's own time, whatever else the machine does."""
    clock = time.process_time if device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    function()
    if device.type == "cuda":
        torch.cuda.synchronize()
    calls, start, begin = 0, clock(), time.perf_counter()
    while calls < 3 or time.perf_counter() - begin < seconds:
        function()
        calls += 1
    if device.type == "cuda":
        torch.cuda.synchronize()
    return f"{1000 * (clock() - start) / calls / images:.2f}"


def bench_ours(pos, tri, color, size, batch):
    pos = pos.expand(batch, -1, -1).contiguous()
    color = color.expand(batch, -1, -1).contiguous()
    checked, ranges = geometry("bench", pos, tri, None)

    def forward(pos=pos, color=color):
        rast, _ = dr.rasterize(CONTEXT, pos, tri, (size, size))
        return dr.interpolate(color, rast, tri)[0]

    def both():
        leaves = pos.detach().requires_grad_(), color.detach().requires_grad_()
        torch.autograd.grad(forward(*leaves).sum(), leaves)

    def visibility():
        return visible_keys(checked, tri, ranges, size, size)

    return [milliseconds(f, batch, pos.device) for f in (visibility, forward, both)]


def bench_opencv(vertices, tri, color, size):
    try:
        import cv2
    except ImportError:
        return None
    if vertices.device.type != "cpu" or not hasattr(cv2, "triangleRasterize"):
        return None
    cv2.setNumThreads(torch.get_num_threads())
    arrays = [x.numpy() for x in (vertices, tri, color)]
    return milliseconds(lambda: opencv(cv2, *arrays, size), 1, vertices.device)


def row(name, size, batch, *columns):
    print(f"| {name} | {size} | {batch} | " + " | ".join(columns) + " |", flush=True)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads")
    parser.add_argument("--sizes", type=int, nargs="+", default=[224, 512], help="image sizes in pixels")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32], help="batch sizes")
    options = parser.parse_args()
    device = torch.device(options.device)
    torch.set_num_threads(options.threads)

    vertices, tri = (x.to(device) for x in mesh())
    color = torch.rand(len(vertices), 3, generator=torch.Generator().manual_seed(0)).to(device)
    pos = clip_positions(vertices)
    print(f"{len(tri)} triangles on {device}, {options.threads} CPU threads; milliseconds per image\n")
    print("| | size | batch | visibility | forward | forward + backward |")
    print("| --- | --- | --- | --- | --- | --- |")
    for size in options.sizes:
        for batch in options.batches:
            row("this", size, batch, *bench_ours(pos, tri, color, size, batch))
        plain = functools.partial(plain_torch, pos, tri, color, size)
        row("plain PyTorch", size, 1, "", milliseconds(plain, 1, device), "")
        if time_opencv := bench_opencv(vertices, tri, color, size):
            row("OpenCV", size, 1, "", time_opencv, "")


if __name__ == "__main__":
    main()
