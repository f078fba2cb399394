"""Readings of a CTC output: probability of one, the most likely path, and a beam search over prefixes.

Connectionist temporal classification: Graves et al., 2006. Prefix beam search: Hannun et al., First-Pass Large
Vocabulary Continuous Speech Recognition using Bi-Directional Recurrent DNNs, 2014, without a language model. A reading
is a tuple of classes without blanks; an alignment gives one class at each step, and spells the reading that is left
when repetitions are joined and blanks dropped. All probabilities are natural logarithms in float64.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

from edge.postprocess.classify import best_first

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from edge.types import FloatArray

    LogArray = npt.NDArray[np.float64]

Reading: TypeAlias = tuple[int, ...]


class Grammar(Protocol):
    """Which readings are allowed, as a tree of prefixes. Node 0 is the empty prefix."""

    def children(self, node: int) -> Mapping[int, int]:
        """The classes that may follow a prefix, each with the node of the longer prefix."""
        ...

    def is_complete(self, node: int) -> bool:
        """Whether a prefix is itself a reading."""
        ...


def greedy_reading(steps: LogArray | FloatArray, blank: int) -> Reading:
    """The reading of the most likely path; of equal classes the first.

    Args:
        steps: Log-probabilities or logits, (T, C). Logits that are nearly equal tell more than their logarithms.
        blank: Class of the blank.
    """
    path = steps.argmax(axis=1).tolist()
    joined = [label for label, before in zip(path, [None, *path], strict=False) if label != before]
    return tuple(label for label in joined if label != blank)


def log_probability(steps: LogArray, reading: Sequence[int], blank: int) -> float:
    """Log-probability of a reading: the sum over all its alignments, by the forward recursion; -inf for none.

    Args:
        steps: Log-probabilities, (T, C).
        reading: Classes without blanks.
        blank: Class of the blank.
    """
    import numpy as np

    states = np.full(2 * len(reading) + 1, blank)
    states[1::2] = reading
    # A blank may be skipped only between two different classes.
    skips = np.full(len(states), -np.inf)
    skips[2:][(states[2:] != blank) & (states[2:] != states[:-2])] = 0.0
    emissions = steps[:, states]
    forward = np.full(len(states) + 2, -np.inf)
    forward[2:4] = emissions[0, :2]
    for emission in emissions[1:]:
        stay_or_next = np.logaddexp(forward[2:], forward[1:-1])
        forward[2:] = np.logaddexp(stay_or_next, forward[:-2] + skips) + emission
    return float(np.logaddexp.reduce(forward[2:][-2:]))


def beam_readings(steps: LogArray, blank: int, width: int, grammar: Grammar | None = None) -> list[Reading]:
    """The readings that a beam search ends with, most likely first; equal ones in the order they were found.

    With a grammar the beam keeps, beside the best prefixes, as many of the best complete ones, so that it does not end
    with beginnings only.

    Args:
        steps: Log-probabilities, (T, C).
        blank: Class of the blank.
        width: How many prefixes are followed, at least 1.
        grammar: Which readings are allowed; None for all.
    """
    prefixes = _Prefixes(steps.shape[1], blank, grammar)
    beam = _first_beam()
    for emission in steps:
        beam = _step(beam, emission, width, prefixes)
    order = best_first(beam.totals, len(beam.nodes))
    return [prefixes.reading(beam.nodes[at]) for at in order if prefixes.complete[beam.nodes[at]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Beam:
    """The prefixes that are followed.

    Attributes:
        nodes: Their nodes in `_Prefixes`, all different.
        blanks: Log-probability of all alignments so far that end in a blank, (B).
        labels: Of those that end in the prefix's last class, (B).
    """

    nodes: list[int]
    blanks: LogArray
    labels: LogArray

    @property
    def totals(self) -> LogArray:
        """Log-probability of each prefix, (B)."""
        import numpy as np

        return np.logaddexp(self.blanks, self.labels)


class _Prefixes:
    """Every prefix that a beam has held, each once: parent, last class, and where the grammar has it."""

    def __init__(self, num_classes: int, blank: int, grammar: Grammar | None) -> None:
        self.num_classes = num_classes
        self.blank = blank
        self.grammar = grammar
        self.parents = [-1]
        self.lasts = [blank]
        self.states = [0]
        self.complete = [grammar is None or grammar.is_complete(0)]
        self._children: dict[int, int] = {}

    def child(self, node: int, label: int) -> int:
        """The prefix one class longer."""
        found = self._children.setdefault(node * self.num_classes + label, len(self.parents))
        if found == len(self.parents):
            self.parents.append(node)
            self.lasts.append(label)
            state = 0 if self.grammar is None else self.grammar.children(self.states[node])[label]
            self.states.append(state)
            self.complete.append(self.grammar is None or self.grammar.is_complete(state))
        return found

    def reading(self, node: int) -> Reading:
        """The classes of a prefix."""
        labels = []
        while node:
            labels.append(self.lasts[node])
            node = self.parents[node]
        return tuple(reversed(labels))


def _first_beam() -> _Beam:
    import numpy as np

    return _Beam(nodes=[0], blanks=np.zeros(1), labels=np.full(1, -np.inf))


def _step(beam: _Beam, emission: LogArray, width: int, prefixes: _Prefixes) -> _Beam:
    """Follows every prefix one step on, and keeps the best."""
    import numpy as np

    size = len(beam.nodes)
    lasts = np.array([prefixes.lasts[node] for node in beam.nodes])
    totals = beam.totals
    blanks = totals + emission[prefixes.blank]
    labels = beam.labels + emission[lasts]
    longer = totals[:, np.newaxis] + emission
    # The last class once more is a longer prefix only after a blank; otherwise it is the same prefix still.
    longer[np.arange(size), lasts] = beam.blanks + emission[lasts]
    longer[:, prefixes.blank] = -np.inf
    if prefixes.grammar is not None:
        longer = longer + _allowed(beam, prefixes)
    _merge(beam, labels, longer, prefixes)
    scores = np.concatenate([np.logaddexp(blanks, labels), longer.reshape(-1)])
    kept = [at for at in _survivors(scores, beam, width, prefixes) if scores[at] > -np.inf]
    nodes = [_node(at, beam, prefixes) for at in kept]
    chosen = np.array(kept)
    nothing = np.full(longer.size, -np.inf)
    return _Beam(
        nodes=nodes,
        blanks=np.concatenate([blanks, nothing])[chosen],
        labels=np.concatenate([labels, longer.reshape(-1)])[chosen],
    )


def _merge(beam: _Beam, labels: LogArray, longer: LogArray, prefixes: _Prefixes) -> None:
    """Where a prefix and its parent are both followed, what the parent grows into belongs to the prefix; in place."""
    import numpy as np

    places = {node: at for at, node in enumerate(beam.nodes)}
    for at, node in enumerate(beam.nodes):
        parent = places.get(prefixes.parents[node])
        if parent is not None:
            last = prefixes.lasts[node]
            labels[at] = np.logaddexp(labels[at], longer[parent, last])
            longer[parent, last] = -np.inf


def _node(at: int, beam: _Beam, prefixes: _Prefixes) -> int:
    """The prefix of a position in `scores`: first those of the beam, then each of them with each class."""
    size = len(beam.nodes)
    if at < size:
        return beam.nodes[at]
    row, label = divmod(at - size, prefixes.num_classes)
    return prefixes.child(beam.nodes[row], label)


def _allowed(beam: _Beam, prefixes: _Prefixes) -> LogArray:
    """0 where the grammar lets a class follow a prefix, -inf elsewhere, (B, C)."""
    import numpy as np

    assert prefixes.grammar is not None  # noqa: S101
    mask = np.full((len(beam.nodes), prefixes.num_classes), -np.inf)
    for row, node in enumerate(beam.nodes):
        mask[row, list(prefixes.grammar.children(prefixes.states[node]))] = 0.0
    return mask


def _survivors(scores: LogArray, beam: _Beam, width: int, prefixes: _Prefixes) -> list[int]:
    """Positions of the best `width`; with a grammar also of the best complete `width`, without doubles."""
    import numpy as np

    best = best_first(scores, width)
    if prefixes.grammar is None:
        return best
    grammar, num_classes, size = prefixes.grammar, prefixes.num_classes, len(beam.nodes)
    complete = [at for at, node in enumerate(beam.nodes) if prefixes.complete[node]]
    for row, node in enumerate(beam.nodes):
        children = grammar.children(prefixes.states[node])
        complete += [size + row * num_classes + label for label, to in children.items() if grammar.is_complete(to)]
    if not complete:
        return best
    places = np.array(complete)
    return list(dict.fromkeys([*best, *(complete[at] for at in best_first(scores[places], width))]))
