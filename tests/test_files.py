"""Files are written completely or not at all, and a wheel names files that a checkout has."""

from __future__ import annotations

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


def test_a_checkout_has_the_files_beside_the_package():
    assert project_file("config/published.csv").is_file()


def test_an_installed_package_asks_for_a_checkout(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "PROJECT", tmp_path)
    with pytest.raises(UserError) as raised:
        project_file("config/presets")
    assert "config/presets" in raised.value.mistake
    assert str(tmp_path) in raised.value.came
    assert "python -m dhl" in raised.value.do
