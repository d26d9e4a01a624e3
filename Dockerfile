# The operator's image. No BuildKit features: the legacy builder works as well.
#
#     docker build -t registry.example.com/gpu-rightsizer:0.1.0 .
#
# takes the packages of requirements.lock from the package index, by hash. Without network, prepare what is to be used
# instead in the folder INPUTS of the build context; each part is optional:
#
#     dist/image/wheels/   pip download --require-hashes -r requirements.lock -d dist/image/wheels
#     dist/image/site/     pip install --require-hashes -r requirements.lock --target dist/image/site   (wins over wheels)
#     dist/image/debs/     Debian packages of Python 3.11, for a BASE_IMAGE of that Debian without Python
ARG BASE_IMAGE=python:3.11-slim

FROM ${BASE_IMAGE} AS build
ARG INPUTS=dist/image
# The pattern matches the folder or nothing; LICENSE is there so that something is always copied.
COPY LICENSE pyproject.toml requirements.lock ${INPUTS}* /inputs/
RUN set -eu; mkdir -p /inputs/debs /site; cd /inputs; export DEBIAN_FRONTEND=noninteractive; \
    if ls debs/*.deb >/dev/null 2>&1; then dpkg -i debs/*.deb >/dev/null; fi; \
    command -v python3 >/dev/null || ln -s "$(command -v python3.11)" /usr/local/bin/python3; \
    pip="python3 -m pip --disable-pip-version-check install --no-cache-dir --no-compile --quiet"; \
    if [ -d site ]; then mv site/* /site/; \
    elif [ -d wheels ]; then $pip --no-index --find-links wheels --require-hashes --target /site -r requirements.lock; \
    else $pip --only-binary :all: --require-hashes --target /site -r requirements.lock; fi; \
    rm -rf /site/bin
# Byte code is compiled here, since the root file system will be read-only; it holds whatever happens to time stamps.
# Some packages ship files that are no Python 3 and are never imported: they may fail.
RUN python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash /site || true
COPY operator/gpu_rightsizer /app/gpu_rightsizer
RUN set -eu; python3 -m compileall -q --invalidation-mode unchecked-hash /app/gpu_rightsizer; \
    python3 -c 'import pathlib, tomllib; \
p = tomllib.load(open("/inputs/pyproject.toml", "rb"))["project"]; \
d = pathlib.Path("/app", p["name"].replace("-", "_") + "-" + p["version"] + ".dist-info"); \
d.mkdir(); \
d.joinpath("METADATA").write_text("Metadata-Version: 2.1\nName: %s\nVersion: %s\n" % (p["name"], p["version"]))'; \
    printf '#!/usr/bin/env -S python3 -P\nimport sys\n\nfrom gpu_rightsizer.cli.main import main\n\nsys.exit(main())\n' \
        > /inputs/gpu-rightsizer; chmod 0755 /inputs/gpu-rightsizer

FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="gpu-rightsizer" \
      org.opencontainers.image.description="Recommends smaller GPU instance classes for inference, with stated risk" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /inputs/debs /tmp/debs
RUN set -eu; export DEBIAN_FRONTEND=noninteractive; \
    if ls /tmp/debs/*.deb >/dev/null 2>&1; then dpkg -i /tmp/debs/*.deb >/dev/null; fi; rm -rf /tmp/debs; \
    command -v python3 >/dev/null || ln -s "$(command -v python3.11)" /usr/local/bin/python3; \
    echo 'gpu-rightsizer:x:65532:65532::/tmp:/usr/sbin/nologin' >> /etc/passwd; \
    echo 'gpu-rightsizer:x:65532:' >> /etc/group
COPY --from=build /inputs/LICENSE /usr/share/doc/gpu-rightsizer/LICENSE
COPY --from=build /inputs/gpu-rightsizer /usr/local/bin/gpu-rightsizer
COPY --from=build /site /opt/gpu-rightsizer
COPY --from=build /app /opt/gpu-rightsizer
# One thread for matrix products: they are small, and threads that wait for each other cost several times the work.
ENV OPENBLAS_NUM_THREADS=1
# Answers of tens of megabytes are read in several threads: glibc would keep an arena for each.
ENV MALLOC_ARENA_MAX=1
ENV PYTHONPATH=/opt/gpu-rightsizer PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
# A number, since the kubelet cannot tell whether a name is root.
USER 65532:65532
EXPOSE 8080 8081
ENTRYPOINT ["gpu-rightsizer"]
CMD ["--help"]
