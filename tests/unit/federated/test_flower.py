"""The transport without a network: keys and certificates, messages as Flower's, patience, pace, and the version that is spoken."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from federated.flower import certificates, envelope, pinned
from federated.flower.agent import Pace
from federated.flower.calls import Caller, Patience, RejectedError, StoppedError, UnknownError
from federated.flower.pinned import TransportError
from federated.flower.superlink import SuperLink

NOW = dt.datetime(2026, 11, 22, tzinfo=dt.UTC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tmp_path.chmod(0o700)
    return tmp_path


def names(path: Path) -> list[str]:
    read = x509.load_pem_x509_certificate(path.read_bytes())
    alternative = read.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(each.value) for each in alternative]


def test_private_files_are_nobody_elses_to_read(folder: Path) -> None:
    certificates.keep_server(folder / "link", "joint", ["127.0.0.1", "link.example"], NOW)
    certificates.keep_node(folder / "node")
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert sorted(path.name for path in files) == ["ca.key", "ca.pem", "node", "server.key", "server.pem"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert names(folder / "link" / "server.pem") == ["127.0.0.1", "link.example"]


def test_a_certificate_is_issued_anew_where_it_has_to_be_and_its_authority_stays(folder: Path) -> None:
    files = certificates.keep_server(folder, "joint", ["127.0.0.1"], NOW)
    ca, first = files.ca.read_bytes(), files.certificate.read_bytes()
    certificates.keep_server(folder, "joint", ["127.0.0.1"], NOW + dt.timedelta(days=300))
    assert files.certificate.read_bytes() == first
    certificates.keep_server(folder, "joint", ["127.0.0.1"], NOW + dt.timedelta(days=340))
    second = files.certificate.read_bytes()
    certificates.keep_server(folder, "joint", ["127.0.0.1", "link.example"], NOW)
    assert len({first, second, files.certificate.read_bytes()}) == 3
    assert files.ca.read_bytes() == ca
    x509.load_pem_x509_certificate(files.certificate.read_bytes()).verify_directly_issued_by(x509.load_pem_x509_certificate(ca))
    ssl.create_default_context().load_cert_chain(files.certificate, files.key)  # they belong together


def test_a_node_keeps_its_key(folder: Path) -> None:
    path, public = certificates.keep_node(folder)
    assert certificates.keep_node(folder) == (path, public)
    assert isinstance(certificates.node_key(path.read_bytes()).curve, ec.SECP384R1)
    assert certificates.registered(public).startswith(b"-----BEGIN PUBLIC KEY-----")


def test_other_kinds_of_keys_are_refused() -> None:
    other, short = ed25519.Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256R1())
    openssh = serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    for public in (b"", b"ssh-ed25519 nonsense", other.public_key().public_bytes(*openssh), short.public_key().public_bytes(*openssh)):
        with pytest.raises(TransportError, match="P-384"):
            certificates.registered(public)
    private = other.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption())
    for key in (b"", private):
        with pytest.raises(TransportError, match="P-384"):
            certificates.node_key(key)


@pytest.mark.parametrize("payload", [b"", b"\x00\xff", bytes(100_000)])
def test_bytes_travel_as_they_are(payload: bytes) -> None:
    pytest.importorskip("flwr")
    asked = envelope.request(1, 2, 3, 60.0, payload)
    assert envelope.payload(asked) == payload
    reply = envelope.reply(asked.metadata, payload[::-1])
    assert envelope.payload(reply) == payload[::-1]
    assert reply.metadata.reply_to_message_id == asked.metadata.message_id != reply.metadata.message_id
    assert (reply.metadata.src_node_id, reply.metadata.dst_node_id) == (3, asked.metadata.src_node_id)
    assert reply.metadata.created_at + reply.metadata.ttl == pytest.approx(asked.metadata.created_at + 60)
    assert not reply.HasField("error")


def test_messages_of_another_make_have_no_bytes() -> None:
    pytest.importorskip("flwr")
    from flwr.app import ArrayRecord, ConfigRecord, RecordDict
    from flwr.common.serde import recorddict_to_proto
    from flwr.proto.error_pb2 import Error
    from flwr.proto.message_pb2 import Message

    for content in (
        RecordDict(),
        RecordDict({"consentric": ConfigRecord({"consentric": "text"})}),
        RecordDict({"consentric": ConfigRecord({"consentric": b"1", "more": 2})}),
        RecordDict({"other": ConfigRecord({"consentric": b"1"})}),
        RecordDict({"consentric": ArrayRecord()}),
    ):
        assert envelope.payload(Message(content=recorddict_to_proto(content))) is None
    assert envelope.payload(Message(error=Error(code=1, reason="no"))) is None


def said(status: int) -> Callable[[], None]:
    def call() -> None:
        request = httpx.Request("POST", "https://link.example")
        raise httpx.HTTPStatusError("", request=request, response=httpx.Response(status, request=request))

    return call


def caller(tries: int, told: list[str] | None = None) -> Caller:
    tell = (lambda sentence: None) if told is None else told.append
    return Caller("link.example:1", Patience(tries, first=0.0), threading.Event(), tell, "you")


def test_faults_are_tried_again_so_many_times_and_told() -> None:
    calls, told = iter([said(503), said(500), lambda: 7]), list[str]()
    patiently = caller(3, told)
    assert patiently(lambda: next(calls)()) == 7
    assert patiently.failures == 2
    assert told == ["the SuperLink at link.example:1 said 503, try 1 of 3"]
    with pytest.raises(TransportError, match="failed 3 times in a row: it said 502; see that the address is right"):
        caller(3)(said(502))


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (ConnectionRefusedError(), "nobody listens at that address"),
        (socket.gaierror(), "the network knows no such name"),
        (None, r"did not answer \(ConnectError\)"),
    ],
)
def test_why_nobody_answers_is_said(cause: Exception | None, words: str) -> None:
    def call() -> None:
        raise httpx.ConnectError("") from cause

    with pytest.raises(TransportError, match=words):
        caller(2)(call)


def test_decisions_are_not_tried_again() -> None:
    for status, error in ((401, UnknownError), (403, RejectedError), (404, RejectedError), (422, RejectedError)):
        patiently = caller(3)
        with pytest.raises(error):
            patiently(said(status))
        assert patiently.failures == 0


@pytest.mark.parametrize(
    ("code", "words"),
    [(19, "no certificate of this CA; take the CA's file anew"), (62, "this CA for that name; .* --known-as"), (64, "for that name")],
)
def test_another_certificate_authority_or_name_is_not_tried_again(code: int, words: str) -> None:
    def call() -> None:
        fault = ssl.SSLCertVerificationError()
        fault.verify_code = code
        raise httpx.ConnectError("") from fault

    patiently = caller(3)
    with pytest.raises(TransportError, match=words.replace("--", "`--")):
        patiently(call)
    assert patiently.failures == 0


def test_a_stop_ends_a_wait() -> None:
    patiently = Caller("link.example:1", Patience(100, first=60.0, longest=60.0), threading.Event(), lambda _: patiently.stop.set(), "you")
    with pytest.raises(StoppedError):
        patiently(said(503))


def test_the_pace_is_quick_after_a_request_slow_when_idle_and_spares_a_busy_superlink() -> None:
    pace, wait, waited = Pace(), 0.0, 0.0
    while waited < 3:
        wait = pace.after(wait, 0.001)
        waited += wait
    assert pace.after(0.0, 0.001) == 0.05
    assert 0.2 < wait < 0.5
    assert pace.after(0.9999, 0.001) == pace.idle
    assert pace.after(0.0, 0.03) == pytest.approx(0.3)


def test_another_version_of_flower_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pinned, "version", lambda name: "1.42.0")
    with pytest.raises(TransportError, match=r"expected Flower 1\.41\.0, got `1\.42\.0`"):
        pinned.require()


def test_no_flower_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise pinned.PackageNotFoundError(name)

    monkeypatch.setattr(pinned, "version", missing)
    with pytest.raises(TransportError, match=r"pip install 'consentric\[federated\]'"):
        pinned.require()


def test_a_taken_port_is_said_before_anything_starts(folder: Path) -> None:
    pytest.importorskip("flwr")
    import socket

    files = certificates.keep_server(folder / "certificates", "joint", ["127.0.0.1"], NOW)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        link = SuperLink(folder / "link", files, "127.0.0.1", taken.getsockname()[1])
        with pytest.raises(TransportError, match="choose another host or port"):
            link.start()
    assert not link.running()
    assert stat.S_IMODE((folder / "link" / "secret").stat().st_mode) == 0o600
