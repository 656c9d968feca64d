"""Files are written completely or not at all, and a wheel names files that a checkout has."""

from __future__ import annotations

import os
import socket
import subprocess
import time

import pytest

from dhl import files
from dhl.errors import UserError
from dhl.files import atomic_path, project_file


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


def test_a_checkout_has_the_files_beside_the_package():
    assert project_file("config/published.csv").is_file()


def test_an_installed_package_asks_for_a_checkout(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "PROJECT", tmp_path)
    with pytest.raises(UserError) as raised:
        project_file("config/presets")
    assert "config/presets" in raised.value.mistake
    assert str(tmp_path) in raised.value.came
    assert "python -m dhl" in raised.value.do
