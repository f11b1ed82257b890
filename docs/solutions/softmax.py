# Divide numerator and denominator by the numerator:
#
#     y1 = exp(x1) / (exp(x1) + exp(x2)) = 1 / (1 + exp(x2 - x1)) = sigma(x1 - x2)
#
# With d = x1 - x2, dy1/dd is the case of equal indices, y1 (1 - y1). The other case, with respect to
# x2, is y1 (0 - y2) = -y1 (1 - y1), as it must be: d falls as x2 grows.
import numpy as np

import npnn

x = np.array([[0.3, -1.1], [2.0, 2.0], [-4.0, 1.0]])
difference = x[:, :1] - x[:, 1:]
softmax, sigmoid = npnn.Softmax(), npnn.Sigmoid()
y, s = softmax.forward(x), sigmoid.forward(difference)
np.testing.assert_allclose(y[:, :1], s)
slopes = softmax.jacobian(x)
np.testing.assert_allclose(slopes[:, 0, 0], sigmoid.backward(np.ones_like(s))[:, 0])
np.testing.assert_allclose(slopes[:, 0, 1], -slopes[:, 0, 0])
print("probability of the first class:", y[:, 0].round(4))
