# The gradient is lambda theta, so theta becomes theta - alpha lambda theta = (1 - alpha lambda) theta.
# That grows if |1 - alpha lambda| > 1, for alpha > 2 / lambda. Across the valley lambda is 50, so the
# limit is 0.04. With 0.037 the way across shrinks by |1 - 1.85| = 0.85 and that along by 0.963.
import numpy as np

import npnn

for alpha in (0.037, 0.04, 0.041):
    descent, p = npnn.GradientDescent(alpha), np.ones(1)
    for _ in range(100):
        (p,) = descent.update(p, 50.0 * p, **descent.scalars())
    np.testing.assert_allclose(p, (1.0 - alpha * 50.0) ** 100)
    print(f"alpha {alpha}: after 100 steps theta is {p[0]:.3g} times what it was")
