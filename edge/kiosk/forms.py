"""Reads `multipart/form-data` (RFC 7578) in memory; nothing of a picture ever touches the disk."""

from __future__ import annotations

from dataclasses import dataclass, field

from edge.kiosk.refusals import RequestError

MOST_PARTS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One field of a form.

    Attributes:
        name: Its name.
        data: What it holds.
        is_file: Whether it came with a file name.
    """

    name: str
    data: bytes
    is_file: bool


@dataclass(slots=True)
class _Collector:
    """What the parser's callbacks have found so far."""

    parts: list[Part] = field(default_factory=list)
    ended: bool = False
    header_name: bytes = b""
    header_value: bytes = b""
    disposition: bytes = b""
    pieces: list[bytes] = field(default_factory=list)

    def begin(self) -> None:
        if len(self.parts) >= MOST_PARTS:
            raise RequestError(422, f"the form has more than {MOST_PARTS} fields")
        self.disposition, self.pieces = b"", []

    def name_header(self, data: bytes, start: int, end: int) -> None:
        self.header_name += data[start:end]

    def fill_header(self, data: bytes, start: int, end: int) -> None:
        self.header_value += data[start:end]

    def end_header(self) -> None:
        if self.header_name.lower() == b"content-disposition":
            self.disposition = self.header_value
        self.header_name = self.header_value = b""

    def fill(self, data: bytes, start: int, end: int) -> None:
        self.pieces.append(data[start:end])

    def end(self) -> None:
        from python_multipart.multipart import parse_options_header

        kind, options = parse_options_header(self.disposition.decode("latin-1"))
        if kind != b"form-data" or b"name" not in options:
            raise RequestError(422, "a field of the form has no name")
        name = options[b"name"].decode("utf-8", "replace")
        self.parts.append(Part(name=name, data=b"".join(self.pieces), is_file=b"filename" in options))

    def finish(self) -> None:
        self.ended = True


def read_form(body: bytes, content_type: str) -> tuple[Part, ...]:
    """The fields of a form, in their order.

    Args:
        body: All of it.
        content_type: The header, with the boundary.

    Raises:
        RequestError: 422, it is no such form, or it is cut off.
    """
    from python_multipart import MultipartParser
    from python_multipart.exceptions import FormParserError
    from python_multipart.multipart import parse_options_header

    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise RequestError(422, "the form's Content-Type names no boundary")
    collector = _Collector()
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": collector.begin,
                "on_header_field": collector.name_header,
                "on_header_value": collector.fill_header,
                "on_header_end": collector.end_header,
                "on_part_data": collector.fill,
                "on_part_end": collector.end,
                "on_end": collector.finish,
            },
        )
        parser.write(body)
        parser.finalize()
    except FormParserError as cause:
        raise RequestError(422, "the body is no form with the boundary that its Content-Type names") from cause
    if not collector.ended:
        raise RequestError(422, "the form is cut off: its last boundary is missing")
    return tuple(collector.parts)
