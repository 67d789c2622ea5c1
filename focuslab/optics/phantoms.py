"""Synthetic specimens with known truth: nuclei, filaments, membranes, puncta, and mixtures of them.

A phantom is the light that a flat specimen emits, before any optics: linear, not negative, the bright
structures near 1, sampled on the camera grid. Every phantom is a function of (shape, scale, seed) alone.
Shapes are drawn as smooth level sets, so that nothing is aliased.
"""

from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from focuslab.errors import RequestError

__all__ = ["PHANTOMS", "PhantomKind", "phantom"]

Image = NDArray[np.float32]
PhantomKind = Literal["nuclei", "filaments", "membranes", "puncta", "mixed"]
PHANTOMS: tuple[PhantomKind, ...] = get_args(PhantomKind)


def phantom(
    kind: PhantomKind, shape: tuple[int, int] = (512, 512), *, seed: int = 0, scale_px: float | None = None
) -> Image:
    """Draw a specimen.

    Parameters
    ----------
    kind
        ``nuclei`` (textured ellipses), ``filaments`` (wandering lines), ``membranes`` (outlines of packed
        cells), ``puncta`` (spots) or ``mixed``.
    shape
        (Y, X) in camera pixels.
    seed
        The same seed draws the same specimen.
    scale_px
        Typical size of a structure in pixels; drawn from the seed when not given.

    Returns
    -------
    ndarray (Y, X), float32
        Light per pixel, 0 in the dark, about 1 in the bright structures.

    Raises
    ------
    RequestError
        If the kind is unknown or the shape is empty.
    """
    if kind not in PHANTOMS:
        raise RequestError(f"A phantom is one of {', '.join(PHANTOMS)}, got {kind!r}.")
    if min(shape) < 8:
        raise RequestError(f"A phantom needs at least 8 x 8 pixels, got {shape[0]} x {shape[1]}.")
    rng = np.random.default_rng(seed)
    if kind == "mixed":
        first, second = rng.choice(sorted(_DRAW), size=2, replace=False)
        return np.asarray(
            _DRAW[first](rng, shape, scale_px) + rng.uniform(0.2, 1) * _DRAW[second](rng, shape, scale_px)
        )
    return _DRAW[kind](rng, shape, scale_px)


def _nuclei(rng: np.random.Generator, shape: tuple[int, int], scale: float | None) -> Image:
    radius = scale or np.exp(rng.uniform(np.log(4), np.log(40)))
    count = rng.poisson(rng.uniform(0.03, 0.6) * shape[0] * shape[1] / (np.pi * radius**2)) + 1
    image = np.zeros(shape, np.float32)
    texture = _grain(rng, shape, radius * rng.uniform(0.06, 0.3)) * rng.uniform(0.05, 0.5)
    edge = rng.uniform(0.5, 1.5)
    for _ in range(count):
        r = radius * rng.uniform(0.7, 1.35)
        y, x = rng.uniform(-r, shape[0] + r), rng.uniform(-r, shape[1] + r)
        window, dy, dx = _window(shape, y, x, 2 * r + 4)
        if dy.size == 0 or dx.size == 0:
            continue
        angle, flat = rng.uniform(0, np.pi), rng.uniform(0.6, 1)
        u = (np.cos(angle) * dx + np.sin(angle) * dy) / r
        v = (-np.sin(angle) * dx + np.cos(angle) * dy) / (r * flat)
        phi = np.arctan2(v, u)
        lobes = sum(rng.normal(0, 0.08 / k) * np.cos(k * phi + rng.uniform(0, 6.3)) for k in (2, 3, 4, 5))
        inside = _soft((1 + lobes - np.hypot(u, v)) * r, edge)
        body = inside * rng.lognormal(-0.5, 0.5) * (1 + texture[window])
        for _ in range(rng.integers(0, 5)):  # nucleoli are dark, chromocentres are bright
            ny, nx = rng.uniform(-0.6, 0.6, 2) * r
            spot = np.exp(-((dy - ny) ** 2 + (dx - nx) ** 2) / (2 * (r * rng.uniform(0.06, 0.2)) ** 2))
            body = body * (1 + rng.uniform(-0.7, 0.8) * spot)
        image[window] = np.maximum(image[window], body)
    return np.maximum(image, 0)


def _filaments(rng: np.random.Generator, shape: tuple[int, int], scale: float | None) -> Image:
    width = (scale or np.exp(rng.uniform(np.log(1), np.log(5)))) / 2
    image = np.zeros(shape, np.float32)
    persistence = rng.uniform(0.01, 0.12)
    for _ in range(rng.integers(5, 60)):
        steps = int(rng.uniform(0.4, 1.8) * max(shape) * 2)
        heading = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, persistence, steps))
        start = rng.uniform(0, 1, 2) * shape
        path = start + 0.5 * np.cumsum(np.stack([np.sin(heading), np.cos(heading)], 1), 0)
        _splat(image, path, np.full(steps, rng.lognormal(-0.3, 0.5), np.float32))
    return _peak_one(ndimage.gaussian_filter(image, max(width, 0.6)))


def _membranes(rng: np.random.Generator, shape: tuple[int, int], scale: float | None) -> Image:
    spacing = scale or np.exp(rng.uniform(np.log(12), np.log(80)))
    count = max(int(shape[0] * shape[1] / spacing**2), 2)
    seeds = rng.uniform(-0.1, 1.1, (2 * count, 2)) * shape
    warp = [_grain(rng, shape, spacing * 0.3) * spacing * 0.08 for _ in range(2)]
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1) + np.stack(warp, -1)
    from scipy.spatial import cKDTree

    near = cKDTree(seeds).query(grid.reshape(-1, 2), k=2)[0].reshape(*shape, 2)
    distance = (near[..., 1] - near[..., 0]) / 2
    width = rng.uniform(0.6, 2.5)
    brightness = np.clip(1 + 0.5 * _grain(rng, shape, spacing * 0.4), 0.1, None)
    filling = rng.uniform(0, 0.25) * (1 + 0.5 * _grain(rng, shape, spacing * 0.1))
    return np.asarray(np.maximum(np.exp(-((distance / width) ** 2) / 2) * brightness + filling, 0), np.float32)


def _puncta(rng: np.random.Generator, shape: tuple[int, int], scale: float | None) -> Image:
    sigma = (scale or np.exp(rng.uniform(np.log(1.2), np.log(8)))) / 2
    count = rng.poisson(np.exp(rng.uniform(np.log(0.0003), np.log(0.01))) * shape[0] * shape[1]) + 1
    image = np.zeros(shape, np.float32)
    centres = rng.uniform(0, 1, (count, 2)) * shape
    groups = max(int(count * rng.uniform(0.05, 1)), 1)  # some specimens gather their spots
    if rng.random() < 0.5:
        centres = rng.uniform(0, 1, (groups, 2))[rng.integers(0, groups, count)] * shape
        centres = centres + rng.normal(0, 12 * sigma + 5, (count, 2))
    _splat(image, centres, rng.lognormal(0, 0.6, count).astype(np.float32))
    haze = rng.uniform(0, 0.15) * np.maximum(_grain(rng, shape, 25) + 0.5, 0)
    return np.asarray(_peak_one(ndimage.gaussian_filter(image, max(sigma, 0.6))) + haze, np.float32)


_DRAW: dict[str, Callable[[np.random.Generator, tuple[int, int], float | None], Image]] = {
    "nuclei": _nuclei,
    "filaments": _filaments,
    "membranes": _membranes,
    "puncta": _puncta,
}


def _window(
    shape: tuple[int, int], y: float, x: float, reach: float
) -> tuple[tuple[slice, slice], NDArray[Any], NDArray[Any]]:
    """Part of the image within `reach` of (y, x), and the distances from it along each axis."""
    bounds = [(max(int(c - reach), 0), min(int(c + reach) + 1, n)) for c, n in zip((y, x), shape, strict=True)]
    (y0, y1), (x0, x1) = bounds
    return (slice(y0, y1), slice(x0, x1)), np.arange(y0, y1)[:, None] - y, np.arange(x0, x1)[None, :] - x


def _soft(distance: NDArray[np.float64], edge: float) -> NDArray[np.float64]:
    """1 inside, 0 outside, over an edge of about `edge` pixels."""
    return 0.5 * (1 + np.tanh(distance / edge))


def _grain(rng: np.random.Generator, shape: tuple[int, int], size: float) -> Image:
    """Smooth random field of zero mean and unit standard deviation, grains of `size` pixels."""
    field = ndimage.gaussian_filter(rng.standard_normal(shape).astype(np.float32), size, mode="wrap")
    return np.asarray((field - field.mean()) / max(float(field.std()), 1e-6), np.float32)


def _splat(image: Image, points: NDArray[np.float64], weights: Image) -> None:
    """Add points (N, 2) to the image with bilinear weights; points outside are dropped."""
    base = np.floor(points).astype(int)
    frac = points - base
    for dy in (0, 1):
        for dx in (0, 1):
            y, x = base[:, 0] + dy, base[:, 1] + dx
            ok = (y >= 0) & (y < image.shape[0]) & (x >= 0) & (x < image.shape[1])
            share = np.abs(1 - dy - frac[:, 0]) * np.abs(1 - dx - frac[:, 1])
            np.add.at(image, (y[ok], x[ok]), (weights * share)[ok].astype(np.float32))


def _peak_one(image: Image) -> Image:
    peak = float(np.percentile(image, 99.8)) or float(image.max()) or 1.0
    return np.asarray(image / peak, np.float32)
