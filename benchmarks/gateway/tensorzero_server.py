"""TensorZero's HTTP server, which its Python client starts for itself, as a process of its own.

    python tensorzero_server.py CONFIG PORT_FILE

Runs in TensorZero's environment and imports nothing of ours. The client lets the system choose the
port, so it is written to PORT_FILE.
"""

import os
import sys
import threading
from urllib.parse import urlsplit

import tensorzero  # type: ignore[import-not-found]  # not in our environment

# The function is private to the client's `patch_openai_client`; there is no other way to the server
# without a container.
server = tensorzero._start_http_gateway(
    config_file=sys.argv[1],
    clickhouse_url=None,
    postgres_url=None,
    valkey_url=None,
    async_setup=False,
)
aside = f"{sys.argv[2]}.new"
with open(aside, "w", encoding="utf-8") as file:
    file.write(str(urlsplit(server.base_url).port))
os.replace(aside, sys.argv[2])
threading.Event().wait()
