"""Starting the processes that train one model together, on GPUs that are held for all of them."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, NoReturn

from dhl.device import held_gpus, uses_cuda

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dhl.config import Config


def launch(config: Config, arguments: Sequence[str]) -> NoReturn:
    """Become `torchrun`, which starts `dhl` with these arguments in `config.processes` processes.

    What this process holds, the slots on the GPUs among it, outlives the change of program.

    Raises
    ------
    UserError
        If there are fewer GPUs than processes.
    """
    environment = dict(os.environ)
    with ExitStack() as held:
        if uses_cuda(config):
            gpus = held.enter_context(held_gpus(config, config.processes))
            environment["CUDA_VISIBLE_DEVICES"] = visible(gpus, os.environ)
        run = ["-m", "torch.distributed.run", "--standalone"]
        run += ["--nproc-per-node", str(config.processes), "-m", "dhl", *arguments]
        os.execve(sys.executable, [sys.executable, *run], environment)


def visible(gpus: Sequence[int], environment: Mapping[str, str]) -> str:
    """Return `CUDA_VISIBLE_DEVICES` for some of the GPUs that are visible now."""
    names = environment.get("CUDA_VISIBLE_DEVICES")
    return ",".join(names.split(",")[index] if names else str(index) for index in gpus)
