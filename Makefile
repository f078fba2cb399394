# Every target is also a plain command; see README.md. The one environment is made by whichever target comes first.
PYTHON ?= python3.11
VENV := .venv
DEVICE_VENV := .venv-device
BIN := $(VENV)/bin
WORK ?= work/demo
DATA ?= ../shared/data
PIP := -m pip --disable-pip-version-check --no-input
# torch comes first and pinned: a CPU build where one is offered; `make TORCH_INDEX=URL` takes it and torchvision from URL.
TORCH_INDEX ?=
TORCH := $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX) $(shell grep -E '^torch(vision)?==' constraints.txt),$(shell grep '^torch==' constraints.txt))
QUICK := not slow and not data and not faults and not gpu and not browser and not arm64 and not server
COVERED := tests/edge tests/contracts tests/compat tests/device_tests tests/faults
EXTRAS := device,onnx,camera,kiosk,train,detect,convert,cloud,dev

.PHONY: demo test test-all lint proto bench dist clean
.DEFAULT_GOAL := test

$(VENV)/.made: pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "edgeloop needs Python 3.11: install it, or run 'make PYTHON=/path/to/python3.11'" >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python $(PIP) install -q -c constraints.txt setuptools wheel
	$(BIN)/python $(PIP) install -q -c constraints.txt $(TORCH)
	$(BIN)/python $(PIP) install -q -c constraints.txt -e ".[$(EXTRAS)]"
# ultralytics brings opencv-python, which shares the folder cv2/ with the headless one and wants libGL: headless goes in last.
	$(BIN)/python $(PIP) install -q -c constraints.txt --force-reinstall --no-deps opencv-python-headless
	@touch $@

# What a device has: no torch, no training, no conversion.
$(DEVICE_VENV)/.made: pyproject.toml constraints.txt
	test -x $(DEVICE_VENV)/bin/python || $(PYTHON) -m venv $(DEVICE_VENV)
	$(DEVICE_VENV)/bin/python $(PIP) install -q -c constraints.txt setuptools wheel
	$(DEVICE_VENV)/bin/python $(PIP) install -q -c constraints.txt -e ".[device,onnx]"
	@touch $@

demo: $(VENV)/.made $(DEVICE_VENV)/.made
	$(BIN)/edgeloop demo --work $(WORK)

# One thread for each of several processes: networks that share two cores with others spend half of their time on waiting.
test test-all: export OMP_NUM_THREADS = 1

# Three at a time, for half of their time they wait for disks and processes. Coverage makes tests up to 1.4 times as long:
# those that are about the device's code run under it, the others do not.
test: $(VENV)/.made $(DEVICE_VENV)/.made
	$(BIN)/python -m pytest -n 3 --dist loadfile -m "$(QUICK)" --cov --cov-report=term --cov-fail-under=90 $(COVERED)
	$(BIN)/python -m pytest -n 3 --dist loadfile -m "$(QUICK)" $(addprefix --ignore=,$(COVERED))

test-all: $(VENV)/.made $(DEVICE_VENV)/.made
	$(BIN)/python -m pytest -n 3 --dist loadfile -m "(slow or data or faults or gpu or browser or server) and not arm64" --ignore=tests/chaos
	$(BIN)/python -m pytest -m arm64
# Two hundred devices want the machine to themselves.
	$(BIN)/python -m pytest -s tests/chaos
	$(DEVICE_VENV)/bin/python -m device_tests --device local

lint: $(VENV)/.made
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python proto/generate.py --check

proto: $(VENV)/.made
	$(BIN)/python proto/generate.py

# About an hour after the first time, which also installs the peers and makes the models.
bench: $(VENV)/.made $(DEVICE_VENV)/.made
	$(BIN)/python -m benchmarks.peers
	$(BIN)/python -m benchmarks.models --data $(DATA)
	$(BIN)/python -m benchmarks.all --data $(DATA)

dist: $(VENV)/.made
	$(BIN)/python -m pip wheel -q --no-deps -w dist .

clean:
	rm -rf $(VENV) $(DEVICE_VENV) work dist build *.egg-info
