"""A slow rasteriser in plain PyTorch, in float64 and differentiable. The kernels are tested against it.

A triangle inside the guard band covers exactly the pixels of the definition: vertices snapped to 1/16 pixel, integer
edge functions. A triangle that must be clipped is drawn from its homogeneous edge functions, without snapping.
`certain` marks the pixels where this difference cannot change the result.
"""

import torch

GUARD = 4


def pixel_centres(height, width, dtype=torch.float64):
    """Returns x and y (H, W) of the pixel centres in normalised device coordinates."""
    x = (2 * torch.arange(width, dtype=dtype) + 1) / width - 1
    y = (2 * torch.arange(height, dtype=dtype) + 1) / height - 1
    return x.expand(height, width), y[:, None].expand(height, width)


def edge_vectors(corners, x, y):
    """Returns (..., 3, 3): (da/dX, da/dY, a) of the three edge functions a of triangles (..., 3, 4) at (x, y)."""
    w = corners[..., 3]
    about = torch.stack([corners[..., 0] - x[..., None] * w, corners[..., 1] - y[..., None] * w, w], -1)
    p, q, r = about.unbind(-2)
    return torch.stack([torch.linalg.cross(q, r), torch.linalg.cross(r, p), torch.linalg.cross(p, q)], -2)


def barycentrics(pos, tri, ids, height, width):
    """Returns u, v, z/w (B, H, W) and rast_db (B, H, W, 4), all differentiable. ids: (B, H, W) triangle id + 1."""
    x, y = pixel_centres(height, width, pos.dtype)
    vertices = tri.long()[(ids - 1).clamp(min=0)]
    corners = torch.stack([item[v] for item, v in zip(pos, vertices, strict=True)])
    n = edge_vectors(corners, x, y)
    total = n.sum(-2)
    b = n[..., 2] / total[..., 2:]
    zw = (b * corners[..., 2]).sum(-1) / (b * corners[..., 3]).sum(-1)
    slopes = (n[..., :2] - b[..., None] * total[..., None, :2]) / total[..., None, 2:]
    slopes = slopes * torch.tensor([2 / width, 2 / height], dtype=pos.dtype)
    seen = ids > 0
    db = torch.where(seen[..., None], slopes[..., :2, :].flatten(-2), 0.0)
    return (*(torch.where(seen, value, 0.0) for value in (b[..., 0], b[..., 1], zw)), db)


def visible(pos, tri, height, width):
    """Returns triangle id + 1 (H, W) and certain (H, W) for one item. pos: (V, 4) float32."""
    nearest = torch.full((height, width), torch.inf, dtype=torch.float64)
    ids = torch.zeros((height, width), dtype=torch.long)
    certain = torch.ones((height, width), dtype=torch.bool)
    for face, corners in enumerate(pos[tri.long()]):
        if not corners.isfinite().all():
            continue
        x, y, z, w = corners.unbind(-1)
        unclipped = (w > 0) & (x.abs() <= GUARD * w) & (y.abs() <= GUARD * w) & (z.abs() <= w)
        if unclipped.all():
            covered, depth = snapped(corners, height, width)
            slack = 1e-6
        else:
            covered, depth, sure = unsnapped(corners.double(), height, width)
            certain &= sure
            slack = 0.02
        certain &= ~covered | ((depth - nearest).abs() > slack) | (depth == nearest)
        closer = covered & (depth <= nearest)
        nearest = torch.where(closer, depth, nearest)
        ids[closer] = face + 1
    return ids, certain


def snapped(corners, height, width):
    """Returns coverage and depth (H, W) of one unclipped triangle (3, 4)."""
    size = torch.tensor([8 * width, 8 * height])
    xy = (corners[:, :2] / corners[:, 3:] * size).round().long() + size
    z = (corners[:, 2] / corners[:, 3]).double()
    area = cross(xy[0], xy[1], xy[2, 0], xy[2, 1])
    if area == 0:
        return torch.zeros(height, width, dtype=torch.bool), torch.zeros(height, width, dtype=torch.float64)
    if area < 0:
        xy, z, area = xy[[0, 2, 1]], z[[0, 2, 1]], -area
    x = (16 * torch.arange(width) + 8).expand(height, width)
    y = (16 * torch.arange(height) + 8)[:, None].expand(height, width)
    covered = torch.ones(height, width, dtype=torch.bool)
    depth = torch.zeros(height, width, dtype=torch.float64)
    for i in range(3):
        a, b = xy[(i + 1) % 3], xy[(i + 2) % 3]
        e = cross(a, b, x, y)
        owns_ties = bool(b[1] > a[1]) or bool(b[1] == a[1] and b[0] < a[0])
        covered &= (e > 0) | ((e == 0) & owns_ties)
        depth += e / area * z[i]
    return covered, depth


def cross(a, b, x, y):
    return (b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0])


def unsnapped(corners, height, width):
    """Returns coverage, depth and certainty (H, W) of one triangle (3, 4) that may reach behind the eye."""
    x, y = pixel_centres(height, width)
    n = edge_vectors(corners.expand(height, width, 3, 4), x, y)
    a = n[..., 2]
    b = a / a.sum(-1, keepdim=True)
    w = b @ corners[:, 3]
    depth = b @ corners[:, 2] / w
    distance = a.abs() / (n[..., :2] * torch.tensor([2 / width, 2 / height])).norm(dim=-1)
    within = (b >= 0).all(-1) & (w > 0)
    near_edge = (distance < 0.2).any(-1) | ~b.isfinite().all(-1)
    near_plane = (depth.abs() - 1).abs() < 0.02
    return within & (depth.abs() <= 1), depth, ~near_edge & ~(within & near_plane)


def rasterize(pos, tri, resolution):
    """Returns rast and rast_db (B, H, W, 4) in float64, and certain (B, H, W). pos: (B, V, 4) float32."""
    found = [visible(item, tri, *resolution) for item in pos]
    ids, certain = (torch.stack(values) for values in zip(*found, strict=True))
    u, v, zw, db = barycentrics(pos.double(), tri, ids, *resolution)
    u, v = u.clamp(0, 1), v.clamp(0, 1)
    scale = (u + v).clamp(min=1)
    return torch.stack([u / scale, v / scale, zw.clamp(-1, 1), ids.double()], -1), db, certain


def interpolate(attr, u, v, ids, tri, db=None):
    """Returns (B, H, W, C) and, with db, derivatives (B, H, W, C, 2), differentiable in attr, u, v and db."""
    vertices = tri.long()[(ids - 1).clamp(min=0)]
    attr = attr.expand(len(ids), -1, -1)
    a, b, c = torch.stack([item[vs] for item, vs in zip(attr, vertices, strict=True)]).unbind(-2)
    seen = (ids > 0)[..., None]
    out = torch.where(seen, u[..., None] * (a - c) + v[..., None] * (b - c) + c, 0.0)
    if db is None:
        return out
    slopes = (a - c)[..., None] * db[..., None, :2] + (b - c)[..., None] * db[..., None, 2:]
    return out, torch.where(seen[..., None], slopes, 0.0)
