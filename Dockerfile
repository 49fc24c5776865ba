# syntax=docker/dockerfile:1
# docker build --target cpu -t facebridge:cpu .      docker build --target gpu -t facebridge:gpu .
#
# Packages are put together where there is a shell and pip, and served where there is neither: the last stages hold Python, its
# libraries and these packages, no shell, no compiler, no torch. Bases are named by their digests.
ARG BUILD=python:3.11-slim-bookworm@sha256:b18992999dbe963a45a8a4da40ac2b1975be1a776d939d098c647482bcad5cba
ARG RUN=gcr.io/distroless/python3-debian12:nonroot@sha256:7d1042ce588ab97019fe95c24ffca7bc5a82ccdac572511d5e09bda4435c89c5

FROM ${BUILD} AS source
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY models models
COPY service service
COPY training training
COPY deploy/image/trim.py trim.py
# What the service writes to: a volume that is made from it belongs to whom it belongs to here.
RUN mkdir /empty

FROM source AS packages-cpu
RUN pip install --no-cache-dir --no-compile -c constraints.txt --target /app '.[cpu,otel]' && python trim.py /app

FROM source AS packages-gpu
# CUDA and cuDNN come as packages too; of them nothing is trimmed.
RUN sed -i '/^onnxruntime==\|^faiss-cpu==/d' constraints.txt \
 && pip install --no-cache-dir --no-compile -c constraints.txt --target /app '.[gpu,otel]' 'onnxruntime-gpu[cuda,cudnn]' \
 && python trim.py /app --gpu

FROM ${RUN} AS base
ENV PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    OMP_WAIT_POLICY=passive \
    FACEBRIDGE_HOST=0.0.0.0 \
    FACEBRIDGE_PORT=8000 \
    FACEBRIDGE_BUNDLES=/bundles \
    FACEBRIDGE_DATA=/data \
    FACEBRIDGE_KEYS=/keys/keys.json \
    FACEBRIDGE_LOG_FORMAT=json
COPY --from=source --chown=65532:65532 /empty /data
COPY --from=source --chown=65532:65532 /empty /keys
USER 65532:65532
WORKDIR /data
VOLUME ["/data", "/keys"]
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=120s --retries=4 \
  CMD ["/usr/bin/python3", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/healthz/ready', timeout=4)"]
ENTRYPOINT ["/usr/bin/python3", "-m", "service"]
CMD ["serve"]

FROM base AS gpu
COPY --from=packages-gpu /app /app
ENV FACEBRIDGE_DEVICE=cuda

FROM base AS cpu
COPY --from=packages-cpu /app /app
ENV FACEBRIDGE_DEVICE=cpu
