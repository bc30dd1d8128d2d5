#!/usr/bin/env bash
# Train one stage in several processes, one a GPU (without a GPU: on CPU).
# On several machines, start it on each with NNODES, NODE_RANK and MASTER_ADDR set; PORT is any free port of the first.
set -euo pipefail
if [ $# -lt 2 ]; then
  echo "usage: [NNODES=1 NODE_RANK=0 MASTER_ADDR=127.0.0.1 PORT=29500] $0 CONFIG PROCESSES [flags of tools/train.py]" >&2
  exit 2
fi
config=$1
processes=$2
shift 2
exec python -m torch.distributed.run \
  --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}" --nproc_per_node="$processes" \
  --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}" \
  "$(dirname "$0")/train.py" "$config" --launcher pytorch "$@"
