"""How a foreign model wants its pictures: from what is told, what the file says, and a few safe assumptions."""

from __future__ import annotations

import math
from typing import Any

from converters.foreign.inspect import ForeignModel, Quantization
from converters.foreign.told import Finding, InputRange, Source, Told
from edge.bundle.manifest import ChannelOrder, InputType, PreprocessSpec, TensorLayout
from edge.errors import UsageError

Triple = tuple[float, float, float]

_RANGES: dict[InputRange, tuple[Triple, Triple]] = {
    InputRange.BYTES: ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    InputRange.UNIT: ((0.0, 0.0, 0.0), (255.0, 255.0, 255.0)),
    InputRange.SIGNED: ((127.5, 127.5, 127.5), (127.5, 127.5, 127.5)),
    InputRange.IMAGENET: ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
}
_BYTES = _RANGES[InputRange.BYTES]
ULTRALYTICS = "ultralytics"


def input_spec(model: ForeignModel, told: Told) -> tuple[PreprocessSpec, list[Finding]]:
    """Works out a model's preprocessing, all but the crop, which depends on what the model is for.

    An integer input takes pixels as they are unless something else is told: its quantization spans the whole range of
    pixels, whatever normalisation it had in training. A float input needs a normalisation, told or found.

    Args:
        model: What the file says.
        told: What the person says.

    Raises:
        UsageError: Something is told that cannot be, or is neither told nor found; names the flag.
    """
    layout, num_channels = _layout(model, told)
    height, width = (model.input_shape[1:3], model.input_shape[2:4])[layout is TensorLayout.NCHW]
    channels, channel_source = _channels(model, told, num_channels)
    if told.dtype not in (None, model.dtype):
        raise UsageError(f"{model.name}: input is {model.dtype.value}, not {told.dtype.value if told.dtype else ''}")
    mean, std, source = _normalisation(model, told)
    if channels is ChannelOrder.BGR and told.input_range is InputRange.IMAGENET:
        mean, std = (mean[2], mean[1], mean[0]), (std[2], std[1], std[0])
    steps = _quantization(model, told, plain=(mean, std) == _BYTES)
    spec = _spec(
        model,
        width=width,
        height=height,
        fill=114 if told.fill is None else told.fill,
        layout=layout,
        channels=channels,
        dtype=model.dtype,
        mean=mean,
        std=std,
        input_scale=steps.scale,
        input_zero_point=steps.zero_point,
    )
    layout_source = Source.FLAG if told.layout else Source.FILE
    return spec, [
        Finding(what="input", value=f"{width}x{height} {layout.value} {model.dtype.value}", source=layout_source),
        Finding(what="channels", value=channels.value, source=channel_source),
        Finding(what="normalisation", value=_said(spec), source=source),
    ]


def _layout(model: ForeignModel, told: Told) -> tuple[TensorLayout, int]:
    shape = model.input_shape
    possible = {TensorLayout.NHWC: shape[3], TensorLayout.NCHW: shape[1]}
    fitting = [layout for layout, channels in possible.items() if channels in (1, 3)]
    if told.layout is not None and told.layout in fitting:
        return told.layout, possible[told.layout]
    if told.layout is not None or not fitting:
        raise UsageError(f"{model.name}: input {list(shape)} has neither 1 nor 3 channels where they should be")
    if len(fitting) > 1:
        raise UsageError(f"{model.name}: input {list(shape)} may be either layout", hint="add --layout nhwc or nchw")
    return fitting[0], possible[fitting[0]]


def _channels(model: ForeignModel, told: Told, num_channels: int) -> tuple[ChannelOrder, Source]:
    if told.channels is not None:
        if (told.channels is ChannelOrder.GREY) != (num_channels == 1):
            raise UsageError(f"{model.name}: input has {num_channels} channels, not those of {told.channels.value}")
        return told.channels, Source.FLAG
    if num_channels == 1:
        return ChannelOrder.GREY, Source.FILE
    return ChannelOrder.RGB, Source.FILE if model.metadata.channels is ChannelOrder.RGB else Source.ASSUMED


def _spec(model: ForeignModel, **fields: Any) -> PreprocessSpec:  # noqa: ANN401 - the fields of the spec
    try:
        return PreprocessSpec(**fields)
    except ValueError as cause:
        raise UsageError(f"{model.name}: {cause}", hint="see --mean, --std, --input-scale and --fill") from cause


def _normalisation(model: ForeignModel, told: Told) -> tuple[Triple, Triple, Source]:
    if told.mean or told.std:
        if told.input_range is not None:
            raise UsageError("--input-range and --mean with --std say the same thing", hint="give one of them")
        return (*_mean_and_std(told.mean, told.std), Source.FLAG)
    if told.input_range is not None:
        return (*_RANGES[told.input_range], Source.FLAG)
    if model.dtype is not InputType.FLOAT32:
        return (*_BYTES, Source.FILE)
    if model.metadata.mean:
        return _triple(model.metadata.mean), _triple(model.metadata.std), Source.FILE
    if ULTRALYTICS in model.metadata.author.lower():
        return (*_RANGES[InputRange.UNIT], Source.FILE)
    ranges = ", ".join(item.value for item in InputRange)
    raise UsageError(
        f"{model.name}: the file does not say how pixels become its float32 input",
        hint=f"add --input-range ({ranges}), or --mean and --std",
    )


def _mean_and_std(mean: tuple[float, ...], std: tuple[float, ...]) -> tuple[Triple, Triple]:
    mean, std = mean or (0.0,), std or (1.0,)
    if not (len(mean) in (1, 3) and len(std) in (1, 3)):
        raise UsageError("--mean and --std take one number, or three, for instance 123.7,116.3,103.5")
    if not all(map(math.isfinite, (*mean, *std))) or min(std) <= 0:
        raise UsageError("--mean and --std must be numbers, and --std above 0")
    # Nobody divides pixels of 0 to 255 by less than 1: these are for pixels of 0 to 1, as torchvision writes them.
    unit = 255.0 if max(std) <= 1 and max(map(abs, mean)) <= 1 and (max(mean) > 0 or min(std) < 1) else 1.0
    return _triple([unit * value for value in mean]), _triple([unit * value for value in std])


def _quantization(model: ForeignModel, told: Told, *, plain: bool) -> Quantization:
    """Of the input: the file's where pixels are normalised, else the one that leaves bytes as they are."""
    if model.dtype is InputType.FLOAT32:
        return Quantization(scale=1.0, zero_point=0)
    if plain and told.input_scale is None:
        return Quantization(scale=1.0, zero_point=-128 if model.dtype is InputType.INT8 else 0)
    known = model.input_quantization
    if told.input_scale is None and known is None:
        raise UsageError(
            f"{model.name}: the file does not tell the scale of its {model.dtype.value} input",
            hint="add --input-scale and --input-zero-point, or leave the normalisation away to feed bytes",
        )
    scale = told.input_scale if told.input_scale is not None else known.scale if known else 1.0
    zero = told.input_zero_point if told.input_zero_point is not None else known.zero_point if known else 0
    return Quantization(scale=scale, zero_point=zero)


def _triple(values: tuple[float, ...] | list[float]) -> Triple:
    return (values[0], values[0], values[0]) if len(values) == 1 else (values[0], values[1], values[2])


def _said(spec: PreprocessSpec) -> str:
    if (spec.mean, spec.std) == _BYTES:
        return "pixels as they are" if spec.dtype is not InputType.FLOAT32 else "pixels as they are, 0 to 255"
    mean, std = (", ".join(f"{value:g}" for value in values) for values in (spec.mean, spec.std))
    return f"(pixel - ({mean})) / ({std})"
