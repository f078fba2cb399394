"""Steps of a text reader to text (CTC), with or without a lexicon."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from edge.bundle.manifest import OutputSpec, TextSpec
from edge.errors import BackendError
from edge.postprocess.classify import finite_output
from edge.postprocess.ctc import Reading, beam_readings, greedy_reading, log_probability
from edge.postprocess.lexicon import Lexicon, Span, read_lexicon
from edge.types import RawOutputs, Text

if TYPE_CHECKING:
    from edge.postprocess.ctc import LogArray
    from edge.types import FloatArray

__all__ = ["Lexicon", "read_lexicon", "read_text"]

MAX_STEPS = 4096


def read_text(outputs: RawOutputs, output: OutputSpec, spec: TextSpec, lexicon: Lexicon | None) -> Text:
    """Reads one STEPS output.

    The confidence is the probability of the text, summed over all its alignments, whichever way it was found: greedily
    or with a beam, whose two best readings are computed anew without what the beam cut off. With `lexicon_only` it
    stays the probability among all texts, so that a picture of something else is not read as the nearest word and
    believed. Where no word fits, the text is empty and its confidence 0.

    Args:
        outputs: What the network said.
        output: Which output holds the steps: logits or log-probabilities, (T, C) or (1, T, C) or (T, 1, C), of at most
            4,096 steps; and their temperature.
        spec: Charset, blank and beam.
        lexicon: Known words; None where there are none. Words with characters outside of the charset are never read.

    Raises:
        BackendError: The output is missing, misshapen or holds NaN or infinity; or `lexicon_only` without a lexicon.
    """
    logits = _steps(outputs, output, len(spec.charset) + 1)
    steps = _log_softmax(logits, output.temperature)
    if spec.lexicon_only and lexicon is None:
        raise BackendError("text: lexicon_only needs a lexicon", hint="pass the one that the manifest names")
    if spec.beam_width == 1:
        reading = greedy_reading(logits, spec.blank)
        return _answer(_spell(reading, spec), _probability(steps, reading, spec), 1.0, lexicon)
    grammar = _LexiconGrammar(lexicon, spec) if spec.lexicon_only and lexicon is not None else None
    readings = beam_readings(steps, spec.blank, spec.beam_width, grammar)[:2]
    scored = sorted((-_probability(steps, reading, spec), _spell(reading, spec)) for reading in readings)
    if not scored:
        return Text(text="", confidence=0.0, margin=0.0, in_lexicon=False)
    best, text = -scored[0][0], scored[0][1]
    margin = best + scored[1][0] if len(scored) > 1 else 1.0
    return _answer(text, best, margin, lexicon)


def _answer(text: str, confidence: float, margin: float, lexicon: Lexicon | None) -> Text:
    return Text(text=text, confidence=confidence, margin=margin, in_lexicon=lexicon is None or text in lexicon)


def _steps(outputs: RawOutputs, output: OutputSpec, num_classes: int) -> FloatArray:
    """One row for each step, float32 (T, C)."""
    array = finite_output(outputs, output.name)
    sizes = [size for size in array.shape[:-1] if size > 1]
    if array.ndim < 2 or array.shape[-1] != num_classes or len(sizes) > 1 or array.size == 0:
        raise BackendError(
            f"output {output.name!r} has shape {list(array.shape)}, expected steps of {num_classes} classes",
            hint="the classes are the charset and one blank",
        )
    if array.size > MAX_STEPS * num_classes:
        raise BackendError(
            f"output {output.name!r} has {array.size // num_classes} steps, at most {MAX_STEPS} are read"
        )
    return array.reshape(-1, num_classes)


def _log_softmax(logits: FloatArray, temperature: float) -> LogArray:
    import numpy as np

    scaled = logits.astype(np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    steps: LogArray = scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True))
    return steps


def _probability(steps: LogArray, reading: Reading, spec: TextSpec) -> float:
    return min(1.0, math.exp(log_probability(steps, reading, spec.blank)))


def _spell(reading: Reading, spec: TextSpec) -> str:
    return "".join(spec.charset[label - (label > spec.blank)] for label in reading)


class _LexiconGrammar:
    """A lexicon as the beam search sees it: classes for characters, and numbers for the spans it has been in."""

    def __init__(self, lexicon: Lexicon, spec: TextSpec) -> None:
        self._lexicon = lexicon
        self._classes = {char: at + (at >= spec.blank) for at, char in enumerate(spec.charset)}
        self._spans: list[Span] = [lexicon.root]
        self._children: dict[int, dict[int, int]] = {}

    def children(self, node: int) -> Mapping[int, int]:
        """The classes that may follow a prefix, each with the node of the longer prefix."""
        found = self._children.get(node)
        if found is None:
            found = self._children[node] = {}
            for char, span in self._lexicon.children(self._spans[node]).items():
                if char in self._classes:
                    found[self._classes[char]] = len(self._spans)
                    self._spans.append(span)
        return found

    def is_complete(self, node: int) -> bool:
        """Whether a prefix is itself a word."""
        return self._lexicon.is_word(self._spans[node])
