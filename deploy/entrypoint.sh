#!/bin/sh
# Runs a command in the workspace of $PERDURE_GIT_REMOTE, cloned into $PERDURE_WORKSPACE.
set -eu
if [ -n "${PERDURE_GIT_SSH_KEY:-}" ]; then
    keys="${HOME:-/home/perdure}/.ssh"
    (
        umask 077
        mkdir -p "$keys"
        printf '%s\n' "$PERDURE_GIT_SSH_KEY" >"$keys/perdure"
        printf '%s\n' "${PERDURE_GIT_SSH_HOSTS:?the lines of ssh-keyscan HOST belong there}" >"$keys/perdure_hosts"
    )
    unset PERDURE_GIT_SSH_KEY
    export GIT_SSH_COMMAND="ssh -i $keys/perdure -o IdentitiesOnly=yes -o StrictHostKeyChecking=yes -o UserKnownHostsFile=$keys/perdure_hosts"
fi
place="${PERDURE_WORKSPACE:-/workspace}"
if [ -n "${PERDURE_GIT_REMOTE:-}" ]; then
    if [ -d "$place/.git" ]; then
        git -C "$place" pull --quiet --ff-only
    else
        git clone --quiet "$PERDURE_GIT_REMOTE" "$place"
    fi
    git -C "$place" rev-parse --quiet --verify HEAD >/dev/null || {
        echo "perdure: the default branch of PERDURE_GIT_REMOTE has no commit; push there, or make the remote with git init --bare -b BRANCH" >&2
        exit 2
    }
fi
# One below the top of the repository, where several models share it.
export PERDURE_WORKSPACE="$place${PERDURE_SUBFOLDER:+/$PERDURE_SUBFOLDER}"
cd "$PERDURE_WORKSPACE"
exec "$@"
