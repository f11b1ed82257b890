"""The playground: a page, served by the library itself, on which a network is seen to learn."""

from npnn.playground.chosen import Chosen
from npnn.playground.server import Server
from npnn.playground.trainer import Trainer

__all__ = ["Chosen", "Server", "Trainer"]
