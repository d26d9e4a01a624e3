"""TLS to the store: only the given authority is trusted, and certificates are read again when they rotate."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from typing_extensions import override

from gpu_rightsizer.adapters.prometheus import PrometheusMetrics, PrometheusSettings
from gpu_rightsizer.ports import Rejected, Unavailable
from tests.fakes.broken_store import says

EMPTY = b'{"status":"success","data":{"resultType":"vector","result":[]}}'
AT = datetime(2026, 11, 25, 12, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Authority:
    """Signs certificates for 127.0.0.1 and for clients."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def made(cls, name: str) -> Authority:
        key = ec.generate_private_key(ec.SECP256R1())
        return cls(key, _certificate(name, key, name, key, is_authority=True))

    def write(self, path: Path) -> Path:
        path.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))
        return path

    def issue(self, name: str, certificate: Path, key: Path) -> None:
        own = ec.generate_private_key(ec.SECP256R1())
        issuer = self.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
        made = _certificate(name, own, str(issuer), self.key, is_authority=False)
        certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        key.write_bytes(
            own.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )


def _certificate(
    name: str, key: ec.EllipticCurvePrivateKey, issuer: str, signer: ec.EllipticCurvePrivateKey, *, is_authority: bool
) -> x509.Certificate:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(signer, hashes.SHA256())
    )


@dataclass(slots=True)
class Store:
    """A TLS server that asks for a client certificate, and the names of the clients it saw."""

    url: str
    folder: Path
    authority: Authority
    clients: list[str]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    authority = Authority.made("store-ca")
    ca = authority.write(tmp_path / "ca.pem")
    authority.issue("server", tmp_path / "server.pem", tmp_path / "server.key")
    clients: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:  # the name that http.server calls
            self.rfile.read(int(self.headers["Content-Length"]))
            shown: Any = self.connection.getpeercert()  # an SSLSocket
            clients.append(dict(pair[0] for pair in shown["subject"])["commonName"] if shown else "")
            says(EMPTY)(self)

        @override
        def log_message(self, *args: object) -> None:
            """Quiet."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        @override
        def handle_error(self, *args: object) -> None:
            """Refused handshakes are what we test."""

    server = Server(("127.0.0.1", 0), Handler)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(ca))
    context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    context.verify_mode = ssl.CERT_OPTIONAL
    server.socket = context.wrap_socket(server.socket, server_side=True)
    Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield Store(f"https://127.0.0.1:{server.server_address[1]}", tmp_path, authority, clients)
    server.shutdown()
    server.server_close()


async def test_a_store_of_our_authority_is_trusted(store: Store) -> None:
    metrics = PrometheusMetrics(PrometheusSettings(store.url, ca=store.folder / "ca.pem"))

    assert list((await metrics.instant("up", AT)).series) == []
    metrics.close()


async def test_a_store_of_another_authority_is_not(store: Store, tmp_path: Path) -> None:
    other = Authority.made("other-ca").write(tmp_path / "other.pem")
    metrics = PrometheusMetrics(PrometheusSettings(store.url, ca=other))

    with pytest.raises(Rejected, match="check the CA"):
        await metrics.instant("up", AT)
    metrics.close()


async def test_a_client_certificate_that_rotates_is_used_from_then_on(store: Store) -> None:
    certificate, key = store.folder / "client.pem", store.folder / "client.key"
    store.authority.issue("first", certificate, key)
    settings = PrometheusSettings(store.url, ca=store.folder / "ca.pem", client_cert=certificate, client_key=key)
    metrics = PrometheusMetrics(settings)

    await metrics.instant("up", AT)
    store.authority.issue("second", certificate, key)
    await metrics.instant("up", AT)
    metrics.close()

    assert store.clients == ["first", "second"]


async def test_a_certificate_file_that_is_missing_is_named(store: Store) -> None:
    settings = PrometheusSettings(store.url, ca=store.folder / "ca.pem", client_cert=store.folder / "nothing.pem")
    metrics = PrometheusMetrics(settings)

    with pytest.raises((Rejected, Unavailable), match=r"nothing\.pem"):
        await metrics.instant("up", AT)
    metrics.close()
