"""Imports run one way, and what needs no torch does not load it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "dhl"

# Each layer imports from itself and from the layers above it in this list.
LAYERS = (
    {"dhl", "class_names", "errors", "methods", "seeding", "noise", "progress", "models",
     "objectives", "data", "config", "config.base", "config.data", "config.file",
     "config.kinds", "config.methods", "config.mistakes", "config.networks", "config.pictures",
     "config.presets", "config.rules", "config.sensitivity", "config.training", "data.catalogue",
     "data.layouts", "data.locations", "data.own_files", "evaluated", "gpu_slots", "holes",
     "interruption", "keys", "lineage", "locks", "own", "probes",
     "processes", "provenance", "results", "shards", "steps"},
    {"averaging", "losses", "metrics"},
    {"data.archives", "data.check", "data.download", "data.transfer",
     "data.classification", "data.folder", "data.image_files", "data.image_set", "data.inspection",
     "data.own_set", "data.photo_digits", "data.prepare", "data.segmentation",
     "models.authors_input", "models.cascade", "models.classifier", "models.deeplab",
     "models.denoiser", "models.dncnn", "models.efficientnet_lite", "models.imagenet",
     "models.initialisation", "models.middle", "models.normalised",
     "models.residual_classifier", "models.segmenter", "models.synced_batch_norm", "models.unet",
     "objectives.denoise", "objectives.joint", "objectives.task", "baselines",
     "extents"},
    {"device", "launch", "checkpoint", "models.weights", "caffe", "optimization", "fitting",
     "reading", "sampling", "shared_models", "training", "evaluation", "probing", "denoising",
     "flops", "plan", "plan_devices", "plan_text"},
)  # fmt: skip
# From files to tables, plots and pages: no torch, and nothing that trains or measures.
PRESENTATION = {
    "scores", "statistics", "verdicts", "measured", "claims", "tables", "published", "figures",
    "figure_data", "figure_style", "strips", "markup", "report", "report_content", "report_images",
    "report_numbers", "finished", "compare", "compare_text", "crate", "export", "sensitivity",
    "sensitivity_figures",
}  # fmt: skip
PRESENTATION_MAY_READ = (
    LAYERS[0] | PRESENTATION | {"data.image_files", "data.image_set", "data.photo_digits"}
)
PROGRAM = {"cli", "commands", "__main__"}


def module_name(path: Path) -> str:
    """Return a module's name without the package."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    parts = parts[:-1] if parts[-1] == "__init__" else parts
    return ".".join(parts) or "dhl"


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports_of(name: str) -> set[str]:
    """Return the modules of the package that a module imports anywhere, but for annotations."""
    tree = ast.parse(MODULES[name].read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} has a relative import"
            found |= {
                module if (module := f"{node.module}.{alias.name}") in DOTTED else node.module
                for alias in node.names
            }
    return {DOTTED[module] for module in found if module in DOTTED}


DOTTED = {"dhl" if name == "dhl" else f"dhl.{name}": name for name in MODULES}


def test_every_module_has_one_place_in_the_order():
    places = [*LAYERS, PRESENTATION, PROGRAM]
    assert sorted(name for place in places for name in place) == sorted(MODULES)


@pytest.mark.parametrize("depth", range(len(LAYERS)))
def test_a_layer_imports_only_from_itself_and_from_below(depth):
    legal = set().union(*LAYERS[: depth + 1])
    for name in LAYERS[depth]:
        assert imports_of(name) <= legal, name


def test_tables_figures_and_report_import_nothing_that_trains_or_measures():
    for name in PRESENTATION:
        assert imports_of(name) <= PRESENTATION_MAY_READ, name


def test_only_the_program_imports_the_program():
    importers = {name for name in MODULES if imports_of(name) & PROGRAM}
    assert importers == {"__main__", "cli"}


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


def test_what_needs_no_torch_does_not_load_it():
    names = sorted((LAYERS[0] | PRESENTATION | {"metrics", "data.prepare", "baselines", "cli"})
                   - {"dhl"})  # fmt: skip
    loaded = loaded_after("\n".join(f"import dhl.{name}" for name in names))
    assert "dhl" in loaded
    assert not loaded & {"torch", "torchvision", "bm3d", "snakemake"}


def test_a_training_does_not_load_the_compiler():
    program = """
from torch import nn
from dhl.config.training import Optimizer
from dhl.optimization import build_optimizer
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
    loaded = loaded_after("import dhl.cli")
    assert not loaded & {"torch", "pandas", "scipy", "matplotlib", "skimage", "sklearn", "bm3d"}
