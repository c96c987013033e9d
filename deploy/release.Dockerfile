# The gateway of a release, without torch. `route init --docker` writes this file.
#   docker build -t pulvinar .
# Take the digest of the newest base from time to time:
#   docker buildx imagetools inspect python:3.11-slim
ARG PYTHON=python:3.11-slim@sha256:9c900dea9e8fb7e16277c179b555cc72d29a352dbc33cff48ad5a0412fd5bfc7
FROM ${PYTHON} AS build

ARG VERSION
# `[redis,postgres]` for the state and records that several gateways share.
ARG EXTRAS=""
RUN python -m venv /opt/pulvinar \
 && /opt/pulvinar/bin/pip install --no-cache-dir --only-binary :all: "pulvinar${EXTRAS}==${VERSION:?}"

FROM ${PYTHON}

RUN groupadd --system --gid 10001 pulvinar \
 && useradd --system --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent pulvinar \
 && install -d -m 0755 /etc/pulvinar \
 && install -d -m 0700 -o pulvinar -g pulvinar /var/lib/pulvinar
COPY --from=build /opt/pulvinar /opt/pulvinar

# Cards, policies, gateway.yaml and keys.yaml are read from the working directory; without cards or policies there, the
# built-in ones are used. The gateway writes only to /var/lib/pulvinar and /tmp.
ENV PATH="/opt/pulvinar/bin:$PATH" \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PULVINAR_STORE=/var/lib/pulvinar \
    PULVINAR_EVIDENCE=/var/lib/pulvinar/evidence \
    PULVINAR_CACHE=/tmp/pulvinar
WORKDIR /etc/pulvinar
VOLUME /var/lib/pulvinar
USER 10001:10001

EXPOSE 8686
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8686/healthz', timeout=2)"]

ENTRYPOINT ["pulvinar"]
CMD ["serve", "--host", "0.0.0.0"]
