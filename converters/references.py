"""The gallery of an embedding network: what the trained network says about reference pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from converters.answers import see
from edge.bundle.gallery import gallery_bytes
from edge.bundle.manifest import OutputKind
from edge.errors import UsageError

if TYPE_CHECKING:
    from converters.workshop import Workshop


def embed_references(shop: Workshop) -> bytes:
    """Embeds the job's reference pictures with the float32 reference model.

    Quantized models are compared with these same embeddings, so that all artifacts of a bundle share one gallery.

    Returns:
        A gallery file (docs/formats/gallery.md); classes in the order of the job's references.

    Raises:
        UsageError: The job's outputs hold no embedding.
    """
    import numpy as np

    from edge.backends.select import open_backend
    from edge.preprocess import to_input

    output = shop.job.stage().find_output(OutputKind.EMBEDDING)
    if output is None:
        raise UsageError("reference pictures need a network with an embedding")
    references, reference = shop.job.references, shop.reference
    labels = tuple(dict.fromkeys(picture.label for picture in references))
    backend = open_backend(reference.path, reference.format, threads=1)
    rows = []
    try:
        with shop.steps.step("embedding references", num=len(references)) as tick:
            for seen in see([picture.path for picture in references], shop.job.preprocess):
                rows.append(backend.run(to_input(seen.pixels)).by_name[output.name].reshape(-1))
                tick()
    finally:
        backend.close()
    return gallery_bytes(labels, [labels.index(picture.label) for picture in references], np.stack(rows))
