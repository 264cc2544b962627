#!/bin/sh
# Runs a command in the workspace of $PERDURE_GIT_REMOTE, cloned into $PERDURE_WORKSPACE.
set -eu
place="${PERDURE_WORKSPACE:-/workspace}"
if [ -n "${PERDURE_GIT_REMOTE:-}" ]; then
    if [ -d "$place/.git" ]; then
        git -C "$place" pull --quiet --ff-only
    else
        git clone --quiet "$PERDURE_GIT_REMOTE" "$place"
    fi
fi
# One below the top of the repository, where several models share it.
export PERDURE_WORKSPACE="$place${PERDURE_SUBFOLDER:+/$PERDURE_SUBFOLDER}"
cd "$PERDURE_WORKSPACE"
exec "$@"
