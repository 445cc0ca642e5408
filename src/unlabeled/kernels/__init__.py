"""The block of convolution and max-pool, and its inverse, in C; the rest of the package can do without it."""
