#!/usr/bin/env bash
# Builds the Dockerfile without a Docker daemon and tries the image out: its size, its user, and the
# gateway in it, with a file system that cannot be written to and the settings of the chart. Needs
# root, buildah, the chart's Python packages (target/venv-chart, which ./test.sh makes) and an
# embedded-s3 of the same machine.
#
#     tests/image/check.sh                 # with the base image that the Dockerfile names
#     STAND_IN=1 tests/image/check.sh      # with one made of this machine's toolchain, see stand-in.sh
#     IMAGE=portcullis tests/image/check.sh        # builds nothing
set -euo pipefail
cd "$(dirname "$0")/../.."

readonly mib_max=40
readonly user=65532:65532
image=${IMAGE:-}
export BUILDAH_ISOLATION=chroot

fail() {
  printf 'FAILED: %s\n' "$1" >&2
  exit 1
}

((EUID == 0)) || fail 'needs root'
command -v buildah >/dev/null || fail 'needs buildah (apt-get install buildah)'

if [[ -z $image ]]; then
  image=portcullis-check
  [[ -z ${STAND_IN:-} ]] || tests/image/stand-in.sh
  buildah bud --tag "$image" .
fi

work=$(mktemp -d)
container=$(buildah from --pull-never "$image")
clean_up() {
  buildah rm "$container" >/dev/null
  rm -rf "$work"
}
trap clean_up EXIT
root=$(buildah mount "$container")

bytes=$(du --summarize --apparent-size --block-size=1 "$root" | cut -f1)
packed=$(tar -C "$root" -c . | gzip -9 | wc -c)
mib() { awk -v bytes="$1" 'BEGIN { printf "%.1f MiB", bytes / 1048576 }'; }
printf 'size %s, compressed %s, the binary alone %s\n' "$(mib "$bytes")" "$(mib "$packed")" \
  "$(mib "$(stat --format %s "$root/usr/bin/portcullis")")"
((bytes <= mib_max * 1048576)) || fail "larger than $mib_max MiB"

configured() { buildah inspect --type image --format "{{$1}}" "$image"; }
[[ $(configured .OCIv1.Config.User) == "$user" ]] || fail "the user is not $user"
[[ $(configured .OCIv1.Config.Entrypoint) == '[/usr/bin/portcullis]' ]] || fail 'another entrypoint'

# In place of the gateway's binary: the one of the image, in a file system of its own that nothing
# can be written to. What the chart mounts is under the folder for temporary files.
export TMPDIR=$work/tmp
mkdir -p "$TMPDIR" "$root$TMPDIR"
chmod 755 "$work" "$TMPDIR"
cat >"$work/portcullis" <<WRAPPER
#!/bin/sh
exec $(command -v unshare) --mount $(command -v sh) -c '
  mount --bind "$root" "$root" && mount --bind "$TMPDIR" "$root$TMPDIR" || exit
  mount -o remount,bind,ro "$root" && mount -o remount,bind,ro "$root$TMPDIR" || exit
  exec chroot --userspec=$user "$root" /usr/bin/portcullis "\$@"
' portcullis "\$@"
WRAPPER
chmod 755 "$work/portcullis"
"$work/portcullis" --version

for built in "${EMBEDDED_S3:-}" target/{release,debug}/embedded-s3; do
  [[ ! -x $built ]] || break
done
[[ -x $built ]] || fail 'needs embedded-s3: cargo build --package embedded-s3, or EMBEDDED_S3=PATH'
ln -s "$(realpath "$built")" "$work/embedded-s3"
CI=1 target/venv-chart/bin/python -B tests/chart/test_chart.py --binary "$work/portcullis" Running
printf 'the image is good\n'
