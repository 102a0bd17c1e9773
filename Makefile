# `make demo` and `make test` each do everything from nothing: make and Python 3.11 or later, with its venv, are all they need.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# Half of all modules, which are compiled when they are imported, if ever.
SELDOM := sympy|networkx|torch.(_dynamo|_inductor|testing|onnx)|/(pip|setuptools|tests)/

.DEFAULT_GOAL := help
TORTURE ?= 1

.PHONY: help setup demo test torture fuzz bench remember corpora built-in-model format clean

help:  ## show these lines
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' Makefile

setup: $(READY)  ## make the virtual environment in .venv

$(READY): pyproject.toml constraints.txt
	@echo "installing into .venv, which takes minutes where torch has to be downloaded"
	$(PYTHON) -m venv --clear .venv
	$(BIN)/pip install --quiet --quiet --disable-pip-version-check --no-compile -c constraints.txt -e '.[dev]'
	-@$(BIN)/python -W ignore -m compileall -qq -j 0 -x '$(SELDOM)' .venv/lib  # by all cores
	@touch $@

demo: $(READY)  ## train for a minute on data/lives.txt, then sample from the model
	$(BIN)/lstmgen train data/lives.txt --minutes 1 --model demo-model --overwrite
	$(BIN)/lstmgen sample --model demo-model --prime "I grew up in France" --seed 1

test: $(READY)  ## lint, types, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -n 2 --dist loadfile

torture: $(READY)  ## try for up to three hours to break lstmgen; TORTURE=0.1 tries a tenth as often
	LSTMGEN_TORTURE=$(TORTURE) $(BIN)/pytest tests/torture

fuzz: $(READY)  ## feed damaged model files to the reader for four minutes, led by what they reach
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt atheris==3.0.0
	mkdir -p build/fuzz
	$(BIN)/python tests/torture/fuzz.py -max_total_time=240 -max_len=20000 build/fuzz

bench: $(READY)  ## measure speed and quality; takes nearly three hours, or more than eleven with all texts; needs a quiet machine
	$(BIN)/python -m tests.benchmarks

remember: $(READY)  ## train each kind of network and measure how far back it remembers; takes a quarter of an hour
	$(BIN)/python -m tests.benchmarks.remember

corpora: $(READY)  ## make data/ again
	$(BIN)/python data/make_lives.py

built-in-model: $(READY)  ## train the built-in model again and replace it in the package
	$(BIN)/lstmgen train data/lives.txt --hidden-size 192 --embedding-size 32 --epochs 30 --batch-size 32 --learning-rate 0.11 --weight-decay 0.02 --dropout 0 --weight-drop 0 --seed 0 --model build/demo --overwrite
	$(BIN)/python -c "from lstmgen import checkpoint as c; from lstmgen.folders import BUILT_IN; c.save_half('build/demo', BUILT_IN)"

format: $(READY)  ## put the code into shape
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## remove what was made, the virtual environment too
	rm -rf .venv demo-model build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
