# syntax=docker/dockerfile:1
# Two stages: build, then nothing but the binary, the C library it is linked to, and the certificate
# authorities.

FROM rust:1.95.0-slim-bookworm AS build
# The image's own toolchain: rust-toolchain.toml would fetch rustfmt and clippy as well.
ENV RUSTUP_TOOLCHAIN=1.95.0
# For the allocator.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends make \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target \
    cargo build --locked --release --bin portcullis \
 && install -D --strip target/release/portcullis /image/usr/bin/portcullis
RUN set -eu; \
    for library in $(ldd /image/usr/bin/portcullis | grep -o '/[^ ]*'); do \
      install -D "$(readlink -f "$library")" "/image$library"; \
    done; \
    install -D -m 644 /etc/ssl/certs/ca-certificates.crt -t /image/etc/ssl/certs; \
    echo 'hosts: files dns' > /image/etc/nsswitch.conf; \
    echo 'portcullis:x:65532:65532::/:/sbin/nologin' > /image/etc/passwd; \
    echo 'portcullis:x:65532:' > /image/etc/group; \
    # Says now, not in the cluster, if something is missing.
    chroot --userspec=65532:65532 /image /usr/bin/portcullis --version

FROM scratch
COPY --from=build /image/ /
USER 65532:65532
# SSH; health, metrics and commands; health alone.
EXPOSE 2222 9090 9091
ENTRYPOINT ["/usr/bin/portcullis"]
CMD ["serve"]
