"""Two convolutions on 32 x 32 pixels, in each format; written by tests/models/make_probe.py."""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass

from edge.bundle.manifest import ArtifactFormat

SIZE = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A model to try a runtime with.

    Attributes:
        packed: The model file, compressed, in base64.
        expected: What it answers for rising numbers from 0 to 255, again and again: float32, three of them.
    """

    packed: str
    expected: tuple[float, ...]

    @property
    def model(self) -> bytes:
        """The model file."""
        return zlib.decompress(base64.b64decode(self.packed))


PROBES: dict[ArtifactFormat, Probe] = {
    ArtifactFormat.TFLITE: Probe(
        packed=(
            "eNrdV12IG1UUPpOk2exfdt3GddEVwtKfRcqY3RZp2VQWLNpihCL74EPpbJqMm9DszJpMYi0+RFDog5RFfBYfq/RRxBfBBx98qFCK"
            "TyJS7KtIwW03G9cdv3PvmUy6XSHgRsGBL3Mz995zvu+ce8+dmSaipZdzx1OUphglaITGKYVnUzSt7lGgAiwD7xuEfqL7wBowARxL"
            "Es0CN0YxB7iCATeGidYTRL8OEH0IEBDDGAK2MaYFbAD3gRRs/oAu3Ogsfg6w7zjRSTSyMaJmBOMM3T9OfA3hPgKmMbQ0n2kgDYwB"
            "NbvaKDsrVtF+M1+veGpeSuwfAhIyN6HpoEUUZ43uStmrER353feDZ/nqSs3KEEWYm4z9zvd9nvsE8BRw2bbXrJqXv1SxSxXXKrgO"
            "/jgeOWKH4VXrNvtlrwnFQWs5CKyWHatad7zyqm017Gqt7Dr0uczlMXPmC2aGwos1vpY793r6JdfBeM8umkrJVFf2WFcOWAROiP6A"
            "y2q+7JDou4IHnyLB1yDwK0PndUlilZR74HMDOS0B3yLo08CZQeQdRm4jTxngNmytAeuw9zHsfSF5PQPc2fZ93J6JqXWlc8bt1Ibv"
            "B744xqPic+MP35/Vrmf5/ycbar5xQrgkRNezj+fb0nm03Lq3VvfEriHreOQB2+H1o2M1JM/HhY8hHCLCkWPUBPejmstR7n/ugeay"
            "LLyZS0nWh2VxdC3LvFQvV4qWY3tvu9XLZrbiFvKV2ovmUtl553nPrRZKpuOYq26xXrFrJpZMw+RszhethuvZC8epi0/Aj3FL+U7S"
            "05LpAck1D2XOGVnj4T4ZU0qHxJbk0zBEH9seFl88P/4w1DbaH23z3doCXcwjDd/tHe1/txbWmlRKxhTviIClGKIhqhTr+sEl5yRs"
            "RbXeKI/5RbRdE+2sbR14q0dtCwv/PAJoe9V8zVvYIwa81m5u6vxOPZ7fSWPX3jm/qffOkMRiUGKQQX2a0XNmuP/HTa27KHFKSD3P"
            "7UtOO4oeWbMzAubTbGlNKam9AyqX6nqyW0+6pfUMdnKruXIchtU9psZO6K4JHvtlS2vLShwSUm+O9JrT+ZBzWsCcb8LuxFZoe7Cr"
            "5vRse04TbcHW1a3wLHiv2VxwtsKcBOfB8v7nRO01I6hj8Blpax5T9PfXR23mFjEOyT5KSFyS6jwseyWzc8Qp22zvJ9i+2A7PLJI4"
            "GpLLi+1Qb7x/a3COus7zaBfehf8d4cdn3anr906ful74WqPf7X/Dx3/h7x63T2v0u134X/pr/Bmetwf6c9529kS06x2A98c6fE/s"
            "6D1xVu3Yu4thFVj85tGq0HvfnR1dP5bFb1DbXt3fva7qSvDecgE+fxYt6S5mxi4E12/ynnFB4sIc3wBe2b+4d97dWvB11dfc1LfT"
            "B+ey39/KZT87eB5Hy6Q66+Odry5SVXdS3SPq7IkIP24f7vXs6aq9MViPkX7jT6h/YV4iwjHgQXvyIOOY2AvOwMk93ruDb6W9ztNt"
            "pT+m+v4CKU2FvQ=="
        ),
        expected=(0.0305, 0.0195, 0.035),
    ),
    ArtifactFormat.ONNX: Probe(
        packed=(
            "eNrVVc1u00AQ3rUdZzMNjXELVEGF1hJIGKlqUy6gFlktSBDxpzYnLmYbrxK7iW3ZTkpPnJA48Qw9IeDMtRIPAO+A1BfgEViv7aQt"
            "lPZUqV6NvTvzze58Wu+3BPRyuJsEUbtbh8bC0vLC4t12OHjwdRIeQsnt0w7jABb1BwmrV/3AYXY+MiqtiPpxGMTMvAxK6rWQJVvY"
            "kvZwuYHgNhSJUBrSnr2oy447rBMxCe8Z8iN3yHGfMaQBqLUDP4lonCzsMLfTTXSVO4YNpz4hMtb5wL5nKOnXrEKpEwWDcAbvYUks"
            "T52YLy0aX968AoQOksDmfkN98bK1+bi1h2VTg3KcRK7DYksSdZo6VBy3RxM38ONxcnWbRT7r2XGXhoyTkjNK85DXpCsR6w3qFVFZ"
            "2jWUDf7mkG8YRAwmhkHCcipQEYMtl8Y6yWawl+qXRHYx/C8zlLWzMctZnIVZ5uZlv4FRXdluLetqL+i4SZyT7DPqG7DBnEGbPed9"
            "8zpM+0EQ2jtu0rVZP0x2bfqWxTMorbsGZJux0HH7maOBdOhT17c7EQ275qcSUYmcNg2vHd/35ofS/Y8Hq6dbe//87CLWc7B/urVX"
            "z88uXj0m5f+oSjDB/D89fKCbTxD6ZaHRY31HR56zx8xZcQjGAtGs/n7/dOXnj2crX6ZerfCwpJXXsiPZ1KQ8T86/Zo3nZuraVBB6"
            "t/76ZqHaV2GaYF0DiWBuc7nJWzOQH2x9EqocQXKE7N35W4LHk6gppDDv1hF5OwSTc2g6I/auHRY+AMJBisifKkQmdZaFU/JqxT2h"
            "gsKRyJsf3SDH2MgFI29W3B0nhudGgn0UkZaY9jXvRibXJ8aNsTD+YxWBWVMAadN/AJOuLpw="
        ),
        expected=(0.0305, 0.0195, 0.035),
    ),
}
