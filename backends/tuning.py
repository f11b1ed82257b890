"""The numbers that were found by measuring; ``benchmarks/tuning.py`` measures some of them anew.

They were measured on two cores of an AMD EPYC; those of a GPU were chosen by counting, see
``benchmarks/kernels.py``.
"""

# Steps ------------------------------------------------------------------------------------------

FLUSH_EVERY = 128  # steps between two looks for numbers that are about to become denormal
MOST_THREADS = 4  # of which each has a part of a step: more would wait for the interpreter's lock
# Seconds of work from which a thread is worth waking up, some twenty times what that takes: below,
# NumPy's own threads for matrix products, which wait awake, were the faster.
WORTH = 2e-3
WORTH_AWAKE = 1e-4  # the same for a thread that waits awake

# How long operations take, roughly --------------------------------------------------------------

SECONDS_PER_FLOP = 1e-11  # of a product
SECONDS_PER_BYTE = 3e-11  # read or written
SECONDS_PER_ADDITION = 8e-11  # beyond the first, for each element
OPTIMIZER = 150  # floating-point operations that take as long as an optimizer's for one parameter

# How a step is divided among threads ------------------------------------------------------------

LARGE = 1 << 14  # elements from which an operation of no sample's is cut
SAMPLES = 256  # of a thread, up to which a product is cut by columns,
COLUMNS = 128  # if a thread has as many of them,
WEIGHTS = 1 << 17  # and this many elements are multiplied

# Prediction -------------------------------------------------------------------------------------

ROWS_AT_ONCE = 1 << 14  # samples; more take longer at once, where they leave the caches

# Memory -----------------------------------------------------------------------------------------

SMALL = 4096  # bytes, up to which memory is not worth saving
THIN = 4  # channels up to which a window on images is copied channel by channel

# NumPy's calls ----------------------------------------------------------------------------------

FEW = 256  # elements, up to which the number of calls decides and not what they do
GATHERED = 512  # elements, up to which a row is repeated by number
ROW = 1024  # elements from which the overhead of NumPy's loop over a row no longer counts

# Loops in machine code --------------------------------------------------------------------------

ALONE = 4096  # elements from which a store, or a function, alone is worth a loop
SHORT = 32  # columns up to which their number stands in the source, for the compiler to unroll
AT_ONCE = 8  # columns from which functions are computed several at once
SEEN_AS_ONE = 128  # columns that rows have together which are no longer short
MOST_PRODUCTS = 128  # of a stack of matrices, up to which they are called one by one

# Kernels of a GPU -------------------------------------------------------------------------------

FLAT_THREADS = 256  # of a block in which each element stands alone
ROW_THREADS = 512  # of a block that works on rows: a power of two, and at least a warp
PACKS = (4, 2)  # elements that a thread may load at once, if they lie side by side
MOST_SUMS = 16  # columns of a row that one thread adds up over the batch, in registers
MOST_KEPT = 8  # columns of a row of which a thread keeps each value in a register
ROWS_EACH = 4  # rows that a team should have before there is another block
MOST_BLOCKS = 512  # that leave partial sums
