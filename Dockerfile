# docker build -t alaas .                                  for CPUs
# docker build -t alaas:cuda --build-arg DEVICE=cuda .     for NVIDIA GPUs
ARG BASE=python:3.11-slim

FROM ${BASE} AS build
ARG DEVICE=cpu
# Where PyTorch publishes wheels without CUDA. With CUDA they are on the package index itself.
ARG TORCH_CPU_INDEX=https://download.pytorch.org/whl/cpu
WORKDIR /source
COPY pyproject.toml requirements.lock README.md LICENSE ./
COPY alaas alaas
# The last line fails where torch and torchvision are not of one kind.
RUN case "$DEVICE" in \
      cpu) set -- --extra-index-url "$TORCH_CPU_INDEX" ;; \
      cuda) set -- ;; \
      *) echo "DEVICE must be cpu or cuda, got '$DEVICE'" >&2; exit 1 ;; \
    esac \
    && python -m venv /venv \
    && /venv/bin/python -m pip install --no-cache-dir -c requirements.lock "$@" '.[server]' \
    && /venv/bin/python -c 'import torchvision'

FROM ${BASE}
LABEL org.opencontainers.image.title="ALaaS" \
      org.opencontainers.image.description="Active Learning as a Service" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN apt-get update \
    && apt-get install --yes --no-install-recommends tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home alaas \
    && install --directory --owner alaas /weights
COPY --from=build /venv /venv
COPY docker/config.yml /server/config.yml
ENV PATH=/venv/bin:$PATH \
    TORCH_HOME=/weights \
    ALAAS_AUTH__ANONYMOUS=true \
    HEALTH_URL=http://127.0.0.1:8081/readyz
WORKDIR /server
USER alaas
VOLUME /weights
EXPOSE 8081 8082
STOPSIGNAL SIGTERM
# A readiness check may take five seconds; the start period leaves time to download weights.
HEALTHCHECK --interval=30s --timeout=10s --start-period=180s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(os.environ['HEALTH_URL'], timeout=9)"]
ENTRYPOINT ["tini", "--", "alaas"]
CMD ["serve", "--config", "/server/config.yml"]
