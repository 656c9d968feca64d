"""Locks between processes: they wait, say so, and name a file that cannot be written."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock
from killed_holder import killed_when_logged

from dhl.cli.parser import main
from dhl.errors import UserError
from dhl.locks import hold, locked, unless_held

HOLD = """
import sys
from pathlib import Path
from dhl.locks import locked
with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.readline()
"""


def test_a_free_lock_is_taken_at_once(tmp_path):
    for _ in range(2):
        with locked(tmp_path / "new" / "a.lock") as had_to_wait:
            assert not had_to_wait


def test_a_lock_that_another_process_holds_is_waited_for(tmp_path, caplog):
    path = tmp_path / "a.lock"
    command = [sys.executable, "-c", HOLD, str(path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as holder:
        assert holder.stdout.readline() == "locked\n"
        caplog.set_level("INFO", "dhl")
        with killed_when_logged(holder, str(path)), locked(path) as had_to_wait:
            assert had_to_wait
    assert str(path) in caplog.text


HOLD_SHARED = """
import sys
from dhl.locks import RUNNING, hold
for _ in range(2):
    hold(RUNNING)
print("held", flush=True)
sys.stdin.readline()
"""


def test_the_locks_of_a_run_are_removed_only_if_no_process_of_a_run_is_left(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    stale = tmp_path / ".snakemake/locks/0.input.lock"
    stale.parent.mkdir(parents=True)
    stale.touch()
    pipe = subprocess.PIPE
    holders = [
        subprocess.Popen([sys.executable, "-c", HOLD_SHARED], stdin=pipe, stdout=pipe, text=True)
        for _ in range(2)
    ]
    for holder in holders:
        assert holder.stdout.readline() == "held\n"
    for holder in holders:
        assert main(["unlock"]) == 0
        assert stale.exists()
        assert "its locks are kept" in capsys.readouterr().err
        holder.kill()
        holder.communicate()
    assert main(["unlock"]) == 0
    assert not stale.exists()
    assert capsys.readouterr().err == ""


def test_without_locks_of_the_file_system_no_locks_of_a_run_are_removed(tmp_path, monkeypatch):
    monkeypatch.setattr("fcntl.flock", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOLCK, "")))
    hold(tmp_path / "running.lock")
    with unless_held(tmp_path / "running.lock") as free:
        assert not free


def refuse(monkeypatch, number: int) -> None:
    """Let every attempt to lock a file fail with this error."""

    def acquire(self, **options):
        raise OSError(number, "refused")

    monkeypatch.setattr(FileLock, "acquire", acquire)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOTDIR])
def test_a_lock_file_that_cannot_be_written_is_named(tmp_path, monkeypatch, number):
    refuse(monkeypatch, number)
    with pytest.raises(UserError) as caught, locked(tmp_path / "a.lock"):
        pass
    assert str(tmp_path / "a.lock") in caught.value.mistake


def test_a_file_system_without_locks_costs_a_warning(tmp_path, monkeypatch, caplog):
    refuse(monkeypatch, errno.ENOLCK)
    with locked(Path(tmp_path / "a.lock")) as had_to_wait:
        assert not had_to_wait
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_another_error_of_the_file_system_passes(tmp_path, monkeypatch):
    refuse(monkeypatch, errno.EIO)
    with pytest.raises(OSError, match="refused"), locked(tmp_path / "a.lock"):
        pass


def test_a_lock_below_a_file_is_refused(tmp_path):
    (tmp_path / "models").touch()
    for path in (tmp_path / "models/a.lock", tmp_path / "models/new/a.lock"):
        with pytest.raises(UserError, match="cannot be written"), locked(path):
            pass
