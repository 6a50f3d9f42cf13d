#!/usr/bin/env bash
# Runs a command with a container engine:
#
#     tools/engine.sh COMMAND [ARGUMENT...]
#
# The engine is the one that answers, when it has the images that compose.yaml names or can pull them. Otherwise it
# is a private one, which root on Debian may have: Docker's daemon on a socket of its own, in namespaces of its own,
# with a firewall and a default bridge that it leaves alone. It ends with the command, and all its containers with
# it, however either ends; images stay in the cache. Images that cannot be pulled are made (images.sh).
#
# On a machine where neither can be had, the command runs with WITHOUT_CONTAINER_ENGINE set to the reason. Nothing is
# ever made, removed or tagged in an engine that is not ours.
set -euo pipefail
. "$(dirname "$0")/cache.sh"
. "$(dirname "$0")/apt.sh"
here=$(cd "$(dirname "$0")" && pwd)

PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
[ $# -gt 0 ] || fail "usage: tools/engine.sh COMMAND [ARGUMENT...]"

# testcontainers removes what a killed run has left by a container of its own, where that image can be had.
reaper() {
    local image=testcontainers/ryuk:0.8.1
    docker image inspect "$image" >/dev/null 2>&1 || timeout 60 docker pull --quiet "$image" >/dev/null 2>&1 ||
        export TESTCONTAINERS_RYUK_DISABLED=true
}

export CONTAINER_ENGINE_IS_OURS=
if timeout 20 docker info >/dev/null 2>&1; then
    if "$here/images.sh"; then
        reaper
        say "container engine: the one that answers"
        exec "$@"
    fi
    say "container engine: the one that answers has not all images, and cannot pull them"
fi

# For what this machine cannot have.
without() { # REASON COMMAND...
    say "container engine: none, because $1"
    WITHOUT_CONTAINER_ENGINE="$1" exec "${@:2}"
}
# For what it could have and did not get: under CI that is an error.
failed() { # REASON COMMAND...
    case "${CI:-}" in '' | 0 | false) ;; *) fail "container engine: $1" ;; esac
    end_engine
    unset DOCKER_HOST CONTAINER_ENGINE_IS_OURS
    without "$@"
}
keeper=
end_engine() { :; }
[ "$(id -u)" -eq 0 ] || without "no engine with the images answers, and only root may start one" "$@"
command -v apt-get >/dev/null || without "no engine with the images answers, and this is no Debian to install one on" "$@"
unshare --mount --pid --fork true 2>/dev/null || without "the kernel lets this root make no namespaces" "$@"

missing=()
command -v dockerd >/dev/null || missing+=(docker.io)
command -v docker >/dev/null || missing+=(docker.io)
command -v iptables >/dev/null || missing+=(iptables) # For names within a container network, not for this machine.
command -v debootstrap >/dev/null || missing+=(debootstrap)
docker compose version >/dev/null 2>&1 || command -v docker-compose >/dev/null || missing+=(docker-compose)
if [ ${#missing[@]} -gt 0 ]; then
    say "container engine: installing ${missing[*]} (half a minute)"
    apt_install "${missing[@]}" || failed "the packages ${missing[*]} cannot be installed" "$@"
fi

# One private engine on a machine at a time; a second one waits. The lock is the kernel's.
run=/run/vecsync-engine
data="$cache_root/engine"
mkdir -p "$run" "$data"
exec 8>"$run/lock"
flock --nonblock 8 || { say "container engine: waiting for another one of ours to end"; flock 8; }
export DOCKER_HOST="unix://$run/docker.sock" CONTAINER_ENGINE_IS_OURS=yes

# Leaves nothing but images with a name: those without one are what a rebuild has replaced. Only in our own engine.
clean() {
    { docker ps --all --quiet | xargs --no-run-if-empty docker rm --force --volumes
      docker network prune --force
      docker volume prune --force
      docker image prune --force; } >/dev/null 2>&1 || true
}

end_engine() {
    [ -n "$keeper" ] || return 0
    clean
    daemon=$(ps -o pid= --ppid "$keeper" | tr -d ' ') || true
    [ -z "$daemon" ] || kill "$daemon" 2>/dev/null || true
    timeout 20 tail --pid="$keeper" -f /dev/null || kill -KILL "$keeper" 2>/dev/null || true
    wait "$keeper" 2>/dev/null || true
    keeper=
    rm -rf --one-file-system "$run/exec" "$run/docker.sock" "$run/pid"
}
trap end_engine EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# In a process namespace of its own, whose end is the end of everything in it: the daemon, containerd, its shims and
# the containers. The first of them gets SIGKILL when this script dies. Mounts end with their namespace.
start_engine() {
    rm -rf --one-file-system "$run/exec" "$run/docker.sock" "$run/pid"
    setsid setpriv --pdeathsig KILL -- \
        unshare --mount --pid --fork --kill-child=KILL --mount-proc --propagation private -- \
        dockerd --host "$DOCKER_HOST" --data-root "$data" --exec-root "$run/exec" --pidfile "$run/pid" \
        --bridge none --iptables=false --ip6tables=false --ip-masq=false \
        --log-opt max-size=10m >"$run/log" 2>&1 8>&- &
    keeper=$!
    local attempt
    for attempt in $(seq 150); do
        docker info >/dev/null 2>&1 && return 0
        kill -0 "$keeper" 2>/dev/null || return 1
        sleep 0.2
    done
    return 1
}
say "container engine: starting a private one (data in $data)"
if ! start_engine; then
    # Data that an interrupted run left half-written are the likely cause, and all of them can be made again.
    say "container engine: it did not start; trying again with fresh data"
    end_engine
    rm -rf --one-file-system "$data"
    mkdir -p "$data"
    start_engine || { tail -n 30 "$run/log" >&2; failed "it does not start (its log is above)" "$@"; }
fi
clean # What a run that was killed has left.
"$here/images.sh" || failed "images cannot be had (see above)" "$@"
reaper
set +e
"$@" 8>&-
code=$?
set -e
exit $code
