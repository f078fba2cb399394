"""The words that a text reader knows: a sorted list, walked as a prefix tree."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass

from edge.errors import FormatError

MAX_BYTES = 16_000_000
MAX_WORD_LENGTH = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Lexicon:
    """Known words. A sorted list holds any number of them in little memory; its spans are the nodes of a prefix tree.

    Attributes:
        words: Sorted by code point, all different; at least one.
    """

    words: tuple[str, ...]

    def __contains__(self, word: str) -> bool:
        """Whether it holds exactly this word."""
        at = bisect_left(self.words, word)
        return at < len(self.words) and self.words[at] == word

    @property
    def root(self) -> Span:
        """All words."""
        return Span(first=0, end=len(self.words), depth=0)

    def is_word(self, span: Span) -> bool:
        """Whether the prefix of a span is itself a word."""
        return len(self.words[span.first]) == span.depth

    def children(self, span: Span) -> dict[str, Span]:
        """The characters that may follow a prefix, in order, each with the span of the longer prefix."""
        found, depth = {}, span.depth
        at = span.first + self.is_word(span)
        while at < span.end:
            prefix = self.words[at][: depth + 1]
            end = bisect_right(self.words, prefix, at, span.end, key=lambda word: word[: depth + 1])
            found[prefix[depth]] = Span(first=at, end=end, depth=depth + 1)
            at = end
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The words of a lexicon that begin alike.

    Attributes:
        first: Position of the first of them.
        end: Position after the last; above `first`.
        depth: How many characters they share, at least.
    """

    first: int
    end: int
    depth: int


def read_lexicon(name: str, data: bytes) -> Lexicon:
    r"""Reads one word a line, in UTF-8. Lines end in `\n` or `\r\n`; empty ones and repetitions are passed over.

    Args:
        name: Of the file, for errors.
        data: Its content.

    Raises:
        FormatError: Too large, not UTF-8, without a word, or a line is no word: longer than 1,000 characters, with
            white space at its ends, or with characters that cannot be printed.
    """
    if len(data) > MAX_BYTES:
        raise FormatError(f"{name}: {len(data)} bytes, at most {MAX_BYTES} are read")
    try:
        lines = data.decode("utf-8").split("\n")
    except UnicodeDecodeError as cause:
        number = data.count(b"\n", 0, cause.start) + 1
        raise FormatError(f"{name}: line {number} is not UTF-8") from cause
    for number, line in enumerate(lines, start=1):
        word = line.removesuffix("\r")
        if len(word) > MAX_WORD_LENGTH or word != word.strip() or not word.isprintable():
            raise FormatError(f"{name}: line {number} is no word, found {word[:40]!r}")
    words = {line.removesuffix("\r") for line in lines} - {""}
    if not words:
        raise FormatError(f"{name}: holds no word")
    return Lexicon(words=tuple(sorted(words)))
