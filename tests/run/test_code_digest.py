"""Digests of code change with the code, and with nothing else."""

from __future__ import annotations

import shutil

import pytest

from dhl.files import PROJECT
from dhl.run.code_digest import NOT_DECISIVE, code_digest
from dhl.run.model_graph import all_models, model_spec

SAMPLE = '''
"""A module."""

from __future__ import annotations

import math
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Shape:
    """A class."""

    sides: dict[str, float] = field(default_factory=dict)

    async def wait(self, *names, limit: int = 0x10, **options):
        async with self.lock as lock:
            return [await one async for one in lock if (found := one.get("it's")) is not None]


def area(shape, /, scale=1.5e-3, *, unit='m²'):
    """A function."""
    match shape:
        case {"kind": "disk", **rest} if rest:
            text = f"{scale!r:>{10}} {shape['kind']:a{scale}b} {{{unit}}}" "joined" f"{math.pi=:.3f}"
        case [first, *_] | (first, None):
            text = f"""{
                first
            }""" + rf"\\d{scale:%H:%M}"
        case _:
            raise ValueError(r"no\\shape", 1j, ..., -1) from None
    try:
        return {**shape, "text": text, "lambda": lambda x, *y: x @ y[0]}
    except* (KeyError, TypeError) as group:
        del group
    finally:
        global counter
        counter += 1_000
'''  # noqa: E501
# The same with Python 3.11, 3.12 and 3.13.
SAMPLE_DIGEST = "f72085b7583799f778325d16136c1c844876f8490abfa978549d9e1862d7e808"
FILES = {
    "training/loop.py": "from dhl.data.noise import add\nfrom dhl.files import save\nx = add(1)\n",
    "data/noise.py": "from dhl.sigma import scale\n\ndef add(x):\n    return x * scale\n",
    "data/other.py": "def add(x):\n    return x\n",
    "sigma.py": "scale = 2\n",
    "files.py": "def save(): ...\n",
}


@pytest.fixture
def digest(tmp_path):
    """Return a function that writes a small package and digests one of its modules."""
    count = iter(range(9))

    def digest(changes: dict[str, str | None], name: str = "dhl.training.loop") -> str:
        root = tmp_path / str(next(count))
        for path, text in (FILES | changes).items():
            if text is not None:
                (root / "dhl" / path).parent.mkdir(parents=True, exist_ok=True)
                (root / "dhl" / path).write_text(text)
        return code_digest(name, root=root)

    return digest


def test_the_digest_of_a_text_is_the_same_in_every_version_of_python(digest):
    assert digest({"sigma.py": SAMPLE}, "dhl.sigma") == SAMPLE_DIGEST


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("x = 1\n", "# Why.\nx = 1  # How.\n\n\n"),
        ("def f():\n    return 1\n", 'def f():\n    """Why."""\n\n    return 1\n'),
        ("class A:\n    x = 1\n", 'class A:\n    """Why."""\n    x = 1\n    """Attribute."""\n'),
        ("f(a + b)\n", "f(\n  a\n  + b,\n)\n"),
        ("x = 'ab'\n", 'x = (\n    "a"\n    "b"\n)\n'),
        ("x = 1\n", "if TYPE_CHECKING:\n    from dhl.errors import A\nx = 1\n"),
        ("from dhl.errors import A, B\n", "from dhl.errors import (\n    B,\n    A,\n)\n"),
    ],
)
def test_comments_docstrings_and_layout_do_not_count(digest, text, other):
    assert digest({"sigma.py": text}) == digest({"sigma.py": other})


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("x = 1\n", "x = 1.0\n"),
        ("x = 1\n", "x = '1'\n"),
        ("x = 'a'\n", "x = b'a'\n"),
        ("x = None\n", "x = 'None'\n"),
        ("x = a < b\n", "x = a <= b\n"),
        ("x = (a + b) * c\n", "x = a + b * c\n"),
        ("x = f'{a}'\n", "x = f'{a!r}'\n"),
        ("x = f'{a:3}'\n", "x = f'{a:4}'\n"),
        ("x = f'{a}b'\n", "x = f'{a}c'\n"),
        ("x = {'a': 1}\n", "x = {'a': 1, **b}\n"),
        ("def f(x): ...\n", "def f(*, x): ...\n"),
        ("def f(): ...\n", "@g\ndef f(): ...\n"),
        ("if x:\n    y()\n    z()\n", "if x:\n    y()\nz()\n"),
        ("import numpy\n", "import scipy\n"),
        ("from dhl.errors import A\n", "from dhl.errors import B\n"),
        ("from dhl.errors import A\n", "from dhl.errors import B as A\n"),
    ],
)
def test_each_change_of_the_code_counts(digest, text, other):
    assert digest({"sigma.py": text}) != digest({"sigma.py": other})


@pytest.mark.parametrize(
    ("path", "counts"),
    [
        ("training/loop.py", True),
        ("data/noise.py", True),
        ("sigma.py", True),  # imported by an imported module
        ("data/other.py", False),
        ("files.py", False),  # imported, but not decisive
    ],
)
def test_an_edit_of_a_decisive_module_that_is_imported_counts(digest, path, counts):
    assert (digest({path: FILES[path] + "MORE = 1\n"}) != digest({})) == counts


def test_an_imported_module_counts_by_its_code_and_not_by_its_name(digest):
    noise, loop = FILES["data/noise.py"], FILES["training/loop.py"]
    moved = loop.replace("dhl.data.noise", "dhl.models.zzz")
    changes = {"data/noise.py": None, "models/zzz.py": noise, "training/loop.py": moved}
    assert digest(changes) == digest({})
    renamed = {"training/loop.py": None, "training/renamed.py": loop}
    assert digest(renamed, "dhl.training.renamed") == digest({})
    other = {"training/loop.py": loop.replace("data.noise", "data.other")}
    assert digest(other) != digest({})
    of_package = {"training/loop.py": "from dhl.data import noise as n\n"}
    assert digest(of_package) != digest({"training/loop.py": "from dhl.data import other as n\n"})


def test_the_digest_of_several_modules_does_not_depend_on_their_order():
    names = ("dhl.data.noise", "dhl.evaluation.metrics")
    assert code_digest(*names) == code_digest(*reversed(names)) != code_digest(names[0])


def test_a_module_that_does_not_exist_is_named():
    with pytest.raises(ModuleNotFoundError, match=r"dhl\.missing"):
        code_digest("dhl.missing")


@pytest.fixture
def stale(tiny_config, tmp_path):
    """Return a function that edits a copy of the package, and lists the models that change."""
    shutil.copytree(PROJECT / "dhl", tmp_path / "dhl", ignore=shutil.ignore_patterns("*.pyc"))
    specs = {key: model_spec(tiny_config, key) for key in all_models(tiny_config)}

    def edit(*paths: str) -> set[str]:
        for path in paths:
            file = tmp_path / "dhl" / path
            file.write_text(file.read_text() + "\nMORE = 1\n")
        return {
            key
            for key, spec in specs.items()
            if code_digest(*spec.code, root=tmp_path) != code_digest(*spec.code)
        }

    return edit


@pytest.mark.parametrize(
    "path",
    ["training/train.py", "training/trainer.py", "training/batches.py", "training/objectives.py",
     "training/optimizers.py", "training/device.py", "data/image_set.py", "data/noise.py",
     "models/padded_denoiser.py", "seeding.py", "sigma.py"],
)  # fmt: skip
def test_an_edit_of_the_training_makes_all_models_stale(tiny_config, stale, path):
    assert stale(path) == set(all_models(tiny_config))


def test_an_edit_of_a_network_makes_its_models_stale(stale):
    assert stale("models/dncnn.py") == {"dncnn-start/all", "dncnn/sigma30"}


def test_an_edit_of_code_that_cannot_change_a_weight_makes_no_model_stale(stale):
    names = {f"{name.removeprefix('dhl.').replace('.', '/')}.py" for name in NOT_DECISIVE}
    names |= {
        "config/messages.py", "config/plugins.py", "config/methods.py", "run/manifest.py",
        "run/fingerprints.py", "run/model_graph.py", "progress.py", "errors.py", "files.py",
        "gpu_slots.py", "locks.py", "signals.py",
        "cli/commands.py", "cli/data_commands.py", "data/download.py", "data/archives.py",
        "data/transfer.py", "data/check.py", "evaluation/evaluate.py", "planning/plan.py",
        "analysis/tables.py",
        "report/page.py",
    }  # fmt: skip
    assert stale(*names) == set()


def test_a_plug_in_counts_by_its_code_and_its_imports(tmp_path):
    def digest(text: str) -> str:
        path = tmp_path / f"f{len(list(tmp_path.iterdir()))}.py"
        path.write_text(text)
        return code_digest(f"{path}:f")

    text = "def f():\n    return 1\n"
    imports = f"from dhl.evaluation.metrics import psnr\n{text}"
    explained = '"Why."\n\n\ndef f():\n    "How."\n    return 1  # What.\n'
    assert digest(text) == digest(explained)
    assert len({digest(text), digest(text.replace("1", "2")), digest(imports)}) == 3
