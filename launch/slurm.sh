#!/usr/bin/env bash
# One training run under SLURM. From the repository's root, on a file system that all nodes share:
#   sbatch --nodes=2 launch/slurm.sh rlsys train configs/grpo/gsm8k.yaml policy.ranks=8 rollout.engines=8
# Ray is started on every node, the command runs on the first, and Ray stops with it; when the command fails, so does
# the job.
#SBATCH --job-name=rlsys
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --exclusive
#SBATCH --time=24:00:00
#SBATCH --output=slurm-%j.log
set -euo pipefail
[ $# -gt 0 ] || { echo "usage: sbatch launch/slurm.sh rlsys train CONFIG [key=value ...]" >&2; exit 2; }

export PATH="$SLURM_SUBMIT_DIR/.venv/bin:$PATH"
# A secret of this job: nobody else on the network may send commands to its Ray.
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN
RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300  # seconds for all nodes to join
nodes=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${nodes%%$'\n'*}
finished=$(mktemp -u "$SLURM_SUBMIT_DIR/.slurm-$SLURM_JOB_ID-XXXXXX")
trap 'rm -f "$finished"' EXIT

ulimit -n "$(ulimit -Hn)"
srun --kill-on-bad-exit=1 ray symmetric-run --address "$head:6379" --min-nodes "$SLURM_JOB_NUM_NODES" -- \
    sh -c 'finished=$1; shift; "$@" && touch "$finished"' rlsys "$finished" "$@"
# symmetric-run passes the command's exit code on, but reports success when Ray itself does not start.
[ -e "$finished" ] || { echo "slurm.sh: Ray did not start, or the command did not end well; see above" >&2; exit 1; }
