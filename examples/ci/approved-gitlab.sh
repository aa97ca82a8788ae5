#!/bin/sh
# Fetches the plan.json that the merge request showed, after it was merged. The merge commit names the
# merge request, as GitLab's template for its message does.
set -eu

iid=$(printf '%s\n' "$CI_COMMIT_MESSAGE" | sed -n 's/^See merge request .*!\([0-9][0-9]*\)$/\1/p')
if [ -z "$iid" ]; then
  echo "this commit names no merge request, so nobody has approved a plan" >&2
  exit 3
fi
artifact=$CI_API_V4_URL/projects/$CI_PROJECT_ID/jobs/artifacts/refs%2Fmerge-requests%2F$iid%2Fhead/raw/plan.json
printf 'header = "JOB-TOKEN: %s"\n' "$CI_JOB_TOKEN" |
  curl --silent --show-error --fail --location --config - --output plan.json "$artifact?job=plan"
