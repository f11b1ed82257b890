# A bias moves all values of a channel alike, which BatchNorm takes away again. Its gradient is the
# sum over the batch of what BatchNorm hands back, and that is zero.
import numpy as np

import npnn

rng = np.random.default_rng(0)
dense, norm = npnn.Dense(3, 5), npnn.BatchNorm()
dense.build(3, rng)
norm.build(5, rng)
norm.training = True
norm.forward(dense.forward(rng.normal(size=(16, 3))))
dense.backward(norm.backward(rng.normal(size=(16, 5))))
print("gradient of the bias:", np.abs(dense.grad_b).max())
print("gradient of the weights:", np.abs(dense.grad_w).max())
assert np.abs(dense.grad_b).max() < 1e-6 < np.abs(dense.grad_w).max()
