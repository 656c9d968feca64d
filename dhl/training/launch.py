"""Starting the processes that train one model together, on GPUs that are held for all of them."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, NoReturn

from dhl.training.device import held_gpus, uses_cuda
from dhl.training.trainer import Stopped

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dhl.config.schema import Config


def launch(config: Config, arguments: Sequence[str]) -> NoReturn:
    """Be `torchrun`: start `dhl` with these arguments in `config.processes` processes, and exit.

    The exit status tells a training that was stopped, by a signal to this process or to another,
    from one that failed.

    Raises
    ------
    UserError
        If there are fewer GPUs than processes.
    """
    with ExitStack() as held:
        if uses_cuda(config):
            gpus = held.enter_context(held_gpus(config, config.processes))
            os.environ["CUDA_VISIBLE_DEVICES"] = visible(gpus, os.environ)
        # Else each process warns of the search for unused parameters that the trainer wants.
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
        run = ["--standalone", "--nproc-per-node", str(config.processes)]
        sys.exit(_torchrun([*run, "-m", "dhl", *arguments]))


def _torchrun(arguments: Sequence[str]) -> int:
    """Run `torchrun` in this process and return the exit status."""
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main

    try:
        main(list(arguments))
    except SignalException:
        return Stopped.status
    except ChildFailedError as error:
        statuses = {failure.exitcode for failure in error.failures.values()}
        return Stopped.status if Stopped.status in statuses else 1
    return 0


def visible(gpus: Sequence[int], environment: Mapping[str, str]) -> str:
    """Return `CUDA_VISIBLE_DEVICES` for some of the GPUs that are visible now."""
    names = environment.get("CUDA_VISIBLE_DEVICES")
    return ",".join(names.split(",")[index] if names else str(index) for index in gpus)
