"""The kinds of columns of a table, each in a file of its own: how it is encoded, and described."""

from npnn.datasets.columns.category import CategoryColumn, natural
from npnn.datasets.columns.column import KINDS, Column, from_config
from npnn.datasets.columns.date import DateColumn
from npnn.datasets.columns.encodings import Encoded
from npnn.datasets.columns.number import NumberColumn
from npnn.datasets.columns.recognition import Recognised, recognised
from npnn.datasets.columns.text import TextColumn

__all__ = [
    "KINDS",
    "CategoryColumn",
    "Column",
    "DateColumn",
    "Encoded",
    "NumberColumn",
    "Recognised",
    "TextColumn",
    "from_config",
    "natural",
    "recognised",
]
