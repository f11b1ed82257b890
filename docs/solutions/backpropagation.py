# Each Dense keeps its inputs and each Tanh its outputs. The outputs of a Tanh are the inputs of the
# next Dense, one array for both, so that there are 21 arrays of 32 x 64 numbers: the inputs of the
# first layer, and the outputs of each Tanh.
import npnn

kept = 21 * 32 * 64
print(f"{kept:,} numbers, {kept * 4 / 1024:.0f} KiB in float32")
layers = [part for _ in range(20) for part in (npnn.Dense(64, 64), npnn.Tanh())]
print(npnn.Sequential(layers).summary().splitlines()[-1])
# The plan also has room for all gradients of the weights, 20 x 64 x 65 numbers, 325 KiB.
