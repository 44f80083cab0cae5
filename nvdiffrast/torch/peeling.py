"""Depth peeling: rasterises the surfaces of a scene in layers, one behind the other."""

from .context import check_context
from .rasterization import geometry, image_size, rasterize_visible


class DepthPeeler:
    """Rasterises one layer after the other, the nearest first.

        with DepthPeeler(glctx, pos, tri, resolution) as peeler:
            rast, rast_db = peeler.rasterize_next_layer()

    The arguments, and the results of each layer, are those of `rasterize`. At each pixel, a layer shows the nearest
    surface behind the previous layer. It is empty where there is none.
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
        """Does nothing, since nothing has to be released."""

    def rasterize_next_layer(self):
        """Returns rast and rast_db (B, H, W, 4) of the next layer, see `rasterize`."""
        pos, ranges = self._geometry
        rast, rast_db, self._keys = rasterize_visible(
            pos, self._tri, ranges, *self._size, *self._options, above=self._keys
        )
        return rast, rast_db
