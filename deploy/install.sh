#!/bin/sh
# Installs Proximity from its archive, on hosts without dpkg: see deploy/README.md.
set -eu

usage() {
    cat <<'END'
usage: ./install.sh [--prefix DIR] [--no-service] [install | uninstall [--purge]]

install      copies the programs, manual pages and completions below the prefix, and the service and its
             configuration to /etc; run again with a newer archive, it upgrades. An existing
             /etc/proximity/agent.toml is kept, and the new one laid beside it as agent.toml.new.
uninstall    removes what install copied; the configuration stays. --purge removes that and the user too.

--prefix DIR   where to; /usr/local unless told
--no-service   the programs alone: no systemd unit, no user, no configuration
DESTDIR        in the environment: a root to install into; no user is made and systemd is not told
END
}

fail() {
    echo "install.sh: $1" >&2
    exit "${2:-1}"
}

prefix=/usr/local
service=yes
purge=no
action=install
while [ $# -gt 0 ]; do
    case $1 in
    --prefix) [ $# -gt 1 ] || fail "--prefix needs a directory" 2; prefix=$2; shift ;;
    --prefix=*) prefix=${1#--prefix=} ;;
    --no-service) service=no ;;
    --purge) purge=yes ;;
    install | uninstall) action=$1 ;;
    -h | --help) usage; exit 0 ;;
    *) fail "cannot make sense of '$1'; --help tells what there is" 2 ;;
    esac
    shift
done
case $prefix in
/*) ;;
*) fail "the prefix is '$prefix'; it must be a whole path" 2 ;;
esac
[ "$purge" = no ] || [ "$action" = uninstall ] || fail "--purge goes with uninstall only" 2

here=$(cd "$(dirname "$0")" && pwd)
root=${DESTDIR:-}
config=$root/etc/proximity/agent.toml
# Where a machine's own units and rules go, by whatever way it was set up.
unit=$root/etc/systemd/system/proximity-agent.service
sysusers=$root/etc/sysusers.d/proximity.conf
tmpfiles=$root/etc/tmpfiles.d/proximity.conf
rules=$root/etc/udev/rules.d/70-proximity.rules

# Whether the machine that is installed into is this one, and runs systemd.
live() {
    [ -z "$root" ] && [ -d /run/systemd/system ]
}

put() {
    install -D -m "$1" "$2" "$3"
}

install_all() {
    [ -d "$here/usr" ] || fail "there is no $here/usr: run it from the unpacked archive"
    # Beside the old one first and then in its place: a running program cannot be written over.
    (cd "$here/usr" && find . -type f) | while read -r file; do
        case $file in
        ./bin/*) mode=755 ;;
        ./lib/*) continue ;;
        *) mode=644 ;;
        esac
        put "$mode" "$here/usr/$file" "$root$prefix/$file.new"
        mv -f "$root$prefix/$file.new" "$root$prefix/$file"
    done
    [ "$service" = yes ] || return 0

    put 644 "$here/usr/lib/systemd/system/proximity-agent.service" "$unit"
    sed -i "s|^ExecStart=/usr/bin/|ExecStart=$prefix/bin/|" "$unit"
    put 644 "$here/usr/lib/sysusers.d/proximity.conf" "$sysusers"
    put 644 "$here/usr/lib/tmpfiles.d/proximity.conf" "$tmpfiles"
    put 644 "$here/usr/lib/udev/rules.d/70-proximity.rules" "$rules"
    new=$here/etc/proximity/agent.toml
    if [ ! -e "$config" ]; then
        put 644 "$new" "$config"
    elif ! cmp -s "$new" "$config"; then
        put 644 "$new" "$config.new"
        echo "kept $config; the new one is beside it as agent.toml.new"
    fi
    [ -z "$root" ] || return 0

    if command -v systemd-sysusers >/dev/null; then
        systemd-sysusers "$sysusers"
        systemd-tmpfiles --create "$tmpfiles"
    elif ! id proximity >/dev/null 2>&1; then
        useradd --system --user-group --home-dir /var/lib/proximity --shell /usr/sbin/nologin proximity
        usermod --append --groups dialout proximity || echo "no group dialout: serial ports need one" >&2
    fi
    if live; then
        systemctl daemon-reload
        systemctl try-restart proximity-agent.service
        echo "to start it now and at each boot: systemctl enable --now proximity-agent"
    fi
}

uninstall_all() {
    if live && [ -e "$unit" ]; then
        systemctl disable --now proximity-agent.service || true
    fi
    (cd "$here/usr" && find . -type f ! -path './lib/*') | while read -r file; do
        rm -f "$root$prefix/$file"
    done
    rmdir "$root$prefix/share/doc/proximity" 2>/dev/null || true
    [ "$service" = yes ] || return 0
    rm -f "$unit" "$sysusers" "$tmpfiles" "$rules"
    if live; then
        systemctl daemon-reload
    fi
    [ "$purge" = yes ] || return 0
    rm -rf "$root/etc/proximity" "$root/var/lib/proximity"
    if [ -z "$root" ]; then
        rm -rf /run/proximity
        userdel proximity 2>/dev/null || true
    fi
}

"${action}_all"
