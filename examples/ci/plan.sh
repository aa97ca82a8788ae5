#!/bin/sh
# Makes the plan for $HOST from snapshot.json, and what reviewers see of it. Runs on any machine that
# has lorectl; the host's systemd, programs and users are not needed.
#
# Ends with 0 where the plan may be merged, with 3 where it is denied, and with lorectl's own status
# where there is no plan. What may be seen is written in either case.
set -eu

status=0
lorectl plan --file "$SPEC" --observed snapshot.json --host "$HOST" --max-age 1h \
  --deny delete,replace --detailed-exitcode --out plan.json || status=$?
case $status in
  0) echo "nothing to do on $HOST" ;;
  2 | 3) ;;
  *) exit "$status" ;;
esac
# A snapshot that is refused leaves no plan.
[ -e plan.json ] || exit "$status"

lorectl show plan.json --format markdown > plan.md
lorectl show plan.json --format html > plan.html
lorectl show plan.json --format gitlab > plan.gitlab.json
[ "$status" != 3 ] || exit 3
