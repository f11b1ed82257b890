"""A table's columns in a file for NumPy: its raw cells are read and encoded as npnn does.

The file holds what the columns' encodings say, as it is printed, and the sources of what they call.
"""

from __future__ import annotations

from npnn.datasets.columns import encodings
from npnn.datasets.layout import Layout
from npnn.datasets.rows import Rows
from npnn.excerpts import Excerpts

KNOWN = (encodings.Numeric, encodings.OneOf, encodings.Words)

PREDICT = '''
def predict(rows):
    """Return the outputs, of shape (batch{shape_out}), for rows of raw cells.

    Rows are the path of a CSV file; dicts by the columns' names; lists of cells in the order of
    INPUTS, or of the whole table; or columns by name, as in a frame. Empty cells, None and NaN are
    missing values.
    """
    return network(TABLE(rows).reshape(-1{shape_in}))


def answers(rows):
    """Return for each row its class and how probable that is, or its target."""
    y = predict(rows)
    y = y.reshape(len(y), -1).astype("float64")
    if CLASSES is None:
        return y.tolist()
    shares = y if y.shape[1] > 1 else np.concatenate([1.0 - y, y], axis=1)
    best = shares.argmax(axis=1)
    return [(CLASSES[i], float(row[i])) for i, row in zip(best, shares)]

'''

TABLE = """

# How a table is read: sources of npnn ------------------------------------------------------------


{sources}


TABLE = Rows(
    layout={layout!r},
    encodings=(
{encodings}
    ),
    words={words!r},
    delimiter={delimiter!r},
    decimal={decimal!r},
    encoding={encoding!r},
)


if __name__ == "__main__":
    import sys

    for answer in answers(sys.argv[1]):
        print(*answer, sep=",")
"""


def table_lines(rows: Rows) -> tuple[set[str], str]:
    """Return the imports and the lines of a file that make inputs of raw cells."""
    excerpts = Excerpts()
    for name, encoding in zip(rows.layout.names, rows.encodings, strict=True):
        if not isinstance(encoding, KNOWN):
            raise TypeError(f"the column {name!r} is of a kind that a file for NumPy cannot hold")
        excerpts.take(type(encoding))
        if isinstance(encoding, encodings.Numeric):
            excerpts.take(type(encoding.read))
    excerpts.take(Layout)
    excerpts.take(Rows)
    said = {key: value for key, value in rows._asdict().items() if key != "encodings"}
    text = TABLE.format(
        **said,
        sources="\n\n\n".join(excerpts.parts),
        encodings="\n".join(
            f"        {encoding!r},  # {' '.join(name.split())}"
            for name, encoding in zip(rows.layout.names, rows.encodings, strict=True)
        ),
    )
    return excerpts.imports, text
