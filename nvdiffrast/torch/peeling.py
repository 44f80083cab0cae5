"""Depth peeling: one layer of surface behind another."""

from .context import check_context
from .rasterization import geometry, image_size, rasterize_visible


class DepthPeeler:
    """Rasterises layer after layer, the nearest first.

        with DepthPeeler(glctx, pos, tri, resolution) as peeler:
            rast, rast_db = peeler.rasterize_next_layer()

    The arguments and the results of a layer are those of `rasterize`. A layer shows the nearest
    surface that is farther away than the layer before, pixel by pixel, and is empty where nothing is left.
    """

    def __init__(self, glctx, pos, tri, resolution, ranges=None, grad_db=True):
        check_context("DepthPeeler", glctx)
        self._geometry = geometry("DepthPeeler", pos, tri, ranges)
        self._tri = tri
        self._size = image_size("DepthPeeler", resolution)
        self._options = (glctx.output_db, bool(grad_db))
        self._keys = None

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        """Nothing to release."""

    def rasterize_next_layer(self):
        """rast and rast_db (B, H, W, 4) of the next layer, see `rasterize`."""
        pos, ranges = self._geometry
        rast, rast_db, self._keys = rasterize_visible(
            pos, self._tri, ranges, *self._size, *self._options, above=self._keys
        )
        return rast, rast_db
