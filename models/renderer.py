"""Renders meshes, given in camera coordinates, with the rasteriser."""
import warnings
from types import ModuleType

import torch
from torch.utils.weak import WeakTensorKeyDictionary

import nvdiffrast.torch as portable
from models.coordinates import CROP_SIZE
from nvdiffrast.nvidia import find_nvidia
from util.files import InputError

NVIDIA_MULTIPLE = 8   # px: NVIDIA's rasteriser works on blocks of 8 x 8 pixels


def choose_rasteriser(renderer: str, device: torch.device) -> tuple[ModuleType, object]:
    """The package with the operations of nvdiffrast.torch, and its context for a device.

    renderer: "portable": the package of this repository; "nvidia": NVIDIA's package, which needs a GPU; "auto":
    NVIDIA's on a GPU if it is installed, otherwise the portable one. Raises InputError if NVIDIA's is requested but
    cannot be used.
    """
    nvidia = None
    if renderer == "nvidia" and device.type != "cuda":
        raise InputError(f"--renderer=nvidia: NVIDIA's nvdiffrast needs a GPU, and this run computes on {device}; "
                         "choose a GPU with --gpu_ids, or leave the option out")
    if renderer != "portable" and device.type == "cuda":
        try:
            nvidia = find_nvidia()
        except Exception as error:   # a broken installation may raise any exception
            problem = f"NVIDIA's nvdiffrast is installed but cannot be imported: {error}"
            if renderer == "nvidia":
                raise InputError(f"--renderer=nvidia: {problem}; reinstall it, or leave the option out") from error
            warnings.warn(f"{problem}; the portable rasteriser is used instead (--renderer=portable avoids this "
                          "warning)", stacklevel=2)
    if nvidia:
        return nvidia, nvidia.RasterizeCudaContext(device=device)
    if renderer == "nvidia":
        raise InputError("--renderer=nvidia: NVIDIA's nvdiffrast is not installed here; install it as "
                         "https://nvlabs.github.io/nvdiffrast says, or leave the option out")
    return portable, portable.RasterizeGLContext(output_db=False, device=device)


class MeshRenderer:
    """Renders meshes as the camera of the face model sees them. The image is the crop, at any resolution.

    focal: focal length of the camera, px of the 224 x 224 crop. z_near, z_far: smallest and largest visible distance
    from the camera, decimetres. renderer: see `choose_rasteriser`. antialias: whether pixels at a silhouette mix the
    colours by the share that the mesh covers, which gives the silhouette a gradient.
    """

    def __init__(self, focal: float = 1015, z_near: float = 5, z_far: float = 15,
                 renderer: str = "auto", antialias: bool = False):
        scale, depth = 2 * focal / CROP_SIZE, z_far - z_near
        # Row 0 of the rasteriser's image is y = -1, row 0 of a picture is its top: y is flipped here.
        self.projection = torch.tensor([[scale, 0, 0, 0],
                                        [0, -scale, 0, 0],
                                        [0, 0, (z_far + z_near) / depth, -2 * z_far * z_near / depth],
                                        [0, 0, 1, 0]])
        self.renderer, self.antialias = renderer, antialias
        self.rasterisers = {}
        self.topologies = WeakTensorKeyDictionary()   # by the tensor of triangles

    def rasteriser(self, device: torch.device) -> tuple[ModuleType, object]:
        """The result of `choose_rasteriser` for a device. It is computed once per device. Raises InputError."""
        if device not in self.rasterisers:
            self.rasterisers[device] = choose_rasteriser(self.renderer, device)
        return self.rasterisers[device]

    def check_size(self, size: int, device: torch.device):
        """Raises InputError if the rasteriser that draws on the device cannot draw images of size x size px."""
        if self.rasteriser(device)[0] is not portable and size % NVIDIA_MULTIPLE:
            raise InputError(f"--image_size={size}: NVIDIA's nvdiffrast draws images only whose size is a multiple of "
                             f"{NVIDIA_MULTIPLE} px; give another size, or --renderer=portable")

    def clip(self, vertices: torch.Tensor) -> torch.Tensor:
        """Camera coordinates (B, N, 3) -> clip coordinates (B, N, 4)."""
        homogeneous = torch.nn.functional.pad(vertices, (0, 1), value=1.0)
        return (homogeneous @ self.projection.to(vertices).T).contiguous()

    def rasterize(self, vertices: torch.Tensor, tri: torch.Tensor, size: int = CROP_SIZE) -> torch.Tensor:
        """What each pixel sees: (B, size, size, 4), see nvdiffrast.torch.rasterize. Row 0 is the top of the picture.

        vertices: (B, N, 3) camera coordinates, decimetres. tri: (F, 3) int32. size: width and height, px.
        """
        return self._rasterize(self.clip(vertices), tri, size)

    def __call__(self, vertices: torch.Tensor, tri: torch.Tensor, attributes: torch.Tensor | None = None,
                 size: int = CROP_SIZE) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Render a batch of meshes. Returns mask, depth and image.

        vertices: (B, N, 3) camera coordinates, decimetres. tri: (F, 3) int32. attributes: (B, N, C), such as colours,
        or None. size: width and height S, px.

        mask: (B, 1, S, S), 1 where the mesh covers the centre of the pixel, else 0.
        depth: (B, 1, S, S) decimetres from the camera along its axis, at the centre of the pixel; 0 off the mesh.
        image: (B, C, S, S) interpolated attributes; 0 off the mesh; None without attributes.
        Row 0 is the top of the picture.

        With antialiasing, mask is the share of a pixel that the mesh covers, and image is multiplied by that share. In
        both cases `image + (1 - mask) * photo` is the mesh drawn over a photo. Depth is not antialiased.
        """
        rasteriser, _ = self.rasteriser(vertices.device)
        clip = self.clip(vertices)
        rast = self._rasterize(clip, tri, size)
        values = vertices[..., 2:] if attributes is None else torch.cat([vertices[..., 2:], attributes], -1)
        depth, image = rasteriser.interpolate(values.contiguous(), rast, tri)[0].split([1, values.shape[-1] - 1], -1)
        mask = (rast[..., 3:] > 0).float()
        if self.antialias:
            covered = torch.cat([mask, image], -1)
            covered = rasteriser.antialias(covered, rast, clip, tri, topology_hash=self._topology(tri))
            mask, image = covered[..., :1], covered[..., 1:]
        mask, depth, image = (x.permute(0, 3, 1, 2) for x in (mask, depth, image))
        return mask, depth, None if attributes is None else image

    def _rasterize(self, clip: torch.Tensor, tri: torch.Tensor, size: int) -> torch.Tensor:
        rasteriser, context = self.rasteriser(clip.device)
        return rasteriser.rasterize(context, clip, tri, (size, size), grad_db=False)[0]

    def _topology(self, tri: torch.Tensor) -> object:
        """Which triangles share edges, as the rasteriser wants it. It is computed once per list of triangles."""
        if tri not in self.topologies:
            self.topologies[tri] = self.rasteriser(tri.device)[0].antialias_construct_topology_hash(tri)
        return self.topologies[tri]
