# Of the sum s = x1 + x2, which is 0, 1 or 2, the answer is s - 2 max(s - 1, 0): it rises to 1, and
# then falls back to 0. So both hidden units add the inputs up; one has the bias -1.
import numpy as np

import npnn

model = npnn.Sequential([npnn.Dense(2, 2), npnn.ReLU(), npnn.Dense(2, 1)])
model.set_arrays(
    {
        "0.w": np.array([[1.0, 1.0], [1.0, 1.0]]),
        "0.b": np.array([0.0, -1.0]),
        "2.w": np.array([[1.0], [-2.0]]),
        "2.b": np.array([0.0]),
    }
)
corners = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
answers = model.predict(corners)[:, 0]
print(answers)
assert answers.tolist() == [0.0, 1.0, 1.0, 0.0]
