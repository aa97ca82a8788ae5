#!/bin/sh
# Fetches the plan.json that the pull request showed, after it was merged. Wants gh, and GH_TOKEN.
set -eu

head=$(gh api "repos/$GITHUB_REPOSITORY/commits/$GITHUB_SHA/pulls" --jq '.[0].head.sha // empty')
if [ -z "$head" ]; then
  echo "this commit comes from no pull request, so nobody has approved a plan" >&2
  exit 3
fi
run=$(gh run list --repo "$GITHUB_REPOSITORY" --workflow "$GITHUB_WORKFLOW" --commit "$head" \
  --event pull_request --status success --limit 1 --json databaseId --jq '.[0].databaseId // empty')
if [ -z "$run" ]; then
  echo "no plan of $head was let through" >&2
  exit 3
fi
gh run download "$run" --repo "$GITHUB_REPOSITORY" --name plan
