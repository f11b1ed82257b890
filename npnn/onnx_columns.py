"""A table's columns in an ONNX file: an input for each, and the operators that encode it.

Strings come in as strings, numbers and seconds as floats, NaN where there is none; what a file for
NumPy finds out of text, such as how dates are written, is left to whoever fills the inputs.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from npnn.datasets.cells import DASHES, MISSING, Cells, missing_words
from npnn.datasets.columns import encodings

if TYPE_CHECKING:
    from npnn.datasets.schema import TableSchema
    from npnn.onnx import Graph

ML = "ai.onnx.ml"
LEAST_DIGITS = 16.0  # farther from zero, in deviations, float32 tells too few numbers apart
INFINITE = {f"{sign}{word}" for sign in ("", "+", "-") for word in ("inf", "infinity", "nan")}


def columns_in(graph: Graph, schema: TableSchema, norm: Any) -> tuple[list[Any], str]:
    """Add an input for each column; return them, and the name of the features, normalised."""
    infos, blocks, first = [], [], 0
    for column in schema.columns:
        place = slice(first, first + len(column.feature_names))
        first = place.stop
        offset, scale = (
            (0.0, 1.0)
            if norm is None
            else (
                np.broadcast_to(part, schema.shape_in).reshape(-1)[place]
                for part in (norm.offset, norm.scale)
            )
        )
        encoding: Any = column.encoding
        kind, wanted, block = written(encoding, graph, column.name, offset, scale, schema.missing)
        infos.append(graph.info(column.name, kind, (1,), wanted))
        blocks.append(block)
    x = graph.add("Concat", blocks, axis=1)
    return infos, x if len(schema.shape_in) == 1 else graph.reshaped(x, schema.shape_in)


@functools.singledispatch
def written(encoding: Any, graph: Graph, name: str, *rest: Any) -> tuple[Any, str, str]:
    """Add the operators of a column; return its input's type, what it is, and the features."""
    raise ValueError(f"no operators of ONNX are known for the column {name!r}: {REFUSED}")


REFUSED = (
    "write a file for NumPy (--numpy), or one that takes what the columns become: "
    "inputs='features' (--inputs features)"
)


@written.register(encodings.Words)
def _(encoding: encodings.Words, graph: Graph, name: str, *rest: Any) -> tuple[Any, str, str]:
    raise ValueError(
        f"the column {name!r} is text, and ONNX has no operator that finds the words in it: "
        f"{REFUSED}"
    )


@written.register(encodings.Numeric)
def _(
    encoding: encodings.Numeric, graph: Graph, name: str, offset: Any, scale: Any, words: Any
) -> tuple[Any, str, str]:
    kind, wide = "a number", bool(np.abs(offset / scale).max() > LEAST_DIGITS)
    if isinstance(encoding.read, encodings.Seconds):
        since = "midnight" if encoding.read.form == "clock" else "1970-01-01 00:00"
        kind, wide = f"a date or time, as seconds since {since}", True
    double = functools.partial(graph.array, dtype=np.float64)

    def cast(x: str, to: Any) -> str:
        return graph.add("Cast", [x], to=graph.type_of(np.dtype(to)))

    x = cast(name, "float64")
    there = graph.add("LessOrEqual", [graph.add("Abs", [x]), double(encodings.LARGEST)])
    x = graph.add("Where", [there, x, double(encoding.fill)])
    if encoding.limits is not None:
        x = graph.add("Clip", [x, *map(double, encoding.limits)])
    features = [] if encoding.unit is None else [graph.add("Div", [x, double(encoding.unit)])]
    for period, begin in encoding.waves:
        turns = graph.add("Div", [graph.add("Sub", [x, double(begin)]), double(period)])
        turns = graph.add("Sub", [turns, graph.add("Floor", [turns])])
        angle = cast(graph.add("Mul", [turns, double(2.0 * np.pi)]), graph.dtype)
        features += [cast(graph.add(wave, [angle]), "float64") for wave in ("Sin", "Cos")]
    if encoding.missing:
        features.append(cast(graph.add("Not", [there]), "float64"))
    x = graph.add("Concat", features, axis=1) if len(features) > 1 else features[0]
    x = graph.add("Div", [graph.add("Sub", [x, double(offset)]), double(scale)])
    wanted = f"{kind}; NaN where it is missing"
    return "float64" if wide else graph.dtype, wanted, cast(x, graph.dtype)


@written.register(encodings.OneOf)
def _(
    encoding: encodings.OneOf, graph: Graph, name: str, offset: Any, scale: Any, words: Any
) -> tuple[Any, str, str]:
    # What each text that may come becomes is asked of the encoding, here.
    forms = (str, str.lower, str.upper, str.title, str.capitalize, str.casefold)
    texts = [form(text) for text in encoding.categories for form in forms]
    texts += [*INFINITE, *(MISSING | DASHES if words is None else words), ""]
    texts = list(dict.fromkeys([*encoding.categories, *sorted(texts)]))
    strange = "?" + max(texts, key=len)
    found = encoding(Cells([*texts, strange], missing_words(words)))
    rows = np.stack(list(found.features), axis=1)
    table, codes = np.unique((rows - offset) / scale, axis=0, return_inverse=True)
    *places, unknown = codes.reshape(-1).tolist()

    def looked_up(x: str, keys: list[str], default: int) -> str:
        known = dict(zip(reversed(keys), reversed(places), strict=True))  # the first of each counts
        return graph.add(
            "LabelEncoder",
            [x],
            domain=ML,
            keys_strings=list(known),
            values_int64s=list(known.values()),
            default_int64=default,
        )

    x = graph.add("Reshape", [name, graph.array([-1], np.int64)])
    exact = looked_up(x, texts, -1)
    # The locale "C" is everywhere; it knows the capitals of ASCII, and the texts have the others.
    lower = graph.add("StringNormalizer", [x], case_change_action="LOWER", locale="C")
    alike = looked_up(lower, [_lower(text) for text in texts], unknown)
    is_exact = graph.add("GreaterOrEqual", [exact, graph.array(0, np.int64)])
    place = graph.add("Where", [is_exact, exact, alike])
    wanted = "a text, without blanks around it; empty where it is missing"
    return object, wanted, graph.add("Gather", [graph.array(table), place])


def _lower(text: str) -> str:
    """Return a text with the capitals of ASCII in lower case."""
    return text.encode().lower().decode()
