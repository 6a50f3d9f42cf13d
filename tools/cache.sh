# Sourced by the set-up scripts: where downloaded servers are kept, and how a kept one is known to be whole.
#
# A cached directory counts only when its MANIFEST (sha256 of every file in it) is there and matches. The
# manifest is written last, in a directory that is still under a temporary name, and the directory is then
# renamed into place: an interrupted run leaves nothing that could be mistaken for a finished one.

cache_root="${XDG_CACHE_HOME:-$HOME/.cache}/vecsync"

say() { printf '==> %s\n' "$*"; }

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# cache_is_whole DIR: every file named by the manifest is there, with the bytes it was sealed with.
cache_is_whole() {
    [ -f "$1/MANIFEST" ] && (cd "$1" && sha256sum --check --quiet --strict MANIFEST >/dev/null 2>&1)
}

# cache_seal DIR: write the manifest, atomically, after everything else has reached the disk.
cache_seal() {
    (
        cd "$1"
        find . -type f ! -name 'MANIFEST*' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum >MANIFEST.new
        sync MANIFEST.new
        mv MANIFEST.new MANIFEST
    )
}

# cache_lock NAME: one set-up at a time for each server; a second one waits, then finds the work done.
# The lock is the kernel's, so it ends with the process, however that ends.
cache_lock() {
    mkdir -p "$cache_root"
    exec 9>"$cache_root/.$1.lock"
    flock 9
    # What an earlier, interrupted run left behind. Nobody else can be using it: we hold the lock.
    rm -rf --one-file-system "$cache_root/.$1.new"
}
