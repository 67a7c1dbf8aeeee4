# The developer's front door. `make` or `make help` lists everything.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
DIGITS := build/digits-data/heldout.npz

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help demo test test-slow test-versions test-lowest test-gpu stress sanitize torture triton fleet lint fix docs bench precision-zoo convert-zoo source-zoo operator-table strict-engine clean bench-fleet bench-build bench-convert classic onnx-suite cases

help: ## list what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.has-demo $(DIGITS) ## from nothing to three verified engines: install, train on digits, run the job
	$(BIN)/trtconv run configs/digits.yaml

test: lint ## everything that needs no GPU: style, types, layers, tests
	$(BIN)/pytest -n 2 --dist loadscope -m "not slow and not gpu"

test-slow: $(VENV)/.has-dev ## the long tests that `make test` leaves out
	$(BIN)/pytest -n 2 --dist loadscope -m "slow and not gpu"

test-versions: $(VENV)/.has-dev .venv-rtx-1.4/.made .venv-rtx-1.5/.made ## what builds engines, with the older versions of TensorRT-RTX too
	.venv-rtx-1.4/bin/python -m pytest -n 2 --dist loadscope -m "rtx and not slow and not gpu"
	.venv-rtx-1.5/bin/python -m pytest -n 2 --dist loadscope -m "rtx and not slow and not gpu"

test-lowest: $(VENV)/.has-dev .venv-lowest/.made ## everything that needs no GPU, with the oldest packages that pyproject.toml takes
	.venv-lowest/bin/python -m pytest -n 2 --dist loadscope -m "not slow and not gpu" \
		--deselect tests/arch/test_repository.py::test_import_directions  # its tool wants a newer click

torture: $(VENV)/.has-dev ## kill a run at fifty random moments: nothing may be torn, the next run must end the same
	$(BIN)/pytest -m slow tests/pipeline/test_torture.py

test-gpu: $(VENV)/.has-gpu ## the tests that need an NVIDIA GPU; fails where there is none
	TRTCONV_TEST_GPU=required $(BIN)/pytest -m gpu

stress: $(VENV)/.has-gpu ## ten minutes of four engines under sixteen threads, on an NVIDIA GPU
	$(BIN)/python -m benchmarks.stress --seconds 600

sanitize: $(VENV)/.has-gpu ## a short run under compute-sanitizer (memcheck), on an NVIDIA GPU with CUDA's toolkit
	$(BIN)/python -m benchmarks.sanitize

triton: $(VENV)/.has-dev .venv-triton/.made ## an exported repository under a real tritonserver, in an environment of its own
	TRTCONV_TEST_TRITON=$(CURDIR)/.venv-triton/bin/python $(BIN)/pytest -m slow tests/stages/test_triton_server.py

fleet: $(VENV)/.has-fleet ## the engines of a job on two nodes of a Ray cluster, with workers, nodes and starters killed
	$(BIN)/pytest -m slow tests/pipeline/test_fleet.py

bench-fleet: $(VENV)/.has-fleet ## what a Ray cluster costs over local processes: twelve small engines both ways, in turns
	$(BIN)/python benchmarks/fleet.py

lint: $(VENV)/.has-dev ## style (ruff), types (mypy), direction of imports (import-linter)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: $(VENV)/.has-dev ## repair what ruff can repair
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.has-dev ## write docs/job.md from the schema, docs/trtexec.md from the table of flags
	$(BIN)/python scripts/job_reference.py
	$(BIN)/python scripts/trtexec_reference.py

bench: $(VENV)/.has-demo $(DIGITS) ## time the command line itself
	$(BIN)/python benchmarks/cli.py

precision-zoo: $(VENV)/.has-demo ## every precision on ten networks, two of them trained: accuracy, and whether it builds
	$(BIN)/python scripts/precision_zoo.py --compare $(if $(MODELOPT),--modelopt $(MODELOPT))

strict-engine: $(VENV)/.has-gpu ## strict arithmetic beside engines on the GPU, FP16: same verdict, about the same difference (needs torch, timm)
	$(BIN)/python scripts/strict_engine.py

convert-zoo: $(VENV)/.has-demo ## thirty models from every source to ONNX and to an engine: cost, error, verdicts; minutes, and 4 GB
	$(BIN)/python scripts/convert_zoo.py

operator-table: $(VENV)/.has-demo ## every operator that tf2onnx knows, beside tf2onnx alone: right, replaced or refused (PART=2/5, ROWS=FILE)
	$(BIN)/python scripts/operator_table.py $(if $(PART),--part $(PART)) $(if $(ROWS),--rows $(ROWS))

source-zoo: $(VENV)/.has-dev ## models of Caffe, Paddle, network scripts, PyTorch: cost, error, engines (OPENCV=PYTHON PADDLE=, TORCH=, FILES=)
	$(BIN)/python scripts/source_zoo.py $(if $(OPENCV),--python opencv=$(OPENCV)) $(if $(PADDLE),--python paddle=$(PADDLE)) \
		$(if $(TORCH),--python torch=$(TORCH)) $(if $(FILES),--files $(FILES))

bench-build: $(VENV)/.has-demo ## time and memory of build and lower, beside the bare builder and onnx alone (4 GB)
	$(BIN)/python benchmarks/build.py

bench-convert: $(VENV)/.has-demo ## time and memory of converting 0.1, 0.6 and 2.4 GB of weights, beside bare tf2onnx (8 GB)
	$(BIN)/python benchmarks/convert.py

classic: $(if $(TORCH),$(VENV)/.has-gpu,$(VENV)/.has-classic) ## ResNets, MobileNet, Inception v3 at batch 1, 5, 10: engines beside PyTorch on this GPU (TORCH=PYTHON, TF32=1)
	$(BIN)/python scripts/classic.py $(if $(TORCH),--torch $(TORCH)) $(if $(TF32),--tf32)

cases: $(VENV)/.has-dev ## small inputs that once went wrong: what each gives today, and what is right; CASES=FOLDER takes its files from there
	$(BIN)/python scripts/cases.py $(if $(CASES),--from $(CASES))

onnx-suite: $(VENV)/.has-demo ## convert every model that ONNX tests its own backends with
	$(BIN)/python benchmarks/onnx_suite.py

clean: ## remove what jobs and tools wrote; the environment in .venv stays
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

$(DIGITS): scripts/train_digits.py | $(VENV)/.has-demo
	$(BIN)/python scripts/train_digits.py --output $(@D)

# One environment for everything. A stamp file per set of extras says that it was installed from this pyproject.toml.
# pydantic is what benchmarks/cli.py is measured beside.
$(VENV)/.has-demo: PACKAGES = -e '.[tf,rtx]' scikit-learn pydantic
$(VENV)/.has-dev: PACKAGES = -e '.[dev,tf,rtx,images,paddle,triton]'
$(VENV)/.has-fleet: PACKAGES = -e '.[dev,tf,rtx,images,paddle,triton,ray]'
$(VENV)/.has-gpu: PACKAGES = -e '.[dev,tf,rtx,cuda]'
$(VENV)/.has-classic: PACKAGES = -e '.[dev,tf,rtx,cuda,torch]'
$(VENV)/.has-%: pyproject.toml | $(BIN)/python
	@echo "installing $(PACKAGES) into $(VENV): some minutes and 2 GB the first time"
	@$(PIP) install $(PACKAGES)
	@touch $@

# Some packages of other versions, and after them on the path all that the first environment has.
.venv-rtx-1.4/.made: PACKAGES = 'tensorrt-rtx==1.4.*'
.venv-rtx-1.5/.made: PACKAGES = 'tensorrt-rtx==1.5.*'
.venv-lowest/.made: PACKAGES = --no-deps $$($(BIN)/python scripts/lowest.py)
.venv-lowest/.made .venv-rtx-1.4/.made .venv-rtx-1.5/.made: pyproject.toml | $(VENV)/.has-dev
	@$(PYTHON) -m venv $(@D)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check $(PACKAGES)
	@$(BIN)/python -c 'import sysconfig; print("import site; site.addsitedir(%r)" % sysconfig.get_path("purelib"))' \
		> "$$(echo $(@D)/lib/python*/site-packages)/first.pth"
	@touch $@

# The server of this package needs neither a GPU nor the package's own Python part; its Python backend wants NumPy 1.
.venv-triton/.made: | $(BIN)/python
	@$(PYTHON) -m venv .venv-triton
	@.venv-triton/bin/python -m pip install --quiet 'nvidia-pytriton==0.7.*' 'numpy<2' 'onnxruntime<1.24' 'tritonclient[http]'
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "trtconv needs Python 3.11 or later, and $(PYTHON) is not; name another: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)
