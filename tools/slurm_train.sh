#!/usr/bin/env bash
# Train one stage on a Slurm cluster, one process a GPU.
# GPUS in all, GPUS_PER_NODE, CPUS_PER_TASK and SRUN_ARGS (more arguments of srun, split at blanks) come from the environment.
set -euo pipefail
if [ $# -lt 4 ]; then
  echo "usage: [GPUS=8 GPUS_PER_NODE=8 CPUS_PER_TASK=5 SRUN_ARGS=...] $0 PARTITION JOB_NAME CONFIG WORK_DIR" \
    "[flags of tools/train.py]" >&2
  exit 2
fi
partition=$1
job=$2
config=$3
work_dir=$4
shift 4
gpus=${GPUS:-8}
per_node=${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}
read -ra more <<<"${SRUN_ARGS:-}"
exec srun --partition="$partition" --job-name="$job" --gres=gpu:"$per_node" --ntasks="$gpus" --ntasks-per-node="$per_node" \
  --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 ${more[@]+"${more[@]}"} \
  python -u "$(dirname "$0")/train.py" "$config" --work-dir "$work_dir" --launcher slurm "$@"
