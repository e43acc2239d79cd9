# Flotilla as an image: the binary and the four libraries that it loads. No shell, no package manager, no root.
#
# This builds everything, for half an hour on two cores. The revision has to be told, since .git is not sent along:
#
#   podman build --tag flotilla:0.1.0 --build-arg FLOTILLA_REV=$(git rev-parse --short HEAD) .
#
# This takes bin/flotilla as it is:
#
#   podman build --tag flotilla:0.1.0 --target prebuilt --file Dockerfile bin
#
# ci/image.sh does both, and holds the image to its size. A binary that is taken must have been linked on the Debian release of
# DEBIAN, or on an older one.

ARG DEBIAN=docker.io/library/debian:bookworm-slim
ARG RUST=docker.io/library/rust:1.95-slim-bookworm

# hadolint ignore=DL3006
FROM ${DEBIAN} AS files
WORKDIR /out
RUN cp --parents --dereference \
        /lib/*-linux-gnu/libc.so.6 /lib/*-linux-gnu/libm.so.6 \
        /lib/*-linux-gnu/libgcc_s.so.1 /lib/*-linux-gnu/libstdc++.so.6 \
        /lib*/ld-linux-*.so.* . \
    && mkdir -p etc/flotilla usr/bin var/lib/flotilla \
    && echo 'hosts: files dns' >etc/nsswitch.conf \
    && echo 'flotilla:x:65532:65532::/var/lib/flotilla:/usr/sbin/nologin' >etc/passwd \
    && echo 'flotilla:x:65532:' >etc/group \
    && chown 65532:65532 etc/flotilla var/lib/flotilla \
    && chmod 0700 etc/flotilla var/lib/flotilla

FROM scratch AS runtime
COPY --from=files /out/ /
LABEL org.opencontainers.image.title="flotilla" \
      org.opencontainers.image.description="A distributed file store: supernodes and clusters of nodes" \
      org.opencontainers.image.licenses="Apache-2.0"
ENV PATH=/usr/bin
USER 65532:65532
WORKDIR /var/lib/flotilla
EXPOSE 7401 7402 7403
ENTRYPOINT ["/usr/bin/flotilla"]

# Before the stages that compile: older builders carry out everything above the one that is asked for.
FROM runtime AS prebuilt
COPY --chmod=0755 flotilla /usr/bin/flotilla

# hadolint ignore=DL3006
FROM ${RUST} AS build
# Versions are those of the Debian release, which its name pins; security updates are wanted.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends binutils g++ git libclang-dev make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
ARG FLOTILLA_REV=unknown
ENV FLOTILLA_REV=${FLOTILLA_REV} FLOTILLA_CACHE=/cache CARGO_HOME=/usr/local/cargo
RUN ci/cargo.sh build --release --locked --package flotilla \
    && strip --strip-debug -o /flotilla /cache/target/release/flotilla

FROM runtime AS full
COPY --from=build --chmod=0755 /flotilla /usr/bin/flotilla
