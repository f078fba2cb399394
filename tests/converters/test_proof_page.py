from __future__ import annotations

import dataclasses
import functools
import shutil
import subprocess
from pathlib import Path

import pytest
from page_reading import PageReader, assert_self_contained, data_of, read_page
from PIL import Image
from proof_values import Records, made_answers, made_classifier, made_detector, made_fallback, made_layers, made_trial

from converters.report.draw import short, short_middle
from converters.report.proof_page import proof_page
from converters.report.proof_words import points, times
from converters.types import AnswerPair, LayerError
from edge.bundle.manifest import QualityLimits, Verdict

NASTY = (
    "<script>alert(1)</script>",
    "a & b \"quoted\" 'single'",
    "$\\frac{1}{2",
    "พระเครื่อง",
    "x" * 200,
    "line\nbreak\x00\x1b[31m",
    "lone \ud800 surrogate",
    "",
)


def make(records: Records) -> str:
    values = (getattr(records, field.name) for field in dataclasses.fields(records))
    return proof_page(*values).decode()


@functools.cache
def classifier_page() -> str:
    return make(made_classifier())


@functools.cache
def fallback_page() -> str:
    return make(made_fallback())


def words_of(html: str) -> str:
    found = read_page(html)
    assert_self_contained(found, html)
    return " ".join(" ".join(found.words).split())


def plots_of(found: PageReader) -> list[str]:
    return [data_of(address).decode() for address in found.addresses if "svg" in address[:24]]


@pytest.mark.parametrize(
    "told",
    [
        "shapes version 3: what conversion cost",
        "Passed. classify.tflite (static_wi8_ai8) loses 0.3 points of top-1 accuracy against the float model",
        "on 400 validation pictures; the 95 % interval of the loss is −0.6 to 1.2, and a loss of 1.0 is allowed",  # noqa: RUF001
        "3.5× smaller: 702.0 kB against 2.43 MB float",  # noqa: RUF001
        "2.3× faster: 0.71 ms against 1.62 ms float",  # noqa: RUF001
        "98.4 % of the float model's answers are given too",
        "float reference yes 2,430 91.4 (88.3 to 94.0) 1.62",
        "static_wi8_ai8 preferred 702 91.1 0.3 (−0.6 to 1.2) 98.4 33.0 0.9991 0.71",  # noqa: RUF001
        "Activation ranges were taken from 200 calibration pictures. 400 validation pictures",
        "held against classify.onnx, which is float and gets 91.4 points (88.3 to 94.0) of top-1 accuracy",
        "loss at most 1 points upper 95 % bound of the loss at most 2.5 points, above that undecided",
        "onnx 64 100.0 3.1e-06 131.0",
        "litert-torch 0.10.1",
        "export 14.2 calibrate 8.1 all 22.3",
        "Example CPU, 2 cores, Linux",
        "Every layer, in the order of execution",
        f"edgeloop bundle reprove BUNDLE --snapshot {made_classifier().manifest.provenance.snapshot} --blobs BLOBS",
    ],
)
def test_a_good_classifier(told: str) -> None:
    assert told in words_of(classifier_page())


def test_the_same_values_give_the_same_bytes() -> None:
    assert make(made_classifier()) == classifier_page()
    assert make(made_fallback()) == fallback_page()


def test_a_fallback_says_what_failed_what_stayed_float_and_why_it_is_undecided() -> None:
    words = words_of(fallback_page())
    assert "Undecided: too few pictures to be sure." in words
    assert "Why: paired drop 0.8 points, up to 2.9 cannot be ruled out: 400 pictures are too few." in words
    assert "Of 3 recipes tried, 2 failed: static_wi8_ai8, static_wi8_ai8_p99.999." in words
    assert "4 layers had to stay float. The weights were fine-tuned with quantization in the loop first." in words
    assert "The 30 noisiest of 96 layers" in words
    assert "the 30 most harmful of 34. Orange: left float." in words
    assert "static_wi8_ai8 fail paired drop 14.8 points (up to 17.7), at most 1.0 allowed" in words


def test_the_plots_show_the_marked_layers_the_worst_ones_and_the_limits() -> None:
    records, plots = made_fallback(), plots_of(read_page(fallback_page()))
    assert sum("signal to noise of the outputs, dB" in plot for plot in plots) == 1
    sensitivity = next(plot for plot in plots if "signal to noise of the outputs, dB" in plot)
    assert sensitivity.count("[float]") == 4
    score = next(plot for plot in plots if "least score: 77.0" in plot)
    assert "least lower bound: 75.5" in score
    assert "63.2" in score
    worst = min(records.record.layers, key=lambda one: one.sqnr_db)
    number = records.record.layers.index(worst) + 1
    assert any(f">{number} model/blocks" in plot for plot in plots)


def test_a_detector_may_name_nothing_and_is_measured_by_precision() -> None:
    html = make(made_detector())
    words = words_of(html)
    assert "points of average precision (AP50)" in words
    assert "gives another answer than the float model on 10 pictures of 368" in words
    assert "mildew (nothing) 5" in words
    assert "detect.tflite: boxes" in words
    assert any("(nothing)" in plot for plot in plots_of(read_page(html)))


def test_without_measurements_the_page_is_complete_but_for_the_times() -> None:
    words = words_of(make(dataclasses.replace(made_classifier(), measurements=None)))
    assert "No times are known for this bundle." in words
    assert "faster" not in words
    assert "3.5× smaller" in words  # noqa: RUF001
    assert "Make it again" in words


def test_an_old_bundle_without_reference_record_and_answers_still_has_a_page() -> None:
    records = made_classifier()
    old = dataclasses.replace(
        records,
        proof=dataclasses.replace(records.proof, reference="", score=None),
        record=dataclasses.replace(records.record, trials=(), parity=(), layers=(), tools=(), chosen=()),
        measurements=None,
        manifest=dataclasses.replace(
            records.manifest,
            proof=dataclasses.replace(records.manifest.proof, fallbacks=("static_wi8_ai8: paired drop 4.0 points",)),
        ),
    )
    words = words_of(make(old))
    assert "Tried before and failed: static_wi8_ai8: paired drop 4.0 points" in words
    assert "static_wi8_ai8 preferred 702 91.1" in words
    assert "float reference yes 2,430 91.4" in words


def test_a_bundle_without_a_quantized_model_says_so() -> None:
    records = made_classifier()
    bare = dataclasses.replace(
        records,
        proof=dataclasses.replace(records.proof, artifacts=()),
        record=dataclasses.replace(records.record, trials=(), layers=()),
    )
    assert "No quantized model is in the bundle: devices run the float model." in words_of(make(bare))


@pytest.mark.parametrize("num", [1, 2, 30, 31, 1000])
def test_any_number_of_classes(num: int) -> None:
    labels = tuple(f"class {number:04d}" for number in range(num))
    answers = made_answers(labels, each=2, apart=0.3)
    trial = made_trial("static_wi8_ai8", 0.3, answers=answers)
    html = make(made_classifier(labels, trials=(trial,)))
    found = read_page(html)
    assert any("quantized model said" in plot for plot in plots_of(found)) == (num <= 30)
    assert ("other pair" in words_of(html)) == (len([one for one in answers if one.before != one.after]) > 20)
    assert len(html) < 1_000_000


def test_names_of_any_kind_are_text_and_never_break_a_plot() -> None:
    answers = tuple(AnswerPair(before=name, after=NASTY[0], num=3) for name in NASTY)
    trials = tuple(made_trial(name or "r", 0.3, file=name, reason=name, answers=answers) for name in NASTY[:3])
    layers = tuple(LayerError(layer=name, operation=name, sqnr_db=200.0 - 40 * at) for at, name in enumerate(NASTY))
    plain = made_classifier()
    records = dataclasses.replace(
        made_classifier(layers=layers, sensitivity=layers, float_layers=NASTY[:1]),
        proof=dataclasses.replace(plain.proof, artifacts=trials, metric=NASTY[0], reference=NASTY[1]),
        record=dataclasses.replace(plain.record, trials=trials, layers=layers, sensitivity=layers),
        manifest=dataclasses.replace(plain.manifest, name=NASTY[0]),
    )
    html = make(records)
    assert "<script" not in html
    assert NASTY[0] in words_of(html)


def test_layers_with_equal_outputs_and_with_more_noise_than_signal() -> None:
    values = (200.0, -12.5, 0.0)
    layers = tuple(LayerError(layer=f"l{at}", operation="ADD", sqnr_db=value) for at, value in enumerate(values))
    (plot,) = (plot for plot in plots_of(read_page(make(made_classifier(layers=layers)))) if "to noise, dB" in plot)
    assert "equal  ADD" in plot
    assert "−12.5  ADD" in plot  # noqa: RUF001


def test_limits_that_were_not_set_are_not_told() -> None:
    records = made_classifier()
    limits = QualityLimits(max_size_bytes=4_000_000, min_agreement=0.97, min_cosine=0.99, max_latency_ms=5.0)
    words = words_of(make(dataclasses.replace(records, proof=dataclasses.replace(records.proof, limits=limits))))
    for told in ("at most 4.00 MB", "on at least 97 % of the pictures", "at least 0.99", "at most 5 ms"):
        assert told in words
        assert told not in words_of(classifier_page())


@pytest.mark.parametrize(
    ("drop", "told"),
    [(0.0, "gets the same top-1 accuracy as the float model"), (-0.5, "gets 0.5 points of top-1 accuracy more")],
)
def test_a_model_that_loses_nothing(drop: float, told: str) -> None:
    assert told in words_of(make(made_classifier(trials=(made_trial("fp16", drop),))))


def test_a_failed_model_leads_with_that_word() -> None:
    failed = made_trial("weight_int8", 3.0, Verdict.FAIL)
    assert "Failed. classify.tflite (weight_int8) loses 3.0 points" in words_of(make(made_classifier(trials=(failed,))))


def test_two_trials_of_one_file_name_keep_their_own_times() -> None:
    words = words_of(fallback_page())
    assert "static_wi8_ai8 702 63.2 14.8 (11.9 to 17.7) 69.4 −25.0 0.9991 0.71" in words  # noqa: RUF001
    assert "static_wi8_ai8_sensitive preferred 1,311 77.2 0.8 (−1.3 to 2.9) 97.4 31.0 0.9991 0.93" in words  # noqa: RUF001


def test_figures_in_words() -> None:
    assert [points(value) for value in (-0.04, -0.06, 12.34)] == ["0.0", "\N{MINUS SIGN}0.1", "12.3"]
    assert times(0.5, "faster", "slower") == ("2.0\N{MULTIPLICATION SIGN}", "slower")
    assert short("abcdef", 4) == "abc…"
    assert short("a\nb") == "a\N{REPLACEMENT CHARACTER}b"
    assert len(short_middle("x" * 90, 20)) == 20
    assert short_middle("model/blocks.14/conv_2/last", 20).endswith("/conv_2/last")


@pytest.mark.browser
@pytest.mark.parametrize("width", [500, 1280])
def test_a_browser_draws_every_plot(tmp_path: Path, width: int) -> None:
    chromium = next(path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name)))
    labels = (*NASTY[:-1], "plain")
    page, shot = tmp_path / "proof.html", tmp_path / "shot.png"
    page.write_bytes(make(made_classifier(labels, layers=made_layers(40))).encode())
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    place = [f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},4000", f"--screenshot={shot}"]
    subprocess.run([chromium, *flags, *place, page.as_uri()], check=True, capture_output=True, timeout=120)
    with Image.open(shot) as picture:
        colours = {colour for _, colour in picture.convert("RGB").getcolors(picture.width * picture.height) or ()}
    assert (0, 0x72, 0xB2) in colours  # bars, dots and the line
    assert len(colours) > 50
