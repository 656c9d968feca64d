"""Mirrors that answer with nonsense, without end or slowly, and passwords that no file has."""

from __future__ import annotations

import logging
import threading

import pytest
from requests.auth import _basic_auth_str as basic_auth_header
from tiny_archives import FILE, NAME, kept, part, refused

from dhl.data import transfer
from dhl.data.download import fetch

OK = b"HTTP/1.1 200 OK\r\n"
MOVED = b"HTTP/1.1 302 Found\r\nLocation: "
ZEROS = bytes(1 << 16)
STRANGE = {
    "endless": (OK + b"\r\n", ZEROS),
    "endless, in chunks": (
        OK + b"Transfer-Encoding: chunked\r\n\r\n",
        b"400\r\n%b\r\n" % bytes(1024),
    ),
    "endless size of a chunk": (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1" * 4096),
    "endless header": (OK + b"A: ", b"a" * 4096),
    "endless headers": (OK, b"A: a\r\n"),
    "endless error": (b"HTTP/1.1 500 Sorry\r\n\r\n", ZEROS),
    "endless redirection": (MOVED + b"/absent\r\n\r\n", ZEROS),
    "too long": (OK + b"Content-Length: 99999999999999\r\n\r\n", ZEROS),
    "no number": (OK + b"Content-Length: abc\r\n\r\n", ZEROS),
    "negative": (OK + b"Content-Length: -5\r\n\r\nabc", b""),
    "many digits": (OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\nabc", b""),
    "no address": (MOVED + b"http://[::bad/\r\n\r\n", b""),
    "no host": (MOVED + b"http://" + b"a" * 300 + b"/\r\n\r\n", b""),
    "no port": (MOVED + b"http://host:99999999/\r\n\r\n", b""),
    "a local file": (MOVED + b"file:///etc/passwd\r\n\r\n", b""),
    "a circle": (MOVED + b"/strange/" + FILE.encode() + b"\r\n\r\n", b""),
    "no HTTP": (b"\x00\xffSSH-2.0\r\n", b""),
    "no status": (b"HTTP/1.1 abc\r\n\r\n", b""),
    "nothing": (b"", b""),
    "part of nothing": (b"HTTP/1.1 206 Partial\r\nContent-Range: bytes ?\r\n\r\nabc", b""),
    "a late header": (OK + b"ETag: \xff\xfe\x1b[2J\r\n\r\nabc", b""),
    "unknown coding": (OK + b"Content-Encoding: gzip\r\n\r\nabc", b""),
}


@pytest.mark.parametrize("strange", STRANGE)
def test_a_strange_answer_leads_to_the_next_source(strange, site, content, tmp_path):
    site.raw[f"/strange/{FILE}"] = STRANGE[strange]
    fetch(NAME, root=tmp_path, mirrors={NAME: [f"{site.address}/strange"]})
    assert site.paths[-1] == f"/{FILE}"
    assert kept(tmp_path).read_bytes() == content


def test_a_silent_source_is_left(site, content, tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "ANSWER_SECONDS", 0.05)
    done = threading.Event()
    site.before_answer = lambda: done.wait(20)
    message = refused(tmp_path)
    done.set()
    assert "no answer in 0.05 s" in message


def test_a_very_slow_source_is_left(site, content, tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "SLOW_SECONDS", 0)
    monkeypatch.setattr(transfer, "SLOWEST", 1e12)
    assert "slower than" in refused(tmp_path)
    assert part(tmp_path).read_bytes()


@pytest.mark.parametrize("user", ["me:s3cr3t", "s3cr3t:", "me:1234s3cr3t"])
def test_passwords_and_queries_are_sent_to_the_mirror_and_to_nobody_else(
    user, site, content, tmp_path, caplog
):
    caplog.set_level(logging.INFO, logger="dhl")
    host = site.address.removeprefix("http://")
    query = "?token=s3cr3t&x=a@b/c"
    site.cuts, site.files[f"/first/{FILE}{query}"] = [1000, 0, 0, 0], content
    site.files.pop(f"/{FILE}")
    mirror = f"http://{user}@{host}/first{query}"
    message = refused(tmp_path, **{NAME: [mirror, f"http://{host}/moved{query}"]})
    path, headers = site.requests[0]
    assert path == f"/first/{FILE}{query}"
    name, _, password = user.partition(":")
    assert headers["Authorization"] == basic_auth_header(name, password)
    assert f"http://{host}/first/{FILE}: " in message
    texts = [path.read_text("latin-1") for path in tmp_path.rglob("*") if path.is_file()]
    assert not [text for text in (message, caplog.text, *texts) if "s3cr3t" in text]
    fetch(NAME, root=tmp_path, mirrors={NAME: [mirror]})
    assert site.ranges[-1] == "bytes=1000-"
