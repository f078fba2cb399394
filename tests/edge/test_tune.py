"""Tuning: the fastest that is right wins, the fast and wrong is refused by name, and what was found is remembered."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pipeline_bundles import build_pipeline

from edge import jsonvalue
from edge.backends.base import InferenceBackend, RuntimeOptions
from edge.backends.select import available_delegates, open_backend
from edge.bundle.golden_reader import load_golden
from edge.bundle.manifest import ArtifactFormat, ArtifactSpec, StageInput, StageSpec
from edge.bundle.reader import Bundle, open_bundle
from edge.engine import open_engine
from edge.errors import BackendError, FormatError, MissingExtraError, SelfTestError, StorageError, UsageError
from edge.tune.candidates import candidates
from edge.tune.choice import MAX_CHOICES, Choice, TunedStage, load_choice, remember_choice, stage_choices
from edge.tune.report import tune_lines
from edge.tune.tuner import Device, this_device, tune
from edge.tune.types import Candidate, StageTrials, Standing, Trial, TuneResult
from edge.types import RawOutputs
from edge.update.selftest import hardware_fingerprint

PRINT = "x86_64-0123"
TFLITE, ONNX = "tiny_fp32.tflite", "tiny_fp32.onnx"


class Clock:
    """Time that passes only when a model runs."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Paced:
    """A real backend that takes as long as it is told, by the clock of the test, and may be slightly wrong."""

    def __init__(self, real: InferenceBackend, clock: Clock, *, ms: float, error: float = 0.0) -> None:
        self._real, self._clock, self._ms, self._error = real, clock, ms, error
        self.name, self.input_shape, self.input_dtype = real.name, real.input_shape, real.input_dtype

    def run(self, tensor: np.ndarray) -> RawOutputs:
        self._clock.now_s += self._ms / 1000
        outputs = self._real.run(tensor).by_name
        return RawOutputs(by_name={name: array * np.float32(1 + self._error) for name, array in outputs.items()})

    def close(self) -> None:
        self._real.close()


Key = tuple[str, str, int]


class Bench:
    """A device whose candidates take known times: by model, delegate and threads."""

    def __init__(
        self,
        ms: dict[Key, float],
        *,
        wrong: dict[Key, float] | None = None,
        hiccups: dict[Key, int] | None = None,
        processors: int = 1,
    ) -> None:
        self.clock = Clock()
        self.open_now = 0
        self.most_open = 0
        self.runs: dict[Key, int] = {}
        self._ms, self._wrong, self._processors = ms, wrong or {}, processors
        self._hiccups = hiccups or {}

    def device(self, **changes: object) -> Device:
        delegates = {ArtifactFormat(key[0].rsplit(".")[-1]): [] for key in self._ms}
        for file, delegate, _ in self._ms:
            known = delegates[ArtifactFormat(file.rsplit(".")[-1])]
            if delegate not in known:
                known.append(delegate)
        made = Device(
            open_one=self.open,
            delegates=lambda form: tuple(delegates.get(form, ())),
            libraries=(),
            num_processors=self._processors,
            clock=self.clock,
        )
        return replace(made, **changes)

    def open(self, bundle: Bundle, artifact: ArtifactSpec, options: RuntimeOptions) -> InferenceBackend:
        key = (artifact.file, options.delegate, options.threads)
        if self._ms[key] < 0:
            raise BackendError(f"{artifact.file}: delegate {options.delegate}: no such chip")
        real = open_backend(bundle.path(artifact.file), artifact.format)
        bench = self
        self.open_now += 1
        self.most_open = max(self.most_open, self.open_now)

        class Counted(Paced):
            def run(self, tensor: np.ndarray) -> RawOutputs:
                bench.runs[key] = bench.runs.get(key, 0) + 1
                if bench.runs[key] <= bench._hiccups.get(key, 0):
                    bench.clock.now_s += 0.1
                return super().run(tensor)

            def close(self) -> None:
                bench.open_now -= 1
                super().close()

        return Counted(real, self.clock, ms=self._ms[key], error=self._wrong.get(key, 0.0))


@pytest.fixture
def bundle(tiny_bundle: Path) -> Bundle:
    return open_bundle(tiny_bundle)


@pytest.fixture
def pipeline(tmp_path: Path) -> Bundle:
    return open_bundle(build_pipeline(tmp_path / "pipeline"))


def standings(result: TuneResult, stage: int = 0) -> dict[Key, Standing]:
    return {
        (t.candidate.artifact.file, t.candidate.options.delegate, t.candidate.options.threads): t.standing
        for t in result.stages[stage].trials
    }


def test_the_fastest_that_is_right_is_chosen(bundle: Bundle) -> None:
    bench = Bench({(TFLITE, "cpu", 1): 4.0, (TFLITE, "builtin", 1): 6.0, (ONNX, "cpu", 1): 3.0})
    result = tune(bundle, fingerprint=PRINT, device=bench.device(), budget_s=1)
    assert standings(result) == {
        (TFLITE, "cpu", 1): Standing.RIGHT,
        (TFLITE, "builtin", 1): Standing.RIGHT,
        (ONNX, "cpu", 1): Standing.CHOSEN,
    }
    assert result.stages[0].chosen.median_ms == pytest.approx(3.0)
    (tuned,) = result.choice.stages
    assert (tuned.stage, tuned.artifact, tuned.delegate, tuned.threads, tuned.workers) == (
        "classify",
        ONNX,
        "cpu",
        1,
        1,
    )
    assert (result.choice.bundle_digest, result.choice.fingerprint) == (bundle.digest, PRINT)


@pytest.mark.parametrize("error", [0.01, -0.5, float("nan")])
def test_a_fast_wrong_delegate_is_refused_by_name(error: float, bundle: Bundle) -> None:
    """Ten times as fast, and a hundredth off: out, with the reason, and said."""
    wrong = (TFLITE, "npu", 1)
    bench = Bench({(TFLITE, "cpu", 1): 10.0, wrong: 1.0, (ONNX, "cpu", 1): 15.0}, wrong={wrong: error})
    said: list[str] = []
    result = tune(bundle, fingerprint=PRINT, device=bench.device(), budget_s=1, say=said.append)
    assert standings(result)[wrong] is Standing.WRONG
    assert standings(result)[TFLITE, "cpu", 1] is Standing.CHOSEN
    refused = result.stages[0].trials[1]
    assert refused.median_ms == pytest.approx(1.0)
    assert "golden vector golden-" in refused.reason
    assert "output 'logits' differs by" in refused.reason
    assert said[0].startswith(f"out: {TFLITE} with npu, 1 thread, 1 copy: golden vector golden-")
    assert any("wrong: golden vector" in line and "npu" in line for line in tune_lines(result))


def test_wrong_and_first_does_not_make_the_others_look_slow(bundle: Bundle) -> None:
    wrong = (TFLITE, "cpu", 1)
    bench = Bench({wrong: 1.0, (TFLITE, "builtin", 1): 30.0, (ONNX, "cpu", 1): 20.0}, wrong={wrong: 0.02})
    result = tune(bundle, fingerprint=PRINT, device=bench.device(), budget_s=1)
    assert list(standings(result).values()) == [Standing.WRONG, Standing.RIGHT, Standing.CHOSEN]


def test_nothing_right_is_an_error_that_says_why(bundle: Bundle) -> None:
    times = {(TFLITE, "cpu", 1): 1.0, (ONNX, "cpu", 1): 1.0}
    bench = Bench(times, wrong=dict.fromkeys(times, 0.1))
    with pytest.raises(SelfTestError, match=rf"stage 'classify': nothing on this device runs it right: {TFLITE} with"):
        tune(bundle, fingerprint=PRINT, device=bench.device(), budget_s=1)
    assert bench.open_now == 0


def test_a_delegate_that_does_not_come_is_out_and_told(bundle: Bundle) -> None:
    bench = Bench({(TFLITE, "cpu", 1): 2.0, (TFLITE, "npu", 1): -1.0, (ONNX, "cpu", 1): 2.0})
    said: list[str] = []
    result = tune(bundle, fingerprint=PRINT, device=bench.device(), budget_s=1, say=said.append)
    assert standings(result)[TFLITE, "npu", 1] is Standing.FAILED
    assert result.stages[0].trials[1].num_runs == 0
    assert said == [
        f"out: {TFLITE} with npu, 1 thread, 1 copy: delegate npu: no such chip",
        f"stage classify: {TFLITE} with cpu, 1 thread, 1 copy: 2.00 ms",
    ]


def test_a_delegate_that_fails_while_it_runs_is_out_and_closed(bundle: Bundle) -> None:
    bench = Bench({(TFLITE, "cpu", 1): 2.0, (TFLITE, "npu", 1): 1.0, (ONNX, "cpu", 1): 2.0})
    real, runs = bench.open, []

    class Failing(Paced):
        def run(self, tensor: np.ndarray) -> RawOutputs:
            runs.append(1)
            if len(runs) > 20:
                raise BackendError(f"{TFLITE}: inference failed: the chip is too hot")
            return super().run(tensor)

    def open_one(opened: Bundle, artifact: ArtifactSpec, options: RuntimeOptions) -> InferenceBackend:
        backend = real(opened, artifact, options)
        return Failing(backend, bench.clock, ms=0) if options.delegate == "npu" else backend

    result = tune(bundle, fingerprint=PRINT, device=bench.device(open_one=open_one), budget_s=1)
    assert standings(result)[TFLITE, "npu", 1] is Standing.FAILED
    assert result.stages[0].trials[1].reason == "inference failed: the chip is too hot"
    assert standings(result)[TFLITE, "cpu", 1] is Standing.CHOSEN
    assert bench.open_now == 0


def test_of_equals_the_simpler(bundle: Bundle) -> None:
    """Within 5 %: the bundle's first model and the fewer threads, for they cost less power."""
    times = {(TFLITE, "cpu", 1): 10.4, (TFLITE, "cpu", 2): 10.0, (ONNX, "cpu", 1): 10.1, (ONNX, "cpu", 2): 10.2}
    result = tune(bundle, fingerprint=PRINT, device=Bench(times, processors=2).device(), budget_s=1)
    assert standings(result)[TFLITE, "cpu", 1] is Standing.CHOSEN
    times[TFLITE, "cpu", 2] = 9.0
    result = tune(bundle, fingerprint=PRINT, device=Bench(times, processors=2).device(), budget_s=1)
    assert standings(result)[TFLITE, "cpu", 2] is Standing.CHOSEN


def test_the_slow_are_given_up_early_and_their_check_is_spared(bundle: Bundle) -> None:
    slow, near = (TFLITE, "builtin", 1), (ONNX, "cpu", 1)
    bench = Bench({(TFLITE, "cpu", 1): 1.0, slow: 50.0, near: 1.5})
    result = tune(bundle, fingerprint=PRINT, device=bench.device(), budget_s=3)
    assert standings(result)[slow] is Standing.SLOW
    assert result.stages[0].trials[1].reason == "50.0 times as long as the best"
    runs = {trial.candidate.options.delegate: trial.num_runs for trial in result.stages[0].trials[:2]}
    assert runs["builtin"] < runs["cpu"] / 3
    assert bench.runs[slow] == runs["builtin"] + 2, "two to warm up, none of a check"
    checked = 1 + len(load_golden(bundle).vectors)
    assert bench.runs[TFLITE, "cpu", 1] == runs["cpu"] + 3 * 2 + checked, "checked once, warmed up at each visit"


def test_a_slow_moment_does_not_put_the_best_out(bundle: Bundle) -> None:
    """Most of its first visit takes ten times as long as it should."""
    best = (ONNX, "cpu", 1)
    bench = Bench({(TFLITE, "cpu", 1): 15.0, best: 10.0}, hiccups={best: 4})
    result = tune(bundle, fingerprint=PRINT, device=bench.device(), budget_s=1)
    assert standings(result)[best] is Standing.CHOSEN


def test_one_candidate_is_open_at_a_time(bundle: Bundle) -> None:
    bench = Bench({(TFLITE, "cpu", 1): 1.0, (TFLITE, "builtin", 1): 1.0, (ONNX, "cpu", 1): 1.0})
    tune(bundle, fingerprint=PRINT, device=bench.device(), budget_s=1)
    assert (bench.most_open, bench.open_now) == (1, 0)


@pytest.mark.parametrize("budget_s", [0.0, 0.5, 5.0])
def test_the_budget_is_kept(budget_s: float, bundle: Bundle) -> None:
    bench = Bench({(TFLITE, "cpu", 1): 10.0, (TFLITE, "builtin", 1): 11.0, (ONNX, "cpu", 1): 12.0})
    start = bench.clock.now_s
    result = tune(bundle, fingerprint=PRINT, device=bench.device(), budget_s=budget_s)
    assert result.stages[0].chosen.num_runs >= 3
    least_s = 3 * (2 + 3 + 5) * 0.012
    assert bench.clock.now_s - start <= budget_s + 3 * least_s


def test_rounds_are_interleaved(bundle: Bundle) -> None:
    """A board that halves its clock in the middle of the trial does so for all candidates."""
    bench = Bench({(TFLITE, "cpu", 1): 10.0, (ONNX, "cpu", 1): 9.0})
    opened: list[str] = []

    def note(bundle: Bundle, artifact: ArtifactSpec, options: RuntimeOptions) -> InferenceBackend:
        opened.append(artifact.file)
        return bench.open(bundle, artifact, options)

    tune(bundle, fingerprint=PRINT, device=bench.device(open_one=note), budget_s=1)
    assert opened == [TFLITE, ONNX] * 3


def stage_of(reads: StageInput, *files: str) -> StageSpec:
    import pipeline_bundles

    artifacts = tuple(
        ArtifactSpec(file=file, format=ArtifactFormat(file.rsplit(".")[-1]), recipe="fp32", tolerance=0.0)
        for file in files
    )
    return replace(pipeline_bundles.MATCH, reads=reads, artifacts=artifacts)


def ways(stage: StageSpec, *, processors: int, libraries: tuple[str, ...] = (), **delegates: tuple[str, ...]) -> list:
    found = candidates(
        stage,
        delegates=lambda form: delegates.get(form.value, ()),
        libraries=libraries,
        num_processors=processors,
    )
    return [(c.artifact.file, c.options.delegate, c.options.threads, c.workers) for c in found]


def test_candidates_for_pictures() -> None:
    stage = stage_of(StageInput.PICTURE, "a.tflite", "a.onnx")
    assert ways(stage, processors=1, tflite=("cpu", "builtin")) == [
        ("a.tflite", "cpu", 1, 1),
        ("a.tflite", "builtin", 1, 1),
    ]
    assert ways(stage, processors=6, onnx=("cpu", "cuda", "openvino")) == [
        *(("a.onnx", "cpu", threads, 1) for threads in (1, 2, 4, 6)),
        ("a.onnx", "cuda", 1, 1),
        *(("a.onnx", "openvino", threads, 1) for threads in (1, 2, 4, 6)),
    ]
    assert ways(stage, processors=1, libraries=("/usr/lib/npu.so",), tflite=("cpu",), onnx=("cpu",)) == [
        ("a.tflite", "cpu", 1, 1),
        ("a.tflite", "/usr/lib/npu.so", 1, 1),
        ("a.onnx", "cpu", 1, 1),
    ]
    assert ways(stage, processors=1, libraries=("/usr/lib/npu.so",)) == []


def test_candidates_for_crops() -> None:
    """One copy, several copies of one thread, and one with several threads."""
    assert ways(stage_of(StageInput.CROPS, "a.tflite"), processors=4, tflite=("cpu", "builtin")) == [
        ("a.tflite", "cpu", 1, 1),
        ("a.tflite", "cpu", 1, 2),
        ("a.tflite", "cpu", 1, 4),
        ("a.tflite", "cpu", 2, 1),
        ("a.tflite", "cpu", 4, 1),
        ("a.tflite", "builtin", 1, 1),
    ]


def test_real_bundle_on_this_machine(bundle: Bundle) -> None:
    result = tune(bundle, fingerprint=hardware_fingerprint(), device=this_device(max_threads=2), budget_s=0.2)
    delegates = {kind: available_delegates(kind) for kind in ArtifactFormat}
    assert len(result.stages[0].trials) >= sum(len(known) for known in delegates.values())
    assert not [trial for trial in result.stages[0].trials if trial.standing is Standing.WRONG]
    with open_engine(bundle, choices=stage_choices(result.choice, bundle)) as engine:
        assert engine.infer(np.full((40, 40, 3), (220, 20, 30), np.uint8)).prediction.headline.label == "red"


def test_real_pipeline_measures_copies_for_crops(pipeline: Bundle) -> None:
    result = tune(pipeline, fingerprint=PRINT, device=this_device(max_threads=2), budget_s=0.4)
    find, name = result.stages
    assert (find.reads_crops, name.reads_crops) == (False, True)
    assert {trial.candidate.workers for trial in find.trials} == {1}
    assert {(t.candidate.workers, t.candidate.options.threads) for t in name.trials} == {(1, 1), (2, 1), (1, 2)}
    assert "milliseconds for a crop with its preparation" in "\n".join(tune_lines(result))
    assert [choice.workers for choice in stage_choices(result.choice, pipeline)] == [1, name.chosen.candidate.workers]


def test_bundle_without_golden_vectors_compares_with_its_plain_run(
    make_bundle: Callable[..., Path], tmp_path: Path
) -> None:
    from edge.bundle.manifest import Origin, Verdict

    folder = make_bundle(tmp_path / "imported", origin=Origin.IMPORTED, verdict=Verdict.NONE, golden_file="")
    imported = open_bundle(folder)
    wrong = (ONNX, "npu", 1)
    times = {(TFLITE, "cpu", 1): 10.0, (ONNX, "cpu", 1): 11.0, wrong: 1.0, (ONNX, "gpu", 1): 5.0}
    bench, said = Bench(times, wrong={wrong: 0.02, (ONNX, "gpu", 1): 1e-6}), []
    result = tune(imported, fingerprint=PRINT, device=bench.device(), budget_s=1, say=said.append)
    assert not result.has_golden
    assert "no golden vectors" in said[0]
    assert standings(result)[wrong] is Standing.WRONG
    assert standings(result)[ONNX, "gpu", 1] is Standing.CHOSEN
    assert "no golden vectors" in tune_lines(result)[1]
    assert bench.open_now == 0


def test_no_runtime_and_no_processor(bundle: Bundle) -> None:
    device = Bench({(TFLITE, "cpu", 1): 1.0}).device(delegates=lambda form: ())
    with pytest.raises(MissingExtraError, match=r'pip install "edgeloop\[tflite\]"'):
        tune(bundle, fingerprint=PRINT, device=device)
    with pytest.raises(UsageError, match="threads must be at least 1, found 0"):
        this_device(max_threads=0)


def a_choice(digest: str = "d" * 64, fingerprint: str = PRINT, *, threads: int = 2) -> Choice:
    tuned = TunedStage(stage="classify", artifact=TFLITE, delegate="cpu", threads=threads, workers=1, median_ms=1.5)
    return Choice(bundle_digest=digest, fingerprint=fingerprint, stages=(tuned,))


def test_remembered_by_bundle_and_hardware(tmp_path: Path, durable_points: list[str]) -> None:
    path = tmp_path / "tune.json"
    assert load_choice(path, "d" * 64, PRINT) is None
    remember_choice(path, a_choice())
    remember_choice(path, a_choice("e" * 64, threads=4))
    assert load_choice(path, "d" * 64, PRINT) == a_choice()
    assert load_choice(path, "e" * 64, PRINT) == a_choice("e" * 64, threads=4)
    assert load_choice(path, "d" * 64, "aarch64-4567") is None
    assert load_choice(path, "f" * 64, PRINT) is None
    remember_choice(path, a_choice(threads=1))
    assert load_choice(path, "d" * 64, PRINT) == a_choice(threads=1)
    assert len(json.loads(path.read_bytes())["choices"]) == 2
    assert durable_points.count("tune.remember:after") == 3


def test_the_oldest_is_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "tune.json"
    for number in range(MAX_CHOICES + 1):
        remember_choice(path, a_choice(f"{number:064d}"))
    assert load_choice(path, f"{0:064d}", PRINT) is None
    assert load_choice(path, f"{1:064d}", PRINT) is not None


def broken(change: Callable[[dict], object]) -> bytes:
    value = {"format_version": 1, "choices": [jsonvalue.to_json(a_choice())]}
    change(value)
    return json.dumps(value).encode()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "not valid JSON"),
        (b"\x00\xff", "not valid JSON"),
        (broken(lambda v: None)[:-20], "not valid JSON"),
        (b"[]", "expected an object"),
        (broken(lambda v: v.update(format_version=2)), "format_version 2 is not known"),
        (broken(lambda v: v.pop("choices")), "field 'choices' is missing"),
        (broken(lambda v: v["choices"][0].pop("fingerprint")), "field 'fingerprint' is missing"),
        (broken(lambda v: v["choices"][0]["stages"][0].update(threads=0)), "stage 'classify' needs"),
        (broken(lambda v: v["choices"][0]["stages"][0].update(threads="2")), "expected int, found str"),
        (broken(lambda v: v["choices"][0]["stages"][0].update(delegate="")), "stage 'classify' needs"),
        (broken(lambda v: v["choices"][0]["stages"][0].update(median_ms=-1)), "stage 'classify' needs"),
        (b" " * 1_000_001, "bytes of JSON, at most"),
    ],
)
def test_damaged_or_foreign_file_is_told_and_passed_over(data: bytes, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "tune.json"
    path.write_bytes(data)
    said: list[str] = []
    assert load_choice(path, "d" * 64, PRINT, say=said.append) is None
    assert len(said) == 1
    assert str(path) in said[0]
    assert expected in said[0]
    assert "\n" not in said[0]
    remember_choice(path, a_choice(), say=said.append)
    assert load_choice(path, "d" * 64, PRINT) == a_choice()


def test_file_that_cannot_be_read_or_written(tmp_path: Path) -> None:
    said: list[str] = []
    (tmp_path / "folder").mkdir()
    assert load_choice(tmp_path / "folder", "d" * 64, PRINT, say=said.append) is None
    assert "cannot be read" in said[0]
    with pytest.raises(StorageError, match="cannot write"):
        remember_choice(tmp_path / "gone" / "tune.json", a_choice())


def test_choice_of_another_bundle_is_refused(bundle: Bundle, pipeline: Bundle) -> None:
    with pytest.raises(FormatError, match="of other stages"):
        stage_choices(a_choice(), pipeline)
    other = replace(a_choice(), stages=(replace(a_choice().stages[0], artifact="gone.tflite"),))
    with pytest.raises(FormatError, match=r"stage 'classify' has no model 'gone\.tflite'"):
        stage_choices(other, bundle)


def test_table_is_legible() -> None:
    def trial(file: str, delegate: str, **values: object) -> Trial:
        artifact = ArtifactSpec(file=file, format=ArtifactFormat.TFLITE, recipe="fp32", tolerance=0.0)
        return Trial(candidate=Candidate(artifact=artifact, options=RuntimeOptions(delegate=delegate)), **values)

    trials = (
        trial("a.tflite", "cpu", standing=Standing.CHOSEN, median_ms=3.25, p90_ms=4, num_runs=120),
        trial("a.tflite", "/usr/lib/npu.so", standing=Standing.FAILED, reason="no such chip"),
        trial("longer-name.tflite", "builtin", standing=Standing.RIGHT, median_ms=113.5, p90_ms=120, num_runs=9),
    )
    stage = StageTrials(stage="classify", reads_crops=False, trials=trials)
    result = TuneResult(bundle_digest="ab" * 32, fingerprint=PRINT, has_golden=True, stages=(stage,))
    assert tune_lines(result) == [
        "bundle abababababab on x86_64-0123",
        "",
        "stage classify, milliseconds for a prepared picture",
        "  model               delegate         threads  copies  median ms  p90 ms  runs",
        "  a.tflite            cpu                    1       1       3.25    4.00   120  chosen",
        "  a.tflite            /usr/lib/npu.so        1       1          -       -     0  failed: no such chip",
        "  longer-name.tflite  builtin                1       1     113.50  120.00     9",
    ]
