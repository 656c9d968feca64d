"""Seeded mutations of the user's files: a message or a result, no traceback and no hang.

`DHL_FUZZ=10 pytest -m slow tests/test_fuzz.py` tries ten times as many, `DHL_FUZZ_SEED` others.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from caffe_net import authors_denoiser
from PIL import Image
from skimage import data as pictures

from dhl.cli.parser import main
from dhl.files import PROJECT

pytestmark = pytest.mark.slow

MORE = float(os.environ.get("DHL_FUZZ", "1"))
SEED = int(os.environ.get("DHL_FUZZ_SEED", "1706"))
SECONDS = 10
ODD = (
    "", "~", "-1", "0", "1e400", ".nan", ".inf", "-.inf", "1.5", "true", "[]", "{}", "[[[]]]",
    "'9'", "2026-01-01", '"\\0"', '"\\ud800"', "*a", "&a [*a]", "!!binary aGk=", "!!set {a}",
    "a" * 300, "9" * 30, "9" * 5000, "../..", "/", "photo-digits", "docs/none.py:f", "null", "é",
    "{kind: folder}", "\u202e", "[30.0000001, 30]", "? [a]", "|", ">-", "%", "@", "`", "1_000",
    "0x1F", "1:30", "=", "<<",
)  # fmt: skip


@contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """Raise a `TimeoutError` in the block if it takes longer."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"more than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def try_all(mutated: Iterator[bytes], path: Path, arguments: list[str], capsys) -> set[int]:
    """Run a command on each mutation of a file; return the exit statuses.

    The mutation stays in `path` if the command fails in another way than by a message.
    """
    statuses = set()
    for number, content in enumerate(mutated):
        path.write_bytes(content)
        with at_most(SECONDS):
            status = main(arguments)
        printed = capsys.readouterr()
        assert "Traceback" not in printed.out + printed.err, f"mutation {number} in {path}"
        assert status in (0, 1), f"mutation {number} in {path}"
        assert (status == 1) == ("\n  to do: " in printed.err), f"mutation {number} in {path}"
        statuses.add(status)
    return statuses


def bytes_mutated(content: bytes, count: int, name: str, *, first: int = 10**9) -> Iterator[bytes]:
    """Yield copies with flipped, other, missing, repeated and inserted bytes; half near `first`."""
    random = np.random.default_rng([SEED, *name.encode()])
    for _ in range(int(count * MORE)):
        changed = bytearray(content)
        for _ in range(random.integers(1, 5)):
            end = len(changed) if random.random() < 0.5 else min(first, len(changed))
            at = int(random.integers(max(end, 1)))
            size = int(random.choice([1, 2, 4, 16, 300]))
            match random.integers(6):
                case 0 if changed:
                    changed[at % len(changed)] ^= 1 << int(random.integers(8))
                case 1:
                    changed[at : at + size] = random.bytes(size)
                case 2:
                    del changed[at : at + size]
                case 3:
                    changed[at:at] = changed[at : at + size]
                case 4:
                    changed[at : at + size] = bytes([int(random.choice([0, 127, 128, 255]))]) * size
                case 5 if random.random() < 0.3:
                    del changed[at:]
        yield bytes(changed)


def yaml_mutated(text: str, count: int) -> Iterator[bytes]:
    """Yield configurations with other values, and lines that are missing, repeated or moved."""
    random = np.random.default_rng(SEED)
    for _ in range(int(count * MORE)):
        lines = text.splitlines()
        for _ in range(random.integers(1, 4)):
            at, other = (int(number) for number in random.integers(len(lines), size=2))
            key, colon, _ = lines[at].partition(":")
            odd = str(random.choice(ODD))
            match random.integers(7):
                case 0 | 1 | 2 if colon:
                    lines[at] = f"{key}: {odd}"
                case 3:
                    lines[at] = lines[at].replace(key.strip() or "#", odd, 1)
                case 4:
                    lines.insert(at, lines[other])
                case 5:
                    del lines[at]
                case 6:
                    lines[at] = " " * int(random.integers(9)) + lines[at].strip()
        yield "\n".join(lines).encode("utf-8", "surrogatepass")


@pytest.mark.parametrize("name", ["smoke", "laboratory"])
def test_configurations(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mine.yaml"
    text = (PROJECT / f"config/{name}.yaml").read_text()
    mutated = yaml_mutated(text, 100)
    assert 1 in try_all(mutated, path, ["describe", "--configfile", str(path)], capsys)
    mutated = bytes_mutated(text.encode(), 50, name)
    try_all(mutated, path, ["describe", "--configfile", str(path)], capsys)


@pytest.mark.parametrize("ending", ["png", "jpg", "tif", "webp", "bmp", "gif"])
def test_pictures(tiny_run, tmp_path, capsys, ending):
    path = tmp_path / f"picture.{ending}"
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "A camera"
    Image.fromarray(pictures.chelsea()[100:132, 100:148]).save(path, exif=exif, dpi=(72, 72))
    mutated = bytes_mutated(path.read_bytes(), 50, ending, first=200)
    model = str(tiny_run.model("dncnn/sigma30"))
    command = ["denoise", str(path), str(tmp_path / "out.png"), "--model", model, "--device", "cpu"]
    assert 1 in try_all(mutated, path, command, capsys)


def test_caffe_models(tmp_path, capsys):
    path = authors_denoiser(width=4).write(tmp_path)
    mutated = bytes_mutated(path.read_bytes(), 2000, "caffe", first=4000)
    command = ["import-caffe", str(path), "--output", str(tmp_path / "out.pt")]
    assert 1 in try_all(mutated, path, command, capsys)
