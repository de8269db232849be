"""The words of HTTP/1.1 (RFC 9110 section 5, RFC 9112) as patterns on bytes.

Each pattern is a run of character classes, no two of which can take the same byte at the same
place: matching costs time linear in the input. What the words mean together is left to the other
modules.
"""

import re
from typing import Final

MAX_METHOD: Final = 32
"""Longest method in bytes. The longest registered one has 17."""

MAX_INTEGER: Final = 2**63 - 1
"""Largest length that is believed: more bytes than that never come."""

_TCHAR: Final = rb"!#$%&'*+\-.^_`|~0-9A-Za-z"
_TEXT: Final = rb"[\t\x20-\x7e\x80-\xff]"

TOKEN: Final = re.compile(rb"[" + _TCHAR + rb"]+")
"""``token`` (RFC 9110 section 5.6.2): methods, field names, list members."""

LINE_TEXT: Final = re.compile(_TEXT + rb"*")
"""What a line may hold before its CRLF: HTAB, SP, VCHAR and obs-text, hence no CR, LF, NUL or other
control.
"""

VISIBLE: Final = re.compile(rb"[\x21-\x7e]*")
"""What a request target may hold: visible ASCII."""

_REQUEST_LINE: Final = rb"([" + _TCHAR + rb"]{1,%d}) ([\x21-\x7e]+) HTTP/(1\.[01])" % MAX_METHOD
_STATUS_LINE: Final = rb"HTTP/(1\.[01]) ([1-5][0-9]{2})(?: (" + _TEXT + rb"*))?"
_FIELDS: Final = rb"\r\n((?:[" + _TCHAR + rb"]++:" + _TEXT + rb"*+\r\n)*+)\r\n"

REQUEST_LINE: Final = re.compile(_REQUEST_LINE)
"""``request-line`` (RFC 9112 section 3) of the two versions that this library speaks."""

STATUS_LINE: Final = re.compile(_STATUS_LINE)
"""``status-line`` (RFC 9112 section 4). The space before an absent reason may be missing, as many
servers leave it.
"""

REQUEST_HEAD: Final = re.compile(_REQUEST_LINE + _FIELDS)
"""A whole head of a request; its last group is the lines that :data:`FIELD_LINE` takes apart."""

RESPONSE_HEAD: Final = re.compile(_STATUS_LINE + _FIELDS)
"""A whole head of a response; its last group is the lines that :data:`FIELD_LINE` takes apart."""

FIELD_LINE: Final = re.compile(rb"([" + _TCHAR + rb"]++):(" + _TEXT + rb"*+)\r\n")
"""``field-line CRLF`` (RFC 9112 section 5) as a whole, its value not yet trimmed."""

FIELD_NAME: Final = re.compile(rb"([" + _TCHAR + rb"]+):")
"""``field-name ":"`` (RFC 9112 section 5): nothing stands between the name and the colon."""

CONTENT_LENGTH: Final = re.compile(rb"[0-9]{1,19}")
"""``Content-Length`` (RFC 9110 section 8.6): digits only, no list, no sign."""

CHUNK_SIZE: Final = re.compile(rb"[0-9A-Fa-f]{1,16}")
"""``chunk-size`` (RFC 9112 section 7.1), at most 64 bits of it."""

_QUOTED: Final = rb'"(?:[\t\x20-\x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*"'

CHUNK_EXTENSION: Final = re.compile(
    rb"[ \t]*;[ \t]*[" + _TCHAR + rb"]+(?:[ \t]*=[ \t]*(?:[" + _TCHAR + rb"]+|" + _QUOTED + rb"))?"
)
"""One ``chunk-ext`` member (RFC 9112 section 7.1.1). Its alternatives differ in their first byte.
"""

HOST_FIELD: Final = re.compile(
    rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9\-._~!$&'()*+,;=%]*)(?::[0-9]{0,5})?"
)
"""``Host`` (RFC 9110 section 7.2): ``uri-host [":" port]``, no user information."""
