"""Where and how precisely is computed."""

import platform
from pathlib import Path

import pytest
import torch

from focuslab.errors import DeviceError
from focuslab.refocusing.devices import choose_device, choose_precision

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("library", "x86", "instructions", "expected"),
    [
        (True, True, "avx512_bf16", torch.bfloat16),
        (True, True, "amx_tile", torch.bfloat16),
        (True, True, None, torch.float32),  # AVX-512 that imitates bfloat16, slower than float32
        (True, False, None, torch.bfloat16),  # ARM with bfloat16
        (False, True, "avx512_bf16", torch.float32),  # a build that cannot make use of it
    ],
)
def test_bfloat16_only_where_the_processor_computes_in_it(
    monkeypatch: pytest.MonkeyPatch, library: bool, x86: bool, instructions: str | None, expected: torch.dtype
) -> None:
    monkeypatch.setattr(torch._C, "_has_mkldnn", True)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: library)
    monkeypatch.setattr(torch.cpu, "_is_avx2_supported", lambda: x86)
    for name in ("avx512_bf16", "amx_tile"):
        monkeypatch.setattr(torch.cpu, f"_is_{name}_supported", lambda name=name: name == instructions)
    assert choose_precision("auto", CPU) == expected
    assert choose_precision("float32", CPU) == torch.float32
    assert choose_precision("bfloat16", CPU) == torch.bfloat16


@pytest.mark.skipif(platform.system() != "Linux" or platform.machine() != "x86_64", reason="asks Linux on x86")
def test_this_processor_is_seen_as_the_system_sees_it() -> None:
    said = Path("/proc/cpuinfo").read_text()
    flags = next(line for line in said.splitlines() if line.startswith("flags")).split()
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        assert choose_precision("auto", CPU) == torch.float32
        return
    has = "avx512_bf16" in flags or "amx_bf16" in flags
    assert choose_precision("auto", CPU) == (torch.bfloat16 if has else torch.float32)


def test_a_device_without_memory_is_refused() -> None:
    with pytest.raises(DeviceError, match="no pixels"):
        choose_device("meta")
