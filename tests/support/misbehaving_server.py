"""A local web server that records requests, and makes mistakes on demand."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Site:
    """Files that a server sends, its mistakes, and the requests so far."""

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)  # by path, which begins with a slash
    etags: dict[str, str] = field(default_factory=dict)  # versions of files; the default is "1"
    statuses: dict[str, int] = field(default_factory=dict)  # paths that are answered with an error
    cuts: list[int] = field(default_factory=list)  # the next bodies end after so many bytes
    raw: dict[str, tuple[bytes, bytes]] = field(default_factory=dict)  # head, endless body
    knows_ranges: bool = True
    knows_versions: bool = True  # understands `If-Range`
    before_answer: Callable[[], object] = lambda: None
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)  # paths and headers
    sent: int = 0  # bytes of all bodies

    @property
    def ranges(self) -> list[str | None]:
        """The `Range` of each request."""
        return [headers.get("Range") for _, headers in self.requests]

    @property
    def paths(self) -> list[str]:
        """The path of each request."""
        return [path for path, _ in self.requests]


@contextmanager
def serve() -> Iterator[Site]:
    """Run a site on a free port."""
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self, site)

        def log_message(self, *arguments: object) -> None:
            """Keep the tests' output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    site.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    # The server writes to closed connections; a test of the command line may have set the default.
    before = signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        yield site
    finally:
        signal.signal(signal.SIGPIPE, before)
        server.shutdown()
        thread.join()
        server.server_close()


def answer(handler: BaseHTTPRequestHandler, site: Site) -> None:
    """Answer one request, with the mistakes of the site."""
    site.requests.append((handler.path, dict(handler.headers)))
    site.before_answer()
    if handler.path in site.raw:
        head, body = site.raw[handler.path]
        handler.wfile.write(head)
        with contextlib.suppress(OSError):  # the client ends the connection
            while body:
                handler.wfile.write(body)
        handler.close_connection = True
        return
    status = site.statuses.get(handler.path, 200 if handler.path in site.files else 404)
    if status != 200:
        handler.send_error(status)
        return
    body, etag = site.files[handler.path], site.etags.get(handler.path, '"1"')
    start = requested_start(handler, site, etag)
    if start is not None and start >= len(body):
        handler.send_response(416)
        handler.send_header("Content-Range", f"bytes */{len(body)}")
        handler.end_headers()
        return
    handler.send_response(200 if start is None else 206)
    if start is not None:
        handler.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        body = body[start:]
    handler.send_header("ETag", etag)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    if site.cuts:
        body = body[: site.cuts.pop(0)]
    site.sent += len(body)
    handler.wfile.write(body)


def requested_start(handler: BaseHTTPRequestHandler, site: Site, etag: str) -> int | None:
    """Return the first byte of the requested range; None for the complete file."""
    wanted = handler.headers.get("Range")
    if wanted is None or not site.knows_ranges:
        return None
    if site.knows_versions and handler.headers.get("If-Range") != etag:
        return None
    return int(wanted.removeprefix("bytes=").removesuffix("-"))
