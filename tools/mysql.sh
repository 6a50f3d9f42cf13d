#!/usr/bin/env bash
# Makes a MySQL 9 server in the cache, for machines whose distribution has none (Debian 12 has MariaDB only).
#
# debootstrap resolves and downloads the packages of Debian's `sid`, checks their signatures, and stops there:
# nothing is installed, no maintainer script runs, and root is not needed. The programs are then taken out of
# the packages together with exactly the shared libraries they load, the C library and its loader among them, so
# that they run beside this machine's older ones:
#
#     lib/ld.so --inhibit-cache --library-path lib bin/mysqld ...
set -euo pipefail
. "$(dirname "$0")/cache.sh"

PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

major_of() { "$@" --version 2>/dev/null | sed -n '/MariaDB/d; s/.* Ver \([0-9]*\)\..*/\1/p'; }
version_of() { "$@" --version | sed -n 's/.* Ver \([0-9.]*\).*/\1/p'; }

# With the argument `tree` it is made even beside a server of this machine: an image is made of it.
if [ "${1:-}" != tree ] && own=$(command -v mysqld) && [ "$(major_of "$own")" -ge 9 ] 2>/dev/null; then
    say "MySQL: using $own"
    exit 0
fi

cache_lock mysql
link="$cache_root/mysql-9"
if cache_is_whole "$link"; then
    say "MySQL: cached in $(readlink -f "$link")"
    exit 0
fi
say "MySQL 9: fetching it from Debian sid with debootstrap (some 80 MB; half a minute to three minutes)"
command -v debootstrap >/dev/null || fail "debootstrap is missing: apt-get install debootstrap, or run make setup as root"

new="$cache_root/.mysql.new"
fetched="$new/fetched" unpacked="$new/unpacked" tree="$new/tree"
mkdir -p "$unpacked" "$tree/bin" "$tree/lib"
fetch() {
    debootstrap --download-only --force-check-gpg --variant=minbase \
        --include=mysql-server-core,mysql-client-core sid "$fetched" >"$new/log" 2>&1
}
# What a failed attempt has fetched is kept, so the next one goes on from there.
if ! { fetch || { sleep 5 && fetch; } || { sleep 20 && fetch; }; }; then
    tail -n 20 "$new/log" >&2
    fail "debootstrap could not fetch MySQL 9; the network may be at fault: run make setup again"
fi
for package in "$fetched"/var/cache/apt/archives/{mysql-*,lib*,zlib1g_*}.deb; do
    dpkg-deb --extract "$package" "$unpacked"
done

loader=$(find "$unpacked/usr" -name 'ld-linux*.so*' -type f -print -quit)
library_path=$(find "$unpacked/usr/lib" -name '*.so*' -printf '%h\n' | sort -u | grep -v /plugin | paste -sd:)
for program in sbin/mysqld bin/mysql bin/mysqlbinlog bin/mysqldump bin/mysqladmin; do
    cp "$unpacked/usr/$program" "$tree/bin/"
done
cp -r "$unpacked/usr/lib/mysql/plugin" "$tree/plugin"
cp -rL "$unpacked/usr/share/mysql" "$tree/share"
cp "$loader" "$tree/lib/ld.so"
for elf in "$tree"/bin/* "$tree"/plugin/*.so; do
    "$loader" --inhibit-cache --library-path "$library_path" --list "$elf"
done | sed -n '/ld-linux/d; s/^\s*\(\S*\) => \(\/\S*\) .*/\1 \2/p' | sort -u | while read -r name path; do
    case "$path" in
        "$unpacked"/*) cp -L "$path" "$tree/lib/$name" ;;
        *) fail "MySQL's $name would come from this machine ($path): the fetched packages are not complete" ;;
    esac
done

version=$(version_of "$tree/lib/ld.so" --inhibit-cache --library-path "$tree/lib" "$tree/bin/mysqld")
[ -n "$version" ] || fail "the MySQL that was fetched does not run on this machine"
target="$cache_root/mysql-$version"
cache_seal "$tree"
rm -rf --one-file-system "$target"
mv "$tree" "$target"
ln -sfn "$(basename "$target")" "$link.new"
mv -T "$link.new" "$link"
rm -rf --one-file-system "$new"
say "MySQL $version: ready in $target"
