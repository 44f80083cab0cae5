"""Albedo and light of faces whose shape and pose are known, by least squares.

The colour of a pixel is linear in the albedo coefficients while the light is fixed, and linear in the light while the
albedo is fixed. So each round solves two systems of linear equations: first for the light, then for the albedo.

The method's colour loss is a sum of distances d over the pixels, not of their squares. It is minimised by iteratively
reweighted least squares: each round minimises the sum of d^2 / (2 d_before), where d_before is the pixel's distance at
the start of the round. So pixels that no face explains, such as those of hair and glasses, have little influence.
"""
import torch
from torch import nn

from models.coefficients import SLICES, split
from models.face_model import FaceModel, light_bands, light_basis, rotation
from models.renderer import MeshRenderer


class ColorFit(nn.Module):
    """Finds the albedo and light coefficients of faces in photos.

    weights: of the losses, by the names color, reg (and tex, which is multiplied by it), gamma and reflc.
    rounds: how often the equations are solved; each round improves the weights of the pixels.
    """

    def __init__(self, face_model: FaceModel, renderer: MeshRenderer, weights: dict[str, float], rounds: int = 6):
        super().__init__()
        self.face_model, self.renderer, self.weights, self.rounds = face_model, renderer, weights, rounds
        # The reflectance loss of albedo coefficients t is t @ reflectance @ t + 2 * reflectance_slope @ t + constant.
        skin = face_model.skin_mask > 0
        mean = face_model.mean_tex.view(-1, 3)[skin] / 255
        base = face_model.tex_base.view(-1, len(skin), 3)[:, skin] / 255
        mean, base = (mean - mean.mean(0)).ravel(), (base - base.mean(1, keepdim=True)).flatten(1)
        self.register_buffer("reflectance", base @ base.T / skin.sum(), persistent=False)        # (80, 80)
        self.register_buffer("reflectance_slope", base @ mean / skin.sum(), persistent=False)    # (80,)

    @torch.no_grad()
    def forward(self, coeffs: torch.Tensor, photos: torch.Tensor, attention: torch.Tensor) -> torch.Tensor:
        """Coefficients (B, 257) with the albedo and light that fit the photos best; all else is that of `coeffs`.

        coeffs: (B, 257). photos: (B, 3, S, S) RGB 0..1. attention: (B, 1, S, S) 0..1, how much a pixel counts.
        A face of which no pixel counts keeps its albedo and light.
        """
        model, c = self.face_model, split(coeffs)
        shape = model.shape(c["id"], c["exp"])
        normals = model.normals(shape) @ rotation(c["angle"])
        rast = self.renderer.rasterize(model.to_camera(shape, c["angle"], c["trans"]), model.tri, photos.shape[-1])
        fitted = coeffs.clone()
        for i, row in enumerate(fitted):
            seen = (rast[i, ..., 3] > 0) & (attention[i, 0] > 0)
            if seen.any():
                part = {name: row[SLICES[name]] for name in ("tex", "gamma")}
                new = self.fit_face(rast[i][seen], normals[i], photos[i].permute(1, 2, 0)[seen], attention[i, 0][seen],
                                    **part)
                row[SLICES["tex"]], row[SLICES["gamma"]] = new
        return fitted

    def fit_face(self, rast: torch.Tensor, normals: torch.Tensor, photo: torch.Tensor, attention: torch.Tensor,
                 tex: torch.Tensor, gamma: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """New tex (80,) and gamma (27,) of one face, of which P pixels count.

        rast: (P, 4), what the pixels see, see nvdiffrast.torch.rasterize. normals: (N, 3), of the vertices, unit
        length. photo: (P, 3) RGB 0..1. attention: (P,). tex, gamma: what to start from.
        """
        model, w = self.face_model, self.weights
        vertices = model.tri[rast[:, 3].long() - 1].long()                       # (P, 3): corners of the triangles
        corners = torch.cat([rast[:, :2], 1 - rast[:, :2].sum(1, keepdim=True)], 1)   # (P, 3): barycentric coordinates
        basis = light_basis((normals[vertices] * corners[..., None]).sum(1))     # (P, 9)
        mean = (model.mean_tex.view(-1, 3)[vertices] * corners[..., None]).sum(1) / 255
        base = model.tex_base.view(len(tex), -1, 3)
        base = sum(base[:, vertices[:, k]] * corners[:, k, None] for k in range(3)) / 255   # (80, P, 3)
        share = w["color"] * attention / attention.sum()
        for _ in range(self.rounds):
            albedo = mean + torch.einsum("kpc,k->pc", base, tex)
            light = basis @ light_bands(gamma).T
            weight = share / (1e-6 + (albedo * light - photo).square().sum(1)).sqrt()
            gamma = self.solve_light(albedo, basis, photo, weight)
            light = basis @ light_bands(gamma).T
            rows = (base * light).flatten(1)                                     # (80, 3P)
            rows_weighted = rows * weight.repeat_interleave(3)
            # The equations hold the derivatives: of weight * d^2 / 2, and of the penalties, which have no factor 1 / 2.
            matrix = (rows_weighted @ rows.T + 2 * w["reflc"] * self.reflectance
                      + 2 * w["reg"] * w["tex"] * torch.eye(len(tex)).to(rows))
            target = rows_weighted @ (photo - mean * light).ravel() - 2 * w["reflc"] * self.reflectance_slope
            tex = torch.linalg.solve(matrix, target)
        return tex, gamma

    def solve_light(self, albedo: torch.Tensor, basis: torch.Tensor, photo: torch.Tensor, weight: torch.Tensor
                    ) -> torch.Tensor:
        """The light gamma (27,) that minimises the weighted squares of the colour differences and the gamma loss.

        albedo: (P, 3) RGB. basis: (P, 9), see `light_basis`. photo: (P, 3) RGB 0..1. weight: (P,).
        """
        rows = basis * albedo.T[..., None]                                       # (3, P, 9)
        rest = photo.T - (rows @ light_bands(torch.zeros(27).to(photo))[..., None])[..., 0]
        matrix = torch.block_diag(*(rows.transpose(1, 2) * weight @ rows))
        target = ((rows.transpose(1, 2) * weight) @ rest[..., None]).ravel()
        # The gamma loss: the mean squared difference of the channels to their mean.
        spread = torch.kron(torch.eye(3) - 1 / 3, torch.eye(9)).to(photo) * 2 * self.weights["gamma"] / 27
        floor = 1e-4 * torch.eye(27).to(photo)   # keeps light small that comes from where no pixel faces
        return torch.linalg.solve(matrix + spread + floor, target)
