"""The operations of nvdiffrast on PyTorch tensors.

All tensors of a call are float32 (indices int32), row-major and on one device. Clip space is that of OpenGL: a vertex
(x, y, z, w) is visible if -w <= x, y, z <= w, x points right, and image row 0 is y = -w. In shapes, B is the batch
size, N or V the number of vertices, F of triangles, C of channels, and H x W is the image in pixels. X and Y in
derivatives like du/dX are pixels to the right and towards higher rows.
"""

from .antialiasing import antialias, antialias_construct_topology_hash
from .context import RasterizeCudaContext, RasterizeGLContext
from .interpolation import interpolate
from .peeling import DepthPeeler
from .rasterization import rasterize
from .texturing import texture, texture_construct_mip

__all__ = [
    "DepthPeeler",
    "RasterizeCudaContext",
    "RasterizeGLContext",
    "antialias",
    "antialias_construct_topology_hash",
    "interpolate",
    "rasterize",
    "texture",
    "texture_construct_mip",
]
