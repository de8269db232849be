"""Why a request is not granted."""

import enum


class Reason(enum.Enum):
    """Why a request was not granted. A frontend translates it into its protocol's reply."""

    NOT_ALLOWED = "not allowed"
    NETWORK_UNREACHABLE = "network unreachable"
    HOST_UNREACHABLE = "host unreachable"
    NAME_NOT_RESOLVED = "name not resolved"
    CONNECTION_REFUSED = "connection refused"
    TIMED_OUT = "timed out"
    GENERAL_FAILURE = "general failure"
