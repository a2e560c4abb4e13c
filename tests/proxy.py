"""A proxy that ends TLS and writes down every byte: what a partner's process really sent, as its network would see it.

It stands between one agent and the server, on loopback, with a certificate of a CA that the test made; what it hears goes on over TLS of
its own, unchanged. `requests` reads the record as HTTP/1.1, strictly: no byte of it is left over.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread

CHUNK = 1 << 16


@dataclass
class Recorded:
    """`address` to call instead of the server's; `sent`, `received`: bytes of each connection, in the order in which they were made."""

    address: str = ""
    sent: list[bytearray] = field(default_factory=list)
    received: list[bytearray] = field(default_factory=list)


@dataclass(frozen=True)
class Request:
    """One request: what stood in its first line, its headers in order, its body."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


@contextmanager
def recording(certificate: Path, key: Path, server: str, trust: Path) -> Iterator[Recorded]:
    """Stands before `server` (`host:port`, whose certificate `trust` has signed) until the block ends."""
    record, ready = Recorded(), Event()
    host, port = server.rsplit(":", 1)
    ours, theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cafile=str(trust))
    ours.load_cert_chain(certificate, key)
    ends: list[Callable[[], object]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sent, received = bytearray(), bytearray()
        record.sent.append(sent)
        record.received.append(received)
        try:
            answers, onward = await asyncio.open_connection(host, int(port), ssl=theirs)
        except OSError:
            writer.close()
            return
        try:
            await asyncio.gather(_pump(reader, onward, sent), _pump(answers, writer, received))
        except asyncio.CancelledError:  # the block ended
            onward.transport.abort()
            writer.transport.abort()

    async def stand() -> None:
        loop, until = asyncio.get_running_loop(), asyncio.Event()
        ends.append(lambda: loop.call_soon_threadsafe(until.set))
        async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=ours) as listening:
            record.address = f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"
            ready.set()
            await until.wait()
            listening.close()
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()

    thread = Thread(target=asyncio.run, args=(stand(),))
    thread.start()
    assert ready.wait(10)
    try:
        yield record
    finally:
        ends[0]()
        thread.join()


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter, record: bytearray) -> None:
    """Bytes from one to the other, each written down before it goes on."""
    try:
        with suppress(OSError):  # a peer that went away: what it sent is written down
            while chunk := await source.read(CHUNK):
                record += chunk
                target.write(chunk)
                await target.drain()
    finally:
        target.close()


def requests(sent: bytes) -> Iterator[Request]:
    """Those of one connection. Raises ValueError for what is no HTTP/1.1 request of a stated length."""
    rest = bytes(sent)
    while rest:
        head, blank, after = rest.partition(b"\r\n\r\n")
        first, *lines = head.decode("ascii").split("\r\n")
        method, path, version = first.split(" ")
        headers = tuple((name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines))
        length = [int(value) for name, value in headers if name == "content-length"]
        if not blank or version != "HTTP/1.1" or len(length) != 1 or len(after) < length[0]:
            raise ValueError(f"expected HTTP/1.1 requests of a stated length, got `{first}`")
        yield Request(method, path, headers, after[: length[0]])
        rest = after[length[0] :]
