# As many as there are eigenvalues, from the largest on, until their sum is 90 % of all.
import numpy as np

from npnn.datasets import Digits

x = Digits(seed=0).x_train_data / 16.0
spread = np.linalg.eigvalsh(np.cov(x.T, bias=True))[::-1]
shares = np.cumsum(spread) / spread.sum()
for k in (2, 8, 21):
    print(f"{k:2} numbers keep {shares[k - 1]:.1%}")
print("90 % need", int(np.searchsorted(shares, 0.9)) + 1)
assert np.searchsorted(shares, 0.9) + 1 == 21
