#!/usr/bin/env bash
# Sees to it that the engine has the images that compose.yaml, deploy/Dockerfile and the tests name: those it has, else
# pulled, else (in a private engine only, see engine.sh) made here under the same names, from Debian's packages and
# from what setup.sh keeps in the cache. A stand-in takes the variables, directories and ports of the official image
# that are used here, so nothing that uses it knows the difference; it says what it is by a label.
set -euo pipefail
. "$(dirname "$0")/cache.sh"
here=$(cd "$(dirname "$0")" && pwd)
images="$here/images"

base=debian:bookworm-slim mysql=mysql:9.7 mariadb=mariadb:10.11 kafka=apache/kafka:4.3.0
label=vecsync.stand-in.recipe
sha() { sha256sum | cut -d' ' -f1; }

# An image that is there counts when it is an official one, or a stand-in of this very recipe that still runs.
usable() { # IMAGE RECIPE PROGRAM...
    local image=$1 found
    found=$(docker image inspect --format "{{index .Config.Labels \"$label\"}}" "$image" 2>/dev/null) || return 1
    [ -n "$found" ] || return 0
    [ "$found" = "$2" ] && docker run --rm --network none --entrypoint "$3" "$image" "${@:4}" >/dev/null 2>&1
}

# Once one pull has failed the others would too: a registry is reached or it is not.
pulls=yes
pull() {
    [ "$pulls" = yes ] || return 1
    say "image $1: pulling"
    timeout 300 docker pull --quiet "$1" >/dev/null 2>&1 && return 0
    pulls=no
    say "image $1: cannot be pulled"
    return 1
}

# What builds on this machine need to reach its mirrors: its authorities, its pip settings, its proxies.
machine_settings() { # ROOT
    cp /etc/ssl/certs/ca-certificates.crt "$1/etc/ssl/certs/ca-certificates.crt"
    {
        printf '[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n'
        python3 -m pip config list 2>/dev/null | LC_ALL=C sort | sed -n -E \
            "s/^(global|install|:env:)\.(index-url|extra-index-url|trusted-host|proxy|timeout|default-timeout)='(.*)'$/\2 = \3/p"
    } >"$1/etc/pip.conf"
    apt-config dump | grep -E '^Acquire::https?::Proxy ' >"$1/etc/apt/apt.conf.d/90machine" || true
}
proxies=()
for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
    [ -z "${!name:-}" ] || proxies+=(--build-arg "$name")
done

make_base() { # RECIPE
    local new="$cache_root/.base.new" log="$cache_root/.base.log"
    say "image $base: making a stand-in with debootstrap (half a minute)"
    rm -rf --one-file-system "$new"
    debootstrap --force-check-gpg --variant=minbase --include=ca-certificates bookworm "$new" >"$log" 2>&1 || {
        tail -n 20 "$log" >&2
        fail "debootstrap could not fetch Debian; the network may be at fault: try again"
    }
    (cd "$new" && rm -rf var/cache/apt/* var/lib/apt/lists/* var/log/* \
        usr/share/doc/* usr/share/info/* usr/share/lintian/* usr/share/locale/* usr/share/man/*/*)
    machine_settings "$new"
    tar -C "$new" -c . |
        docker import --change "LABEL $label=$1" --change 'CMD ["bash"]' --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
            - "$base" >/dev/null
    rm -rf --one-file-system "$new" "$log"
}

make_image() { # IMAGE RECIPE DIRECTORY TREE: the tree, when there is one, is `tree` in the build's context
    local context log
    say "image $1: making a stand-in"
    context=$(mktemp -d "$cache_root/.context.XXXXXX") log="$context.log"
    cp -r "$3"/. "$images"/*.sh "$context/"
    [ -z "$4" ] || cp -rL "$4" "$context/tree"
    # The classic builder is the one that every engine has. On the machine's network: ours has no other way out.
    DOCKER_BUILDKIT=0 docker build --network host --label "$label=$2" --tag "$1" "${proxies[@]}" "$context" \
        >"$log" 2>&1 || { tail -n 30 "$log" >&2; fail "image $1 cannot be made (see above)"; }
    rm -rf --one-file-system "$context" "$log"
}

settings=$(mktemp -d)
trap 'rm -rf --one-file-system "$settings"' EXIT
mkdir -p "$settings/etc/ssl/certs" "$settings/etc/apt/apt.conf.d"
machine_settings "$settings" 2>/dev/null || true
base_recipe=$(cat "$here/images.sh" <(find "$settings" -type f | LC_ALL=C sort | xargs cat) | sha)
recipe_of() { cat <(printf '%s' "$base_recipe") "$@" | sha; }

# Nothing is made for an engine that is not ours: a stand-in there would pass for the official image.
may_make() { [ -n "${CONTAINER_ENGINE_IS_OURS:-}" ] || fail "image $1 is not there and cannot be pulled"; }

if ! usable "$base" "$base_recipe" /bin/true && ! pull "$base"; then
    may_make "$base"
    make_base "$base_recipe"
fi
ensure() { # IMAGE DIRECTORY TREE PROGRAM...
    local recipe tree=${3:+$cache_root/$3}
    local files
    mapfile -t files < <(find "$images/$2" "$images"/*.sh -type f | LC_ALL=C sort)
    recipe=$(recipe_of "${files[@]}" ${tree:+"$tree/MANIFEST"})
    usable "$1" "$recipe" "${@:4}" && return 0
    pull "$1" && return 0
    may_make "$1"
    [ "$2" != mysql ] || "$here/mysql.sh" tree
    [ "$2" != kafka ] || "$here/kafka.sh"
    make_image "$1" "$recipe" "$images/$2" "$tree"
}
ensure "$mariadb" mariadb "" mariadbd --version
ensure "$mysql" mysql mysql-9 mysqld --version
ensure "$kafka" kafka kafka-4.3.0 java -version
