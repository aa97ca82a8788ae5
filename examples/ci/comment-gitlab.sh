#!/bin/sh
# Shows plan.md as a note on the merge request: one note for $HOST, which later pipelines change.
#
# Wants curl and jq, and the masked variable LORECTL_NOTES_TOKEN: a project access token with the
# scope `api`, since a job's own token may not write notes.
set -eu

notes=$CI_API_V4_URL/projects/$CI_PROJECT_ID/merge_requests/$CI_MERGE_REQUEST_IID/notes
mark="<!-- lorectl $HOST -->"
{
  printf '%s\n\n' "$mark"
  cat plan.md
} > note.md

# The token is read from standard input: arguments can be seen by every user of the machine.
call() {
  printf 'header = "PRIVATE-TOKEN: %s"\n' "$LORECTL_NOTES_TOKEN" |
    curl --silent --show-error --fail --config - "$@"
}
note=$(call "$notes?per_page=100" |
  jq --arg mark "$mark" '[.[] | select(.body | startswith($mark)) | .id][0] // empty')
if [ -n "$note" ]; then
  call --request PUT --data-urlencode body@note.md "$notes/$note" > /dev/null
else
  call --request POST --data-urlencode body@note.md "$notes" > /dev/null
fi
