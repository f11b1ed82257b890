# The derivative is the mean of the signs of y - t. It is zero where as many targets lie above as
# below: at the median. (For the square it is the mean of y - t, which is zero at the mean.)
import numpy as np

import npnn

t = np.array([[0.0], [1.0], [2.0], [3.0], [94.0]])
for loss, expected in ((npnn.RMSLoss(), t.mean()), (npnn.L1Loss(), np.median(t))):
    model = npnn.Sequential([npnn.Dense(1, 1)], seed=0)
    optimizer = npnn.Adam(schedule=npnn.Cosine(3000), alpha=1.0)
    optimizer.model = model
    optimizer.model.chain = loss
    for _ in range(3000):
        optimizer.step(np.zeros_like(t), t)  # an input of 0 leaves nothing but the bias
    (bias,) = model.parameters()["0.b"]
    print(f"{type(loss).__name__} finds {bias:.3f}, expected {expected:g}")
    assert abs(bias - expected) < 0.1
