#!/usr/bin/env bash
# Every check there is: ./test.sh; the ones to run while working: ./test.sh quick; every check and
# then every attack in its long form, an hour more: ./test.sh long.
# With CI=1 an example of an identity provider that cannot run is a failure.
# One profile throughout, the one of `cargo run --release`: what one step built, the next one takes.
set -euo pipefail
cd "$(dirname "$0")"

readonly deny_version=0.20.2
readonly tools=target/tools
readonly suite_log=$PWD/target/suite.log
readonly venv=target/venv
readonly chart_venv=target/venv-chart

costs=()

# Runs a named step and keeps what it cost.
step() {
  local name=$1 begun=$SECONDS
  shift
  printf '\n== %s\n' "$name"
  "$@"
  costs+=("$(printf '%5d s  %s' $((SECONDS - begun)) "$name")")
}

report() {
  local status=$?
  printf '\n'
  ((${#costs[@]})) && printf '%s\n' "${costs[@]}"
  printf '%5d s  in all\n' "$SECONDS"
  ((status == 0)) && printf 'all good\n' || printf 'FAILED\n'
}

# Makes an environment with the packages of the files named, again whenever one of them is newer.
environment() {
  local folder=$1 file fresh=1 options=()
  shift
  for file in "$@"; do
    options+=(--requirement "$file")
    [[ $folder/ready -nt $file ]] || fresh=0
  done
  ((fresh)) && return
  python3 -m venv "$folder"
  "$folder/bin/pip" install --quiet --disable-pip-version-check "${options[@]}"
  touch "$folder/ready"
}

python_packages() {
  environment "$venv" tests/clients/requirements.txt idp-examples/postgres/requirements.txt
  # Older paramikos, whose packages do not go together with the others.
  local version
  for version in 2.12 3.5; do
    environment "target/venv-paramiko-$version" "tests/clients/requirements-paramiko-$version.txt"
  done
  export PATH="$PWD/$venv/bin:$PATH"
}

# Libraries of other languages, where their package managers are: the cases without them are skipped.
client_libraries() {
  local folder=target/clients-libraries
  mkdir -p "$folder"
  if [[ ! -d $folder/node_modules/ssh2-sftp-client ]] && command -v npm >/dev/null; then
    npm install --silent --no-audit --no-fund --no-package-lock --ignore-scripts --omit=optional \
      --prefix "$folder" ssh2-sftp-client@12.0.1 || printf 'no ssh2-sftp-client\n'
  fi
  if ! compgen -G "$folder/jsch-*.jar" >/dev/null && command -v mvn >/dev/null; then
    mvn -q -B org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy \
      -Dartifact=com.github.mwiede:jsch:0.2.21 -DoutputDirectory="$PWD/$folder" || printf 'no JSch\n'
  fi
}

# In an environment of its own: half a gigabyte that only this step needs.
chart() {
  environment "$chart_venv" tests/chart/requirements.txt
  "$chart_venv/bin/python" -B tests/chart/test_chart.py --binary target/release/portcullis
}

# What the tests plant as passwords, tokens and keys stands in no line that they logged.
secrets() {
  local lines
  lines=$(wc -l <"$suite_log")
  ((lines > 100)) || { printf 'only %d lines were logged\n' "$lines" >&2; return 1; }
  ! grep --fixed-strings --file tests/fixtures/planted-secrets.txt --max-count 5 "$suite_log"
}

# It runs for seconds: what an optimized one takes to build is never earned back.
install_deny() {
  [[ $("$tools/bin/cargo-deny" --version 2>&1) == "cargo-deny $deny_version" ]] ||
    env --unset=RUSTC_WORKSPACE_WRAPPER CARGO_PROFILE_DEV_DEBUG=false nice \
      cargo install --debug --locked --quiet cargo-deny --version "$deny_version" --root "$tools"
}

# Runs both at the same time: the second one waits for others more than it computes.
beside() {
  local first status=0
  "$1" &
  first=$!
  "${@:2}" || status=$?
  wait "$first" || status=$?
  return "$status"
}

# The binaries are built together with the tests, whose packages may add features to those that the
# binaries call: none, but what clap has for divan, that they could come to need unasked.
own_features() {
  features() {
    cargo tree --locked --quiet --workspace --prefix none --depth 1 --format '{p} {f}' --edges "$1" |
      sed 's/ (\*)$//' | sort -u
  }
  local own more
  own=$(features normal,build)
  more=$(comm -13 <(printf '%s\n' "$own") <(features normal,build,dev) | cut -d' ' -f1)
  more=$(comm -12 <(cut -d' ' -f1 <<<"$own" | sort -u) <(printf '%s\n' "$more" | sort -u))
  [[ $more == clap ]] || { printf 'features for tests only, of: %s\n' "$more" >&2; return 1; }
}

deny() {
  install_deny
  "$tools/bin/cargo-deny" --locked check --hide-inclusion-graph bans licenses sources
  # The list of advisories comes over the network.
  if [[ ${ADVISORIES:-} == 1 ]]; then
    "$tools/bin/cargo-deny" --locked check --hide-inclusion-graph advisories
  fi
}

everything() {
  step format cargo fmt --all -- --check
  step 'python packages' python_packages
  step 'client libraries' client_libraries
  # Whatever is compiled of ours is linted, and each library documented, on the way.
  export RUSTC_WORKSPACE_WRAPPER=$PWD/tests/linted_rustc.py
  step 'build, clippy, documentation' cargo build --locked --release --workspace --all-targets
  step 'their own features' own_features
  rm -f "$suite_log"
  SUITE_LOG=$suite_log step tests cargo test --locked --release --workspace
  step 'no secret in what the tests logged' secrets
  step 'storage contract and roles on SeaweedFS' python tests/clients/with_seaweed.py \
    cargo test --locked --release --test it -- storage_contract roles_external replayed::sessions
  step pages python -B tests/console/run.py --binary target/release/portcullis
  step 'real clients, and cargo-deny' beside install_deny \
    python tests/clients/run.py --binary target/release/portcullis
  step 'kill -9' python -B tests/clients/killed.py --binary target/release/portcullis
  step attacks python -B tests/attacks/run.py --binary target/release/portcullis
  step chart chart
  step 'dependency rules' deny
}

long() {
  everything
  step '5,000 seeds' env SEEDS=5000 cargo test --locked --release --test it -- whatever_a_seed
  step '300 seeds over every store and OpenSSH' env SEEDS=300 python tests/clients/with_seaweed.py \
    cargo test --locked --release --test it -- replayed
  step 'a minute without S3' cargo test --locked --release --test it -- --ignored faults::storms
  step 'memory of 2,000 connections' cargo test --locked --release --test connection_memory -- --ignored
  step 'memory under load' cargo test --locked --release --test load_memory -- --ignored --test-threads 1
  step 'kill -9, 100 times' python -B tests/clients/killed.py --rounds 100 --binary target/release/portcullis
  step 'attacks, long' python -B tests/attacks/run.py --long --binary target/release/portcullis
}

quick() {
  step format cargo fmt --all -- --check
  step clippy cargo clippy --locked --release --workspace --all-targets -- -D warnings
  step 'unit tests' cargo test --locked --release --workspace --lib
  step tidy cargo test --locked --release --test tidy --test documents
}

# Most tests wait for a clock or a socket.
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-$((2 * $(nproc)))}
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-auto}
case ${1:-everything} in
  everything | quick | long)
    trap report EXIT
    "${1:-everything}"
    ;;
  *)
    printf 'usage: ./test.sh [quick | long]\n' >&2
    exit 64
    ;;
esac
