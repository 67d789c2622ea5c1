"""The thing that flows through FocusLab: pixels with the names of their axes and their calibration.

Axes are letters in the order T C Z Y X (time, channel, focal plane, row, column), any but Y and X may be
missing. The pixels are a numpy array or anything that is sliced like one; a stack from a file is read plane by
plane or region by region, when it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from focuslab.calibration import Calibration
from focuslab.errors import CalibrationError, ImageError, RequestError
from focuslab.optics.optics import Optics
from focuslab.pixels import LazyPixels, Pixels, Region

__all__ = ["AXES", "FocalStack", "as_stack"]

AXES = "TCZYX"


@dataclass(frozen=True, slots=True, eq=False)
class FocalStack:
    """Images of one field with their axes and calibration; `numpy.asarray` loads the pixels.

    Attributes
    ----------
    array
        Pixels, one axis per letter of `axes`.
    axes
        Letters from ``TCZYX`` in that order, ending in ``YX``.
    calibration
        What is known of the microscope.
    provenance
        How the pixels came to be: written into the file by `focuslab.write`.
    family
        File format that it came from: ``tiff``, ``imagej``, ``ome`` or ``zarr``; results are written in the same.

    Raises
    ------
    ImageError
        If axes and shape disagree, or the pixels are not real numbers.
    """

    array: Pixels
    axes: str = "YX"
    calibration: Calibration = field(default_factory=Calibration)
    provenance: dict[str, Any] = field(default_factory=dict)
    family: str = "ome"

    def __post_init__(self) -> None:
        ordered = "".join(a for a in AXES if a in self.axes)
        if ordered != self.axes or not self.axes.endswith("YX"):
            raise ImageError(
                f"Axes must be letters of {AXES} in that order, ending in YX; got {self.axes!r}. "
                "Name them with --axes (command line) or `axes` (Python)."
            )
        if len(self.axes) != len(self.array.shape):
            raise ImageError(
                f"Axes {self.axes!r} name {len(self.axes)} dimensions, but the image has shape {self.array.shape}."
            )
        if self.array.dtype.kind not in "uif":
            raise ImageError(f"Pixels must be whole or real numbers, got {self.array.dtype}.")
        if 0 in self.array.shape:
            raise ImageError(f"The image is empty: its shape is {self.array.shape}.")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.array, dtype, copy=copy)

    @property
    def shape(self) -> tuple[int, ...]:
        """Size along each of `axes`."""
        return tuple(self.array.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a pixel."""
        return self.array.dtype

    @property
    def plane_shape(self) -> tuple[int, int]:
        """(Y, X)."""
        return self.shape[-2], self.shape[-1]

    def size(self, axis: str) -> int:
        """Length of an axis, 1 when it is missing."""
        return self.shape[self.axes.index(axis)] if axis in self.axes else 1

    def planes(self) -> Iterator[tuple[int, ...]]:
        """Indices of all planes over the leading axes, in order."""
        return product(*(range(n) for n in self.shape[:-2]))

    def line(self, index: tuple[int, ...], axis: str) -> list[tuple[int, ...]]:
        """Indices of all planes that differ from one along `axis` at most; that one alone when the axis is missing."""
        if axis not in self.axes:
            return [index]
        at = self.axes.index(axis)
        return [(*index[:at], i, *index[at + 1 :]) for i in range(self.shape[at])]

    def one_plane(self, index: tuple[int, ...] | int) -> tuple[int, ...]:
        """Index of a plane, checked; ``()`` is that of the only one, a number that along the only axis of planes.

        Raises
        ------
        RequestError
            If the stack has no such plane, or several and none was named.
        """
        planes = list(self.planes())
        if isinstance(index, int):
            index = (index,)
        if not index and len(planes) == 1:
            return planes[0]
        if tuple(index) not in planes:
            leading = self.axes[:-2]
            raise RequestError(
                f"Which plane? The image has {len(planes)} (axes {self.axes}, shape {self.shape}), got index "
                f"{tuple(index)}: give one number for each of {', '.join(leading) or 'no axis'}, from 0."
            )
        return tuple(index)

    def position(self, index: tuple[int, ...], axis: str) -> int:
        """Coordinate along `axis` of a plane index, 0 when the axis is missing."""
        return index[self.axes.index(axis)] if axis in self.axes else 0

    def plane(self, index: tuple[int, ...] = ()) -> NDArray[Any]:
        """Read one plane (Y, X)."""
        return np.asarray(self.array[(*index, slice(None), slice(None))])

    def take(self, **positions: int) -> FocalStack:
        """Part at one position along some axes, which it no longer has, lazily: ``take(C=1, T=0)``.

        It has the calibration of its channel and its own place on the stage. An axis that is missing has a position 0.

        Raises
        ------
        RequestError
            If there is no such position.
        """
        for axis, position in positions.items():
            if axis not in AXES[:-2] or not 0 <= position < self.size(axis):
                raise RequestError(
                    f"A position along T, C or Z is taken, from 0; of axes {self.axes} and shape {self.shape} got "
                    f"{axis}={position!r}."
                )
        here = {axis: position for axis, position in positions.items() if axis in self.axes}
        known, changes = self.calibration, dict[str, object]()
        if "C" in here:
            names, colours = (
                known_of[here["C"] : here["C"] + 1] if len(known_of) > 1 else ()
                for known_of in (known.channel_names, known.channel_colours)
            )
            wave = known.wavelength_um(here["C"])
            changes |= {
                "wavelengths_um": () if wave is None else (wave,),
                "channel_names": names,
                "channel_colours": colours,
            }
        if "Z" in here:
            changes |= {"z_step_um": None, "downwards": False}
            if known.position_um:
                changes["position_um"] = (known.z_of(here["Z"]), *known.position_um[1:])
        if "T" in here:
            changes["time_step_s"] = None
        axes = "".join(axis for axis in self.axes if axis not in here)
        return replace(self, array=_Part(self, here), axes=axes, calibration=known.replace(**changes))

    def at(self, index: tuple[int, ...]) -> FocalStack:
        """One plane, by its index over the leading axes, as a stack of its own (Y, X)."""
        return self.take(**dict(zip(self.axes[:-2], index, strict=True)))

    def optics(self, channel: int = 0) -> Optics | None:
        """Optics of a channel, None when the stack is not calibrated."""
        return self.calibration.optics(channel)

    def calibrated(
        self,
        *,
        na: float | None = None,
        wavelength_um: float | Sequence[float] | None = None,
        index: float | None = None,
        pixel_size_um: float | None = None,
        z_step_um: float | None = None,
        thickness_um: float | None = None,
    ) -> FocalStack:
        """Same pixels, with numbers of the microscope that go before those of the file; None leaves a number as it is.

        A wavelength holds for all channels; several are one for each.

        Raises
        ------
        CalibrationError
            If a number is not physical, or there are not as many wavelengths as channels.
        """
        waves = () if wavelength_um is None else tuple(np.atleast_1d(wavelength_um).tolist())
        given = {"na": na, "index": index, "pixel_size_um": pixel_size_um, "z_step_um": z_step_um}
        for name, value in [*given.items(), *(("wavelength_um", wave) for wave in waves)]:
            if value is not None and not value > 0:
                raise CalibrationError(f"{name} must be a positive number, got {value}.")
        channels = self.size("C")
        if len(waves) > 1 and len(waves) != channels:
            raise CalibrationError(
                f"There is one wavelength, or one for each channel: got {len(waves)} for {channels} "
                f"channel{'s' * (channels != 1)}."
            )
        immersion = index or self.calibration.index or 1.0
        if na is not None and na >= immersion:
            raise CalibrationError(
                f"The numerical aperture must be below the immersion index, got NA {na} with index {immersion}: give "
                "the index (1.33 water, 1.518 oil)."
            )
        given["thickness_um"] = thickness_um  # may be 0
        changes: dict[str, object] = {name: value for name, value in given.items() if value is not None}
        if waves:
            changes["wavelengths_um"] = waves
        return replace(self, calibration=self.calibration.replace(**changes))

    @property
    def history(self) -> dict[str, Any]:
        """What the provenance of something made from this stack says of what was done before; nothing for raw data."""
        return {"before": self.provenance} if self.provenance else {}

    def with_array(self, array: Pixels, **provenance: Any) -> FocalStack:
        """Same axes and calibration, other pixels and provenance."""
        return replace(self, array=array, provenance=provenance)


def as_stack(image: FocalStack | NDArray[Any]) -> FocalStack:
    """Stack of an array whose last two axes are Y and X, up to three more being T, C, Z from the right.

    Raises
    ------
    ImageError
        If the array has other axes.
    """
    if isinstance(image, FocalStack):
        return image
    pixels = np.asarray(image)
    if not 2 <= pixels.ndim <= len(AXES):
        raise ImageError(f"An image has 2 to {len(AXES)} axes, the last two Y and X; got shape {pixels.shape}.")
    return FocalStack(pixels, AXES[len(AXES) - pixels.ndim :])


class _Part(LazyPixels):
    """Pixels of a stack at some positions."""

    def __init__(self, stack: FocalStack, positions: dict[str, int]) -> None:
        self._array, self._at = stack.array, [positions.get(axis) for axis in stack.axes]
        self.shape = tuple(n for n, at in zip(stack.shape, self._at, strict=True) if at is None)
        self.dtype = stack.dtype

    def _read(self, region: Region) -> NDArray[Any]:
        parts = iter(region)
        return np.asarray(self._array[tuple(next(parts) if at is None else at for at in self._at)])
