"""Gauss-Newton steps, which change all 257 coefficients of a face at once.

The loss is that of the fit (models/fitting.py), with two differences that make a step cheap. It compares colours at
some of the face model's vertices instead of at every pixel; each vertex counts by the area that the camera sees of it.
And the colour term, a mean of distances, becomes a mean of squares that are divided by the distances of the step before
(iteratively reweighted least squares). A step then solves one system of 257 linear equations per face. It is damped as
Levenberg and Marquardt do: a step that raises the loss is not taken, and the next one is shorter.
"""
import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.functional import grid_sample, normalize, pad

from models.coefficients import SHAPE, SIZE, SLICES, split
from models.coordinates import CROP_SIZE
from models.face_model import A1, A2, C1, C2, FaceModel, light_bands, light_basis, rotation
from models.face_rendering import is_grey
from models.landmark_jacobian import landmark_jacobian, pixel_by_position, rotation_changes
from models.landmarks import COUNT, LOWER_LIDS, LOWER_LIPS, UPPER_LIDS, UPPER_LIPS
from models.renderer import MeshRenderer
from models.vertex_sample import VertexSample

ALL = slice(None)       # of the coefficients
HIDDEN_BEHIND = 0.08    # decimetres: a vertex that far behind the drawn surface is hidden
LEAST_COSINE = 0.1      # of the angle between normal and line of sight: steeper vertices do not count
# Share of the diagonal of the equations that is added to it at first. A further loss, whose curvature they do not hold
# before the first step, needs shorter steps.
FIRST_DAMPING, FIRST_DAMPING_FURTHER = 1e-3, 0.3
SHORTER, LONGER = 0.3, 10   # factors of the damping after a step that was taken, and after one that was not
LIGHT_MEAN, LIGHT_SPREAD = 0.25, 0.45   # mean and standard deviation of band 0 of the light in photos
GREY_COLOR = 0.3        # share of a difference in colour that counts in a grey photo
LEAST_COSINE_OF_CHANGE = 1e-4   # between a step and a change of the gradient from which curvature is learned
LEAST_CURVATURE = 1e-5  # added to the diagonal, for coefficients on which no term of the loss depends


class GaussNewton(nn.Module):
    """Lowers the fit's loss at the vertices of a sample.

    weights: of the losses, as models.fitting.FIT_WEIGHTS. triangles: see `VertexSample`.
    """

    def __init__(self, face_model: FaceModel, renderer: MeshRenderer, weights: dict[str, float], triangles: int):
        super().__init__()
        self.face_model, self.renderer, self.weights = face_model, renderer, weights
        self.sample = VertexSample(face_model, triangles)
        skin = face_model.skin_mask > 0
        mean = face_model.mean_tex.view(-1, 3)[skin] / 255
        base = face_model.tex_base.view(80, -1, 3)[:, skin] / 255
        mean, base = (mean - mean.mean(0)).ravel(), (base - base.mean(1, keepdim=True)).flatten(1)
        # Regularisation, light and reflectance are quadratic: half of c @ prior @ c, plus c @ slope.
        w = weights
        prior, slope = torch.zeros(SIZE, SIZE, device=base.device), torch.zeros(SIZE, device=base.device)
        for name in ("id", "exp", "tex"):
            prior.diagonal()[SLICES[name]] += 2 * w["reg"] * w[name]
        prior[SLICES["tex"], SLICES["tex"]] += 2 * w["reflc"] * base @ base.T / skin.sum()
        slope[SLICES["tex"]] += 2 * w["reflc"] * base @ mean / skin.sum()
        # A photo shows only the product of albedo and light. So the light has a mean and a spread, as the albedo has.
        band_0 = [SLICES["gamma"].start + 9 * channel for channel in range(3)]
        pull = 2 * w["reg"] * w["tex"] / LIGHT_SPREAD ** 2
        prior.diagonal()[band_0] += pull
        slope[band_0] -= pull * LIGHT_MEAN
        to_mean = torch.eye(3, device=base.device) - 1 / 3   # of the three colour channels
        prior[SLICES["gamma"], SLICES["gamma"]] += 2 * w["gamma"] / 27 * torch.kron(to_mean, torch.eye(9).to(to_mean))
        skin_color = face_model.mean_tex.view(-1, 3)[skin].mean(0)
        self.register_buffer("skin_tint", skin_color / skin_color.mean(), persistent=False)
        self.register_buffer("prior", prior, persistent=False)
        self.register_buffer("slope", slope, persistent=False)
        every = torch.eye(COUNT, device=base.device)
        openings = every[[*UPPER_LIDS, *UPPER_LIPS]] - every[[*LOWER_LIDS, *LOWER_LIPS]]
        self.register_buffer("openings", openings, persistent=False)

    @torch.no_grad()
    def forward(self, coeffs: torch.Tensor, photos: torch.Tensor, landmarks: torch.Tensor,
                landmark_weights: torch.Tensor, attention: torch.Tensor, iterations: int,
                further_loss: Callable[[torch.Tensor], torch.Tensor] | None = None, free: torch.Tensor | slice = ALL
                ) -> torch.Tensor:
        """Coefficients (B, 257) after that many steps from coeffs (B, 257). The loss of no face is higher than before.

        photos: (B, 3, S, S) RGB 0..1, of any size S. landmarks: (B, 68, 2) px in the 224 x 224 crop, y up, where
        `FaceModel.project` must put them, see `crop_to_projection`. landmark_weights: (B, 68) 0..1. attention:
        (B, 1, S, S) 0..1, how much a pixel counts. further_loss: a term of the loss that is no sum of squares; it maps
        coefficients (B, 257) to (B,). Its gradient pulls on each step. Its curvature is learned from how the gradient
        changes from step to step. free: the indices of the coefficients that are changed.
        """
        rows = self.landmark_rows(landmark_weights)
        pictures, color_share = self.pictures(photos, attention)
        damping = coeffs.new_full((len(coeffs), 1), FIRST_DAMPING if further_loss is None else FIRST_DAMPING_FURTHER)
        further, pull = _value_and_gradient(further_loss, coeffs)
        curvature = coeffs.new_zeros(len(coeffs), SIZE, SIZE)   # of further_loss
        view = self.view(coeffs)
        landmark_offsets = rows @ (self.face_model.landmarks(coeffs) - landmarks)
        for _ in range(iterations):
            areas = self.seen_areas(coeffs, view, attention.shape[-1])
            colors = self.compare_colors(coeffs, view, pictures, areas, color_share)
            loss = self.loss(coeffs, colors) + landmark_offsets.square().sum((1, 2)) / 2 + further
            hessian, gradient = self.equations(coeffs, colors, partial(self.color_jacobian, coeffs, view))
            jacobian = rows @ landmark_jacobian(self.face_model, coeffs).flatten(2)
            jacobian = jacobian.unflatten(2, (2, SIZE)).flatten(1, 2)
            hessian = hessian + jacobian.mT @ jacobian + curvature
            gradient = gradient + (jacobian.mT @ landmark_offsets.flatten(1)[..., None])[..., 0] + pull
            new = coeffs.clone()
            new[:, free] -= _solve(hessian[:, free][:, :, free], gradient[:, free], damping)
            new_view = self.view(new)
            new_colors = self.compare_colors(new, new_view, pictures, areas, color_share)
            new_further, new_pull = _value_and_gradient(further_loss, new)
            new_offsets = rows @ (self.face_model.landmarks(new) - landmarks)
            new_loss = self.loss(new, new_colors) + new_offsets.square().sum((1, 2)) / 2 + new_further
            better = new_loss < loss
            curvature = _learn_curvature(curvature, new - coeffs, new_pull - pull)
            coeffs, further, pull, landmark_offsets = _chosen(
                better, (new, new_further, new_pull, new_offsets), (coeffs, further, pull, landmark_offsets))
            view = View(*_chosen(better, new_view, view))
            damping = torch.where(better[:, None], SHORTER * damping, LONGER * damping)
        return coeffs

    @torch.no_grad()
    def fit_colors(self, coeffs: torch.Tensor, photos: torch.Tensor, attention: torch.Tensor, iterations: int
                   ) -> torch.Tensor:
        """Coefficients (B, 257) with the albedo and light that fit the photos best; all else is that of `coeffs`.

        coeffs, photos, attention, iterations: as in `forward`. A face of which no pixel counts keeps its albedo and
        light.
        """
        free = torch.cat([torch.arange(part.start, part.stop) for part in (SLICES["tex"], SLICES["gamma"])])
        free = free.to(coeffs.device)
        pictures, color_share = self.pictures(photos, attention)
        view = self.view(coeffs)
        areas = self.seen_areas(coeffs, view, attention.shape[-1])
        damping = coeffs.new_full((len(coeffs), 1), FIRST_DAMPING)
        colors = self.compare_colors(coeffs, view, pictures, areas, color_share)
        for _ in range(iterations):
            hessian, gradient = self.equations(coeffs, colors, partial(self.albedo_and_light_jacobian, view), free)
            new = coeffs.clone()
            new[:, free] -= _solve(hessian, gradient, damping)
            new_colors = self.compare_colors(new, view, pictures, areas, color_share)
            better = (self.loss(new, new_colors) < self.loss(coeffs, colors)) & (colors.shares.sum(1) > 0)
            coeffs, = _chosen(better, (new,), (coeffs,))
            colors = Colors(*_chosen(better, new_colors, colors))
            damping = torch.where(better[:, None], SHORTER * damping, LONGER * damping)
        return coeffs

    def pictures(self, photos: torch.Tensor, attention: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The pictures (B, 10, S, S) that vertices are compared with: photos (B, 3, S, S) times attention, how colours
        change, and attention (B, 1, S, S); and how much differences in colour count (B, 1, 1). Those in brightness
        count 1.

        A grey photo does not tell the colours of the person. Taken as it is, it would make the light blue. So it is
        tinted like average skin, and differences in colour count less.
        """
        grey = is_grey(photos)
        photos = torch.where(grey, photos * self.skin_tint[:, None, None], photos)
        color_share = torch.where(grey, GREY_COLOR, 1.0)[..., 0]
        # Colours are multiplied by attention, so that those of attention 0 do not mix with others when sampled.
        return torch.cat([photos * attention, _slopes(photos, attention), attention], 1), color_share

    def view(self, coeffs: torch.Tensor) -> "View":
        """The chosen vertices of coeffs (B, 257) as the camera sees them."""
        model, c = self.face_model, split(coeffs)
        shape, shape_normals = self.sample.shape_and_normals(coeffs[:, SHAPE])
        turn = rotation(c["angle"])
        positions = shape @ turn + c["trans"][:, None]
        distance = model.camera_d - positions[..., 2]
        place = 2 * model.focal / CROP_SIZE * positions[..., :2] / distance[..., None]
        return View(shape, shape_normals, positions, shape_normals @ turn, distance,
                    (place * place.new_tensor([1, -1]))[:, :, None])

    def seen_areas(self, coeffs: torch.Tensor, view: "View", size: int) -> torch.Tensor:
        """The area (B, V) that the camera sees of each vertex, px; 0 if it is hidden. size: of the depth image, px."""
        model, drawn, c = self.face_model, self.sample.drawn, split(coeffs)
        vertices = drawn.to_camera(drawn.shape(c["id"], c["exp"]), c["angle"], c["trans"])
        depth = self.renderer(vertices, drawn.tri, size=size)[1]
        surface = grid_sample(depth, view.grid, mode="nearest", align_corners=False)[:, 0, :, 0]
        to_eye = normalize(view.positions.new_tensor([0, 0, model.camera_d]) - view.positions, dim=-1)
        cosine = (view.normals * to_eye).sum(-1)
        area = self.sample.area * (model.focal / view.distance).square() * (cosine - LEAST_COSINE).clamp(min=0)
        return area * (view.distance < surface + HIDDEN_BEHIND)

    def compare_colors(self, coeffs: torch.Tensor, view: "View", pictures: torch.Tensor, areas: torch.Tensor,
                       color_share: torch.Tensor) -> "Colors":
        """Colours of the chosen vertices against those of the photo where they are seen."""
        c = split(coeffs)
        sampled = grid_sample(pictures, view.grid, align_corners=False)[..., 0].mT
        photo, slopes, attention = sampled.split([3, 6, 1], -1)
        photo = photo / attention.clamp(min=1e-6)
        shares = areas * attention[..., 0]
        shares = shares / shares.sum(1, keepdim=True).clamp(min=1e-6)
        albedo = self.sample.albedo(c["tex"])
        light = light_basis(view.normals) @ light_bands(c["gamma"]).mT
        offsets = _share_of_color(albedo * light - photo, color_share)
        distances = (1e-6 + offsets.square().sum(-1)).sqrt()
        return Colors(albedo, light, offsets, distances, shares, slopes.unflatten(-1, (2, 3)), color_share)

    def loss(self, coeffs: torch.Tensor, colors: "Colors") -> torch.Tensor:
        """The loss (B,) of each face, without the term of its landmarks."""
        prior = ((coeffs @ self.prior) * coeffs).sum(1) / 2 + coeffs @ self.slope
        return self.weights["color"] * (colors.shares * colors.distances).sum(1) + prior

    def equations(self, coeffs: torch.Tensor, colors: "Colors", jacobian: Callable[["Colors"], torch.Tensor],
                  free: torch.Tensor | slice = ALL) -> tuple[torch.Tensor, torch.Tensor]:
        """Second derivatives (B, K, K), as Gauss and Newton approximate them, and gradient (B, K) of `loss` by K free
        coefficients, whose indices are `free`.

        jacobian: computes the derivatives (B, V, 3, K) of the vertices' colours by these coefficients. They are linear
        in albedo, light and slopes, so the weights of the vertices are multiplied into these.
        """
        roots = (self.weights["color"] * colors.shares / colors.distances).sqrt()[..., None]   # (B, V, 1)
        rows = jacobian(colors._replace(albedo=roots * colors.albedo, light=roots * colors.light,
                                        slopes=roots[..., None] * colors.slopes))
        grey = colors.color_share[:, 0, 0] < 1   # the others would only be copied, which takes long
        if grey.any():
            rows[grey] = _share_of_color(rows[grey].mT, colors.color_share[grey][..., None]).mT
        rows, residuals = rows.flatten(1, 2), (roots * colors.offsets).flatten(1)
        hessian = rows.mT @ rows + self.prior[free][:, free]
        gradient = (residuals[:, None] @ rows)[:, 0] + (coeffs @ self.prior + self.slope)[:, free]
        return hessian, gradient

    def landmark_rows(self, landmark_weights: torch.Tensor) -> torch.Tensor:
        """The matrix (B, R, 68) whose product with the offsets of the landmarks (B, 68, 2) px has as half of its square
        sum the weighted loss of the landmarks and of the openings of eyes and mouth.

        landmark_weights: (B, 68) 0..1.
        """
        each = (2 * self.weights["lm"] / COUNT * landmark_weights).sqrt().diag_embed()
        openings = math.sqrt(2 * self.weights["close"] / len(self.openings)) * self.openings
        return torch.cat([each, openings.expand(len(each), -1, -1)], 1)

    def albedo_jacobian(self, colors: "Colors") -> torch.Tensor:
        """Derivatives (B, V, 3, 80) of the vertices' colours by the albedo coefficients."""
        return colors.light[..., None] * self.sample.albedo_base

    def light_jacobian(self, view: "View", colors: "Colors") -> torch.Tensor:
        """Derivatives (B, V, 3, 27) of the vertices' colours by the light coefficients."""
        basis = light_basis(view.normals)[:, :, None, None]                                          # (B, V, 1, 1, 9)
        return (torch.diag_embed(colors.albedo)[..., None] * basis).flatten(-2)

    def albedo_and_light_jacobian(self, view: "View", colors: "Colors") -> torch.Tensor:
        """Derivatives (B, V, 3, 107) of the vertices' colours by the coefficients of albedo and light."""
        return torch.cat([self.albedo_jacobian(colors), self.light_jacobian(view, colors)], -1)

    def color_jacobian(self, coeffs: torch.Tensor, view: "View", colors: "Colors") -> torch.Tensor:
        """Derivatives (B, V, 3, 257) of the vertices' colours, minus those of the photo there, by the coefficients.

        A coefficient turns a vertex, which changes the light on it, and moves it, which changes the colour that the
        photo has there: both are derivatives by three coordinates times the change of these coordinates.
        """
        c = split(coeffs)
        turn, turn_changes = rotation(c["angle"]), rotation_changes(c["angle"])
        by_normal = colors.albedo[..., None] * _light_by_normal(view.normals, light_bands(c["gamma"]))   # (B, V, 3, 3)
        right, up = pixel_by_position(self.face_model.focal, view.positions, view.distance)     # (B, V, 3) each
        slopes = colors.slopes[..., None]                                                            # (B, V, 2, 3, 1)
        by_position = slopes[:, :, 1] * up[:, :, None] - slopes[:, :, 0] * right[:, :, None]         # (B, V, 3, 3)

        jacobian = coeffs.new_empty(*colors.offsets.shape, SIZE)
        unposed = torch.cat([by_normal @ turn.mT[:, None], by_position @ turn.mT[:, None]], -1)      # (B, V, 3, 6)
        jacobian[..., SHAPE] = torch.einsum("bvcj,vjk->bvck", unposed, self.sample.changes)
        jacobian[..., SLICES["tex"]] = self.albedo_jacobian(colors)
        jacobian[..., SLICES["angle"]] = (
            by_normal @ torch.einsum("bvi,bkij->bvjk", view.shape_normals, turn_changes)
            + by_position @ torch.einsum("bvi,bkij->bvjk", view.shape, turn_changes))
        jacobian[..., SLICES["gamma"]] = self.light_jacobian(view, colors)
        jacobian[..., SLICES["trans"]] = by_position
        return jacobian


class View(NamedTuple):
    """The chosen vertices as the camera sees them."""
    shape: torch.Tensor           # (B, V, 3) unposed
    shape_normals: torch.Tensor   # (B, V, 3) unit normals, unposed
    positions: torch.Tensor       # (B, V, 3) world coordinates, decimetres
    normals: torch.Tensor         # (B, V, 3) unit normals, posed
    distance: torch.Tensor        # (B, V) from the eye along its axis, decimetres
    grid: torch.Tensor            # (B, V, 1, 2) places in the crop as grid_sample counts them: -1..1, y down


class Colors(NamedTuple):
    """The chosen vertices' colours against the photo."""
    albedo: torch.Tensor    # (B, V, 3)
    light: torch.Tensor     # (B, V, 3)
    offsets: torch.Tensor   # (B, V, 3) the compared channels of albedo * light - photo
    distances: torch.Tensor   # (B, V) colour distances, as models.losses.pixel_distance has them
    shares: torch.Tensor    # (B, V) of each vertex in the mean over the face; their sum is 1
    slopes: torch.Tensor    # (B, V, 2, 3) of the photo's colours per px of the crop, to the right and down
    color_share: torch.Tensor   # (B, 1, 1), see `GaussNewton.pictures`


def _chosen(better: torch.Tensor, new: tuple[torch.Tensor, ...], old: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
    """Tensors (B, ...) that are `new` for the faces that are better (B,), and `old` for the others."""
    return [torch.where(better.view(-1, *[1] * (one.ndim - 1)), one, other)
            for one, other in zip(new, old, strict=True)]


def _solve(hessian: torch.Tensor, gradient: torch.Tensor, damping: torch.Tensor) -> torch.Tensor:
    """The damped step (B, K) of the equations (B, K, K) and (B, K). damping: (B, 1), share of the diagonal."""
    diagonal = damping * hessian.diagonal(dim1=1, dim2=2) + LEAST_CURVATURE
    # Rounding may leave an equation without a factor. Its step is then no improvement and is not taken.
    factor = torch.linalg.cholesky_ex(hessian + torch.diag_embed(diagonal))[0]
    return torch.cholesky_solve(gradient[..., None], factor)[..., 0]


def _share_of_color(offsets: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """Colour offsets (..., 3) of which the differences between the channels are multiplied by that share."""
    brightness = offsets.mean(-1, keepdim=True)
    return brightness + share * (offsets - brightness)


def _value_and_gradient(loss: Callable[[torch.Tensor], torch.Tensor] | None, coeffs: torch.Tensor
                        ) -> tuple[torch.Tensor, torch.Tensor]:
    """Values (B,) of a loss and its gradients (B, 257) at coeffs (B, 257); both are 0 without a loss."""
    if loss is None:
        return coeffs.new_zeros(len(coeffs)), torch.zeros_like(coeffs)
    with torch.enable_grad():
        coeffs = coeffs.detach().requires_grad_()
        values = loss(coeffs)
        return values.detach(), torch.autograd.grad(values.sum(), coeffs)[0]


def _learn_curvature(curvature: torch.Tensor, step: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
    """Second derivatives (B, K, K) that explain by which change (B, K) a step (B, K) has changed the gradient.

    They differ from those before by a matrix of rank one (symmetric rank-one update: Nocedal and Wright, Numerical
    Optimization, 6.2). A change that would make the loss concave is left out.
    """
    unexplained = change - (curvature @ step[..., None])[..., 0]
    along = (unexplained * step).sum(1)
    convex = along > LEAST_COSINE_OF_CHANGE * unexplained.norm(dim=1) * step.norm(dim=1)
    update = unexplained[:, :, None] * unexplained[:, None] / torch.where(convex, along, 1)[:, None, None]
    return curvature + torch.where(convex[:, None, None], update, 0)


def _slopes(photos: torch.Tensor, attention: torch.Tensor) -> torch.Tensor:
    """Change of the colours (B, 6, S, S) of photos (B, 3, S, S) per px of the crop: to the right, then down.

    It is 0 beside pixels whose attention (B, 1, S, S) is 0.
    """
    padded, seen = (pad(picture, (1, 1, 1, 1), mode="replicate") for picture in (photos, (attention > 0).float()))
    right = (padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]) * seen[:, :, 1:-1, 2:] * seen[:, :, 1:-1, :-2]
    down = (padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]) * seen[:, :, 2:, 1:-1] * seen[:, :, :-2, 1:-1]
    return torch.cat([right, down], 1) / 2 * photos.shape[-1] / CROP_SIZE


def _light_by_normal(normals: torch.Tensor, bands: torch.Tensor) -> torch.Tensor:
    """Derivatives (B, V, 3, 3) of each channel's light by the unit normals (B, V, 3), under bands (B, 3, 9)."""
    x, y, z = normals.unbind(-1)
    a, b, zero = A1 * C1 * torch.ones_like(x), A2 * C2, torch.zeros_like(x)
    by_x = torch.stack([zero, zero, zero, -a, b * y, zero, zero, -b * z, b * x], -1)
    by_y = torch.stack([zero, -a, zero, zero, b * x, -b * z, zero, zero, -b * y], -1)
    by_z = torch.stack([zero, zero, a, zero, zero, -b * y, b * math.sqrt(3) * z, -b * x, zero], -1)
    return torch.stack([by @ bands.mT for by in (by_x, by_y, by_z)], -1)
