# Three images: api (no PyTorch), worker-cpu and worker-gpu. deploy/README.md has every command.
#   docker build --target api -t dimr-serve-api .
# Both bases can be any image with Python 3.11 or later (PYTHON_IMAGE) or apt-get (CUDA_IMAGE).
ARG PYTHON_IMAGE=python:3.11-slim-bookworm
ARG CUDA_IMAGE=nvidia/cuda:13.0.2-base-ubuntu24.04


# Bases: what every image and every builder of its kind has in common. Packages live in /opt/venv,
# the project in /srv/dimr, with its bundles beside it as in the repository.

FROM ${PYTHON_IMAGE} AS cpu-base
ENV PATH=/srv/dimr/bin:/opt/venv/bin:$PATH \
    PYTHONPATH=/srv/dimr \
    PYTHONUNBUFFERED=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /tmp dimr
WORKDIR /srv/dimr

FROM ${CUDA_IMAGE} AS gpu-base
ENV PATH=/srv/dimr/bin:/opt/venv/bin:$PATH \
    PYTHONPATH=/srv/dimr \
    PYTHONUNBUFFERED=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
# The distribution's own security updates are wanted, so its packages are not pinned. Triton compiles
# what launches its kernels with gcc when it first needs it.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 python3-venv \
        gcc libc6-dev python3-dev \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --user-group --no-create-home --home-dir /tmp dimr
WORKDIR /srv/dimr


# This project without its dependencies: the packages, their bytecode and the console commands.

FROM cpu-base AS project
WORKDIR /source
RUN python3 -m venv /opt/venv
COPY pyproject.toml README.md ./
COPY service service
COPY model model
COPY export export
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --no-deps --target /srv/dimr .


# The dependencies of each image, pinned by constraints.txt. Only pyproject.toml is copied: the
# empty wheel built from it names the dependencies and is taken out again, so that a change of the
# code leaves these large layers as they are.

FROM cpu-base AS api-packages
WORKDIR /source
COPY pyproject.toml constraints.txt ./
RUN --mount=type=cache,target=/root/.cache/pip \
    touch README.md \
    && python3 -m venv /opt/venv \
    && pip install --constraint constraints.txt '.[api]' \
    && pip uninstall --yes dimr-serve

# PyTorch comes first and alone, so that nothing else can come from its index.
FROM cpu-base AS worker-cpu-packages
WORKDIR /source
ARG TORCH_VERSION=2.13.0
ARG TORCH_INDEX_URL=
RUN --mount=type=cache,target=/root/.cache/pip \
    python3 -m venv /opt/venv \
    && PIP_INDEX_URL="${TORCH_INDEX_URL}" pip install --no-deps "torch==${TORCH_VERSION}"
COPY pyproject.toml constraints.txt ./
RUN --mount=type=cache,target=/root/.cache/pip \
    touch README.md \
    && pip install --constraint constraints.txt '.[worker,text]' \
    && pip uninstall --yes dimr-serve

FROM gpu-base AS worker-gpu-packages
WORKDIR /source
ARG TORCH_VERSION=2.13.0
ARG TORCH_INDEX_URL=
RUN --mount=type=cache,target=/root/.cache/pip \
    python3 -m venv /opt/venv \
    && PIP_INDEX_URL="${TORCH_INDEX_URL}" pip install --no-deps "torch==${TORCH_VERSION}"
COPY pyproject.toml constraints.txt ./
RUN --mount=type=cache,target=/root/.cache/pip \
    touch README.md \
    && pip install --constraint constraints.txt '.[worker,encoders,latents,trt-rtx]' \
    && pip uninstall --yes dimr-serve


# The images.

FROM cpu-base AS api
ARG REVISION=unknown
LABEL org.opencontainers.image.title="dimr-serve api" \
      org.opencontainers.image.description="HTTP API of dimr-serve; no PyTorch" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=api-packages /opt/venv /opt/venv
COPY --from=project /srv/dimr .
RUN pip check \
    && python3 -c 'import sys, importlib.util; sys.exit(bool(importlib.util.find_spec("torch")))' \
    && dimr-api --help
ENV DIMR_HOST=0.0.0.0 \
    DIMR_PORT=8000
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python3", "-c", "import os, urllib.request as r; r.build_opener(r.ProxyHandler({})).open('http://127.0.0.1:' + os.environ['DIMR_PORT'] + '/health/live', timeout=4)"]
ENTRYPOINT ["dimr-api"]

FROM cpu-base AS worker-cpu
ARG REVISION=unknown
LABEL org.opencontainers.image.title="dimr-serve worker (CPU)" \
      org.opencontainers.image.description="Worker of dimr-serve on a CPU" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=worker-cpu-packages /opt/venv /opt/venv
COPY --chmod=755 deploy/models deploy/models
COPY --from=project /srv/dimr .
RUN pip check \
    && dimr-worker --help
ENV DIMR_HOST=0.0.0.0 \
    DIMR_DEVICE=cpu \
    DIMR_WORKER_METRICS_PORT=9100
USER 10001:10001
EXPOSE 9100
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python3", "-c", "import os, urllib.request as r; r.build_opener(r.ProxyHandler({})).open('http://127.0.0.1:' + os.environ['DIMR_WORKER_METRICS_PORT'] + '/metrics', timeout=4)"]
ENTRYPOINT ["dimr-worker"]

FROM gpu-base AS worker-gpu
ARG REVISION=unknown
LABEL org.opencontainers.image.title="dimr-serve worker (GPU)" \
      org.opencontainers.image.description="Worker of dimr-serve on an NVIDIA GPU" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=worker-gpu-packages /opt/venv /opt/venv
COPY --chmod=755 deploy/models deploy/models
COPY --from=project /srv/dimr .
# Its Python is not the one that the project's bytecode is for.
RUN pip check \
    && python3 -m compileall -q . \
    && dimr-worker --help
ENV DIMR_HOST=0.0.0.0 \
    DIMR_DEVICE=cuda \
    DIMR_DATA_DIR=/tmp/data \
    DIMR_WORKER_METRICS_PORT=9100
USER 10001:10001
EXPOSE 9100
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=300s --retries=3 \
    CMD ["python3", "-c", "import os, urllib.request as r; r.build_opener(r.ProxyHandler({})).open('http://127.0.0.1:' + os.environ['DIMR_WORKER_METRICS_PORT'] + '/metrics', timeout=4)"]
ENTRYPOINT ["dimr-worker"]
