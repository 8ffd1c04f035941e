# Everything a person or CI does here is one of these targets; `make help` lists them.
PYTHON  ?= python3
VENV    ?= .venv
JOBS    ?= $(shell nproc 2>/dev/null || echo 2)
VPY     := $(VENV)/bin/python
LXEMU   := $(VENV)/bin/lxemu
BUSYBOX := build/busybox
# A plain path entry: the default finder imports a dozen modules at every start of Python.
EDITABLE := --config-settings editable_mode=compat -e
SOURCES := lxemu syscalls tests bench fixtures

.DEFAULT_GOAL := help
.PHONY: help run check test bench bench-peers fixtures docs clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

# -- the virtual environment: one stamp for users (run time only), one for developers ------------

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "lxemu needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1)." >&2; \
	  echo "Name another: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: pyproject.toml | $(VENV)/.created
	$(VPY) -m pip install --quiet --disable-pip-version-check $(EDITABLE) .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/.created
	$(VPY) -m pip install --quiet --disable-pip-version-check $(EDITABLE) '.[dev]'
	@touch $(VENV)/.installed $@

# -- busybox, from the distribution's packages, unpacked and never installed ---------------------

$(BUSYBOX)/x86_64/busybox $(BUSYBOX)/i386/busybox: $(BUSYBOX)/%/busybox: | fixtures/fetch-busybox.sh
	@sh fixtures/fetch-busybox.sh $* $(BUSYBOX)

# -- what people run -----------------------------------------------------------------------------

run: $(VENV)/.installed $(BUSYBOX)/x86_64/busybox $(BUSYBOX)/i386/busybox ## install, then a shell session in both ABIs
	@for abi in x86_64 i386; do \
	  echo; echo "== busybox sh, $$abi"; \
	  $(LXEMU) run $(BUSYBOX)/$$abi/busybox sh fixtures/session.sh || exit; \
	done
	@echo; echo "Next: $(LXEMU) run /bin/ls -l   or   $(LXEMU) run $(BUSYBOX)/x86_64/busybox sh"

check: $(VENV)/.installed-dev ## lint, format, types, import laws, generated documents
	$(VPY) -m ruff check $(SOURCES)
	$(VPY) -m ruff format --check $(SOURCES)
	$(VPY) -m mypy
	$(VPY) -m pytest tests/arch
	$(VPY) -m syscalls.gendocs --check

test: $(VENV)/.installed-dev ## the whole test suite
	@for abi in x86_64 i386; do \
	  $(MAKE) --no-print-directory $(BUSYBOX)/$$abi/busybox || echo "busybox tests for $$abi will be skipped"; \
	done
	$(VPY) -m pytest -n $(JOBS) tests

bench: $(VENV)/.installed $(BUSYBOX)/x86_64/busybox ## cost of a trap, of each call and of whole programs
	$(VPY) -m bench.trap
	$(VPY) -m bench.calls
	$(VPY) -m bench.files
	$(VPY) -m bench.net
	$(VPY) -m bench.programs

bench-peers: $(VENV)/.installed $(BUSYBOX)/x86_64/busybox ## the same programs under qemu-user and Qiling, where installed
	$(VPY) -m bench.peers

fixtures: $(VENV)/.installed-dev ## rebuild the guest programs and their golden output
	$(VPY) fixtures/build.py

docs: $(VENV)/.installed ## rewrite the generated documents
	$(VPY) -m syscalls.gendocs

clean: ## remove everything that these targets made
	rm -rf build $(VENV) .mypy_cache .ruff_cache .pytest_cache
