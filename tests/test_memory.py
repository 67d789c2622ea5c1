"""Memory that a process keeps."""

import subprocess
import sys

import pytest

FETCHED = """
import resource, sys
import numpy as np
from focuslab.memory import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory(2**28, 2**28)
for step in range(6):
    if step == 1:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(2**23)  # 64 MiB, freed at once
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _pages_fetched(how: str) -> int:
    return int(subprocess.run([sys.executable, "-c", FETCHED, how], check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems are left as they are")
def test_a_buffer_that_was_freed_is_not_fetched_again() -> None:
    given_back, kept = _pages_fetched("given back"), _pages_fetched("kept")
    assert given_back > 100
    assert kept < given_back / 10
