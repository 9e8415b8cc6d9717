#!/usr/bin/env bash
# Asks all agents, writes the findings as JSON, JUnit report and job summary, and ends with the exit code of the plugin:
# 1 for what may not be, 3 if an agent did not answer. The bash of macOS is 3.2, which calls an empty array unset.
set -euo pipefail

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
# Markdown of what pods may have named: an indented block, out of which no line can break.
block() { head -c 400000 "$1" | sed 's/^/    /'; }

code=0
kubectl-portolan findings ${options[@]+"${options[@]}"} ${limit[@]+"${limit[@]}"} --output json > "$json" || code=$?
note "$code"
echo "json=$json" >> "$GITHUB_OUTPUT"
if [ -n "$PORTOLAN_JUNIT" ]; then
  mkdir -p "$(dirname "$PORTOLAN_JUNIT")"
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
  kubectl-portolan diff ${namespace[@]+"${namespace[@]}"} "$PORTOLAN_BASELINE" "$json" > "$changes" 2>&1 || code=$?
  cat "$changes"
  {
    echo
    echo "### Changes since the baseline"
    echo
    block "$changes"
  } >> "$GITHUB_STEP_SUMMARY"
  note "$code"
fi
exit "$result"
