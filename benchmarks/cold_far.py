"""A cold first delivery by the clock, with everything as far away as in a region.

    python -m benchmarks.cold_far [--runs 15] [--network-ms 1] [--secret-ms 10] [--quick]

Postgres is a millisecond away (a proxy delays both ways), with TLS and SCRAM, and its URL is
in a secret that a store answers with after ten. Bare psycopg does the same by hand: it reads the
secret, connects while it is initialised, claims and completes. From the start of the process to its
answer, in turns, as `cold_start` does.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import socket
import socketserver
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import psycopg

from benchmarks import measuring
from benchmarks.cold_start import HERE, Contender, Measured, event_for, start_once
from benchmarks.contenders import deliveries
from tests.artefacts import Artefacts
from tests.network import Network

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

BARE, OURS = "bare psycopg", "stashjobs, a job with an empty body"
BARE_DIRECT, OURS_DIRECT = f"{BARE}, direct TLS", f"{OURS}, direct TLS"


TLS_RECORD = b"\x16"  # the first byte of a handshake (RFC 8446, section 5.1)


def contenders(artefacts: Artefacts) -> list[Contender]:
    """Each by TLS as every Postgres knows it, and direct."""
    paths = (HERE, artefacts.layer, artefacts.folder / "runtime")
    return [
        Contender(name, f"{module}.handler", paths, deliveries.PATH, deliveries.JOB_TYPE)
        for name, module in (
            (BARE, "bare_far"),
            (OURS, "empty_job"),
            (BARE_DIRECT, "bare_far"),
            (OURS_DIRECT, "empty_job"),
        )
    ]


class TlsFront(socketserver.ThreadingTCPServer):
    """TLS 1.3 before a Postgres that was built without it, as the protocol has it: asked for, or
    direct (PostgreSQL docs, "SSL Session Encryption")."""

    daemon_threads = True

    def __init__(self, certificate: Path, server: tuple[str, int]) -> None:
        super().__init__(("127.0.0.1", 0), _Fronted)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate)
        self.context.set_alpn_protocols(["postgresql"])
        self.server = server


class _Fronted(socketserver.BaseRequestHandler):
    server: TlsFront

    def handle(self) -> None:
        plain: socket.socket = self.request
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if plain.recv(1, socket.MSG_PEEK) != TLS_RECORD:
            plain.recv(8, socket.MSG_WAITALL)  # SSLRequest
            plain.sendall(b"S")
        with (
            contextlib.suppress(OSError),
            self.server.context.wrap_socket(plain, server_side=True) as client,
            socket.create_connection(self.server.server) as upstream,
        ):
            upstream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            back = threading.Thread(target=_carry, args=(upstream, client), daemon=True)
            back.start()
            _carry(client, upstream)
            back.join()


def _carry(here: socket.socket, there: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := here.recv(65_536):
            there.sendall(data)
        there.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def tls_before(url: str, folder: Path) -> Iterator[str]:
    """TLS in front of the server of this URL, with a certificate of its own. Gives the URL."""
    both = folder / "server.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout", both, "-out", "-"),
        ],
        check=True,
        stdout=(certificate := folder / "server.crt").open("wb"),
        stderr=subprocess.DEVNULL,
    )
    with both.open("ab") as file:
        file.write(certificate.read_bytes())
    parts = urlsplit(url)
    assert parts.hostname is not None  # noqa: S101 - it is 127.0.0.1
    assert parts.port is not None  # noqa: S101
    with TlsFront(both, (parts.hostname, parts.port)) as front:
        threading.Thread(target=front.serve_forever, args=(0.02,), daemon=True).start()
        netloc = f"{parts.netloc.rpartition('@')[0]}@127.0.0.1:{front.server_address[1]}"
        yield urlunsplit(parts._replace(netloc=netloc))
        front.shutdown()


@contextlib.contextmanager
def secret_store(settings: dict[str, dict[str, str]], seconds: float) -> Iterator[str]:
    """Answers as Secrets Manager does, so long after it was asked. Gives its URL."""

    class Store(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            time.sleep(seconds)
            answer = {"SecretString": json.dumps(settings[asked["SecretId"]])}
            body = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Store)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def by_tls(url: str, *, is_direct: bool) -> str:
    """The same URL, with TLS asked for."""
    query = "sslmode=require" + ("&sslnegotiation=direct" if is_direct else "")
    return urlunsplit(urlsplit(url)._replace(query=query))


async def measure(
    artefacts: Artefacts, runs: int, network_ms: float, secret_ms: float
) -> tuple[list[Contender], dict[str, int]]:
    """Have them all started, in turns; the first turn, which finds cold files, is not counted.
    Gives the round trips of one start and delivery too."""
    found, trips = contenders(artefacts), {}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        url = stack.enter_context(measuring.postgres()).url
        fronted = stack.enter_context(tls_before(url, folder))
        network = Network.before(fronted, round_trip_seconds=network_ms / 1000)
        reached = stack.enter_context(network).url_of(fronted)
        secrets = {
            kind: {
                **measuring.SETTINGS,
                "POSTGRES_URL": by_tls(reached, is_direct=kind == "direct"),
            }
            for kind in ("asked", "direct")
        }
        store = stack.enter_context(secret_store(secrets, secret_ms / 1000))
        connection = stack.enter_context(psycopg.connect(url, autocommit=True))
        for turn in range(runs + 1):
            measuring.progress(f"cold_far: turn {turn} of {runs}")
            for each in found:
                environment = {
                    **artefacts.environment("SendEmailFunction"),
                    "STAGE": "local",
                    "BASE_URL": measuring.SETTINGS["BASE_URL"],
                    "SETTINGS_SECRET": "direct" if each.name.endswith("direct TLS") else "asked",
                    "AWS_ENDPOINT_URL_SECRETS_MANAGER": store,
                    "AWS_ACCESS_KEY_ID": "benchmarks-only",
                    "AWS_SECRET_ACCESS_KEY": "benchmarks-only",
                    "PYTHONPATH": os.pathsep.join(map(str, each.paths)),
                    "_HANDLER": each.handler,
                }
                event = event_for(each, connection, measuring.SIGNING_KEY)
                before = network.questions
                one = await start_once(each, artefacts.command, environment, event)
                trips[each.name] = network.questions - before
                if turn:
                    each.measured.append(one)
    return found, trips


def report(found: Sequence[Contender], trips: dict[str, int]) -> str:
    """The table."""
    by_name = {each.name: each.measured for each in found}

    def times(measured: Sequence[Measured]) -> list[float]:
        return [one.seconds for one in measured]

    rows = []
    for each in found:
        bare = by_name[BARE_DIRECT if each.name.endswith("direct TLS") else BARE]
        ratio = measuring.paired_ratio(times(bare), times(each.measured))
        cpu = [one.cpu for one in each.measured]
        cpu_ratio = measuring.paired_ratio([one.cpu for one in bare], cpu)
        rows.append(
            [
                each.name,
                f"{statistics.median(times(each.measured)) * 1000:,.0f}",
                f"{ratio:.2f}",
                f"{statistics.median(cpu) * 1000:,.0f}",
                f"{cpu_ratio:.2f}",
                str(trips[each.name]),
            ]
        )
    headers = ["", "ms", "x bare psycopg", "CPU ms", "x its CPU", "turns to speak"]
    return measuring.table(headers, rows)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.cold_far", description=__doc__)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--network-ms", type=float, default=1.0, help="a round trip to Postgres")
    parser.add_argument("--secret-ms", type=float, default=10.0, help="the store's answer")
    parser.add_argument("--artefacts", type=Path, help="keep what is built here, and use it again")
    parser.add_argument("--quick", action="store_true", help="2 runs")
    options = parser.parse_args(argv)
    runs = 2 if options.quick else options.runs
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        artefacts = Artefacts.for_this_machine(options.artefacts or Path(folder))
        if not artefacts.layer.exists():
            measuring.progress("cold_far: building the layer and the functions")
            artefacts.build()
        found, trips = asyncio.run(measure(artefacts, runs, options.network_ms, options.secret_ms))
    print(report(found, trips))
    print(
        f"\n{runs} runs, in turns, {options.network_ms:g} ms of network, the secret after "
        f"{options.secret_ms:g}. {measuring.machine()}, functions on Python {artefacts.version}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
