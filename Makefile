# Everything a newcomer runs. Each target sets up .venv first if need be (`make setup`, under a second when nothing changed).
SEED ?= 0
BIN := .venv/bin

.PHONY: help setup quickstart demo-rlhf demo-rlaif demo-cai demo-spin demo-preference demo-rft demo-distill demo-merge demo-continual \
	test test-fast test-all test-slow faults check format bench overoptimization lock clean estimators

help:  ## Show the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 18

setup:  ## Make .venv from requirements/cpu.lock (PYTHON=python3.12 chooses the interpreter)
	@bash requirements/setup.sh

quickstart: setup  ## Train a tiny model: warm-up, then GRPO; about 4 minutes on 2 cores (SEED=1 for another seed)
	@$(BIN)/rlsys train configs/quickstart.yaml seed=$(SEED)

demo-rlhf: setup  ## RLHF whole: warm-up, reward model, PPO; about 4 minutes on 2 cores (SEED=1 for another seed)
	@$(BIN)/rlsys train configs/rlhf/demo.yaml seed=$(SEED)

demo-rlaif: setup  ## RLAIF: a judge labels pairs for a reward model and PPO, or is itself the reward; about 9 minutes on 2 cores (SEED=1)
	@$(BIN)/rlsys train configs/rlaif/demo.yaml seed=$(SEED)

demo-cai: setup  ## Constitutional AI whole: critiques and revisions, AI comparisons, PPO; about 10 minutes on 2 cores (SEED=1)
	@$(BIN)/rlsys train configs/constitutional/demo.yaml seed=$(SEED)

demo-spin: setup  ## SPIN: self-play brings a model nearer to the data, iteration by iteration; no reward; about 3 minutes on 2 cores (SEED=1)
	@$(BIN)/python -m benchmarks.spin --seed $(SEED) $(ARGS)

demo-rft: setup  ## Rejection sampling: right answers by new reasoning paths, beside one path repeated; about 5 minutes on 2 cores (SEED=1)
	@$(BIN)/rlsys train configs/rft/demo.yaml seed=$(SEED)

demo-distill: setup  ## Distillation: a student that learned from wrong answers meets a teacher; no reward; about 3 minutes on 2 cores (SEED=1)
	@$(BIN)/rlsys train configs/distill/demo.yaml seed=$(SEED)

demo-merge: setup  ## Merging: two tasks trained apart become one model, in every way; soups of three seeds; about 8 minutes on 2 cores (SEED=1)
	@$(BIN)/python -m benchmarks.merge --seed $(SEED) $(ARGS)

demo-continual: setup  ## Continual learning: two tasks one after the other, nothing, replay, EWC or isolation against forgetting; three seeds
	@$(BIN)/python -m benchmarks.forgetting $(ARGS)

demo-preference: setup  ## Every preference loss (DPO, IPO, KTO, ...) on one task, one table; about 6 minutes on 2 cores (SEED=1)
	@$(BIN)/python -m benchmarks.preference --seed $(SEED) $(ARGS)

# Exit code 5 of pytest: ARGS choose no test of this part.
FAST = $(BIN)/python -m pytest -m "not engine and not slow" -n auto $(ARGS) || [ $$? -eq 5 ]
ENGINES = $(BIN)/python -m pytest -m "engine and not slow" $(ARGS) || [ $$? -eq 5 ]

test: setup  ## Every promise, and a short real run of each loop; about 14 minutes on 2 cores (ARGS="tests/objectives -k kl" for some)
	@RLSYS_TEST_MINUTES=4 $(FAST)
	@RLSYS_TEST_MINUTES=11 $(ENGINES)

test-fast: setup  ## What needs no engine, on all cores; about 3 minutes on 2 cores
	@RLSYS_TEST_MINUTES=5 $(FAST)

test-all: test test-slow  ## Everything; more than an hour on 2 cores

test-slow: setup  ## What `make test` leaves out
	@$(BIN)/python -m pytest -m "slow and not engine" -n auto $(ARGS) || [ $$? -eq 5 ]
	@$(BIN)/python -m pytest -m "slow and engine" $(ARGS) || [ $$? -eq 5 ]

faults: setup  ## Inject every fault of docs/reliability.md; about 12 minutes on 2 cores (ARGS="-k full_disk" for some)
	@$(BIN)/python -m pytest -v $$(grep -o 'tests/[a-z_/]*\.py::[a-z0-9_]*' docs/reliability.md) $(ARGS)

check: setup  ## Lint, formatting, types and import contracts
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet || { echo "some files are not formatted: make format" >&2; exit 1; }
	@$(BIN)/basedpyright --warnings
	@$(BIN)/lint-imports --no-logo

format: setup  ## Format the code and sort its imports
	@$(BIN)/ruff check --quiet --fix
	@$(BIN)/ruff format --quiet

estimators: setup  ## Every policy-gradient method on sorting, three seeds; about 30 minutes on 2 cores (ARGS="--only ppo" for some)
	@$(BIN)/python -m benchmarks.estimators $(ARGS)

bench: setup  ## Measure throughput and overheads as ratios; about 8 minutes on 2 cores (ARGS=--quick only shows that it works)
	@$(BIN)/python -m benchmarks $(ARGS)

overoptimization: setup  ## Draw the over-optimisation curve of a reward model; about 10 minutes on 2 cores (SEED=1 for another seed)
	@$(BIN)/python -c 'import matplotlib' 2>/dev/null || $(BIN)/python -m pip install -qq 'matplotlib>=3.10'
	@$(BIN)/python -m benchmarks.over_optimization --seed $(SEED) $(ARGS)

lock: setup  ## Resolve the newest versions that pyproject.toml allows into requirements/cpu.lock
	@$(BIN)/python requirements/lock.py > requirements/cpu.lock.new
	@mv requirements/cpu.lock.new requirements/cpu.lock

clean:  ## Delete .venv and all caches; runs/ stays
	rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
