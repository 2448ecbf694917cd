"""A TCP proxy in front of a server. It can be slow, fall silent or refuse, as hosts and networks do, and speak TLS."""

import asyncio
import math
import socket
import ssl
import struct
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any, Literal, Self

from tests.servers import HOST, free_port

CERTIFICATE = Path(__file__).parent / "localhost.pem"
ANSWERS_IN = 10.0  # seconds
CHUNK, SHORT_CHUNK = 65_536, 8_192  # bytes
SSL_REQUEST = struct.pack("!ii", 8, 80877103)  # "SSLRequest" in Postgres' documentation of its messages

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Proxy:
    """A context manager that forwards the connections to `port`, in a separate thread.

    tls: The protocol of the clients: "redis" is TLS from the first byte on, "postgres" is TLS after a request for it.
    bytes_per_s: The limit in each direction, shared by all connections. By default there is no limit.
    """

    def __init__(
        self, target_port: int, tls: Literal["no", "redis", "postgres"] = "no", bytes_per_s: float = math.inf
    ) -> None:
        self.target_port = target_port
        self.tls = tls
        self.bytes_per_s = bytes_per_s
        self.chunk = CHUNK if bytes_per_s == math.inf else SHORT_CHUNK  # a slow link buffers little
        self.passed = {"up": 0, "down": 0}  # bytes from the clients, and to them
        self.free_at = {"up": 0.0, "down": 0.0}  # on the loop's clock: when the link will have sent all its data
        self.port = free_port()
        self.context: ssl.SSLContext | None = None
        if tls != "no":
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(CERTIFICATE)
        self.flowing = asyncio.Event()
        self.listener: socket.socket | None = None
        self.tasks: set[asyncio.Task[None]] = set()
        self.loop = asyncio.new_event_loop()
        self.thread = Thread(target=self.loop.run_forever, name=f"proxy {self.port}")

    def __enter__(self) -> Self:
        self.thread.start()
        self.join()
        return self

    def __exit__(self, *exception: object) -> None:
        try:
            self.refuse()
        finally:
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.thread.join()
            self.loop.close()

    def cut(self) -> None:
        """Stop forwarding in both directions. Keep connections open, and accept new ones without answering them."""
        self.run(self.fall_silent())

    def refuse(self) -> None:
        """Reset all connections and refuse new ones."""
        self.run(self.close())

    def join(self) -> None:
        """Forward again, starting with the data that arrived meanwhile."""
        self.run(self.flow())

    def run(self, what: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(what, self.loop).result(ANSWERS_IN)

    # The methods below run in the thread.

    async def fall_silent(self) -> None:
        self.listen()
        self.flowing.clear()

    async def flow(self) -> None:
        self.listen()
        self.flowing.set()

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        results = await asyncio.gather(*self.tasks, return_exceptions=True)
        self.tasks.clear()
        if self.listener:
            self.listener.close()
        self.listener = None
        for result in results:
            if isinstance(result, Exception):
                raise result

    def listen(self) -> None:
        if self.listener is None:
            self.listener = socket.create_server((HOST, self.port))
            if self.bytes_per_s < math.inf:
                self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.chunk)
            self.listener.setblocking(False)
            self.spawn(self.accept(self.listener))

    def spawn(self, what: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(what)
        self.tasks.add(task)
        task.add_done_callback(self.forget)

    def forget(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or task.exception() is None:
            self.tasks.discard(task)

    async def accept(self, listener: socket.socket) -> None:
        while True:
            client, _ = await self.loop.sock_accept(listener)
            self.spawn(self.serve(client))

    async def serve(self, client: socket.socket) -> None:
        """Forward data until one side ends the connection, then end the other."""
        ends = []
        try:
            near, near_writer = await self.take(client)
            ends.append((client, near_writer))
            far, far_writer = await asyncio.open_connection(HOST, self.target_port)
            ends.append((far_writer.get_extra_info("socket"), far_writer))
            async with asyncio.TaskGroup() as group:
                group.create_task(self.pump("up", near, far_writer))
                group.create_task(self.pump("down", far, near_writer))
        except* OSError:
            pass
        finally:
            for connection, writer in ends:
                with suppress(OSError):  # the connection has ended
                    reset_on_close(connection)
                    writer.transport.abort()
                    await writer.wait_closed()

    async def take(self, client: socket.socket) -> Streams:
        try:
            await self.wait_until_flowing()
            if self.tls == "postgres":
                await self.agree_on_tls(client)
        except BaseException:
            reset_on_close(client)
            client.close()
            raise
        reader = asyncio.StreamReader(limit=self.chunk)
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await self.loop.connect_accepted_socket(lambda: protocol, client, ssl=self.context)
        return reader, asyncio.StreamWriter(transport, protocol, reader, self.loop)

    async def agree_on_tls(self, client: socket.socket) -> None:
        asked = await self.loop.sock_recv(client, len(SSL_REQUEST))
        if asked != SSL_REQUEST:
            raise ConnectionError("The client did not ask for TLS.")
        await self.loop.sock_sendall(client, b"S")

    async def wait_until_flowing(self) -> None:
        while not self.flowing.is_set():
            await self.flowing.wait()

    async def wait_for_link(self, way: str, size: int) -> None:
        """Wait until the link has sent this chunk. Each connection holds one chunk at a time."""
        if self.bytes_per_s < math.inf:
            now = self.loop.time()
            self.free_at[way] = max(now, self.free_at[way]) + size / self.bytes_per_s
            await asyncio.sleep(self.free_at[way] - now)

    async def pump(self, way: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(self.chunk):
            await self.wait_for_link(way, len(chunk))
            await self.wait_until_flowing()
            self.passed[way] += len(chunk)
            writer.write(chunk)
            await writer.drain()
        await self.wait_until_flowing()
        writer.close()


def reset_on_close(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
