"""Plans on an NVIDIA GPU: kernels, products, and their replay."""
