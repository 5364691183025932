"""The HTTP service: routes, limits, and one JSON sentence for whatever goes wrong."""

import asyncio
import base64
import contextlib
import hashlib
import json
import logging
import re
import socket
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras

from kerastl._checks import check_integer, check_number, fail
from kerastl._files import one_line
from kerastl._json import json_line
from kerastl.data.images import num_cores
from kerastl.serving.answers import Answerer, Example, RequestError

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

_LOG = logging.getLogger("kerastl.serving")
#: Requests at a time; one more is told to come back.
_AT_ONCE = 128
#: Seconds that a body may take to arrive, and that running requests get at the end.
_PATIENCE, _LAST = 30, 60
#: A body too large by less than this factor is read to its end, and thrown away: who
#: still sends would not hear the answer.
_HEARD_OUT = 8
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_HOW = {
    "image": "send a photo as the body, or as the field `file` of a form",
    "text": 'send {"text": "..."} as JSON, or the text as text/plain',
}


def web_app(
    model: keras.Model,
    *,
    batch_size: int = 1,
    max_bytes: int = 10_000_000,
    max_pixels: int = 50_000_000,
    hosts: tuple[str, ...] | None = None,
) -> "Starlette":
    """A model as an ASGI application, for a server of your own.

    Args:
        model: From `load_model`.
        batch_size: See `serve`.
        max_bytes: See `serve`.
        max_pixels: See `serve`.
        hosts: Names that requests may call the server by; None: any. Of a server for
            this machine alone those of the loopback: a page elsewhere could lend its
            own name to 127.0.0.1 and read the answers.

    Returns:
        A Starlette application with `GET /`, `/health` and `/metadata`, and `POST
        /predict` and `/show`.

    Raises:
        ImportError: If Starlette is not installed.
        ValueError: If the model takes neither photos nor texts, or an argument does not
            fit.
    """
    check_installed()
    check_integer("max_bytes", max_bytes, 1)
    given = Answerer(model, batch_size=batch_size, max_pixels=max_pixels)
    return _Service(given, max_bytes, hosts).app()


def serve(
    model: keras.Model,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    batch_size: int = 1,
    max_bytes: int = 10_000_000,
    max_pixels: int = 50_000_000,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Answer over HTTP until a signal ends it; what runs then is finished first.

    Args:
        model: From `load_model`.
        host: Address to listen at. The usual one can be reached from this machine
            alone; any other asks nobody for a password.
        port: Its number; 0: any that is free.
        batch_size: Requests that are answered at a time, of those that wait. Fewer are
            filled up to it, so that an answer is the same in any company: what
            `predict` of the same batch size says.
        max_bytes: Larger bodies are refused.
        max_pixels: Images of more pixels are refused before they are decoded.
        ready: Called with the address, once it can be asked.

    Raises:
        ImportError: If Starlette and uvicorn are not installed.
        ValueError: If the port is taken, or the model takes neither photos nor texts.
    """
    check_installed()
    import uvicorn

    check_integer("port", port, 0)
    check_number("port", port, maximum=65_535)
    local = host in _LOOPBACK
    limits = {"max_bytes": max_bytes, "max_pixels": max_pixels}
    hosts = _LOOPBACK if local else None
    app = web_app(model, batch_size=batch_size, hosts=hosts, **limits)
    listening = _listen(host, port)
    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_LAST,
    )
    server = uvicorn.Server(config)
    shown = f"[{host}]" if ":" in host else host
    if ready is not None:
        ready(f"http://{shown}:{listening.getsockname()[1]}")
    with warnings.catch_warnings():
        # What is said of a stranger's image is no news to who runs the server.
        warnings.simplefilter("ignore")
        try:
            server.run(sockets=[listening])
        except KeyboardInterrupt:
            # uvicorn raises the signal again once all is finished.
            if not server.should_exit:
                raise


def check_installed() -> None:
    """Raise unless the web stack is installed."""
    try:
        import python_multipart  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        message = "Serving needs Starlette, uvicorn and python-multipart. "
        message += "Install them: pip install 'kerastl[serve]'"
        raise ImportError(message) from error


def _listen(host: str, port: int) -> socket.socket:
    """A socket that takes connections from now on, which wait to be accepted."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        said = error.strerror or str(error)
        return fail("port", f"one that is free at {host}", port, f"{said}.")


class _Batches:
    """Puts requests that wait into batches; one thread alone runs the network."""

    def __init__(self, answerer: Answerer) -> None:
        self.answerer = answerer
        self.thread = ThreadPoolExecutor(1, "kerastl-network")
        self.waiting: asyncio.Queue[tuple[Example, asyncio.Future]] = asyncio.Queue()

    async def answer(self, example: Example) -> dict[str, Any]:
        """The row of one example, once its batch has been run."""
        told = asyncio.get_running_loop().create_future()
        await self.waiting.put((example, told))
        return await told

    async def call(self, work: Callable[..., Any], *given: Any) -> Any:
        """Run something else of the network, after what runs."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.thread, work, *given)

    async def run(self) -> None:
        """Answer until cancelled."""
        while True:
            batch = [await self.waiting.get()]
            while len(batch) < self.answerer.batch_size and not self.waiting.empty():
                batch.append(self.waiting.get_nowait())
            if not await self._tell(batch):
                # One of them is at fault: it alone must pay.
                for one in batch:
                    await self._tell([one])

    async def _tell(self, batch: list[tuple[Example, asyncio.Future]]) -> bool:
        """Give each its answer; False where several failed together, and none has."""
        try:
            rows = await self.call(self.answerer.rows, [given for given, _ in batch])
        except Exception as error:
            if len(batch) > 1:
                return False
            rows = [error]
        for (_, told), row in zip(batch, rows, strict=True):
            if told.done():  # Cancelled: the server ends.
                continue
            if isinstance(row, Exception):
                told.set_exception(row)
            else:
                told.set_result(row)
        return True


class _Service:
    """What the routes share."""

    def __init__(
        self, answerer: Answerer, max_bytes: int, hosts: tuple[str, ...] | None
    ) -> None:
        self.answerer, self.max_bytes, self.hosts = answerer, max_bytes, hosts
        self.about = {**answerer.metadata(), "max_bytes": max_bytes}
        self.takes = self.about["takes"]
        self.busy = self.answered = 0
        self.page, self.policy = _page()

    def app(self) -> "Starlette":
        """The application."""
        from starlette.applications import Starlette
        from starlette.exceptions import HTTPException
        from starlette.routing import Route

        @contextlib.asynccontextmanager
        async def lifespan(_: Any) -> AsyncIterator[None]:
            self.batches = _Batches(self.answerer)
            self.decoders = ThreadPoolExecutor(num_cores(), "kerastl-decode")
            running = asyncio.create_task(self.batches.run())
            try:
                yield
            finally:
                running.cancel()
                self.batches.thread.shutdown()
                self.decoders.shutdown()

        def refused(_: "Request", error: Any) -> "Response":
            words = {404: "There is nothing at this address.", 405: "Wrong method."}
            said = words.get(error.status_code, f"{error.detail}.")
            ways = "Ask GET /, /health or /metadata, or POST /predict or /show."
            return _json({"error": f"{said} {ways}"}, error.status_code, error.headers)

        routes = [
            Route("/", self._guarded(self._index), methods=["GET"]),
            Route("/health", self._guarded(self._health), methods=["GET"]),
            Route("/metadata", self._guarded(self._metadata), methods=["GET"]),
            Route("/predict", self._guarded(self._predict), methods=["POST"]),
            Route("/show", self._guarded(self._show), methods=["POST"]),
        ]
        handlers = {HTTPException: refused}
        made = Starlette(routes=routes, lifespan=lifespan, exception_handlers=handlers)
        # Else `/predict/` would be sent to `/predict`, and its body a second time.
        made.router.redirect_slashes = False
        return made

    def _guarded(
        self, work: Callable[["Request"], Awaitable["Response"]]
    ) -> Callable[["Request"], Awaitable["Response"]]:
        """A route that ends in an answer or in one sentence, whatever happens."""
        from starlette.requests import ClientDisconnect

        async def route(request: "Request") -> "Response":
            try:
                self._check_host(request)
                return await work(request)
            except RequestError as error:
                return _json({"error": str(error)}, error.status)
            except ClientDisconnect:
                return _json({"error": "The asker went away."}, 400)
            except ValueError as error:
                return _json({"error": f"{one_line(error)}."}, 422)
            # The one boundary of the service: no request may end it.
            except Exception as error:
                kind = type(error).__name__
                _LOG.warning("%s failed: %s: %s", request.url.path, kind, error)
                return _json({"error": f"The model could not answer ({kind})."}, 500)

        return route

    def _check_host(self, request: "Request") -> None:
        """Raise where a page elsewhere has lent its name to this machine."""
        if self.hosts is None:
            return
        name = re.sub(r":\d*$", "", request.headers.get("host", "")).strip("[]")
        if name.lower() not in self.hosts:
            said = f"This server is for {' and '.join(self.hosts)} alone."
            raise RequestError(421, said)

    async def _index(self, _: "Request") -> "Response":
        from starlette.responses import HTMLResponse

        policy = {"Content-Security-Policy": self.policy}
        return HTMLResponse(self.page, headers={**_HEADERS, **policy})

    async def _health(self, _: "Request") -> "Response":
        counts = {"answered": self.answered, "running": self.busy}
        return _json({"status": "ok", **counts})

    async def _metadata(self, _: "Request") -> "Response":
        return _json(self.about)

    async def _predict(self, request: "Request") -> "Response":
        return await self._answered(request, self.batches.answer)

    async def _show(self, request: "Request") -> "Response":
        async def show(example: Example) -> dict[str, Any]:
            return await self.batches.call(self.answerer.shown, example)

        return await self._answered(request, show)

    async def _answered(
        self,
        request: "Request",
        answer: Callable[[Example], Awaitable[dict[str, Any]]],
    ) -> "Response":
        """Read the request, and answer it."""
        if self.busy >= _AT_ONCE:
            said = f"{_AT_ONCE} requests are being answered: ask again in a moment."
            return _json({"error": said}, 503, {"Retry-After": "1"})
        self.busy += 1
        try:
            example = await self._example(request)
            made = _json(await answer(example))
        finally:
            self.busy -= 1
        self.answered += 1
        return made

    async def _example(self, request: "Request") -> Example:
        """What a request asks about.

        Raises:
            RequestError: If it is none of the forms that are taken.
        """
        kind, name = _kind(request.headers), None
        try:
            async with asyncio.timeout(_PATIENCE):
                data = await self._body(request)
        except TimeoutError:
            said = f"The body must arrive within {_PATIENCE} seconds."
            raise RequestError(408, said) from None
        if kind == "multipart/form-data":
            data, name, kind = await self._field(request, data)
        if not data:
            raise RequestError(400, f"The body is empty: {_HOW[self.takes]}.")
        if self.takes == "text":
            return self.answerer.read_text(self._text(data, kind))
        if kind == "application/json" or kind.startswith("text/"):
            said = f"The model takes images, not {kind}: {_HOW['image']}."
            raise RequestError(415, said)
        loop, read = asyncio.get_running_loop(), self.answerer.read_image
        return await loop.run_in_executor(self.decoders, read, data, name)

    async def _body(self, request: "Request") -> bytes:
        """All bytes of the body, which is not read beyond what is heard out."""
        most, parts, size = self.max_bytes, [], 0
        announced = request.headers.get("content-length", "0")
        if int(announced) <= most * _HEARD_OUT:
            async for part in request.stream():
                size += len(part)
                if size <= most:
                    parts.append(part)
                else:
                    parts.clear()
                if size > most * _HEARD_OUT:
                    break
        if max(size, int(announced)) > most:
            raise RequestError(413, f"The body must have at most {most:,} bytes.")
        return b"".join(parts)

    async def _field(
        self, request: "Request", data: bytes
    ) -> tuple[bytes, str | None, str]:
        """Bytes, file name and type of the one field of a form."""
        from starlette.formparsers import MultiPartException, MultiPartParser

        async def once() -> AsyncIterator[bytes]:
            yield data

        # The parser takes what is cut off for a whole, and leaves its file open.
        if not data.rstrip().endswith(b"--"):
            raise RequestError(400, "The form is cut off.")
        wanted = "file" if self.takes == "image" else "text"
        try:
            form = await MultiPartParser(
                request.headers,
                once(),
                max_files=1,
                max_fields=1,
                max_part_size=self.max_bytes,
            ).parse()
        except MultiPartException as error:
            said = f"The form cannot be read: {one_line(error)}."
            raise RequestError(400, said) from error
        async with contextlib.AsyncExitStack() as closing:
            closing.push_async_callback(form.close)
            if list(form) != [wanted]:
                said = f"The form must have the one field `{wanted}`, not "
                said += f"{', '.join(map(repr, form))[:200] or 'none'}."
                raise RequestError(400, said)
            value = form[wanted]
            if isinstance(value, str):
                return value.encode("utf-8", "surrogatepass"), None, "text/plain"
            kind = _kind(value.headers) or "application/octet-stream"
            return await value.read(), value.filename, kind

    def _text(self, data: bytes, kind: str) -> str:
        """The text of a body of JSON, or of plain text."""
        if kind not in ("application/json", "text/plain"):
            said = f"The model takes texts, not {kind or 'bytes of no type'}"
            raise RequestError(415, f"{said}: {_HOW['text']}.")
        try:
            if kind == "text/plain":
                return data.decode("utf-8")
            found = json.loads(data)
        except (ValueError, RecursionError) as error:
            what = "text in UTF-8" if kind == "text/plain" else "JSON"
            raise RequestError(400, f"The body is no {what}.") from error
        if not isinstance(found, dict) or list(found) != ["text"]:
            raise RequestError(400, f"The JSON has other fields: {_HOW['text']}.")
        if not isinstance(found["text"], str):
            kind = type(found["text"]).__name__
            raise RequestError(400, f"`text` must be a string, not of type {kind}.")
        return found["text"]


def _kind(headers: Mapping[str, str]) -> str:
    """The type that headers name, without its parameters."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def _json(
    value: Mapping[str, Any],
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> "Response":
    """One line of JSON, as the command line prints it."""
    from starlette.responses import Response

    return Response(
        f"{json_line(value)}\n".encode("utf-8", "replace"),
        status,
        {**_HEADERS, **(headers or {})},
        "application/json",
    )


def _page() -> tuple[str, str]:
    """The page, and the policy that lets its own style and script run and no other."""
    text = Path(__file__).with_name("page.html").read_text(encoding="utf-8")

    def sources(tag: str) -> str:
        found = re.findall(rf"<{tag}>(.*?)</{tag}>", text, flags=re.DOTALL)
        sums = (hashlib.sha256(part.encode("utf-8")).digest() for part in found)
        return " ".join(f"'sha256-{base64.b64encode(s).decode()}'" for s in sums)

    return text, (
        "default-src 'none'; img-src 'self' data: blob:; connect-src 'self'; "
        f"style-src {sources('style')}; script-src {sources('script')}; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
