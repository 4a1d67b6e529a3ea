# The handbook's commands. Each sets up what it needs, once.
PYTHON ?= python3
# How many processes the tests run in; they mostly wait for servers.
PARALLEL ?= 6
# Where `make serve` shows the site.
PORT ?= 8000
# Material's notice of its successor is for us, not for each build.
export NO_MKDOCS_2_WARNING = 1
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help serve site book test survival mutants check check-style check-types check-snippets record benchmark lighthouse atlas brokers servers lock clean

help:
	@echo "make serve    the site, with live reload, on http://127.0.0.1:8000 (or PORT=8001)"
	@echo "make test     everything: checks, snippets on real brokers, claims, the built site (ARGS: a part),"
	@echo "              and on Debian stable's servers again what needs one (GENERATION=newest: not again)"
	@echo "make survival what each long-lived function makes of each fault (ARGS=\"-k redis\")"
	@echo "make mutants  take things away from snippets at random, and see which test notices"
	@echo "make site     the site into site/, with every warning an error"
	@echo "make book     the site, and in it the whole handbook as PDF and EPUB, for which it needs Chromium"
	@echo "make check    the quick checks: types, style, prose"
	@echo "make brokers  every broker on its default port; Ctrl-C stops them (ONLY=\"redis nats\")"
	@echo "make servers  fetch the servers, without starting them"
	@echo "make record   rewrite outputs, pictures and docs/data from a run (ARGS=\"-k redis\")"
	@echo "make benchmark  measure what safety costs, five minutes: keep the machine quiet"
	@echo "make lighthouse  what Lighthouse makes of five pages on a phone: it needs npm and Chromium"
	@echo "make atlas    what each broker guarantees, in clusters of three and on one server"
	@echo "              (ARGS=\"--broker nats\", or --help)"
	@echo "make lock     resolve the dependencies anew into requirements.txt"
	@echo "make clean    remove what set-up put into this folder"

# What Python needs. The interpreter is checked first, because pip's own words are not clear.
# Its packages are compiled now: a run starts Python a thousand times, and where
# PYTHONDONTWRITEBYTECODE is set each of these would compile all that it imports.
.venv/ready: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11, 5) else "Python 3.11.5 or newer is needed, this is " + sys.version.split()[0] + ": say which, as in make PYTHON=python3.13 serve")'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "This Python can't make a virtual environment: install Debian's python3-venv, or what your system calls it."; exit 1; }
	$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --require-virtualenv "uv==$$(sed -n 's/^uv==\([0-9.]*\).*/\1/p' requirements.txt)"
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.txt
	@touch $@

# What the Run buttons and the tests of the site need from npm. No package of it has to run anything.
node_modules/ready: package.json package-lock.json
	@command -v npm >/dev/null || { echo "The tests of the site need npm: install Node.js 20 or newer."; exit 1; }
	npm ci --ignore-scripts --loglevel=error --no-audit --no-fund
	@touch $@

servers: .venv/ready
	@$(BIN)/python -m tests.brokers.provision

# Where npm is, snippets get their Run buttons; without it the site is built without them.
RUN := $(if $(shell command -v npm 2>/dev/null),node_modules/ready)

serve: .venv/ready $(RUN)
	@$(BIN)/python -c 'import socket, sys; sys.exit(socket.socket().connect_ex(("127.0.0.1", $(PORT))) == 0)' || { echo "Port $(PORT) is taken. End what listens there, or take another: make serve PORT=8001"; exit 1; }
	SITE_URL=http://127.0.0.1:$(PORT)/ $(BIN)/python -m mkdocs serve --livereload --dev-addr 127.0.0.1:$(PORT)

site: .venv/ready $(RUN)
	$(BIN)/python -m mkdocs build --strict

# The pages link to both files, which the site of `make site` does not have.
book: export BOOK := message-brokers-handbook
book: site
	$(BIN)/python -m handbook.book site/$(BOOK)

check: .venv/ready
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target check-style check-types check-snippets

check-style: .venv/ready
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/rumdl check --quiet .
	$(BIN)/typos

check-types: .venv/ready
	$(BIN)/mypy handbook tests docs/labs

check-snippets: .venv/ready
	$(BIN)/python -m tests.snippets.types

# ARGS choose a part, for which the checks do not run; npm is for tests of the site. Everything runs
# on the newest servers, then on the stable ones what needs a server: of a part it may be nothing,
# which is pytest's 5. Its 2 is Ctrl-C.
PART := $(filter tests/%,$(filter-out tests/site%,$(ARGS)))
PYTEST := $(BIN)/pytest --numprocesses=$(PARALLEL) --dist=loadscope --no-loadscope-reorder
GENERATIONS := $(or $(filter-out both,$(GENERATION)),newest stable)
test: $(if $(PART),,node_modules/ready) $(if $(ARGS),,check) servers
	@failed=0; again=; for generation in $(GENERATIONS); do \
		echo "The $$generation servers:"; \
		GENERATION=$$generation $(PYTEST) --table=.cache/closing-table.json $$again $(ARGS); code=$$?; \
		case $$code$$again in 0*|5--servers) ;; 2*) exit 2;; *) failed=$$code;; esac; \
		again=--servers; \
	done; exit $$failed

# What each long-lived function of a snippet makes of each fault, on every broker: half an hour.
survival: servers
	SURVIVAL=all $(BIN)/pytest tests/survival -s $(ARGS)

# ARGS="--seed 7 --number 20 --only patterns/work_queue/on_redis"; with --survival, faults as well.
mutants: servers
	$(BIN)/python -m tests.mutants $(ARGS)

# All that can be recorded, unless ARGS names tests: ARGS="-k 'redis and work_queue'" names functions.
RECORDED := tests/site/test_copied.py tests/snippets/test_recorder.py tests/patterns tests/errors tests/labs tests/survival
record: servers
	SURVIVAL=all $(PYTEST) --update $(if $(filter tests/%,$(ARGS)),,$(RECORDED)) $(ARGS)

benchmark: servers $(if $(ONLY),,site)
	$(BIN)/python -m tests.benchmarks $(ONLY)
	$(if $(ONLY),,$(BIN)/python -m tests.benchmarks.beside_stock site)

# Lighthouse has a lock of its own, as nothing else needs what it brings.
LIGHTHOUSE := tests/benchmarks/lighthouse
$(LIGHTHOUSE)/node_modules/ready: $(LIGHTHOUSE)/package.json $(LIGHTHOUSE)/package-lock.json
	npm ci --prefix $(LIGHTHOUSE) --ignore-scripts --loglevel=error --no-audit --no-fund
	@touch $@

lighthouse: site $(LIGHTHOUSE)/node_modules/ready
	$(BIN)/python -m tests.benchmarks.lighthouse site

# What each broker guarantees, on one server, and when servers, links and power of a cluster fail,
# which needs Linux and root: see tests/atlas.
atlas: servers
	$(BIN)/python -m tests.atlas $(ARGS)

brokers: servers
	@exec $(BIN)/python -m tests.brokers.run $(ONLY)

lock: .venv/ready
	$(BIN)/uv pip compile --quiet --upgrade pyproject.toml \
		--group site --group snippets --group test --group check \
		--universal --python-version 3.11.5 --generate-hashes \
		--no-emit-index-url --no-header --no-annotate --output-file requirements.txt

clean:
	rm -rf .venv node_modules site .cache .mypy_cache .ruff_cache .pytest_cache
