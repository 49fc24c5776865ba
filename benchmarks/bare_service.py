"""`facebridge serve` without what stands around every request (keys, limits, the audit log, metrics of requests and their stages,
logs), so that it can be measured what that costs: python -m benchmarks.bare_service serve ...

What routes and batches count stays.
"""

import sys

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from service import cli
from service.access.ring import ANYBODY
from service.api.access import FACTS, Admit
from service.api.middleware import CALLER, REQUEST_ID, Observe
from service.app import create_app
from service.settings import Settings


class Bare:
    """What routes rely on, and nothing is done with."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http":
            scope[CALLER], scope[FACTS], scope[REQUEST_ID] = ANYBODY, {}, ""
        await self._app(scope, receive, send)


def bare(settings: Settings) -> FastAPI:
    """The application without them."""
    app = create_app(settings, needs_keys=False)
    around: tuple[object, ...] = (Admit, Observe)
    app.user_middleware = [one for one in app.user_middleware if one.cls not in around]
    app.add_middleware(Bare)
    return app


if __name__ == "__main__":
    vars(cli)["create_app"] = bare
    sys.exit(cli.run(sys.argv[1:]))
