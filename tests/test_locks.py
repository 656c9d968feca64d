"""Locks between processes: they wait, say so, and name a file that cannot be written."""

from __future__ import annotations

import errno
import logging
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from dhl.errors import UserError
from dhl.locks import locked

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

        class EndsTheHolder(logging.Handler):
            """Ends the other process once this one says that it waits."""

            def emit(self, record: logging.LogRecord) -> None:
                if str(path) in record.getMessage():
                    holder.kill()

        logger, handler = logging.getLogger("dhl"), EndsTheHolder()
        logger.addHandler(handler)
        try:
            with caplog.at_level(logging.INFO, "dhl"), locked(path) as had_to_wait:
                assert had_to_wait
        finally:
            logger.removeHandler(handler)
    assert str(path) in caplog.text


def refuse(monkeypatch, number: int) -> None:
    """Let every attempt to lock a file fail with this error."""

    def acquire(self, **options):
        raise OSError(number, "refused")

    monkeypatch.setattr(FileLock, "acquire", acquire)


def test_a_lock_file_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    refuse(monkeypatch, errno.EACCES)
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
