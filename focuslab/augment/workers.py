"""Tasks on threads of this process, or on the workers of a Dask cluster.

Each task computes on one thread: the same task gives the same bits however many run at once, and wherever.
"""

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from itertools import islice
from typing import Any, TypeVar

import torch

from focuslab.errors import RequestError, lacking
from focuslab.memory import keep_freed_memory

__all__ = ["on_cluster", "on_threads"]

Task = TypeVar("Task")
Result = TypeVar("Result")
_AHEAD = 4  # tasks waiting per worker


def on_threads(
    function: Callable[[Task], Result], tasks: Sequence[Task], workers: int
) -> Generator[Result, None, None]:
    """Results as they come; when the caller goes away, the tasks at work are ended and no other is begun."""
    waiting, before = iter(tasks), torch.get_num_threads()
    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        running = {pool.submit(function, task) for task in islice(waiting, _AHEAD * workers)}
        try:
            while running:
                done = next(as_completed(running))
                running.remove(done)
                yield done.result()
                running |= {pool.submit(function, task) for task in islice(waiting, 1)}
        finally:
            for future in running:
                future.cancel()
            torch.set_num_threads(before)  # or threads that are begun later would have one as well


def on_cluster(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    scheduler: str,
    lost: Callable[[Task, BaseException], Result],
    seconds: float = 10.0,
) -> Generator[Result, None, None]:
    """Results as they come from a Dask cluster; a task whose worker dies is given to another.

    Parameters
    ----------
    function, tasks
        Both are pickled; the workers see the same files by the same paths.
    scheduler
        Address, such as ``tcp://host:8786``.
    lost
        Result of a task whose workers died every time.
    seconds
        How long to wait for the cluster.

    Raises
    ------
    RequestError
        If Dask is not installed, or there is no cluster at the address.
    """
    try:
        from distributed import Client
        from distributed import as_completed as completed
    except ModuleNotFoundError as error:
        raise lacking("A cluster", "distributed", "distributed") from error
    try:
        client: Any = Client(scheduler, timeout=seconds)  # type: ignore[no-untyped-call]
    except (OSError, ValueError, TimeoutError) as error:
        raise RequestError(
            f"There is no Dask scheduler at {scheduler} ({type(error).__name__}): start one with `dask scheduler`, or "
            "work on this machine with --workers."
        ) from error
    with client:
        futures = client.map(partial(_on_worker, function), tasks, pure=False, retries=2)
        task_of = {future.key: task for future, task in zip(futures, tasks, strict=True)}
        for future in completed(futures):  # type: ignore[no-untyped-call]
            died = future.exception()
            yield future.result() if died is None else lost(task_of[future.key], died)


def _on_worker(function: Callable[[Task], Result], task: Task) -> Result:
    torch.set_num_threads(1)
    keep_freed_memory()  # Dask starts its workers with glibc set to give back everything above 64 KiB
    return function(task)
