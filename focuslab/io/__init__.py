"""Reading and writing of focal stacks."""

from focuslab.io.folders import images_of
from focuslab.io.pattern import read_pattern
from focuslab.io.plates import copy_plate, fields_of, is_plate, plate_of, well_of
from focuslab.io.reading import read
from focuslab.io.writing import StackWriter, write, writer_of

__all__ = [
    "StackWriter",
    "copy_plate",
    "fields_of",
    "images_of",
    "is_plate",
    "plate_of",
    "read",
    "read_pattern",
    "well_of",
    "write",
    "writer_of",
]
