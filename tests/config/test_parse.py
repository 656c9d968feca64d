"""Files of a configuration: odd YAML is refused with its line, and no traceback."""

from __future__ import annotations

import pytest
from settings import refused

from dhl.config.parse import load_config, parse_config
from dhl.errors import UserError

FILES = {
    "a key in line 3 occurs again": (
        "a: 1\n\nrun: x\nrun: y\n",
        "line 4: the key `run` is in line 3",
    ),
    "a syntax error": ("run: [a\nb: {\n", "line 2, column 2"),
    "a date as a key": ("run: x\n2026-01-01: 1\n", "line 2: the key `2026-01-01`"),
    "a binary key": ("!!binary aGVsbG8=: 1\n", "line 1: the key"),
    "a truth value as a key": ("on: 1\n", "line 1: the key `on`"),
    "a list as a key": ("? [a]\n: 1\n", "line 1: the key"),
    "an alias in itself": ("run: &a [*a]\n", "line 1: more than 30 levels"),
    "a mapping in itself": ("run: &a {b: *a}\n", "more than 30 levels"),
    "deep nesting": ("run: " + "[" * 5000 + "]" * 5000, "more than 30 levels"),
    "aliases of aliases": (
        "a0: &a0 1\n" + "".join(f"a{n + 1}: &a{n + 1} [{f'*a{n}, ' * 9}]\n" for n in range(9)),
        "more than 100000 values",
    ),
    "5000 digits": ("base_seed: " + "7" * 5000, "a number of 5000 digits"),
    "octal digits": ("run: 007\n", "line 1: `007` is not a decimal number"),
    "a number of base 60": ("base_seed: 12:30\n", "line 1: `12:30` is not"),
    "digits in groups": ("base_seed: 1_706\n", "line 1: `1_706` is not"),
    "no date": ("run: 2026-13-45\n", "month"),
    "a control character": ("run: \x01\n", "#x0001"),
    "half a character": ('run: "\\ud800"\n', "surrogates"),
    "an empty file": ("", "empty"),
    "a list": ("[1]", "list"),
    "a megabyte": ("#" * 2**20 + "\n", "more than a megabyte"),
}


@pytest.mark.parametrize(("text", "came"), FILES.values(), ids=FILES)
def test_a_file_of_odd_yaml_is_refused_with_the_line(tmp_path, text, came):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        load_config(path)
    assert str(path) in caught.value.mistake
    assert came in caught.value.came


def test_a_file_that_is_no_utf_8_or_no_file_is_refused(tmp_path):
    path = tmp_path / "mine.yaml"
    for folder_or_file in (
        lambda: path.mkdir(),
        lambda: path.write_bytes("run: é".encode("utf-16")),
    ):
        folder_or_file()
        with pytest.raises(UserError, match=r"mine\.yaml"):
            load_config(path)
        if path.is_dir():
            path.rmdir()


@pytest.mark.parametrize(
    ("value", "name"), [(2026, "2026"), ("1.50", "1.50"), ("a" * 100, "a" * 100)]
)
def test_a_number_can_be_the_name_of_a_run(tiny_content, value, name):
    assert parse_config(tiny_content | {"run": value}, source="mine.yaml").run == name


def test_keys_that_no_file_could_have_are_refused():
    assert "keys must be" in refused({b"run": 1}).came
