"""Finds the pose of a cube from one picture.

    python -m nvdiffrast.examples.pose                         # from the folder above nvdiffrast/
    python -m nvdiffrast.examples.pose --picture steps.png     # start, steps and target side by side

Each side of the cube has one colour. The inside of a side therefore has no gradient; the only gradient of the picture
is that of `antialias` at the edges.
"""

import argparse

import torch

import nvdiffrast.torch as dr

START = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
TARGET = (0.5, -0.6, 0.35, 0.4, -0.3, 0.2)
CONTEXT = dr.RasterizeCudaContext()


def cube():
    """Returns a cube: vertices (24, 3), -1..1, four per side; triangles (12, 3); and RGB colours (24, 3), 0..1."""
    flat = torch.tensor([[-1.0, -1, 1], [1, -1, 1], [1, 1, 1], [-1, 1, 1]])
    sides = [sign * flat.roll(axis, 1) for axis in range(3) for sign in (1, -1)]
    tri = torch.tensor([[0, 1, 2], [0, 2, 3]]) + 4 * torch.arange(6)[:, None, None]
    red, green, blue = (torch.tensor(c) for c in ([0.9, 0.2, 0.1], [0.1, 0.7, 0.2], [0.1, 0.3, 0.9]))
    colors = torch.stack([red, 1 - red, green, 1 - green, blue, 1 - blue]).repeat_interleave(4, 0)
    return torch.cat(sides), tri.view(-1, 3).int(), colors


def place(vertices, pose):
    """Rotates vertices (N, 3) by pose[:3] (axis times angle, radian) and moves them by pose[3:] + (0, 0, 7).

    The camera is at the origin and looks along z.
    """
    x, y, z = pose[:3]
    zero = torch.zeros_like(x)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero]).view(3, 3)
    return vertices @ torch.linalg.matrix_exp(skew).T + pose[3:] + vertices.new_tensor([0, 0, 7])


def draw(pose, size):
    """Renders the cube in a pose (6,). Returns an image (size, size, 3), RGB 0..1, row 0 at the bottom."""
    vertices, tri, colors = (x.to(pose.device) for x in cube())
    x, y, z = place(vertices, pose).unbind(1)
    near, far, zoom = 1.0, 20.0, 3.2
    depth = (z * (far + near) - 2 * far * near) / (far - near)
    pos = torch.stack([zoom * x, zoom * y, depth, z], 1)[None].contiguous()
    rast, _ = dr.rasterize(CONTEXT, pos, tri, (size, size))
    image, _ = dr.interpolate(colors[None], rast, tri)
    return dr.antialias(image, rast, pos, tri)[0]


def recover(target, start, steps):
    """Finds the pose of the cube in the picture `target` (size, size, 3).

    Returns the list of the poses (6,) after every step; the first one is the start.
    """
    pose = start.clone().requires_grad_()
    optimiser = torch.optim.Adam([pose], lr=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    poses = [start]
    for _ in range(steps):
        loss = (draw(pose, len(target)) - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        poses.append(pose.detach().clone())
    return poses


def distance(pose, other):
    """Returns the root mean square distance between the cube's vertices in two poses."""
    vertices = cube()[0].to(pose.device)
    return (place(vertices, pose) - place(vertices, other)).square().sum(1).mean().sqrt().item()


def save_picture(path, images):
    """Writes images (size, size, 3) side by side into a PNG file."""
    from PIL import Image

    row = torch.cat([image.flip(0) for image in images], 1)
    Image.fromarray((255 * row.clamp(0, 1)).round().byte().cpu().numpy()).save(path)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--size", type=int, default=128, help="picture size in pixels")
    parser.add_argument("--steps", type=int, default=120, help="optimisation steps")
    parser.add_argument("--picture", help="PNG file to write: start, steps and target side by side")
    options = parser.parse_args(arguments)
    start, true = (torch.tensor(pose, device=options.device) for pose in (START, TARGET))
    with torch.no_grad():
        target = draw(true, options.size)
    poses = recover(target, start, options.steps)
    shown = [round(options.steps * share) for share in (0, 0.1, 0.2, 0.4, 1)]
    for step in shown:
        print(f"step {step}: vertices {distance(poses[step], true):.4f} off (the edge of the cube is 2)")
    if options.picture:
        with torch.no_grad():
            save_picture(options.picture, [draw(poses[step], options.size) for step in shown] + [target])


if __name__ == "__main__":
    main()
