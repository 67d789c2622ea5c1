"""FocusLab in napari.

So far the samples under File > Open Sample; the panels follow.
"""

from focuslab_napari.samples import filaments, nuclei, puncta

__all__ = ["filaments", "nuclei", "puncta"]
