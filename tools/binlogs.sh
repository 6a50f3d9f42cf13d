#!/usr/bin/env bash
# Fetches binlog files that other people made, for the decoder to be tried on: those of MariaDB's test suite in
# Debian bookworm (20 MB to download, a hundredth of it kept), or, with the argument `mysql`, those of MySQL's in
# sid (340 MB, so only `make faults` does that). Kept are the files whose sum stands in the list beside this script:
# what is expected of each of them is known (tests/conformance/binlogs). A later package may lack some of them.
#
# apt works on lists and sources of its own here: this machine's are neither needed nor touched, and nothing is
# installed. Signatures are checked; the mirror is the one that debootstrap would use.
set -euo pipefail
. "$(dirname "$0")/cache.sh"

here=$(cd "$(dirname "$0")" && pwd)
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

case "${1:-mariadb}" in
    mariadb) package=mariadb-test-data suite=bookworm root=usr/share/mysql/mysql-test size="20 MB" ;;
    mysql) package=mysql-testsuite suite=sid root=usr/lib/mysql-test size="340 MB" ;;
    *) fail "usage: tools/binlogs.sh [mariadb|mysql]" ;;
esac
sums="$here/$package.sha256"
target="$cache_root/binlogs-$package"

cache_lock "binlogs-$package"
if cache_is_whole "$target" && cmp --quiet "$sums" "$target/SUMS"; then
    say "binlogs of $package: cached in $target"
    exit 0
fi
say "binlogs of $package: fetching it from Debian $suite ($size, and the list of packages)"
command -v apt-get >/dev/null || fail "apt-get is missing: it fetches Debian's packages, and checks their signatures"
mirror=$(sed -n 's/^DEF_MIRROR="\(.*\)"$/\1/p' "$(command -v debootstrap || true)" /dev/null)
[ -n "$mirror" ] || fail "debootstrap is missing: apt-get install debootstrap, or run make setup as root"

new="$cache_root/.binlogs-$package.new"
mkdir -p "$new"/{lists/partial,archives/partial,unpacked}
: >"$new/status"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" >"$new/sources.list"
apt=(
    apt-get -q=2
    -o "Dir::Etc::sourcelist=$new/sources.list" -o Dir::Etc::sourceparts=/dev/null
    -o "Dir::State::lists=$new/lists" -o "Dir::State::status=$new/status" -o "Dir::Cache=$new"
    # Lists of descriptions and of desktop programs are of no use here.
    -o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false
    -o Acquire::Check-Valid-Until=false -o Acquire::Retries=3 -o APT::Sandbox::User=
)
"${apt[@]}" update
(cd "$new" && "${apt[@]}" download "$package")
sed "s|^[0-9a-f]*  |./$root/|" "$sums" >"$new/names"
# tar ends with an error when a file of the list is not in the package, which is for the sums to judge.
dpkg-deb --fsys-tarfile "$new/$package"_*.deb |
    tar -x -C "$new/unpacked" --files-from "$new/names" 2>"$new/tar.log" || true
tree="$new/unpacked/$root"
[ -d "$tree" ] || fail "$package holds none of the files that tools/$package.sha256 names"
(cd "$tree" && sha256sum --check --ignore-missing "$sums" 2>/dev/null || true) | sed -n 's/: FAILED$//p' |
    while read -r name; do rm -f "$tree/$name"; done
kept=$(find "$tree" -type f | wc -l) wanted=$(wc -l <"$sums")
[ "$kept" -eq "$wanted" ] || say "binlogs of $package: only $kept of the $wanted files are in this version of it"
cp "$sums" "$tree/SUMS"
cache_seal "$tree"
rm -rf --one-file-system "$target"
mv "$tree" "$target"
rm -rf --one-file-system "$new"
say "binlogs of $package: ready in $target"
