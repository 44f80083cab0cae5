"""Differentiable rasterisation for PyTorch on the CPU and on CUDA: `import nvdiffrast.torch as dr`.

The operations carry the names and the meaning of NVIDIA's nvdiffrast; the implementation here is
independent of it and written as NVIDIA Warp kernels. See README.md beside this file.
"""
