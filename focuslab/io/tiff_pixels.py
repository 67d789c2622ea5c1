"""Pixels of a TIFF series, read by region.

Uncompressed files are memory-mapped; of compressed ones only the strips or tiles that a region touches are
decoded. Nothing is allocated for the whole image, so a header may claim what it likes.
"""

import math
import os
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from focuslab.errors import ImageError
from focuslab.io.open_files import OpenFiles
from focuslab.pixels import LazyPixels, Region

__all__ = ["TiffPixels"]

_OPEN = OpenFiles()
_LARGEST_SEGMENT = 1 << 30  # bytes decoded at once
_LARGEST_KEPT = 1 << 27


class TiffPixels(LazyPixels):
    """Lazy array over one TIFF series; leading axes by integer or slice, Y and X by slice.

    Parameters
    ----------
    path
        The file, for messages.
    tiff
        Opened file; it is closed with this object, or while many others are read.
    series
        Series of the file, its last axes Y and X (and S for RGB samples).
    """

    def __init__(self, path: Path, tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> None:
        self._path, self._tiff, self._series, self._lock = path, tiff, series, threading.Lock()
        self.shape = tuple(series.shape)
        self.dtype = np.dtype(series.dtype).newbyteorder("=")
        self._samples = "S" in series.axes
        self._samples_first = self._samples and not series.axes.endswith("S")
        # Few planes in one page, which tifffile writes of a compressed stack of three or four: read as a whole.
        self._several = not self._samples and series.keyframe.ndim > 2
        self._page_ndim = series.keyframe.ndim if self._several else 3 if self._samples else 2
        weakref.finalize(self, tiff.close)
        self._last: tuple[Any, NDArray[Any] | None] = None, None
        self._mapped = self._map()
        self._maps = self._mapped is not None
        if not self._maps:
            self._check_segments()
        _OPEN.use(self)

    def _read(self, region: Region) -> NDArray[Any]:
        _OPEN.use(self)
        if (mapped := self._awake()) is not None:
            return np.ascontiguousarray(mapped[region]).astype(self.dtype, copy=False)
        return self._decoded(region)

    def rest(self) -> None:
        """Close the file until it is read again."""
        with self._lock:
            self._mapped = None
            self._tiff.filehandle.close()

    def _awake(self) -> NDArray[Any] | None:
        """The file, open again: its map, or None where it has none."""
        try:
            with self._lock:
                if self._maps:
                    self._mapped = self._map() if self._mapped is None else self._mapped
                elif self._tiff.filehandle.closed:
                    self._tiff.filehandle.open()
                return self._mapped
        except OSError as error:
            raise ImageError(f"{self._path.name} cannot be opened again: {error.strerror}.") from error

    def _decoded(self, region: Region) -> NDArray[Any]:
        lead = self.ndim - self._page_ndim
        picks = [range(n)[part] for n, part in zip(self.shape, region, strict=True)]
        pixels = np.empty([len(p) for p in picks], self.dtype)
        for where in np.ndindex(pixels.shape[:lead]):
            number = np.ravel_multi_index([p[k] for p, k in zip(picks, where, strict=False)], self.shape[:lead])
            pixels[where] = self._page(int(number) if lead else 0, region[lead:])
        return pixels

    def _map(self) -> NDArray[Any] | None:
        series = self._series
        if series.dataoffset is None or series.keyframe.compression != 1:
            return None
        first = series.pages[0]
        if first is None or first.parent is not self._tiff:  # the offset is one in another file of a set
            return None
        needed = series.dataoffset + math.prod(series.shape) * np.dtype(series.dtype).itemsize
        if needed > self._tiff.filehandle.size:
            raise ImageError(
                f"{self._path.name} is truncated: its header announces {needed} bytes, the file has "
                f"{self._tiff.filehandle.size}. Copy it again from its source."
            )
        dtype = np.dtype(series.dtype).newbyteorder(self._tiff.byteorder)
        return np.memmap(self._path, dtype, "r", series.dataoffset, self.shape)

    def _check_segments(self) -> None:
        frame = self._series.keyframe
        size = self._tiff.filehandle.size
        claimed = math.prod(self.shape) * self.dtype.itemsize
        if claimed > (1 << 30) and claimed > 2000 * size:
            raise ImageError(
                f"{self._path.name} is damaged: its header announces {claimed} bytes of pixels, which the "
                f"{size} bytes of the file cannot hold."
            )
        segment = math.prod(frame.chunks) * self.dtype.itemsize
        if segment > _LARGEST_SEGMENT:
            raise ImageError(
                f"{self._path.name} is compressed as one block of {segment / 2**30:.1f} GiB, which cannot be read in "
                "parts. Save it again with tiles or strips."
            )
        for page in self._series.pages:
            if page is None or page.parent is not self._tiff:
                continue
            if any(at + n > size for at, n in zip(page.dataoffsets, page.databytecounts, strict=True)):
                raise ImageError(f"{self._path.name} is truncated: some pixels lie beyond the end of the file.")

    def _page(self, number: int, inner: tuple[Any, ...]) -> NDArray[Any]:
        """Decode the segments of one page that the region (Y, X[, S]) touches."""
        page = self._series.pages[number]
        if page is None:  # a missing file of a multi-file set
            raise ImageError(f"{self._path.name}: plane {number} belongs to a file that is missing.")
        if self._several:
            return self._whole(page, number)[inner]
        frame: Any = page.keyframe
        height, width = frame.imagelength, frame.imagewidth
        samples = inner[0] if self._samples_first else inner[-1]
        rows, columns = (part.indices(n) for part, n in zip(
            inner[1:] if self._samples_first else inner[:2], (height, width), strict=True))  # fmt: skip
        y0, y1, x0, x1 = rows[0], rows[1], columns[0], columns[1]
        tall, wide = (frame.tilelength, frame.tilewidth) if frame.is_tiled else (frame.rowsperstrip, width)
        across = -(-width // wide)
        out = np.zeros((y1 - y0, x1 - x0, frame.samplesperpixel), self.dtype)
        planar = frame.planarconfig == 2 and frame.samplesperpixel > 1
        down = -(-height // tall)
        for sample in range(frame.samplesperpixel if planar else 1):
            for j in range(y0 // tall, -(-y1 // tall)):
                for i in range(x0 // wide, -(-x1 // wide)):
                    number = (sample * down + j) * across + i
                    block = self._block(page, number)
                    if block is None:
                        continue
                    ya, yb = max(y0, j * tall), min(y1, j * tall + block.shape[1])
                    xa, xb = max(x0, i * wide), min(x1, i * wide + block.shape[2])
                    part = block[0, ya - j * tall : yb - j * tall, xa - i * wide : xb - i * wide]
                    where = (slice(ya - y0, yb - y0), slice(xa - x0, xb - x0))
                    if planar:
                        out[(*where, sample)] = part[..., 0]
                    else:
                        out[where] = part
        out = out[:: rows[2], :: columns[2]]
        if not self._samples:
            return out[..., 0]
        return np.moveaxis(out[..., samples], -1, 0) if self._samples_first else out[..., samples]

    def _block(self, page: Any, number: int) -> NDArray[Any] | None:
        """One strip or tile, decoded; the last one is kept, which a file of few strips is asked for again and again."""
        last, block = self._last
        if (key := (page.parent.filehandle.path, page.dataoffsets[number])) != last:
            block = self._decode(page.keyframe, self._segment(page, number), number, page)
            if block is None or block.nbytes <= _LARGEST_KEPT:
                self._last = key, block
        return block

    def _whole(self, page: Any, number: int) -> NDArray[Any]:
        try:
            with self._lock:
                if page.parent.filehandle.closed:  # while other files were read
                    page.parent.filehandle.open()
                return np.asarray(page.asarray(), self.dtype)
        except Exception as error:  # codecs raise errors of many kinds
            raise ImageError(f"{self._path.name} is damaged: page {number} cannot be decoded ({error}).") from error

    def _segment(self, page: Any, number: int) -> bytes | None:
        """Read one strip or tile, in any thread or forked process; other files of a set are open only meanwhile."""
        handle, size, offset = page.parent.filehandle, page.databytecounts[number], page.dataoffsets[number]
        if not size:
            return None
        with self._lock:
            closed = handle.closed
            if closed:
                handle.open()
            try:
                if hasattr(os, "pread"):  # does not move the place in the file that all of them share
                    return os.pread(handle.fileno(), size, offset)
                handle.seek(offset)
                return bytes(handle.read(size))
            finally:
                if closed:
                    handle.close()

    def _decode(self, frame: Any, data: bytes | None, number: int, page: Any) -> NDArray[Any] | None:
        try:
            block = frame.decode(data, number, jpegtables=page.jpegtables, _fullsize=True)[0]
        except Exception as error:  # codecs raise errors of many kinds
            raise ImageError(f"{self._path.name} is damaged: block {number} cannot be decoded ({error}).") from error
        return None if block is None else np.asarray(block)
