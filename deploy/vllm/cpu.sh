#!/usr/bin/env bash
# One vLLM replica on CPU, for the gateway to load adapters on. Start it twice, with two PORTs, for two replicas.
#
#   MODEL=DIR PORT=8100 deploy/vllm/cpu.sh        (further arguments go to vLLM and win)
#
# Sizing: MAX_LORAS is how many different adapters one batch may hold; requests for a further one wait.
# MAX_CPU_LORAS is how many the process keeps in memory: at least every version that should be resident (champions,
# the ones before them, challengers) plus those asked for by name. Beyond it the least recently used is read from disk
# again, in the engine's loop, while everyone waits. Say the same two numbers in the gateway's [[engines]].
set -euo pipefail

: "${MODEL:?the base model\'s folder, or its name on a hub}"
PYTHON=${PYTHON:-$(dirname "$0")/../../.venv-vllm/bin/python}

# Opens the endpoints that load and unload adapters. Whoever reaches this port may use them: loopback or a private network.
export VLLM_ALLOW_RUNTIME_LORA_UPDATING=True
export VLLM_CPU_KVCACHE_SPACE=${VLLM_CPU_KVCACHE_SPACE:-2}   # GiB of KV cache
# "auto" pins every replica on a machine to the same first core. Unbound, the kernel spreads them; one thread for each
# replica where cores are few. On a large machine bind by hand: VLLM_CPU_OMP_THREADS_BIND=0-15 here, 16-31 there.
export VLLM_CPU_OMP_THREADS_BIND=${VLLM_CPU_OMP_THREADS_BIND:-nobind}
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
# Nothing is fetched (a path that does not exist would be taken for a hub name), nothing is reported.
export HF_HUB_OFFLINE=${HF_HUB_OFFLINE:-1} VLLM_NO_USAGE_STATS=1 DO_NOT_TRACK=1

exec "$PYTHON" -m vllm.entrypoints.openai.api_server \
    --model "$MODEL" --served-model-name "${SERVED_NAME:-smollm2-135m}" \
    --host "${HOST:-127.0.0.1}" --port "${PORT:-8100}" \
    --enable-lora --max-loras "${MAX_LORAS:-4}" --max-cpu-loras "${MAX_CPU_LORAS:-16}" --max-lora-rank "${MAX_LORA_RANK:-16}" \
    --max-model-len "${MAX_MODEL_LEN:-2048}" --enforce-eager "$@"
