"""Choose where and how precisely to compute."""

from typing import Literal

import torch

from focuslab.errors import DeviceError

__all__ = ["Precision", "choose_device", "choose_precision"]

Precision = Literal["auto", "float32", "bfloat16"]


def choose_device(name: str = "auto") -> torch.device:
    """Device by name; ``auto`` takes cuda where there is one, else cpu.

    Apple's GPU (mps) is taken only where it is named: nothing here was ever run on one, some of what torch computes on
    it is known to be wrong (inverse Fourier transforms of odd length), and two threads at once may end the process.

    Raises
    ------
    DeviceError
        If a device is asked for by name and is not there; another one is never taken instead.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise DeviceError(
            f"The device {name!r} is not available here: {str(error).splitlines()[0]} Use 'auto' or 'cpu'."
        ) from error
    if device.type == "meta":
        raise DeviceError("The device 'meta' holds no pixels. Use 'auto' or 'cpu'.")
    return device


def choose_precision(precision: Precision, device: torch.device) -> torch.dtype:
    """Type of the network's inner arithmetic: bfloat16 by default where the hardware has it."""
    if precision == "float32":
        return torch.float32
    if precision == "bfloat16":
        return torch.bfloat16
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    return torch.bfloat16 if device.type == "cpu" and _processor_has_bfloat16() else torch.float32


def _processor_has_bfloat16() -> bool:
    if not (torch._C._has_mkldnn and torch.ops.mkldnn._is_mkldnn_bf16_supported()):
        return False
    if not torch.cpu._is_avx2_supported():  # not an x86 processor: the library asked the processor itself
        return True
    # Any AVX-512 passes as support, but without these the arithmetic is imitated, more slowly than float32.
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
