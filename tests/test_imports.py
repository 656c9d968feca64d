"""Imports run one way through the packages; modules that need no torch do not load it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from build_architecture import (
    MODULES,
    PACKAGE,
    PACKAGES,
    WITHOUT_TORCH,
    imports_of,
    package_of,
)


def test_the_packages_are_those_in_the_list():
    folders = {path.parent.name for path in PACKAGE.glob("*/*.py")}
    assert folders == set(PACKAGES)


def test_the_tests_mirror_the_packages():
    folders = {path.parent.name for path in Path(__file__).parent.glob("*/test_*.py")}
    assert folders == {*PACKAGES, "workflow"}


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_from_itself_and_from_those_before_it(package):
    legal = {None, *PACKAGES[: PACKAGES.index(package) + 1]}
    for name in MODULES:
        if package_of(name) == package:
            assert {package_of(other) for other in imports_of(name)} <= legal, name


def test_the_helpers_import_no_package():
    helpers = [name for name in MODULES if package_of(name) is None and name != "dhl.__main__"]
    for name in helpers:
        assert {package_of(other) for other in imports_of(name)} <= {None}, name


def test_no_import_goes_round_in_a_circle():
    waiting = {name: imports_of(name) - {name} for name in MODULES}
    while waiting:
        ready = {name for name, needed in waiting.items() if not needed & set(waiting)}
        assert ready, f"a circle among {sorted(waiting)}"
        waiting = {name: needed for name, needed in waiting.items() if name not in ready}


def loaded_after(statement: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter holds after a statement."""
    program = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    return set(subprocess.check_output([sys.executable, "-c", program], text=True).split())


def test_modules_that_need_no_torch_do_not_load_it():
    light = {"dhl.evaluation.metrics", "dhl.evaluation.baseline", "dhl.data.prepare"}
    light |= {name for name in MODULES if package_of(name) in WITHOUT_TORCH}
    loaded = loaded_after("\n".join(f"import {name}" for name in sorted(light)))
    assert "dhl" in loaded
    assert not loaded & {"torch", "torchvision", "bm3d", "snakemake"}


def test_a_training_does_not_load_the_compiler():
    program = """
from torch import nn
from dhl.config.recipes import Optimizer
from dhl.training.optimizers import build_optimizer
network = nn.Linear(1, 1)
for name in ("adamw", "sgd"):
    optimizer = build_optimizer(network, Optimizer(name=name))
    network.weight.grad = network.weight.detach()
    optimizer.step()
    optimizer.zero_grad()
    optimizer.load_state_dict(optimizer.state_dict())
"""
    assert not loaded_after(program) & {"sympy", "triton"}  # what `torch._dynamo` needs


def test_the_command_line_starts_without_heavy_packages():
    loaded = loaded_after("import dhl.cli.parser")
    assert not loaded & {"torch", "pandas", "scipy", "matplotlib", "skimage", "sklearn", "bm3d"}
