#!/usr/bin/env bash
# Asks all agents, writes the findings as JSON, JUnit report and job summary, and ends with the exit code of the plugin:
# 1 for what may not be, 3 if an agent did not answer. The bash of macOS is 3.2, which calls an empty array unset.
set -euo pipefail

# Pods choose names that are shown below, and the runner must not take them for its commands. Only who knows the token ends that.
exec 2>&1
token="portolan-$(od -An -N 16 -t x1 /dev/urandom | tr -d ' \n')"
echo "::stop-commands::$token"
trap 'echo "::$token::"' EXIT

json="${PORTOLAN_JSON:-$RUNNER_TEMP/portolan-findings.json}"
options=()
if [ -n "$PORTOLAN_AGENTS_NAMESPACE" ]; then options+=(--agents-namespace "$PORTOLAN_AGENTS_NAMESPACE"); fi
if [ -n "$PORTOLAN_NAMESPACE" ]; then options+=(--namespace "$PORTOLAN_NAMESPACE"); fi
fail_on="$PORTOLAN_FAIL_ON"
if [ -z "$fail_on" ] && [ -z "$PORTOLAN_BASELINE" ]; then fail_on=high; fi
limit=()
if [ -n "$fail_on" ]; then limit=(--fail-on "$fail_on"); fi

# Ends the job if the plugin could not do its work. 1 and 3 are results, and the reports are written first.
result=0
note() {
  case "$1" in
    0) ;;
    1) result=1 ;;
    3) if [ "$result" -eq 0 ]; then result=3; fi ;;
    *) exit "$1" ;;
  esac
}
# Ends the job because a file cannot be written, with a code that is none of the plugin's results.
cannot_write() {
  trap - EXIT
  echo "::$token::"
  echo "::error::cannot write $1: is it a path in a directory that the job may write to?"
  exit 2
}
# Makes the directory of a file, so that a redirection to it that fails is not taken for the plugin's code.
prepare() {
  mkdir -p "$(dirname "$1")" && [ -w "$(dirname "$1")" ] && [ ! -d "$1" ] || cannot_write "$1"
}
# Markdown of what pods may have named: an indented block, out of which no line can break.
block() { head -c 400000 "$1" | sed 's/^/    /'; }

# The baseline may be the same file, so what was found takes its place only after the comparison.
found="$RUNNER_TEMP/portolan-found.json"
prepare "$json"
if [ -n "$PORTOLAN_JUNIT" ]; then
  prepare "$PORTOLAN_JUNIT"
  # It is written in place, unlike the findings, which take the place of an earlier file.
  [ ! -e "$PORTOLAN_JUNIT" ] || [ -w "$PORTOLAN_JUNIT" ] || cannot_write "$PORTOLAN_JUNIT"
fi

code=0
kubectl-portolan findings ${options[@]+"${options[@]}"} ${limit[@]+"${limit[@]}"} --output json > "$found" || code=$?
note "$code"
if [ -n "$PORTOLAN_JUNIT" ]; then
  code=0
  kubectl-portolan findings ${options[@]+"${options[@]}"} ${limit[@]+"${limit[@]}"} --output junit > "$PORTOLAN_JUNIT" || code=$?
  note "$code"
fi
table="$RUNNER_TEMP/portolan-findings.txt"
code=0
kubectl-portolan findings ${options[@]+"${options[@]}"} > "$table" 2>&1 || code=$?
note "$code"
cat "$table"
{
  echo "### Ports that are not as their manifests say"
  echo
  block "$table"
} >> "$GITHUB_STEP_SUMMARY"

if [ -n "$PORTOLAN_BASELINE" ]; then
  changes="$RUNNER_TEMP/portolan-changes.txt"
  namespace=()
  if [ -n "$PORTOLAN_NAMESPACE" ]; then namespace=(--namespace "$PORTOLAN_NAMESPACE"); fi
  code=0
  kubectl-portolan diff ${namespace[@]+"${namespace[@]}"} "$PORTOLAN_BASELINE" "$found" > "$changes" 2>&1 || code=$?
  cat "$changes"
  {
    echo
    echo "### Changes since the baseline"
    echo
    block "$changes"
  } >> "$GITHUB_STEP_SUMMARY"
  note "$code"
fi
mv -f "$found" "$json" || cannot_write "$json"
echo "json=$json" >> "$GITHUB_OUTPUT"
exit "$result"
