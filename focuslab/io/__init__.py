"""Reading and writing of focal stacks."""

from focuslab.io.pattern import read_pattern
from focuslab.io.reading import read
from focuslab.io.writing import StackWriter, write

__all__ = ["StackWriter", "read", "read_pattern", "write"]
