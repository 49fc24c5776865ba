"""A typed client of the service: what can be asked is a value (`calls`), and is sent by a `Client` or an `AsyncClient`.

    from service.client import Client, Picture, calls

    with Client("https://faces.example", key=key) as client:
        found = client(calls.identify("people", probe_D, space="edge", fmr=1e-4))
        print(found.decision, found.candidates[0].subject)
        seen = client(calls.identify("people", Picture(jpeg), space="edge", fmr=1e-4))

`await client(...)` does the same of an `AsyncClient`. What failed on the way is sent again where that does no harm.
"""

from service.client import calls
from service.client.answers import (
    Bundle,
    Bundles,
    Candidate,
    Identified,
    IdentifiedClosedSet,
    ListedRoute,
    ListedSpace,
    Route,
    Space,
    Told,
    Translated,
    TranslatedWithConfidence,
    Verified,
)
from service.client.call import Call
from service.client.errors import ClientError, ProblemError, StrangerError, UnreachableError
from service.client.gallery_answers import Backlog, CheckReport, Enrolled, Gallery, Snapshot, Template, TemplatePage
from service.client.job_answers import Gate, Job, JobPage, Numbers
from service.client.probes import Filter, KeepAttributes, Picture, TellAttributes, Trust
from service.client.sending import AsyncClient, Client
from service.client.service_answers import AuditPage, Health, Key, MadeKey, Readiness

__all__ = [
    "AsyncClient",
    "AuditPage",
    "Backlog",
    "Bundle",
    "Bundles",
    "Call",
    "Candidate",
    "CheckReport",
    "Client",
    "ClientError",
    "Enrolled",
    "Filter",
    "Gallery",
    "Gate",
    "Health",
    "Identified",
    "IdentifiedClosedSet",
    "Job",
    "JobPage",
    "KeepAttributes",
    "Key",
    "ListedRoute",
    "ListedSpace",
    "MadeKey",
    "Numbers",
    "Picture",
    "ProblemError",
    "Readiness",
    "Route",
    "Snapshot",
    "Space",
    "StrangerError",
    "TellAttributes",
    "Template",
    "TemplatePage",
    "Told",
    "Translated",
    "TranslatedWithConfidence",
    "Trust",
    "UnreachableError",
    "Verified",
    "calls",
]
