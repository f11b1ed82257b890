"""The server of the page: on loopback, for who knows the address, and bounded in what it takes."""

from __future__ import annotations

import contextlib
import functools
import hmac
import importlib.resources
import json
import secrets
import socket
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from npnn.playground.trainer import Trainer

TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
PAGES = ("index.html", "style.css", "app.js", "network.js", "pictures.js", "icon.svg")
MOST_BODY = 8 << 20  # bytes, of a table
MOST_CONNECTIONS = 64
MOST_WATCHERS = 16
PATIENCE = 10.0  # seconds for a request, and for a page to take a frame
BEAT = 5.0  # seconds after which a page that nothing is new for hears so
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Server(ThreadingHTTPServer):
    """Serves the page of a trainer.

    Parameters
    ----------
    trainer : Trainer
        What trains; it is started by who made it.
    host : str, default "127.0.0.1"
        Where to listen.
    port : int, default 0
        Any free one if 0.

    Attributes
    ----------
    address : str
        Of the page; the token in it keeps others out.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, trainer: Trainer, host: str = "127.0.0.1", port: int = 0) -> None:
        self.trainer, self.token = trainer, secrets.token_urlsafe(24)
        self.watchers = threading.BoundedSemaphore(MOST_WATCHERS)
        self._known: dict[socket.socket, bool] = {}  # connections, and whether they had the token
        self._since: dict[socket.socket, float] = {}
        self._opened = threading.RLock()
        super().__init__((host, port), Handler)
        self.host, self.port = host, int(self.server_address[1])
        shown = "127.0.0.1" if host in ("", "0.0.0.0") else host
        self.address = f"http://{shown}:{self.port}/{self.token}/"
        self.hosts = {f"{name}:{self.port}" for name in ("127.0.0.1", "localhost", "[::1]", shown)}

    def accepts_host(self, host: str) -> bool:
        """Return whether a request may name this host, as whose page a browser would see us.

        A name that somebody else's server gives for this address is not accepted. A server that
        listens for other machines is called by any address, but by no other name.
        """
        if host in self.hosts:
            return True
        name, _, port = host.rpartition(":")
        is_open = self.host in ("", "0.0.0.0", "::")
        return is_open and port == str(self.port) and _is_number(name.strip("[]"))

    # Connections -------------------------------------------------------------------------------

    def process_request(self, request: Any, client_address: Any) -> None:
        """Take a connection; where there are too many, one goes that has not shown the token."""
        with self._opened:
            if len(self._known) >= MOST_CONNECTIONS:
                strangers = [known for known, proven in self._known.items() if not proven]
                if not strangers:
                    self.shutdown_request(request)
                    return
                self._drop(strangers[0])
            self._known[request], self._since[request] = False, time.monotonic()
        super().process_request(request, client_address)

    def prove(self, request: Any) -> None:
        """Note that a connection has shown the token."""
        with self._opened:
            if request in self._known:
                self._known[request] = True

    def close_request(self, request: Any) -> None:
        """Close a connection, and forget it."""
        with self._opened:
            self._forget(request)
        super().close_request(request)

    def _forget(self, request: Any) -> None:
        self._known.pop(request, None)
        self._since.pop(request, None)

    def _drop(self, request: socket.socket) -> None:
        """Have the thread that waits for a connection find it closed."""
        self._forget(request)
        with contextlib.suppress(OSError):
            request.shutdown(socket.SHUT_RDWR)

    def service_actions(self) -> None:
        """Drop connections that have shown nothing for too long."""
        end = time.monotonic() - PATIENCE
        with self._opened:
            late = [known for known, since in self._since.items()
                    if since < end and not self._known[known]]  # fmt: skip
            for request in late:
                self._drop(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a connection that broke."""


class Refused(Exception):
    """A request that is not answered: with which status, and why."""


class Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    server: Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "npnn", ""
    timeout = PATIENCE

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Give the page, a part of it, or what is asked of the trainer."""
        try:
            name, query = self._allowed()
        except Refused as refused:
            self._refuse(*refused.args)
            return
        found = self._answers().get(name)
        if name in PAGES:
            self._give_page(name)
        elif name == "events":
            self._give_events()
        elif found is not None:
            self._give(found, query)
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "there is no such thing here")

    def do_POST(self) -> None:
        """Do what the page asks for."""
        try:
            name, _ = self._allowed()
            body = self._body()
        except Refused as refused:
            self._refuse(*refused.args)
            return
        action = self._actions().get(name)
        if action is None:
            self._refuse(HTTPStatus.NOT_FOUND, "there is no such thing here")
            return
        try:
            given = json.loads(body or b"{}")
            if not isinstance(given, dict):
                raise ValueError("an object of names and values is needed")
            action(given)
        except RecursionError:
            self._refuse(HTTPStatus.BAD_REQUEST, "too deep")
        except Exception as error:  # a choice that cannot be, or a table that cannot be read
            self._refuse(HTTPStatus.BAD_REQUEST, " ".join(str(error).split()))
        else:
            self._send(HTTPStatus.OK, "application/json", b"{}")

    # Who may ask -------------------------------------------------------------------------------

    def _allowed(self) -> tuple[str, dict[str, str]]:
        """Return the name and the query of what is asked for, or refuse it."""
        host, origin = self.headers.get("Host", ""), self.headers.get("Origin")
        if not self.server.accepts_host(host):
            raise Refused(HTTPStatus.FORBIDDEN, "not the host of this page")
        if origin is not None and origin != f"http://{host}":
            raise Refused(HTTPStatus.FORBIDDEN, "not from this page")
        is_link = self.command == "GET" and self.headers.get("Sec-Fetch-Mode") == "navigate"
        site = self.headers.get("Sec-Fetch-Site", "none")
        if site not in ("none", "same-origin") and not is_link:
            raise Refused(HTTPStatus.FORBIDDEN, "not from this page")
        parts = urlsplit(self.path)
        _, _, rest = parts.path.partition("/")
        token, slash, name = rest.partition("/")
        if not hmac.compare_digest(token.encode(), self.server.token.encode()):
            raise Refused(HTTPStatus.FORBIDDEN, "the address must hold the token")
        self.server.prove(self.connection)
        if not slash:
            raise Refused(HTTPStatus.NOT_FOUND, "the address ends with /")
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        return name or "index.html", query

    def _body(self) -> bytes:
        """Return the body of a request, or refuse one that is too large or of another kind."""
        kind = self.headers.get("Content-Type", "").partition(";")[0].strip()
        length = self.headers.get("Content-Length", "")
        if kind != "application/json":
            raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "JSON is needed")
        if not length.isascii() or not length.isdigit() or "Transfer-Encoding" in self.headers:
            raise Refused(HTTPStatus.LENGTH_REQUIRED, "the length must be said")
        if len(length) > 12 or int(length) > MOST_BODY:
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"{MOST_BODY} bytes at most")
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise Refused(HTTPStatus.BAD_REQUEST, "the body ended too early")
        return body

    # What is there -----------------------------------------------------------------------------

    def _answers(self) -> dict[str, tuple[str, Callable[[dict[str, str]], Any]]]:
        trainer = self.server.trainer
        return {
            "program": ("text/plain; charset=utf-8", lambda query: trainer.program().encode()),
            "model.safetensors": ("application/octet-stream", lambda query: trainer.save()),
            "slow": ("application/json", lambda query: trainer.slow(int(query["sample"]))),
            "story": (
                "application/json",
                lambda query: trainer.story(query["name"], tuple(map(int, query["at"].split(",")))),
            ),
        }

    def _actions(self) -> dict[str, Callable[[dict[str, Any]], None]]:
        trainer = self.server.trainer
        return {
            "play": lambda given: trainer.play(),
            "pause": lambda given: trainer.pause(),
            "step": lambda given: trainer.step(),
            "reset": lambda given: trainer.reset(),
            "choose": trainer.change,
            "table": lambda given: trainer.open_table(str(given["name"]), str(given["text"])),
        }

    def _give_page(self, name: str) -> None:
        self._send(HTTPStatus.OK, TYPES[name.rpartition(".")[2]], _page(name))

    def _give(self, found: tuple[str, Callable[[dict[str, str]], Any]], query: Any) -> None:
        kind, answer = found
        try:
            given = answer(query)
        except Exception as error:
            self._refuse(HTTPStatus.BAD_REQUEST, " ".join(str(error).split()) or repr(error))
            return
        self._send(HTTPStatus.OK, kind, given if isinstance(given, bytes) else _as_json(given))

    def _give_events(self) -> None:
        """Send frames for as long as the page takes them: the newest, however many came between."""
        if not self.server.watchers.acquire(blocking=False):
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, f"{MOST_WATCHERS} pages watch already")
            return
        trainer = self.server.trainer
        try:
            self._begin(HTTPStatus.OK, "text/event-stream", None)
            seen, structure = 0, -1
            with trainer.watched():
                while trainer.is_alive():
                    number, frame, (of, told) = trainer.next_frame(seen, BEAT)
                    if of != structure:
                        self.wfile.write(b"event: structure\ndata: " + told + b"\n\n")
                        structure = of
                    news = b": nothing new" if number == seen else b"data: " + frame
                    seen = number
                    self.wfile.write(news + b"\n\n")
        except OSError:
            pass  # the page is gone
        finally:
            self.close_connection = True
            self.server.watchers.release()

    # Answers -----------------------------------------------------------------------------------

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        self.close_connection = True  # what else was sent is not read
        self._send(status, "application/json", _as_json({"error": why}))

    def _send(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self._begin(status, kind, len(body))
        self.wfile.write(body)

    def _begin(self, status: HTTPStatus, kind: str, length: int | None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if length is not None:
            self.send_header("Content-Length", str(length))
        if length is None or self.close_connection:
            self.send_header("Connection", "close")
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.end_headers()


@functools.cache
def _page(name: str) -> bytes:
    return importlib.resources.files("npnn.playground").joinpath("page", name).read_bytes()


def _as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _is_number(host: str) -> bool:
    """Return whether a host is an address, and no name."""
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):
            socket.inet_pton(family, host)
            return True
    return False
