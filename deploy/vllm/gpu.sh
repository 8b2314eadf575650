#!/usr/bin/env bash
# One vLLM replica on a GPU, for the gateway to load adapters on. Install with `pip install vllm` in an environment of its own.
#
#   MODEL=DIR CUDA_VISIBLE_DEVICES=0 PORT=8100 deploy/vllm/gpu.sh      (further arguments go to vLLM and win)
#
# Sizing: MAX_LORAS adapters can share one batch, and their slots of MAX_LORA_RANK are reserved on the GPU at the start:
# rank 16 on all linear layers of an 8B model is about 80 MB a slot. MAX_CPU_LORAS lie in main memory behind them and
# cost a copy to the GPU; beyond that an adapter is read from disk in the engine's loop, while everyone waits. Count
# champions, the ones before them, challengers, and versions asked for by name. Say both numbers in [[engines]] too.
set -euo pipefail

: "${MODEL:?the base model\'s folder, or its name on a hub}"
PYTHON=${PYTHON:-python}

# Opens the endpoints that load and unload adapters. Whoever reaches this port may use them: loopback or a private network.
export VLLM_ALLOW_RUNTIME_LORA_UPDATING=True
# Nothing is fetched (a path that does not exist would be taken for a hub name), nothing is reported.
export HF_HUB_OFFLINE=${HF_HUB_OFFLINE:-1} VLLM_NO_USAGE_STATS=1 DO_NOT_TRACK=1

# No --api-server-count: with more than one, vLLM refuses to load adapters at run time. More throughput is more replicas.
exec "$PYTHON" -m vllm.entrypoints.openai.api_server \
    --model "$MODEL" --served-model-name "${SERVED_NAME:-smollm2-135m}" \
    --host "${HOST:-127.0.0.1}" --port "${PORT:-8100}" \
    --enable-lora --max-loras "${MAX_LORAS:-8}" --max-cpu-loras "${MAX_CPU_LORAS:-64}" --max-lora-rank "${MAX_LORA_RANK:-16}" \
    --max-model-len "${MAX_MODEL_LEN:-8192}" --gpu-memory-utilization "${GPU_MEMORY:-0.9}" "$@"
