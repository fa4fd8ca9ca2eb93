# One image for web, workers and beat: they differ in the command only. See docs/operations.md.
#
# Everything that comes from outside is an argument with a public default, so that it can be built where no registry
# or index is reached: put wheels into `wheels/`, then
#   docker build --build-arg BASE_IMAGE=… --build-arg PIP_ARGS=--no-index --build-arg SYSTEM_PACKAGES= .
ARG BASE_IMAGE=python:3.13-slim

FROM ${BASE_IMAGE} AS build
WORKDIR /opt/itdash
RUN python3 -m venv /opt/venv
# `wheels*` may match nothing; the lock is there in any case, and a copy needs one file.
COPY requirements.lock wheels* /wheels/
ARG PIP_ARGS=""
RUN /opt/venv/bin/python -m pip install --no-cache-dir --disable-pip-version-check --require-hashes \
      --find-links /wheels ${PIP_ARGS} --requirement /wheels/requirements.lock
COPY . .
RUN rm -rf wheels \
 && /opt/venv/bin/python -m pip install --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation \
      --editable . \
 && /opt/venv/bin/python -m compileall -q itdash runs environments

FROM ${BASE_IMAGE}
# Runs check their commit out with git, over https or ssh.
ARG SYSTEM_PACKAGES="git openssh-client"
RUN if [ -n "${SYSTEM_PACKAGES}" ]; then \
      apt-get update && apt-get install -y --no-install-recommends ${SYSTEM_PACKAGES} && rm -rf /var/lib/apt/lists/*; \
    fi
# A fixed number: files on volumes keep their owner across images.
RUN groupadd --gid 10001 itdash \
 && useradd --uid 10001 --gid itdash --home-dir /data --no-create-home --shell /usr/sbin/nologin itdash \
 && install -d -o itdash -g itdash -m 0700 /data
COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/itdash /opt/itdash
WORKDIR /opt/itdash
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DJANGO_SETTINGS_MODULE=itdash.settings \
    ITDASH_DATA_DIR=/data \
    ITDASH_MODE=production \
    ITDASH_LOG_FORMAT=json
USER itdash
VOLUME /data
EXPOSE 8000
CMD ["uvicorn", "itdash.asgi:application", "--host=0.0.0.0", "--port=8000", "--lifespan=off", "--no-access-log", "--timeout-graceful-shutdown=5"]
