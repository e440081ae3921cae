# Three stages: the first builds the wheel, the second a virtual environment with it and the locked requirements,
# the third runs that. Each starts from the same image, named by its digest, because a tag can be moved.
#
#   docker build --tag bedrock-poller:0.1.0 .
#   docker run --rm --read-only --tmpfs /tmp -e AWS_REGION=us-east-1 -v state:/var/lib/bedrock-poller bedrock-poller:0.1.0

FROM python:3.13-slim-bookworm@sha256:ed86c82274b3c69b52fb5820f358f0bd7df0b603332063cb5c6e32bd220c3e6e AS wheel

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1

WORKDIR /src

# Nothing but the locked build tools takes part in building the wheel.
COPY requirements/build.txt requirements/
RUN python -m venv /tools && \
    /tools/bin/pip install --require-hashes -r requirements/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY poller poller
RUN /tools/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels .


FROM python:3.13-slim-bookworm@sha256:ed86c82274b3c69b52fb5820f358f0bd7df0b603332063cb5c6e32bd220c3e6e AS environment

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1

WORKDIR /src

# pip stays in an environment of its own, so that it does not reach the image.
RUN python -m venv /tools && \
    python -m venv --without-pip /opt/bedrock-poller

# The dependencies first: they change less often than the program, and then come from the cache. Without
# requirements/postgres.txt, in both lines and in .dockerignore, the image knows SQLite only.
COPY requirements/runtime.txt requirements/postgres.txt requirements/
RUN /tools/bin/pip --python /opt/bedrock-poller/bin/python install --require-hashes \
    -r requirements/runtime.txt -r requirements/postgres.txt
COPY --from=wheel /wheels /wheels
RUN /tools/bin/pip --python /opt/bedrock-poller/bin/python install --no-deps --no-index /wheels/*.whl


FROM python:3.13-slim-bookworm@sha256:ed86c82274b3c69b52fb5820f358f0bd7df0b603332063cb5c6e32bd220c3e6e

# The base image brings its own pip, and no compiled modules, without which every start takes a second longer. The
# user has a fixed number, so that Kubernetes can check that it is not root, and volumes can be given to it.
RUN rm -rf /usr/local/bin/pip* /usr/local/lib/python3.*/ensurepip /usr/local/lib/python3.*/site-packages/pip* && \
    python -m compileall -q /usr/local/lib/python3.* && \
    useradd --uid 10001 --user-group --no-log-init --shell /usr/sbin/nologin \
    --home-dir /var/lib/bedrock-poller --create-home bedrock-poller && \
    chmod 0700 /var/lib/bedrock-poller

COPY --from=environment /opt/bedrock-poller /opt/bedrock-poller

# The database goes where STATE_DIRECTORY says. A container listens on all of its addresses, or nobody could
# reach it; this variable goes before `web.listen` in a configuration file.
ENV PATH=/opt/bedrock-poller/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    STATE_DIRECTORY=/var/lib/bedrock-poller \
    BEDROCK_POLLER_WEB__LISTEN=0.0.0.0:9477

USER 10001:10001
WORKDIR /var/lib/bedrock-poller
VOLUME ["/var/lib/bedrock-poller"]
EXPOSE 9477

# Fails when a loop makes no progress. Without the proxies that the environment may name.
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; port = os.environ['BEDROCK_POLLER_WEB__LISTEN'].rpartition(':')[2]; u.build_opener(u.ProxyHandler({})).open(f'http://127.0.0.1:{port}/-/healthy', timeout=8)"]

ENTRYPOINT ["bedrock-poller"]
CMD ["run"]

# Last, because they change with every build: --build-arg REVISION="$(git rev-parse HEAD)"
ARG REVISION=""
ARG CREATED=""
LABEL org.opencontainers.image.title="bedrock-poller" \
      org.opencontainers.image.description="Tells you when Amazon Bedrock's asynchronous invocations and batch inference jobs change state" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.created="$CREATED" \
      org.opencontainers.image.base.name="python:3.13-slim-bookworm"
