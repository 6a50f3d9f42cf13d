# Sourced by the set-up scripts, after cache.sh: installing Debian's packages as root, without starting a service.

# apt_install PACKAGE...: quiet, and safe to run after a run that was interrupted. Packages that bring a service
# may not start it: policy-rc.d says so for as long as this takes, unless the machine has one of its own.
apt_install() (
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        trap 'rm -f "$policy"' EXIT
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
    fi
    export DEBIAN_FRONTEND=noninteractive
    # A run that was interrupted while unpacking leaves dpkg half-way; this finishes it, and is nothing otherwise.
    dpkg --configure -a
    apt-get -o Acquire::Retries=3 update -q
    apt-get -o Acquire::Retries=3 install -q -y --no-install-recommends "$@"
)
