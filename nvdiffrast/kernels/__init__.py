"""Warp kernels of the operations. They see images as flat rows of pixels.

Conventions of all kernels:
    pos   (1 or B, V) vec4     clip space; a leading 1 means that all batch items share it
    tri   (F,) vec3i           vertex indices
    rast  (B, H*W) vec4        u, v, z/w, triangle id + 1 (see `common.triangle_id`)
    grad_*                     gradients: the caller fills them with zeros, the kernels add to them with atomics
    stride                     number of threads per batch item; each thread takes every stride-th pixel, vertex or
                               triangle

On the CPU a launch runs in one thread, and Warp's atomics are ordinary additions. Launches that run at the same time
therefore work on different batch items and different gradient buffers. The stride is 1 there, since a loop inside a
kernel is faster than Warp's loop around it.
"""
