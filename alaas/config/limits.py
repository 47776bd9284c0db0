"""What one item, one query and one caller may cost."""

from __future__ import annotations

from alaas.config.values import Count, Positive, Seconds, Section


class LimitsSettings(Section):
    """What one item, one query and one caller may cost."""

    object_bytes: Positive = 20 * 2**20
    """Largest item, in bytes as they are sent, > 0."""

    pixels: Positive = 25_000_000
    """Largest picture, in pixels (width times height), > 0; checked before it is decoded."""

    text_chars: Positive = 100_000
    """Longest text, in characters, > 0."""

    connect_s: Seconds = 3.0
    """Seconds to connect to the server of an address, > 0."""

    read_s: Seconds = 10.0
    """Seconds that this server may stay silent, > 0."""

    fetch_s: Seconds = 30.0
    """Seconds to fetch one item in all, redirects included, > 0."""

    fetch_rate: Count = 1024
    """Bytes a second that this server must send at least, >= 0, once a second has passed."""

    redirects: Count = 3
    """Redirects that are followed for one item, >= 0; each is checked again."""

    fetch_concurrency: Positive = 32
    """Items that are fetched at once, > 0."""

    fetch_per_host: Positive = 8
    """Items that are fetched at once from one host, > 0."""

    fetched_bytes: Positive = 256 * 2**30
    """Bytes that are fetched for one query in all, > 0; one that has more gets a 413."""

    items: Positive = 10_000
    """Items of a pool in one document, > 0; more have to be sent as a stream, or pushed."""

    inline_items: Positive = 1_000
    """Items of a pool in one document that may come as bytes, > 0."""

    stream_items: Positive = 10_000_000
    """Items of a pool that is sent as a stream, > 0."""

    body_bytes: Positive = 32 * 2**20
    """Largest document, and largest line or message of a stream, in bytes, > 0."""

    header_bytes: Positive = 16 * 2**10
    """Largest head of a request, in bytes, > 0."""

    depth: Positive = 32
    """Arrays and objects inside each other in a document, > 0."""

    silence_s: Seconds = 10.0
    """Seconds that a caller may stay silent before the request is complete, > 0."""

    stream_silence_s: Seconds = 300.0
    """Seconds that a caller may stay silent between two parts of a stream, > 0."""

    requests: Positive = 64
    """Queries and pushes that are answered at once, > 0; more get a 503."""

    requests_per_key: Positive = 32
    """Queries and pushes of one API key at once, > 0; more get a 429."""

    held_bytes: Positive = 2**30
    """Bytes of documents that are held at once, > 0; more get a 503."""

    held_items: Positive = 50_000
    """Items of documents that are held at once, > 0; more get a 503."""

    query_s: Seconds | None = None
    """Seconds that a query may take, > 0, unless it asks for less; null for no limit."""

    jobs_per_key: Positive = 100
    """Jobs of one API key that are neither finished nor cancelled, > 0."""
