"""The operations of nvdiffrast on PyTorch tensors.

Everything is float32, row-major and on one device. Clip space is OpenGL's: a vertex (x, y, z, w) is
visible where -w <= x, y, z <= w, x points right, and image row 0 is y = -w. B is the batch, N or V
vertices, F triangles, C channels, H x W pixels.
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
