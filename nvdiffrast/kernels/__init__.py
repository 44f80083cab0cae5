"""Warp kernels, one module for each operation. They see tensors as flat rows of pixels.

Conventions shared by all of them:
    pos   (1 or B, V) vec4     clip space; a leading 1 means that all batch items share it
    tri   (F,) vec3i           vertex indices
    rast  (B, H*W) vec4        u, v, z/w, triangle id + 1 (see `common.triangle_id`)
    grad_*                     zeroed by the caller, accumulated with atomics
    stride                     the number of threads of a batch item; each takes every stride-th pixel,
                               vertex or triangle

On the CPU a launch is one thread and Warp's atomics are ordinary additions: the caller gives every
launch batch items, and gradient buffers, of its own, and stride is 1 (a loop inside a kernel is faster
than Warp's around it).
"""
