# Everything a person does here. `make help` lists it.
SHELL := /bin/sh
BIN := .venv/bin
IMAGES := $(patsubst kserve-images/%/requirements.lock,%,$(wildcard kserve-images/*/requirements.lock))

.PHONY: $(shell sed -n "s/^\([a-z-]*\):.*/\1/p" Makefile)

help: ## list what can be made
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## install what is needed, into this folder (system packages with root or sudo)
	@.ci/setup

demo: setup ## one model from its file to a fleet of virtual devices (KEEP=1 leaves the fleet up)
	@$(BIN)/python -m tests.demo $(if $(KEEP),--keep)

test: setup ## every test that needs no real snapd, Kubernetes or BuildKit
	$(BIN)/pytest -n 4 --dist worksteal tests/unit tests/integration
	@$(MAKE) --no-print-directory test-images

test-fast: setup ## unit tests alone
	$(BIN)/pytest tests/unit

test-images: setup
	@$(MAKE) --no-print-directory -j 2 --output-sync=target $(IMAGES:%=test-image-%)

# The protocol that the images share is tested once, with the first of them.
test-image-%:
	@echo "tests of kserve-images/$*"
	@kserve-images/$*/.venv/bin/python -m pytest -p no:cacheprovider \
		$(if $(filter onnx,$*),tests/images/oip) tests/images/$*

test-real: ## tests against real parts; needs root on Debian 12
	@.ci/setup skopeo=skopeo
	-@tests/real/rigs/edge-device build
	-@tests/real/rigs/cluster build
	-@tests/real/rigs/buildx build
	$(BIN)/pytest -m real tests/real

lint: setup ## ruff, mypy strict, shell syntax
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy builder/src hooks/src fleet/src tests/unit tests/integration tests/real tests/demo
	@for image in $(IMAGES); do \
		shared=$$([ $$image != onnx ] || echo kserve-images/oip/src); \
		kserve-images/$$image/.venv/bin/mypy --config-file pyproject.toml $$shared kserve-images/$$image/src || exit 1; \
	done
	@for script in .ci/run .ci/setup; do sh -n $$script || exit 1; done

format: setup ## put the code into the one format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: bench-builder bench-device bench-serving ## the numbers of bench/results.md, measured here

bench-device: setup ## what the hooks cost on a device, against the bars
	$(BIN)/python -m tests.bench.device

bench-device-real: setup ## the same on real snapd, registry and Kubernetes (root on Debian 12; ROUNDS=5)
	-@tests/real/rigs/edge-device build
	-@tests/real/rigs/cluster build
	$(BIN)/python -m tests.bench.realdevice --rounds $(or $(ROUNDS),5)

bench-builder: setup ## what the builder takes, against its bars (fills a cache of its own from mirrors)
	$(BIN)/python -m tests.bench.builder

bench-replaced: setup ## what this replaces, pip under QEMU and a whole image in a snap, beside ours (root on Debian 12)
	-@tests/real/rigs/buildx build
	$(BIN)/python -m tests.bench.replaced

bench-serving: ## our inference server against its peers, with wrk (SECONDS=5 RUNS=3)
	@.ci/setup wrk=wrk
	@kserve-images/clients.sh clients kserve mlserver
	$(BIN)/python -m tests.bench.serving --seconds $(or $(SECONDS),5) --runs $(or $(RUNS),3)

test-clients: setup ## the clients of Triton and KServe against our inference server
	@kserve-images/clients.sh clients kserve
	@for client in clients kserve; do \
		SNAPEDGE_SERVER_PYTHON=$(CURDIR)/kserve-images/onnx/.venv/bin/python \
			.cache/$$client/bin/python -m pytest -p no:cacheprovider -W default tests/clients || exit 1; \
	done

fuzz: setup ## a million cases of a grammar against the inference server (CASES=1000000 SEED=0)
	kserve-images/onnx/.venv/bin/python -m tests.images.oip.fuzzing $(or $(CASES),1000000) $(or $(SEED),0)

soak: setup ## ten million good and bad requests; memory must not grow (REQUESTS=10000000)
	$(BIN)/python -m tests.bench.soak --requests $(or $(REQUESTS),10000000)

lock: setup ## resolve every lock again, to the newest versions
	.ci/lock

reference: setup ## write docs/reference from the commands' help
	$(BIN)/python -m tests.reference

clean: ## forget what was made here (not the build cache)
	rm -rf .venv .tools kserve-images/*/.venv dist
