"""As many requests as are worked on at once; of more the answer would come when nobody waits for it any more."""

import re

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import QueueFullError

_WORK = re.compile(
    r"/(?:translate|attributes|verify|identify|reconstruct)|/galleries/[^/]+/(?:templates|subjects)(?:/|$)"
)
"""How paths begin of what clients ask for. Whoever looks after the service is always let in."""
TURNED_AWAY = "facebridge.turned_away"
"""In the ASGI scope of a request that was not let in: nothing was done for it."""


class AtOnce:
    """Counts a request from when its body has come, so that those that come slowly keep nobody out, to when its answer begins, so
    that those who read slowly do not either.
    """

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app = app
        self._most = most
        self._num = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. Who reads its body to the end, be it empty, hears `QueueFullError` where there is no place."""
        if scope["type"] != "http" or not _WORK.match(scope["path"]):
            await self._app(scope, receive, send)
            return
        is_in, is_answered = False, False

        async def received() -> Message:
            nonlocal is_in
            message = await receive()
            if not is_in and not is_answered and message["type"] == "http.request" and not message.get("more_body"):
                if self._num >= self._most:
                    scope[TURNED_AWAY] = True
                    raise QueueFullError("as many requests are worked on as may be; try again shortly")
                self._num += 1
                is_in = True
            return message

        async def answered(message: Message) -> None:
            nonlocal is_in, is_answered
            is_answered = True
            if is_in:
                self._num -= 1
                is_in = False
            await send(message)

        try:
            await self._app(scope, received, answered)
        finally:
            if is_in:
                self._num -= 1
