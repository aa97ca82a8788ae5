#!/bin/sh
# Puts the spec where it lies on the host, and applies it as far as plan.json approves. Runs on the
# host, as a user who may call `sudo lorectl`.
#
# The place is not the runner's checkout: jobs run `./` programs from there for as long as they exist.
set -eu

sudo mkdir -p "$(dirname "$PLACE")"
sudo rm -rf "$PLACE.new" "$PLACE.old"
sudo cp -r "$SPEC" "$PLACE.new"
if [ -d "$PLACE" ]; then sudo mv "$PLACE" "$PLACE.old"; fi
sudo mv "$PLACE.new" "$PLACE"

sudo lorectl apply plan.json --file "$PLACE"
