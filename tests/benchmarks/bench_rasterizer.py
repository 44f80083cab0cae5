"""Measures the time per image of the rasteriser, of plain PyTorch, of OpenCV and of NVIDIA's package.

    python tests/benchmarks/bench_rasterizer.py --threads 1     # CPU time, which other programs hardly change
    python tests/benchmarks/bench_rasterizer.py                 # wall time with all threads
    python tests/benchmarks/bench_rasterizer.py --device cuda

It draws the mean face of the open face model: 70,952 triangles over 38 % of the image. Columns, medians in milliseconds
per image:

visibility            which triangle each pixel sees
forward               rasterize without rast_db, and interpolate of three channels
forward + backward    the same with the gradients of positions and attributes
forward, times this   the forward time divided by that of this package

Plain PyTorch and OpenCV (triangleRasterize) compute visibility and colours, one image at a time and without gradients.
NVIDIA's package, which is measured on a GPU if it is installed, always computes rast_db.
"""

import argparse
import functools
import os
import statistics
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")   # waiting threads do not occupy the cores
import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import nvdiffrast.torch as dr  # noqa: E402
from models.coefficients import SIZE  # noqa: E402
from models.face_model import FaceModel  # noqa: E402
from models.face_model_files import load_face_model_data  # noqa: E402
from models.renderer import MeshRenderer  # noqa: E402
from nvdiffrast.nvidia import find_nvidia  # noqa: E402
from nvdiffrast.torch.rasterization import geometry, visible_keys  # noqa: E402

NEAR, FAR, FOV_TANGENT = 5.0, 15.0, 112 / 1015   # the camera of the face renderer


def plain_torch(pos, tri, color, size):
    """Returns an image (H, W, 3). Visibility is a scatter-minimum over the candidate pixels of all triangles."""
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
    """Returns an image (H, W, 3) of vertices in camera coordinates. OpenCV's camera looks along -z."""
    image = np.zeros((size, size, 3), np.float32)
    depth = np.full((size, size), FAR, np.float32)
    settings = cv2.TriangleRasterizeSettings()
    settings.setCullingMode(cv2.RASTERIZE_CULLING_NONE)
    settings.setShadingType(cv2.RASTERIZE_SHADING_SHADED)
    view = np.diag([1, 1, -1, 1]).astype(np.float32)
    cv2.triangleRasterize(vertices, tri, color, image, depth, view, 2 * np.arctan(FOV_TANGENT), NEAR, FAR, settings)
    return image


def milliseconds(function, images, device, seconds):
    """Returns the median time per image: CPU time of the process with one CPU thread, otherwise wall time."""
    clock = time.process_time if device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    function()
    samples, end = [], time.perf_counter() + seconds
    while len(samples) < 5 or time.perf_counter() < end:
        start = clock()
        function()
        if device.type == "cuda":
            torch.cuda.synchronize()
        samples.append(clock() - start)
    return 1000 * statistics.median(samples) / images


def forward(module, glctx, pos, tri, color, size):
    """Returns images (B, H, W, 3), drawn by a package with nvdiffrast's operations."""
    rast, _ = module.rasterize(glctx, pos, tri, (size, size), grad_db=False)
    return module.interpolate(color, rast, tri)[0]


def forward_and_backward(module, glctx, pos, tri, color, size):
    leaves = pos.detach().requires_grad_(), color.detach().requires_grad_()
    torch.autograd.grad(forward(module, glctx, leaves[0], tri, leaves[1], size).sum(), leaves)


def row(name, size, batch, visibility, forward, both, ours):
    cells = ["" if x is None else f"{x:.2f}" for x in (visibility, forward, both, forward / ours)]
    print(f"| {name} | {size} | {batch} | " + " | ".join(cells) + " |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads")
    parser.add_argument("--sizes", type=int, nargs="+", default=[224, 512], help="image sizes in pixels")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32], help="batch sizes")
    parser.add_argument("--seconds", type=float, default=2.0, help="time for each number")
    options = parser.parse_args()
    device = torch.device(options.device)
    torch.set_num_threads(options.threads)

    model = FaceModel(load_face_model_data(ROOT / "BFM", "open_face_model.npz")).to(device)
    with torch.no_grad():
        face = model(torch.zeros(1, SIZE, device=device))
        pos = MeshRenderer().clip(face.vertices)
    tri, color = model.tri, face.color
    context = dr.RasterizeGLContext(output_db=False)
    nvidia = find_nvidia() if device.type == "cuda" else None
    nvidia_context = nvidia and nvidia.RasterizeCudaContext(device=device)
    try:
        import cv2
        cv2 = cv2 if hasattr(cv2, "triangleRasterize") else None
    except ImportError:
        cv2 = None

    print(f"{len(tri)} triangles on {device}, {options.threads} CPU threads; milliseconds per image\n")
    print("| | size | batch | visibility | forward | forward + backward | forward, times this |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for size in options.sizes:
        for batch in options.batches:
            def measure(function, *arguments, images=batch):
                return milliseconds(functools.partial(function, *arguments), images, device, options.seconds)

            batched = pos.expand(batch, -1, -1).contiguous()
            scene = batched, tri, color.expand(batch, -1, -1).contiguous(), size
            checked, ranges = geometry("benchmark", batched, tri, None)
            visibility = measure(visible_keys, checked, tri, ranges, size, size)
            ours, both = (measure(f, dr, context, *scene) for f in (forward, forward_and_backward))
            row("this", size, batch, visibility, ours, both, ours)
            if nvidia:
                theirs, both = (measure(f, nvidia, nvidia_context, *scene) for f in (forward, forward_and_backward))
                row("NVIDIA's", size, batch, None, theirs, both, ours)
            if batch == 1:
                row("plain PyTorch", size, 1, None, measure(plain_torch, pos[0], tri, color[0], size), None, ours)
                if cv2 and device.type == "cpu":
                    cv2.setNumThreads(options.threads)
                    arrays = [x.numpy() for x in (face.vertices[0], tri, color[0])]
                    row(f"OpenCV {cv2.__version__}", size, 1, None, measure(opencv, cv2, *arrays, size), None, ours)


if __name__ == "__main__":
    main()
