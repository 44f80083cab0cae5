"""Albedo and light of faces whose shape and pose are known, by least squares.

The colour of a pixel is linear in the albedo coefficients and linear in the light. The method's colour loss is a sum
of distances, not of squares: each round solves for the one, then for the other, with every pixel weighted by the
inverse of its distance so far (iteratively reweighted least squares), which also discounts what is no face.
"""
import torch

from models.coefficients import SLICES, split
from models.face_model import FaceModel, light_bands, light_basis, rotation
from models.renderer import MeshRenderer


class ColorFit:
    """weights: of the losses by name: color, reg and tex within it, gamma, reflc."""

    def __init__(self, face_model: FaceModel, renderer: MeshRenderer, weights: dict[str, float], rounds: int = 6):
        self.face_model, self.renderer, self.weights, self.rounds = face_model, renderer, weights, rounds
        # The reflectance loss as a quadratic form of the albedo coefficients.
        skin = face_model.skin_mask > 0
        mean = face_model.mean_tex.view(-1, 3)[skin] / 255
        base = face_model.tex_base.view(-1, len(skin), 3)[:, skin] / 255
        mean, base = (mean - mean.mean(0)).ravel(), (base - base.mean(1, keepdim=True)).flatten(1)
        self.reflectance, self.reflectance_slope = base @ base.T / skin.sum(), base @ mean / skin.sum()

    @torch.no_grad()
    def __call__(self, coeffs: torch.Tensor, photos: torch.Tensor, attention: torch.Tensor) -> torch.Tensor:
        """coeffs (B, 257), photos (B, 3, S, S) RGB 0..1, attention (B, 1, S, S) -> coeffs with new tex and gamma."""
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

    def fit_face(self, rast, normals, photo, attention, tex, gamma):
        """rast (P, 4), photo (P, 3), attention (P,) of the pixels seen, normals (N, 3), tex (80,), gamma (27,) ->
        new tex, gamma."""
        model, w = self.face_model, self.weights
        vertices = model.tri[rast[:, 3].long() - 1].long()                       # (P, 3)
        corners = torch.cat([rast[:, :2], 1 - rast[:, :2].sum(1, keepdim=True)], 1)
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
            # twice the quadratic penalties: the weighted squares above are halved
            matrix = (rows_weighted @ rows.T + 2 * w["reflc"] * self.reflectance
                      + 2 * w["reg"] * w["tex"] * torch.eye(len(tex)).to(rows))
            target = rows_weighted @ (photo - mean * light).ravel() - 2 * w["reflc"] * self.reflectance_slope
            tex = torch.linalg.solve(matrix, target)
        return tex, gamma

    def solve_light(self, albedo, basis, photo, weight):
        """gamma (27,) for an albedo (P, 3) and the light's basis (P, 9)."""
        rows = basis * albedo.T[..., None]                                       # (3, P, 9)
        rest = photo.T - (rows @ light_bands(torch.zeros(27).to(photo))[..., None])[..., 0]
        matrix = torch.block_diag(*(rows.transpose(1, 2) * weight @ rows))
        target = ((rows.transpose(1, 2) * weight) @ rest[..., None]).ravel()
        # the gamma loss: distance of the channels to their mean
        spread = torch.kron(torch.eye(3) - 1 / 3, torch.eye(9)).to(photo) * 2 * self.weights["gamma"] / 27
        floor = 1e-4 * torch.eye(27).to(photo)   # of directions that no pixel shows
        return torch.linalg.solve(matrix + spread + floor, target)
