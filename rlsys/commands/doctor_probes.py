"""What the doctor tries out. The code is text, run by `python -c`, because the library itself imports neither Ray, vLLM
nor DeepSpeed."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Probe:
    """`code` prints what it found in its last line, or fails. `quick` ones start no engine."""

    check: str
    code: str
    remedy: str
    environment: dict[str, str] = field(default_factory=dict)
    quick: bool = False


_GPUS = """
import torch
names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
built = torch.backends.cuda.is_built()
print(", ".join(names) or ("none: CUDA is there but unusable" if built else "none, and torch is built for CPU"))
"""

_RAY = """
import time
start = time.monotonic()
import ray
ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="error")
assert ray.get(ray.remote(lambda: 6 * 7).remote(), timeout=60) == 42
ray.shutdown()
print(f"started and ran a task in {time.monotonic() - start:.0f} s")
"""

_DEEPSPEED = """
import os, socket, time
start = time.monotonic()
import torch
on_gpu = torch.cuda.is_available()
if not on_gpu:
    os.environ["DS_ACCELERATOR"] = "cpu"
import deepspeed
deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False  # as in our engine: nothing is compiled at start
with socket.socket() as chosen:
    chosen.bind(("127.0.0.1", 0))
    port = chosen.getsockname()[1]
os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), RANK="0", LOCAL_RANK="0", WORLD_SIZE="1")
deepspeed.init_distributed("nccl" if on_gpu else "gloo")
model = torch.nn.Linear(4, 1)
settings = {
    "train_micro_batch_size_per_gpu": 1,
    "zero_optimization": {"stage": 2},
    "zero_allow_untested_optimizer": True,
}
engine, *_ = deepspeed.initialize(model=model, optimizer=torch.optim.AdamW(model.parameters()), config=settings)
engine.backward(engine(torch.ones(1, 4, device=engine.device)).sum())
engine.step()
print(f"made an optimizer step on {engine.device} in {time.monotonic() - start:.0f} s")
"""

_VLLM = """
import os, time
from pathlib import Path
start = time.monotonic()
import torch
from rlsys.playground.models import build
folder = build("0.5m", Path("model"))
from vllm import LLM, SamplingParams
limits = {"max_model_len": 64, "max_num_seqs": 2, "gpu_memory_utilization": 0.3}
llm = LLM(str(folder), enforce_eager=True, disable_log_stats=True, **limits)
found = llm.generate("12+34=", SamplingParams(max_tokens=4, ignore_eos=True, temperature=0), use_tqdm=False)
assert len(found[0].outputs[0].token_ids) == 4
where = "GPU" if torch.cuda.is_available() else "CPU"
print(f"sampled from a tiny model on {where} in {time.monotonic() - start:.0f} s")
"""

_SANDBOX = """
from rlsys.sandbox.run import sandbox_problem
problem = sandbox_problem()
print(f"none ({problem}): the reward `code` is refused" if problem else "holds: the reward `code` can be had")
"""

_ONE_THREAD = {"OMP_NUM_THREADS": "1"}

PROBES = (
    Probe("GPUs", _GPUS, "reinstall torch: make setup (CPU), or pip install -e '.[gpu]'", quick=True),
    Probe("sandbox for programs", _SANDBOX, "see docs/sandbox.md; only the reward `code` needs it", quick=True),
    Probe(
        "Ray starts",
        _RAY,
        "see the newest folder in /tmp/ray for its logs; often /dev/shm or the disk is full, or a firewall blocks "
        "127.0.0.1",
        {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"},
    ),
    Probe(
        "DeepSpeed trains",
        _DEEPSPEED,
        "reinstall it: make setup (CPU), or pip install -e '.[gpu]' (GPU, needs a CUDA toolkit)",
        _ONE_THREAD,
    ),
    Probe(
        "vLLM samples",
        _VLLM,
        "reinstall it: make setup (CPU), or pip install -e '.[gpu]'; on GPUs, `nvidia-smi` must show free memory",
        _ONE_THREAD
        | {
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
            "VLLM_LOGGING_LEVEL": "ERROR",
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "TORCHDYNAMO_DISABLE": "1",
        },
    ),
)
