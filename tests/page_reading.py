"""Reads an HTML page of ours as a browser would: its tags, addresses and words."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from xml.etree import ElementTree


class PageReader(HTMLParser):
    """Every tag, every address, every visible word; fails on tags that do not close."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.alternatives: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        values = dict(attrs)
        self.addresses += [value or "" for name, value in values.items() if name in ("src", "href", "srcset", "action")]
        if tag == "img":
            self.alternatives.append(values.get("alt") or "")
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def read_page(html: str) -> PageReader:
    """The whole page."""
    reader = PageReader()
    reader.feed(html)
    reader.close()
    assert reader.open == []
    return reader


def data_of(address: str) -> bytes:
    """What a `data:` address holds."""
    return base64.b64decode(address.partition(";base64,")[2], validate=True)


def assert_self_contained(found: PageReader, html: str) -> None:
    """Nothing is fetched, nothing runs, and every SVG is well-formed XML that refers to itself only."""
    assert found.addresses
    assert all(address.startswith("data:image/") for address in found.addresses)
    assert "default-src 'none'" in html
    assert not {"script", "link", "iframe", "object"} & set(found.tags)
    assert all(found.alternatives)
    for address in found.addresses:
        if address.startswith("data:image/svg+xml"):
            svg = data_of(address)
            assert not re.search(rb'(href|src)="(?!#|data:)', svg)
            assert not re.search(rb"url\((?!#)", svg)
            ElementTree.fromstring(svg)  # noqa: S314 - our own file
