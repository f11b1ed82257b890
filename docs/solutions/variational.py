# With 0 nothing keeps the gaussians wide: they shrink to points, as in an autoencoder, and the plane
# has gaps. With a large number every sample gets the unit gaussian, so that the code says nothing,
# and the decoder paints the mean of all icons. Between them a compromise is found.
import numpy as np

import npnn
from npnn.datasets import FourSmallIcons
from npnn.layers import Flatten, Latent, Sample, Shape

x = FourSmallIcons(seed=0, noise=0.1).x_train_data
variances = {}
for beta in (0.0, 0.3, 30.0):
    encoder = npnn.Sequential([Flatten((3, 3, 1)), npnn.Dense(16), npnn.Tanh(), Latent(4)], seed=0)
    decoder = npnn.Sequential(
        [Sample(4), npnn.Dense(16), npnn.Tanh(), npnn.Dense(9), Shape((3, 3, 1))], seed=1
    )
    middle = npnn.KullbackLeiblerLoss(beta=beta)
    encoder.chain, middle.chain, decoder.chain = middle, decoder, npnn.RMSLoss()
    history = encoder.fit(x, x, optimizer=npnn.Adam(alpha=5e-3), epochs=60, seed=0)
    variances[beta] = float(np.asarray(encoder.predict(x))[:, 2:].mean())
    print(f"beta {beta:4}: variance {variances[beta]:.3f}, loss {history['loss_1'][-1]:.3f}")
assert variances[0.0] < variances[0.3] < variances[30.0]
assert abs(variances[30.0] - 1.0) < 0.1
