"""A model behind HTTP: an ASGI application without a framework. Any ASGI server runs it; see README.md.

POST /predict takes {"x": [[[...], ...], ...]}, windows (rows, steps, features), and answers {"y": [[...], ...]}.
GET /health answers as soon as the model is loaded.
Next: engines.py.
"""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable
from typing import Any

import engines
import numpy as np

MOST_BYTES = 16 << 20  # of a request's body

# Loaded on import: once in each worker, or with gunicorn's preload once for all of them, before they fork.
predict = engines.load(os.environ.get("ENGINE", "lstmfast"))

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif scope["type"] == "http":
        status, answer = await respond(scope, receive)
        body = json.dumps(answer).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"x-worker", b"%d" % os.getpid()),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


async def lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def respond(scope: dict[str, Any], receive: Receive) -> tuple[int, dict[str, Any]]:
    route = (scope["method"], scope["path"])
    if route == ("GET", "/health"):
        return 200, {"status": "ok"}
    if route != ("POST", "/predict"):
        return 404, {"error": "POST /predict or GET /health"}
    body = await read_body(receive)
    if body is None:
        return 413, {"error": f"more than {MOST_BYTES} bytes"}
    try:
        x = np.asarray(json.loads(body)["x"], np.float32)
        # A call takes less time than handing it to a thread would; a model that takes longer than about 10 ms belongs
        # into asyncio.to_thread.
        return 200, {"y": predict(x).tolist()}
    except (ValueError, TypeError, KeyError) as error:
        return 400, {"error": f"{type(error).__name__}: {error}"}


async def read_body(receive: Receive) -> bytes | None:
    """The request's body; None where it is too large: it is read to its end then, but not kept."""
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        part = message.get("body", b"")
        size += len(part)
        if size <= MOST_BYTES:
            parts.append(part)
        more = message.get("more_body", False)
    return b"".join(parts) if size <= MOST_BYTES else None
