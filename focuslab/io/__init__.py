"""Reading and writing of focal stacks."""

from focuslab.io.pattern import read_pattern
from focuslab.io.reading import images_of, read
from focuslab.io.writing import StackWriter, write, writer_of

__all__ = ["StackWriter", "images_of", "read", "read_pattern", "write", "writer_of"]
