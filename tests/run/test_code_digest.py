"""Digests of code change with the code, and with nothing else."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dhl.files import PROJECT
from dhl.run.code_digest import _plain, code_digest, text_digest
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
# The same in Python 3.11, 3.12 and 3.13.
SAMPLE_DIGEST = "72ee94641ba18cef9965c4aece43bd2508dac2c04fcacef5d1920f86463c6a13"


def test_the_digest_of_a_text_is_the_same_in_every_version_of_python():
    assert text_digest(SAMPLE) == SAMPLE_DIGEST


def test_the_parts_of_an_fstring_are_joined_however_python_splits_them():
    value = ast.FormattedValue(ast.Name("x", ast.Load()), -1, None)
    texts = (["ab"], ["a", "b"], ["a", "", "b"])
    split = [ast.JoinedStr([*map(ast.Constant, text), value, ast.Constant("")]) for text in texts]
    assert _plain(split[0]) == _plain(split[1]) == _plain(split[2])
    assert _plain(split[0]) != _plain(ast.JoinedStr([ast.Constant("ab")]))


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("x = 1\n", "# Why.\nx = 1  # How.\n\n\n"),
        ("def f():\n    return 1\n", 'def f():\n    """Why."""\n\n    return 1\n'),
        ("class A:\n    x = 1\n", 'class A:\n    """Why."""\n    x = 1\n    """Attribute."""\n'),
        ("f(a, b)\n", "f(\n    a,\n    b,\n)\n"),
        ("f(a)\n", "f(\n  a,\n)\n"),
        ("x = a + b\n", "x = (\n    a\n    + b\n)\n"),
        ("x = 'a'\n", 'x = "a"\n'),
        ("x = 'ab'\n", "x = (\n    'a'\n    'b'\n)\n"),
        ("x = 1\n", "if TYPE_CHECKING:\n    from dhl.errors import A\nx = 1\n"),
        ("if x:\n  y()\n", "if x:\n        y()\n"),
        ("from dhl.errors import A, B\n", "from dhl.errors import (\n    B,\n    A,\n)\n"),
    ],
)
def test_comments_docstrings_and_layout_do_not_count(text, other):
    assert text_digest(text) == text_digest(other)


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("x = 1\n", "y = 1\n"),
        ("x = 1\n", "x = 2\n"),
        ("x = 1\n", "x = 1.0\n"),
        ("x = 1\n", "x = True\n"),
        ("x = 1\n", "x = '1'\n"),
        ("x = 'a'\n", "x = b'a'\n"),
        ("x = None\n", "x = 'None'\n"),
        ("x = 1\n", "x += 1\n"),
        ("x = 1\n", "x: int = 1\n"),
        ("x = a + b\n", "x = a - b\n"),
        ("x = a < b\n", "x = a <= b\n"),
        ("x = a, b\n", "x = b, a\n"),
        ("x = (a)\n", "x = (a,)\n"),
        ("x = [a]\n", "x = {a}\n"),
        ("x = (a + b) * c\n", "x = a + b * c\n"),
        ("x = f'{a}'\n", "x = '{a}'\n"),
        ("x = f'{a}'\n", "x = f'{a!r}'\n"),
        ("x = f'{a:3}'\n", "x = f'{a:4}'\n"),
        ("x = {'a': 1}\n", "x = {'a': 1, **b}\n"),
        ("f(a)\n", "f(*a)\n"),
        ("f(a)\n", "f(a=a)\n"),
        ("def f(x): ...\n", "def f(x=None): ...\n"),
        ("def f(x): ...\n", "def f(*, x): ...\n"),
        ("def f(): ...\n", "async def f(): ...\n"),
        ("def f(): ...\n", "@g\ndef f(): ...\n"),
        ("if x:\n    y()\n    z()\n", "if x:\n    y()\nz()\n"),
        ("for x in y:\n    break\n", "for x in y:\n    continue\n"),
        ("import numpy\n", "import scipy\n"),
        ("from dhl.errors import A\n", "from dhl.errors import B\n"),
        ("from dhl.errors import A\n", "from dhl.errors import B as A\n"),
    ],
)
def test_each_change_of_the_code_counts(text, other):
    assert text_digest(text) != text_digest(other)


FILES = {
    "training/loop.py": "from dhl.data.noise import add\nfrom dhl.files import save\nx = add(1)\n",
    "data/noise.py": "from dhl.sigma import scale\n\ndef add(x):\n    return x * scale\n",
    "data/other.py": "def add(x):\n    return x\n",
    "sigma.py": "scale = 2\n",
    "files.py": "def save(): ...\n",
}


@pytest.fixture
def package(tmp_path):
    """Return a function that writes a small package and digests `training/loop.py`, or another."""
    count = iter(range(9))

    def digest(changes: dict[str, str | None], name: str = "dhl.training.loop") -> str:
        root = tmp_path / str(next(count))
        for path, text in (FILES | changes).items():
            if text is not None:
                (root / "dhl" / path).parent.mkdir(parents=True, exist_ok=True)
                (root / "dhl" / path).write_text(text)
        return code_digest(name, root=root)

    return digest


@pytest.mark.parametrize("path", ["training/loop.py", "data/noise.py", "sigma.py"])
def test_an_edit_of_an_imported_decisive_module_counts(package, path):
    assert package({path: FILES[path] + "MORE = 1\n"}) != package({})


@pytest.mark.parametrize("path", ["data/other.py", "files.py"])
def test_an_edit_of_any_other_module_does_not_count(package, path):
    assert package({path: FILES[path] + "MORE = 1\n"}) == package({})


def test_the_name_and_place_of_a_module_do_not_count(package):
    noise, loop = FILES["data/noise.py"], FILES["training/loop.py"]
    moved = loop.replace("dhl.data.noise", "dhl.models.zzz").splitlines(keepends=True)
    changes = {
        "data/noise.py": None,
        "models/zzz.py": noise,
        "training/loop.py": "".join([moved[1], moved[0], *moved[2:]]),  # sorted again
    }
    assert package(changes) == package({})
    changes = {"training/loop.py": None, "training/renamed.py": loop}
    assert package(changes, "dhl.training.renamed") == package({})


def test_an_import_of_the_same_name_from_another_module_counts(package):
    loop = FILES["training/loop.py"].replace("dhl.data.noise", "dhl.data.other")
    assert package({"training/loop.py": loop}) != package({})


def test_an_imported_module_counts_by_its_code(package):
    def importing(module: str) -> dict[str, str]:
        return {"training/loop.py": f"from dhl.data import {module} as n\n\nx = n.add(1)\n"}

    renamed = {"data/noise.py": None, "data/renamed.py": FILES["data/noise.py"]}
    assert package(importing("noise")) == package(importing("renamed") | renamed)
    assert package(importing("noise")) != package(importing("other"))


def test_the_digest_of_several_modules_does_not_depend_on_their_order():
    names = ("dhl.data.noise", "dhl.evaluation.metrics")
    assert code_digest(*names) == code_digest(*reversed(names)) != code_digest(names[0])


def test_a_module_that_does_not_exist_is_named():
    with pytest.raises(ModuleNotFoundError, match=r"dhl\.missing"):
        code_digest("dhl.missing")


def test_digests_are_the_same_in_another_process():
    program = "from dhl.run.code_digest import *; print(code_digest('dhl.training.train'))"
    output = subprocess.check_output([sys.executable, "-c", program], text=True)
    assert output.strip() == code_digest("dhl.training.train")


@pytest.fixture
def stale(tiny_config, tmp_path):
    """Return a function that edits a copy of the package, and lists the models that change."""
    shutil.copytree(PROJECT / "dhl", tmp_path / "dhl")
    specs = {key: model_spec(tiny_config, key) for key in all_models(tiny_config)}

    def edit(path: str) -> set[str]:
        with (tmp_path / "dhl" / path).open("a") as file:
            file.write("\nMORE = 1\n")
        return {
            key
            for key, spec in specs.items()
            if code_digest(*spec.code, root=tmp_path) != code_digest(*spec.code)
        }

    return edit


def objectives() -> list[str]:
    """List the modules of training objectives."""
    return [f"training/{path.name}" for path in (PROJECT / "dhl/training").glob("objective*.py")]


@pytest.mark.parametrize(
    "path",
    ["training/trainer.py", "training/batches.py", "data/image_set.py", "seeding.py"],
)
def test_an_edit_of_the_training_makes_all_models_stale(tiny_config, stale, path):
    assert stale(path) == set(all_models(tiny_config))


NEAR_OBJECTIVES = ("data/noise.py", "sigma.py", "models/padded_denoiser.py")


@pytest.mark.parametrize("path", [*objectives(), *NEAR_OBJECTIVES])
def test_an_edit_of_an_objective_makes_models_stale(stale, path):
    assert stale(path)


def test_an_edit_of_a_network_makes_its_models_stale(stale):
    assert stale("models/dncnn.py") == {"dncnn-start/all", "dncnn/sigma30"}


@pytest.mark.parametrize(
    "path",
    [
        "config/messages.py", "config/plugins.py", "config/methods.py", "run/manifest.py",
        "run/fingerprints.py", "run/model_graph.py", "progress.py", "errors.py", "files.py",
        "cli/commands.py", "data/download.py", "data/archives.py", "data/transfer.py",
        "data/check.py", "evaluation/evaluate.py", "planning/plan.py", "analysis/tables.py",
        "report/page.py",
    ],
)  # fmt: skip
def test_an_edit_of_what_cannot_change_a_weight_makes_no_model_stale(stale, path):
    assert stale(path) == set()


def test_every_example_of_a_plug_in_has_a_digest(monkeypatch):
    monkeypatch.chdir(PROJECT)
    examples = {"poisson": "poisson_gaussian", "residual": "residual", "shapes": "shapes"}
    references = [f"docs/examples/{file}.py:{name}" for file, name in examples.items()]
    assert len({code_digest(reference) for reference in references}) == len(references)


def test_a_plug_in_counts_by_the_code_of_its_file_and_of_what_it_imports(tmp_path):
    def digest(text: str) -> str:
        path = Path(tmp_path, f"f{len(list(tmp_path.iterdir()))}.py")
        path.write_text(text)
        return code_digest(f"{path}:f")

    text = "def f():\n    return 1\n"
    assert digest(text) == digest(f"# Why.\n{text}")
    assert digest(text) != digest(text.replace("1", "2"))
    assert digest(text) != digest(f"from dhl.evaluation.metrics import psnr\n{text}")
