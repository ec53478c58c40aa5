#!/usr/bin/env bash
# Makes a stand-in for the base image of the Dockerfile's first stage, under its name, where no
# registry can be reached: Debian's packages, those of the slim image and no others, and this
# machine's toolchain of the same version. Needs root, buildah, debootstrap and rustup.
set -euo pipefail
cd "$(dirname "$0")/../.."

name=$(sed -n 's/^FROM \(.*\) AS build$/\1/p' Dockerfile)
version=${name#rust:}
release=${version#*-slim-}
version=${version%%-*}
export BUILDAH_ISOLATION=chroot

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
debootstrap --variant=minbase --include=ca-certificates,gcc,libc6-dev "$release" "$root" >/dev/null

toolchain=$(rustup run "$version" rustc --print sysroot)
host=$(rustup run "$version" rustc --print host-tuple)
home=$root/usr/local/rustup
mkdir -p "$home/toolchains/$version-$host" "$root/usr/local/cargo/bin"
cp -aL "$toolchain"/{bin,lib} "$home/toolchains/$version-$host"
cp -aL "$(command -v rustup)" "$root/usr/local/cargo/bin/rustup"
for program in cargo rustc; do ln -s rustup "$root/usr/local/cargo/bin/$program"; done
# This machine may know authorities that Debian does not, such as a proxy's.
cp "${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}" "$root/usr/local/cargo/authorities.pem"

container=$(buildah from scratch)
buildah add --quiet "$container" "$root" / >/dev/null
buildah config --env RUSTUP_HOME=/usr/local/rustup --env CARGO_HOME=/usr/local/cargo \
  --env CARGO_HTTP_CAINFO=/usr/local/cargo/authorities.pem \
  --env PATH=/usr/local/cargo/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
buildah commit --quiet --rm "$container" "docker.io/library/$name"
