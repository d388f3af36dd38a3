# The image of an engine: a wheel, what it needs to run (by hash), and a user who may do nothing else.
#   docker build -t goclaw .
#   docker run --rm --read-only -v goclaw-data:/data goclaw
FROM python:3.12-slim AS build
WORKDIR /src
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
COPY requirements.lock requirements.run.lock ./
RUN python -m venv /opt/build \
 && /opt/build/bin/pip install --no-deps --require-hashes -r requirements.lock \
 && python -m venv /opt/goclaw \
 && /opt/goclaw/bin/pip install --no-deps --require-hashes -r requirements.run.lock
COPY pyproject.toml README.md LICENSE ./
COPY goclaw goclaw
COPY events events
COPY actors actors
COPY projections projections
RUN /opt/build/bin/hatchling build -t wheel -d dist \
 && /opt/goclaw/bin/pip install --no-deps --no-index dist/*.whl \
 && /opt/goclaw/bin/pip uninstall --yes pip

FROM python:3.12-slim
COPY --from=build /opt/goclaw /opt/goclaw
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin goclaw \
 && install -d -o goclaw -g goclaw -m 700 /data
ENV PATH=/opt/goclaw/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    GOCLAW_DATA_DIR=/data
USER goclaw
WORKDIR /data
VOLUME /data
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["goclaw", "engine", "status"]
ENTRYPOINT ["goclaw"]
CMD ["engine", "start"]
