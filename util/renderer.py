"""Meshes in camera coordinates -> images, by the rasteriser."""
import torch

import nvdiffrast.torch as dr


class MeshRenderer:
    """Perspective camera of the face model: square image of 2 * center pixels, focal length in pixels.

    z_near, z_far: the nearest and farthest visible distance from the eye, decimetres.
    """

    def __init__(self, focal: float = 1015, center: float = 112, z_near: float = 5, z_far: float = 15):
        self.size = round(2 * center)
        scale, depth = focal / center, z_far - z_near
        # Row 0 of the rasteriser's image is y = -1, row 0 of a picture is its top: y is flipped here.
        self.projection = torch.tensor([[scale, 0, 0, 0],
                                        [0, -scale, 0, 0],
                                        [0, 0, (z_far + z_near) / depth, -2 * z_far * z_near / depth],
                                        [0, 0, 1, 0]])
        self.context = None

    def clip(self, vertices: torch.Tensor) -> torch.Tensor:
        """Camera coordinates (B, N, 3) -> clip coordinates (B, N, 4)."""
        homogeneous = torch.nn.functional.pad(vertices, (0, 1), value=1.0)
        return (homogeneous @ self.projection.to(vertices).T).contiguous()

    def rasterize(self, vertices: torch.Tensor, tri: torch.Tensor, size: int | None = None) -> torch.Tensor:
        """What each pixel sees (B, H, W, 4), see nvdiffrast.torch.rasterize; size: pixels, if not the full image."""
        if self.context is None:
            self.context = dr.RasterizeCudaContext(device=vertices.device)
        size = size or self.size
        return dr.rasterize(self.context, self.clip(vertices), tri, (size, size), grad_db=False)[0]

    def __call__(self, vertices: torch.Tensor, tri: torch.Tensor, attributes: torch.Tensor | None = None,
                 size: int | None = None) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Vertices (B, N, 3) in camera coordinates, triangles (F, 3) int32, attributes (B, N, C) ->
        mask (B, 1, H, W) 0 or 1, depth (B, 1, H, W) decimetres from the eye (0 off the face), and the attributes'
        image (B, C, H, W) (0 off the face; None without attributes). Row 0 is the top of the picture."""
        rast = self.rasterize(vertices, tri, size)
        mask = (rast[..., 3] > 0).float()[:, None]
        values = vertices[..., 2:] if attributes is None else torch.cat([vertices[..., 2:], attributes], -1)
        image = dr.interpolate(values.contiguous(), rast, tri)[0].permute(0, 3, 1, 2)
        return mask, image[:, :1], None if attributes is None else image[:, 1:]
