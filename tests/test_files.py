"""Files are written completely or not at all, and a wheel names files that a checkout has."""

from __future__ import annotations

import ast
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dhl import files
from dhl.errors import UserError
from dhl.files import PROJECT, atomic_path, project_file, touch_if_from_the_future


def test_a_failed_write_keeps_what_was_there(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(ValueError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise ValueError
    assert path.read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["a.txt"]


@pytest.fixture
def ended() -> int:
    """The number of a process that has ended."""
    with subprocess.Popen(["true"]) as process:
        return process.pid


def test_what_killed_processes_left_is_removed_and_nothing_else(tmp_path, ended):
    here, day = socket.gethostname(), 24 * 60 * 60
    ages = {
        f".unfinished.{here}.{ended}.a.txt": 0,
        f".unfinished.{here}.{os.getppid()}.a.txt": 2 * day,  # it lives, and may be slow
        f".unfinished.{here}.{ended}.b.txt": 0,
        f".unfinished.node-7.example.{ended}.a.txt": 2 * day,
        f".unfinished.node-8.example.{ended}.a.txt": day // 2,
        f".unfinished.{here}.mine.a.txt": 2 * day,
        f".a.txt.{here}.{ended}": 2 * day,
    }
    for name, age in ages.items():
        (tmp_path / name).write_text("half")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    with atomic_path(tmp_path / "a.txt") as temporary:
        temporary.write_text("new")
    names = list(ages)
    assert {one.name for one in tmp_path.iterdir()} == {"a.txt", *names} - {names[0], names[3]}


def test_the_content_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    path, synced = tmp_path / "a.txt", []

    def fsync(descriptor: int) -> None:
        synced.append((os.fstat(descriptor).st_ino, path.exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    with atomic_path(path) as temporary:
        temporary.write_text("new")
    assert synced == [(path.stat().st_ino, False)]


def calls_without_encoding(path: Path) -> Iterator[int]:
    """Yield the lines of a module that read or write text in the encoding of the locale."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        keywords = {word.arg for word in node.keywords}
        mode = ast.unparse(node.args[1]) if len(node.args) > 1 else ""
        as_text = {
            "read_text": len(node.args) < 1,
            "write_text": len(node.args) < 2,
            "open": isinstance(node.func, ast.Name) and "b'" not in mode,
        }
        if "encoding" not in keywords and (as_text.get(name) or "text" in keywords):
            yield node.lineno


@pytest.mark.parametrize("folder", ["dhl", "docs", "benchmarks", "snakemake_logger_plugin_dhl"])
def test_text_is_utf_8_in_every_locale(folder):
    modules = list((PROJECT / folder).rglob("*.py"))
    assert {path: lines for path in modules if (lines := [*calls_without_encoding(path)])} == {}
    assert modules


def test_a_checkout_has_the_files_beside_the_package():
    assert project_file("config/published.csv").is_file()


def test_an_installed_package_asks_for_a_checkout(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "PROJECT", tmp_path)
    with pytest.raises(UserError) as raised:
        project_file("config/presets")
    assert "config/presets" in raised.value.mistake
    assert str(tmp_path) in raised.value.came
    assert "python -m dhl" in raised.value.do


def test_files_dated_in_the_future_are_dated_to_now_and_others_are_left(tmp_path):
    clock, late, early, link = (tmp_path / name for name in ("clock", "late", "early", "link"))
    for path in (late, early):
        path.touch()
    link.symlink_to(early)
    os.utime(link, (2**32, 2**32), follow_symlinks=False)
    os.utime(late, (2**32, 2**32))
    os.utime(early, (10**9, 10**9))
    touch_if_from_the_future([late, early, tmp_path / "missing"], clock=clock)
    assert late.stat().st_mtime == clock.stat().st_mtime
    assert early.stat().st_mtime == 10**9
    touch_if_from_the_future([link], clock=clock)
    assert link.lstat().st_mtime <= clock.stat().st_mtime


def test_a_file_of_someone_else_that_is_dated_in_the_future_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "weights.pt"
    path.touch()
    os.utime(path, (2**32, 2**32))

    def refuse(*_, **__):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("dhl.files.os.utime", refuse)
    with pytest.raises(UserError) as caught:
        touch_if_from_the_future([path], clock=tmp_path / "clock")
    assert str(path) in caught.value.mistake
    assert "2106" in caught.value.came
