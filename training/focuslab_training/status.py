"""Where a training run stands, in a file beside its checkpoints: for whoever watches it from another process.

A watcher stops a run by a file named `stop` in the same folder. Nothing here needs torch.
"""

import contextlib
import json
import os
import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from focuslab.files import drafted

__all__ = ["ORDER", "STOP", "State", "TrainingStatus"]

State = Literal["running", "finished", "stopped", "failed"]
STOP = "stop"
ORDER = "FOCUSLAB_ORDER"
_FOLDER, _FILE = "training", "status.json"
_SYNCHRONIZE, _ACCESS_DENIED, _TIMEOUT = 0x100000, 5, 0x102  # of the Windows API


@dataclass(slots=True)
class TrainingStatus:
    """State of a run.

    Attributes
    ----------
    recipe
        Its name.
    parts
        Networks that are trained, in their order.
    part, done, step, seconds_left
        Network at work, share of it that is done, step, time left for it.
    state
        ``running``, ``finished``, ``stopped`` by the user, or ``failed``.
    error
        Why it failed.
    notes
        Sentences on the run: stacks that are left out, a thickness that was fitted.
    process, host
        Id of the process that trains, and the machine that it is on.
    order
        What whoever started the run calls it, by the environment variable `ORDER`.
    """

    recipe: str
    parts: tuple[str, ...]
    part: str = ""
    done: float = 0.0
    step: int = 0
    seconds_left: float = 0.0
    state: State = "running"
    error: str = ""
    notes: tuple[str, ...] = ()
    process: int = field(default_factory=os.getpid)
    host: str = field(default_factory=lambda: _host())
    order: str = field(default_factory=lambda: os.environ.get(ORDER, ""))

    @classmethod
    def of(cls, output: Path) -> Self | None:
        """Status of the run whose bundle is written to a folder; None if there is none."""
        try:
            said = json.loads((output / _FOLDER / _FILE).read_text(encoding="utf-8"))
            status = cls(**{**said, "parts": tuple(said["parts"]), "notes": tuple(said.get("notes", ()))})
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if status.state == "running" and status.host == _host() and not _alive(status.process):
            status.state, status.error = "failed", "it was ended from outside"
        return status

    @classmethod
    @contextlib.contextmanager
    def kept(cls, output: Path, recipe: Any, *, lead: bool) -> "Iterator[_Keeper]":
        """Keep the file while a run goes on, and how it ended; only the `lead` of several processes writes."""
        keeper = _Keeper(output / _FOLDER, cls(recipe.name, tuple(recipe.trains)), lead)
        keeper.write()
        try:
            yield keeper
        except BaseException as error:
            keeper.status.state, keeper.status.error = "failed", str(error) or type(error).__name__
            raise
        else:
            keeper.status.state = "stopped" if keeper.stopped else "finished"
        finally:
            keeper.write()


def _host() -> str:
    """Name of this machine without its domain, which on a laptop changes with the network."""
    return platform.node().split(".")[0]


def _alive(process: int) -> bool:
    """Whether a process of this machine is there."""
    if os.name == "nt":  # there, asking by a signal would end it
        return _alive_on_windows(process)
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


def _alive_on_windows(process: int) -> bool:
    import ctypes

    windows: Any = ctypes.WinDLL("kernel32", use_last_error=True)  # type: ignore[attr-defined]
    handle = windows.OpenProcess(_SYNCHRONIZE, False, process)
    if not handle:
        return ctypes.get_last_error() == _ACCESS_DENIED  # type: ignore[attr-defined] # another user's
    running = windows.WaitForSingleObject(handle, 0) == _TIMEOUT
    windows.CloseHandle(handle)
    return bool(running)


class _Keeper:
    """Writes the status of a run."""

    def __init__(self, folder: Path, status: TrainingStatus, lead: bool) -> None:
        self.folder, self.status, self.lead, self.stopped = folder, status, lead, False

    def tell(self, progress: Any) -> None:
        """Note a `TrainingProgress`."""
        said = self.status
        said.part, said.done, said.step = progress.part, progress.done, progress.step
        said.seconds_left = progress.seconds_left
        self.write()

    def note(self, sentence: str) -> None:
        """Note a sentence on the run."""
        self.status.notes += (sentence,)
        self.write()

    def write(self) -> None:
        """Write the file, never half of it; a full disk is no reason to end a run."""
        if self.lead:
            with contextlib.suppress(OSError), drafted(self.folder / _FILE) as draft:
                draft.write_text(json.dumps(asdict(self.status)), encoding="utf-8")
