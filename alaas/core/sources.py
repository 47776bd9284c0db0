"""What an address was when it was read last."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Known:
    """The state that an address had when its content was read, and the content's name.

    A file is compared by `size` to `device`; an answer of a web server by the validators
    after them. What does not apply is 0 or empty.

    Attributes:
        digest: The name of the content, as `alaas.core.digest` gives it.
        noted_at: When the reading began, in seconds since 1970.
        size: Bytes of the file.
        mtime_ns: When the file's content was changed last, in nanoseconds since 1970.
        ctime_ns: When anything of the file was changed last, the same.
        inode: The file's number on its device.
        device: The number of the device.
        etag: The server's name for this version, as it was sent.
        modified: The server's ``Last-Modified``, as it was sent.
        fresh_until: Until when the server says that its answer holds, in seconds since 1970.
        target: The name of the address that redirects led to; empty if there were none.
    """

    digest: str
    noted_at: float
    size: int = 0
    mtime_ns: int = 0
    ctime_ns: int = 0
    inode: int = 0
    device: int = 0
    etag: str = ""
    modified: str = ""
    fresh_until: float = 0.0
    target: str = ""
