"""A Postgres whose certificate a private authority has signed, checked by it and by another."""

from __future__ import annotations

import contextlib
import re
import socket
import socketserver
import ssl
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

import certifi
import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from stashjobs.store import authorities, database
from stashjobs.tools.backup import programs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stashjobs.tools.servers.postgres import Postgres

NOW = datetime.now(UTC)
# Its length and its code (PostgreSQL docs, "Message Formats").
SSL_REQUEST = bytes.fromhex("0000000804d2162f")


class Authority(NamedTuple):
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def _signed(
    subject: str, key: ec.EllipticCurvePrivateKey, by: Authority | None, host: str | None = None
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(by.certificate.subject if by else _name(subject))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=by is None, path_length=None), critical=True)
    )
    if host is not None:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False
        )
    return builder.sign(by.key if by else key, hashes.SHA256())


def _authority(name: str) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    return Authority(key, _signed(name, key, None))


@pytest.fixture(scope="module")
def private() -> Authority:
    return _authority("A Private Authority")


class _Terminating(socketserver.BaseRequestHandler):
    """Answers Postgres's SSLRequest, and passes on what is decrypted: the Postgres of the tests was
    built without TLS."""

    server: Terminator

    def handle(self) -> None:
        assert self.request.recv(8, socket.MSG_WAITALL) == SSL_REQUEST
        self.request.sendall(b"S")
        with (
            contextlib.suppress(OSError),  # a client that refuses the certificate hangs up
            self.server.context.wrap_socket(self.request, server_side=True) as client,
            socket.create_connection(self.server.upstream) as upstream,
        ):
            back = threading.Thread(target=_pump, args=(upstream, client))
            back.start()
            _pump(client, upstream)
            back.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


class Terminator(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self, context: ssl.SSLContext, upstream: tuple[str, int]) -> None:
        super().__init__(("127.0.0.1", 0), _Terminating)
        self.context, self.upstream = context, upstream


@pytest.fixture(scope="module")
def url(
    tmp_path_factory: pytest.TempPathFactory, private: Authority, postgres: Postgres
) -> Iterator[str]:
    """Of a Postgres behind TLS, by the host that its certificate is for."""
    key = ec.generate_private_key(ec.SECP256R1())
    chain = tmp_path_factory.mktemp("tls") / "server.pem"
    chain.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + _signed("localhost", key, private, "localhost").public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    with Terminator(context, ("127.0.0.1", postgres.port)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        port = server.server_address[1]
        yield _url_by_name(postgres.url, port)
        server.shutdown()
        thread.join()


def _url_by_name(url: str, port: int) -> str:
    parts = urlsplit(url)
    return parts._replace(
        netloc=parts.netloc.replace(f"{parts.hostname}:{parts.port}", f"localhost:{port}"), query=""
    ).geturl()


@pytest.fixture(autouse=True)
def _no_file_of_ones_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("PGSSLROOTCERT", raising=False)
    monkeypatch.setattr(authorities, "_written", None)


@pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
def test_the_authority_in_the_bundle_is_believed(
    url: str,
    private: Authority,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    mode: str,
) -> None:
    bundle = tmp_path / "rds.pem"
    bundle.write_bytes(authorities.OF_RDS.read_bytes() + private.pem)
    monkeypatch.setattr(authorities, "OF_RDS", bundle)
    with database.connect(f"{url}?sslmode={mode}") as connection:
        assert connection.pgconn.ssl_in_use
        assert connection.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
def test_another_authority_is_refused(url: str, mode: str) -> None:
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        database.connect(f"{url}?sslmode={mode}").close()


def test_a_file_of_ones_own_comes_first(url: str, private: Authority, tmp_path: Path) -> None:
    own = tmp_path / "own.pem"
    own.write_bytes(private.pem)
    asked = f"{url}?sslmode=verify-full&sslrootcert={own}"
    assert authorities.parameters(asked) == {}
    database.connect(asked).close()


@pytest.mark.parametrize("query", ["", "?sslmode=require", "?sslmode=disable"])
def test_nothing_is_added_where_nothing_is_checked(query: str) -> None:
    """With a root certificate `require` would check too."""
    assert authorities.parameters(f"postgresql://u:p@host/x{query}") == {}


def test_pg_dump_is_told_of_the_same_file(tmp_path: Path) -> None:
    program = tmp_path / "pg_dump"
    program.write_text(f'#!/bin/sh\nprintf %s "$PGSSLROOTCERT" > "{tmp_path}/told"\n')
    program.chmod(0o700)
    url = "postgresql://u:p@host/x?sslmode=verify-full"
    programs.run(program, [], url)
    assert (tmp_path / "told").read_text() == authorities.parameters(url)["sslrootcert"]


def test_the_bundle_has_rds_and_certifis_authorities_that_are_valid() -> None:
    name = authorities.parameters("postgresql://u:p@host/x?sslmode=verify-full")["sslrootcert"]
    content = Path(name).read_bytes()
    assert Path(certifi.where()).read_bytes() in content
    assert authorities.OF_RDS.read_bytes() in content
    rds = x509.load_pem_x509_certificates(authorities.OF_RDS.read_bytes())
    assert all(each.not_valid_after_utc > NOW + timedelta(days=365) for each in rds)
    names = " ".join(each.subject.rfc4514_string() for each in rds)
    regions = set(re.findall(r"Amazon RDS (\S+) Root CA RSA2048 G1", names))
    assert {"us-east-1", "us-west-2", "eu-central-1", "eu-west-1", "ap-southeast-2"} <= regions
