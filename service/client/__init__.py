"""A typed client of the service: what can be asked is a value (`calls`), and is sent by a `Client` or an `AsyncClient`.

    from service.client import Client, calls

    with Client("https://faces.example", key=key) as client:
        found = client(calls.identify("people", probe_D, space="edge", fmr=1e-4))
        print(found.decision, found.candidates[0].subject)

`await client(...)` does the same of an `AsyncClient`. What failed on the way is sent again where that does no harm.
"""

from service.client import calls
from service.client.answers import (
    Candidate,
    Enrolled,
    Gallery,
    Gate,
    Identified,
    Job,
    JobPage,
    Numbers,
    Space,
    Translated,
    Verified,
)
from service.client.call import Call
from service.client.errors import ClientError, ProblemError, StrangerError, UnreachableError
from service.client.sending import AsyncClient, Client

__all__ = [
    "AsyncClient",
    "Call",
    "Candidate",
    "Client",
    "ClientError",
    "Enrolled",
    "Gallery",
    "Gate",
    "Identified",
    "Job",
    "JobPage",
    "Numbers",
    "ProblemError",
    "Space",
    "StrangerError",
    "Translated",
    "UnreachableError",
    "Verified",
    "calls",
]
