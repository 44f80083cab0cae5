"""Differentiable rasterisation for PyTorch on the CPU and on CUDA: `import nvdiffrast.torch as dr`.

The operations have the names and the meaning of NVIDIA's nvdiffrast. The implementation is independent of it and
written as NVIDIA Warp kernels. See README.md in this folder.
"""
