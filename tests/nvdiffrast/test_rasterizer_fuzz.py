"""Tries any values and shapes: each operation returns finite numbers or raises a clear error."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import nvdiffrast.torch as dr

EDGE_CASES = [0.0, -0.0, 1e-38, -1e-38, 1e-6, 1.0, -1.0, 3e4, -3e4, 1e15, -1e15, 3e38, -3e38]
NOT_NUMBERS = [float("nan"), float("inf"), -float("inf")]
CONTEXT = dr.RasterizeCudaContext()

fuzz = settings(max_examples=100, deadline=None, derandomize=True, database=None)


def tensors(*shape, values=EDGE_CASES):
    """Generates float tensors of numbers around 1 with some special values."""

    def fill(seed, share):
        g = torch.Generator().manual_seed(seed)
        special = torch.tensor(values)[torch.randint(len(values), shape, generator=g)]
        return torch.where(torch.rand(shape, generator=g) < share, special, torch.randn(shape, generator=g))

    return st.builds(fill, st.integers(0, 2**31), st.sampled_from([0.0, 0.1, 0.5]))


@st.composite
def scenes(draw, values=EDGE_CASES):
    """Generates pos (B, V, 4), tri (F, 3), attr (B or 1, V, C) and resolution, also with allowed sizes of 0."""
    batch, vertices, faces = draw(st.integers(0, 3)), draw(st.integers(1, 9)), draw(st.integers(0, 12))
    g = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    tri = torch.randint(vertices, (faces, 3), generator=g, dtype=torch.int32)
    attr = draw(tensors(draw(st.sampled_from([batch, 1])), vertices, draw(st.integers(0, 4))))
    resolution = draw(st.tuples(st.integers(1, 20), st.integers(1, 20)))
    pos = draw(tensors(batch, vertices, 4, values=values)) * draw(tensors(batch, vertices, 1)).abs()
    return pos.clamp(-3e38, 3e38), tri, attr, resolution


def check_rast(rast, rast_db, faces):
    assert rast.isfinite().all() and rast_db.isfinite().all()
    u, v, depth, code = rast.unbind(-1)
    assert (u >= 0).all() and (v >= 0).all() and (u + v <= 1 + 1e-6).all() and (depth.abs() <= 1).all()
    assert ((code >= 0) & (code <= faces) & (code == code.round())).all()
    assert not rast[code == 0].any() and not rast_db[code == 0].any()


@fuzz
@given(scenes(EDGE_CASES + NOT_NUMBERS))
def test_rendering_any_positions(scene):
    pos, tri, attr, resolution = scene
    leaf, attr_leaf = pos.requires_grad_(), attr.requires_grad_()
    rast, rast_db = dr.rasterize(CONTEXT, leaf, tri, resolution)
    check_rast(rast.detach(), rast_db.detach(), len(tri))
    out, out_da = dr.interpolate(attr_leaf, rast, tri, rast_db, diff_attrs="all")
    image = dr.antialias(out, rast, leaf, tri)
    assert not image.isnan().any()
    grad, grad_attr = torch.autograd.grad(image.sum() + out_da.sum(), (leaf, attr_leaf))
    assert grad.isfinite().all()
    assert not grad_attr.isnan().any()


@fuzz
@given(scenes(EDGE_CASES + NOT_NUMBERS), st.integers(1, 4))
def test_peeling_any_positions(scene, layers):
    pos, tri, _, resolution = scene
    before = None
    with dr.DepthPeeler(CONTEXT, pos, tri, resolution) as peeler:
        for _ in range(layers):
            rast, rast_db = peeler.rasterize_next_layer()
            check_rast(rast, rast_db, len(tri))
            if before is not None:
                assert ((rast[..., 3] == 0) | (before[..., 3] > 0)).all()
            before = rast


@fuzz
@given(st.data())
def test_texture_anywhere(data):
    cube, batch = data.draw(st.booleans()), data.draw(st.integers(0, 2))
    size = data.draw(st.sampled_from([(1, 1), (2, 2), (4, 4), (8, 8)] if cube else [(1, 1), (4, 1), (8, 4), (2, 16)]))
    channels, image = data.draw(st.integers(1, 4)), (batch, data.draw(st.integers(0, 5)), data.draw(st.integers(1, 5)))
    lead = (data.draw(st.sampled_from([batch, 1])), 6) if cube else (data.draw(st.sampled_from([batch, 1])),)
    anything = EDGE_CASES + NOT_NUMBERS
    arguments = [
        torch.rand(*lead, *size, channels),
        data.draw(tensors(*image, 3 if cube else 2, values=anything)),
        data.draw(st.none() | tensors(*image, 6 if cube else 4, values=anything)),
        data.draw(st.none() | tensors(*image, values=anything)),
    ]
    filters = ["auto", "nearest", "linear"]
    if arguments[2] is not None or arguments[3] is not None:
        filters += ["linear-mipmap-nearest", "linear-mipmap-linear"]
    leaves = [x if x is None else x.requires_grad_() for x in arguments]
    out = dr.texture(
        *leaves,
        filter_mode=data.draw(st.sampled_from(filters)),
        boundary_mode="cube" if cube else data.draw(st.sampled_from(["wrap", "clamp", "zero"])),
        max_mip_level=data.draw(st.none() | st.integers(0, 5)),
    )
    assert out.isfinite().all() and (out >= 0).all() and (out <= 1 + 1e-5).all()
    given_leaves = [x for x in leaves if x is not None]
    for grad in torch.autograd.grad(out.sum(), given_leaves, allow_unused=True):
        assert grad is None or not grad.isnan().any()


DTYPES = [torch.float32] * 4 + [torch.int32] * 4 + [torch.float64, torch.float16, torch.int64, torch.bool]
anything = st.one_of(
    st.none(),
    st.sampled_from([0, 1.5, "all", [], [0], (4, 4), (0, 3), (4, 4, 4), (-1, 2), object()]),
    st.builds(
        lambda shape, dtype, layout: layout(torch.ones(shape, dtype=dtype)),
        st.lists(st.integers(0, 4), max_size=5),
        st.sampled_from(DTYPES),
        st.sampled_from([lambda x: x] * 3 + [lambda x: x.transpose(0, -1) if x.dim() else x, lambda x: x.to("meta")]),
    ),
)


def good_arguments():
    pos = torch.tensor([[[-0.8, -0.8, 0, 1], [0.8, -0.8, 0, 1], [0, 0.8, 0, 1]]])
    tri = torch.tensor([[0, 1, 2]], dtype=torch.int32)
    rast, rast_db = dr.rasterize(CONTEXT, pos, tri, (4, 4))
    uv, bias = torch.rand(1, 4, 4, 2), torch.rand(1, 4, 4)
    return {
        dr.rasterize: {"glctx": CONTEXT, "pos": pos, "tri": tri, "resolution": (4, 4), "ranges": None},
        dr.DepthPeeler: {"glctx": CONTEXT, "pos": pos, "tri": tri, "resolution": (4, 4), "ranges": None},
        dr.interpolate: {"attr": pos, "rast": rast, "tri": tri, "rast_db": rast_db, "diff_attrs": "all"},
        dr.antialias: {"color": rast, "rast": rast, "pos": pos, "tri": tri, "topology_hash": None},
        dr.antialias_construct_topology_hash: {"tri": tri},
        dr.texture: {"tex": torch.rand(1, 4, 4, 3), "uv": uv, "uv_da": rast_db, "mip_level_bias": bias, "mip": None,
                     "filter_mode": "auto", "boundary_mode": "wrap", "max_mip_level": None},
        dr.texture_construct_mip: {"tex": torch.rand(1, 4, 4, 3), "max_mip_level": None},
    }  # fmt: skip


@settings(fuzz, max_examples=400)
@given(st.data())
def test_any_arguments(data):
    operations = good_arguments()
    operation = data.draw(st.sampled_from(list(operations)))
    arguments = operations[operation]
    for name in data.draw(st.lists(st.sampled_from(list(arguments)), min_size=1, max_size=2)):
        arguments[name] = data.draw(anything)
    try:
        operation(**arguments)
    except (TypeError, ValueError) as error:
        assert operation.__name__ in str(error)
        assert any(name in str(error) for name in arguments)


@fuzz
@given(st.integers(-5, 9), st.integers(0, 2))
def test_any_vertex_index(index, corner):
    for operation, arguments in good_arguments().items():
        if "tri" in arguments and operation is not dr.antialias_construct_topology_hash:
            arguments["tri"] = arguments["tri"].clone()
            arguments["tri"][0, corner] = index
            try:
                operation(**arguments)
                assert 0 <= index < 3
            except ValueError as error:
                assert "with 3 vertices they must be from 0 to 2" in str(error) and not 0 <= index < 3


@fuzz
@given(st.lists(st.tuples(st.integers(-3, 9), st.integers(-3, 9)), max_size=3))
def test_any_ranges(rows):
    arguments = good_arguments()[dr.rasterize]
    arguments["pos"] = arguments["pos"][0]
    arguments["tri"] = arguments["tri"].expand(6, 3).contiguous()
    arguments["ranges"] = torch.tensor(rows, dtype=torch.int32).view(-1, 2)
    valid = all(first >= 0 and count >= 0 and first + count <= 6 for first, count in rows)
    try:
        assert dr.rasterize(**arguments)[0].shape == (len(rows), 4, 4, 4)
        assert valid
    except ValueError as error:
        assert "ranges" in str(error) and not valid
