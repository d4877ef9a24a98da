"""A function run by two processes that exchange tensors over gloo."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.queues import SimpleQueue

import torch
import torch.distributed as dist
from ports import free_port

PROCESSES = 2


def _worker(function, rank, port, queue):
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", world_size=PROCESSES, rank=rank)
    torch.set_num_threads(1)
    function(rank, queue)
    dist.barrier()
    dist.destroy_process_group()
    # Past the interpreter's own end, in which threads of gloo abort the process now and then (pytorch#190489).
    os._exit(0)


@contextmanager
def answers_of(function: Callable[[int, SimpleQueue], None]) -> Iterator[SimpleQueue]:
    """What ``function(rank, queue)`` puts into its queue in either process; both have to end well."""
    context = torch.multiprocessing.get_context("spawn")
    queue, port = context.SimpleQueue(), free_port()
    workers = [context.Process(target=_worker, args=(function, rank, port, queue)) for rank in range(PROCESSES)]
    for worker in workers:
        worker.start()
    yield queue
    for worker in workers:
        worker.join(timeout=60)
        assert worker.exitcode == 0
