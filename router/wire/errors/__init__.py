"""What the errors of upstreams say, and what each means for a router. A new error text is a row of `words.py`."""

from router.wire.errors.blame import Blame
from router.wire.errors.details import ErrorDetails, error_in, is_error_body
from router.wire.errors.fault import Fault, ReportedError, fault_in_event, fault_of, kind_of_failure
from router.wire.errors.kinds import KINDS, Kind, Meaning

__all__ = [
    "KINDS",
    "Blame",
    "ErrorDetails",
    "Fault",
    "Kind",
    "Meaning",
    "ReportedError",
    "error_in",
    "fault_in_event",
    "fault_of",
    "is_error_body",
    "kind_of_failure",
]
