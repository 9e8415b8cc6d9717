#!/usr/bin/env bash
# Puts kubectl-portolan into PATH for the next step: a given file, or the release's archive after its hash was checked.
set -euo pipefail

directory="$RUNNER_TEMP/portolan-plugin"
mkdir -p "$directory"
if [ -n "$PORTOLAN_PLUGIN" ]; then
  cp "$PORTOLAN_PLUGIN" "$directory/kubectl-portolan"
  chmod +x "$directory/kubectl-portolan"
else
  case "$PORTOLAN_VERSION" in
    v[0-9]*) ;;
    *)
      echo "::error::the input version is \"$PORTOLAN_VERSION\": expected the tag of a release, such as v0.1.0" >&2
      exit 2
      ;;
  esac
  case "$(uname -s)" in
    Darwin) system=darwin ;;
    Linux) system=linux ;;
    *)
      echo "::error::this action runs on Linux and macOS, and the runner is $(uname -s): use one of ubuntu-* or macos-*" >&2
      exit 2
      ;;
  esac
  case "$(uname -m)" in aarch64 | arm64) architecture=arm64 ;; *) architecture=amd64 ;; esac
  archive="kubectl-portolan-$PORTOLAN_VERSION-$system-$architecture.tar.gz"
  cd "$directory"
  for file in "$archive" SHA256SUMS; do
    curl --fail --silent --show-error --location --retry 3 --output "$file" "$PORTOLAN_RELEASES/$PORTOLAN_VERSION/$file"
  done
  # One line, of exactly this name: a file without a hash must not pass.
  awk -v name="$archive" '$2 == name || $2 == "*" name' SHA256SUMS > expected
  test "$(wc -l < expected)" -eq 1 || {
    echo "::error::SHA256SUMS of $PORTOLAN_VERSION has no hash of $archive" >&2
    exit 2
  }
  if command -v sha256sum > /dev/null; then sha256sum --check expected; else shasum --algorithm 256 --check expected; fi
  tar -xzf "$archive" kubectl-portolan
fi
"$directory/kubectl-portolan" --version
echo "$directory" >> "$GITHUB_PATH"
