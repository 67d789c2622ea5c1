"""FocusLab in napari: thin widgets over the library, and samples under File > Open Sample.

Widgets translate: layer, to request, to picture, to layer. Whatever computes is called in a worker thread and comes
from `focuslab`; nothing here imports torch before that.
"""

from focuslab_napari.samples import filaments, nuclei, puncta

__all__ = ["filaments", "nuclei", "puncta"]
