"""Runs a conversion in an environment apart: it sees its own few files, its framework, and nothing else of edgeloop."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from converters.apart.job_report import REFUSAL_FILE, REPORT_FILE, JobReport, JobRequest, Refusal
from converters.apart.process import ApartError, last_words, run_apart
from edge import jsonvalue
from edge.errors import BackendError

_HERE = Path(__file__).parent
_PACKAGE = "converters.apart"
_SHARED = tuple(_HERE / name for name in ("__init__.py", "job_report.py", "keras_config.py", "tflite_export.py"))
_SETTINGS = {
    "LANG": "C.UTF-8",
    "PYTHONHASHSEED": "0",
    "PYTHONNOUSERSITE": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "CUDA_VISIBLE_DEVICES": "-1",
    "KERAS_BACKEND": "tensorflow",
    "ORT_DISABLE_TELEMETRY": "1",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ApartJob:
    """A script that converts.

    Attributes:
        script: Its file, which may import `converters.apart.job_report` and its neighbours, its own framework, and
            nothing else.
        time_limit_s: Seconds it may take.
    """

    script: Path
    time_limit_s: float


KERAS_JOB = ApartJob(script=_HERE / "keras_job.py", time_limit_s=900)
ONNX2TF_JOB = ApartJob(script=_HERE / "onnx2tf_job.py", time_limit_s=1800)


def run_job(job: ApartJob, python: Path, model: Path, work: Path) -> JobReport:
    """Runs a job to its end.

    The program gets none of this process's environment variables, so no proxy and no key, and no GPU.

    Args:
        job: What runs.
        python: Of the environment in which it runs.
        model: The file it converts.
        work: An empty folder for its answers.

    Raises:
        BackendError: The job refuses the model, in one line.
        ApartError: It failed without a word of its own, or took too long.
    """
    code, home, log = work / "code", work / "home", work / "log"
    home.mkdir()
    _lay_out(job, code)
    request = JobRequest(model=str(model.absolute()), folder=str(work.absolute()), time_limit_s=job.time_limit_s)
    (work / "request.json").write_bytes(jsonvalue.canonical_bytes(request))
    # `-m` finds the module in the folder where it runs.
    command = [str(python), "-m", f"{_PACKAGE}.{job.script.stem}", str(work / "request.json")]
    settings = {**_SETTINGS, "PATH": str(python.parent), "HOME": str(home), "TMPDIR": str(home)}
    try:
        status = run_apart(command, environment=settings, folder=code, log=log, time_limit_s=job.time_limit_s)
    except ApartError as cause:
        raise ApartError(f"{model.name}: the conversion did not end: {cause.message}") from cause
    return _answer(model, work, status, last_words(log))


def _lay_out(job: ApartJob, code: Path) -> None:
    """The job's own files under their usual names, in a folder where nothing else can be imported from."""
    package = code.joinpath(*_PACKAGE.split("."))
    package.mkdir(parents=True)
    (package.parent / "__init__.py").touch()
    for file in (*_SHARED, job.script):
        shutil.copyfile(file, package / file.name)


def _answer(model: Path, work: Path, status: int, words: str) -> JobReport:
    refusal, report = work / REFUSAL_FILE, work / REPORT_FILE
    if refusal.is_file():
        said = jsonvalue.load(Refusal, refusal.read_bytes(), where=REFUSAL_FILE)
        raise BackendError(f"{model.name}: {said.reason}", hint=said.hint)
    if status != 0 or not report.is_file():
        how = f"was ended by signal {-status}" if status < 0 else f"ended with {status}"
        raise ApartError(f"{model.name}: the conversion {how}: {words or 'it said nothing'}")
    return jsonvalue.load(JobReport, report.read_bytes(), where=REPORT_FILE)
