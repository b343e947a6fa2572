# Throw-away Debian machines with a real systemd. Sourced by packaging/try and tests/run.
#
# machine_new SUITE   boots a fresh machine and names its directory in $MACHINE
# machine_do CMD...   runs a command in it as root
# machine_user NAME   makes an ordinary user with linger and waits for its manager
# machine_as NAME CMD runs a command as that user, as after a login
# Everything is undone when the sourcing script ends, however it ends.
# shellcheck shell=bash

CACHE=/var/cache/gastown-systemd
PACKAGES=systemd,systemd-sysv,dbus,dbus-user-session,libpam-systemd,tmux,git,procps,man-db,jq,strace

# Becomes root, by sudo where that is needed.
become_root() {
    [ "$(id -u)" = 0 ] && return
    command -v sudo >/dev/null || { echo "$0 needs root, and there is no sudo" >&2; exit 1; }
    exec sudo --preserve-env=PATH,HOME,CARGO_HOME,RUSTUP_HOME,CI "$0" "$@"
}

# Installs the Debian packages that are missing on this machine.
need_packages() {
    local missing=() package
    for package; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} = 0 ] && return
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# root_tar SUITE PACKAGES: the path of a root of that suite, built once a week at most.
root_tar() {
    local tar
    tar=$CACHE/$1-$(echo "$2" | sha256sum | cut -c1-12).tar
    mkdir -p "$CACHE"
    if [ -z "$(find "$tar" -mtime -7 2>/dev/null)" ]; then
        mmdebstrap --quiet --format=tar --variant=minbase --include="$2" "$1" "$tar.$$" >&2
        mv "$tar.$$" "$tar"
    fi
    echo "$tar"
}

MACHINES=()

machine_new() {
    local tar
    tar=$(root_tar "$1" "$PACKAGES")
    MACHINE=$(mktemp -d "/var/tmp/gastown-$1-XXXXXX")
    MACHINES+=("$MACHINE")
    chmod 755 "$MACHINE"
    tar -C "$MACHINE" -xf "$tar"
    mkdir -p "$MACHINE/var/log/journal"
    setsid systemd-nspawn --quiet -D "$MACHINE" --machine="$(basename "$MACHINE")" --boot \
        --register=no --keep-unit --console=pipe </dev/null >"$MACHINE.console" 2>&1 &
    echo $! >"$MACHINE.pid"
    local tries
    for ((tries = 0; tries < 300; tries++)); do
        if LEADER=$(pgrep -o -P "$(cat "$MACHINE.pid")" 2>/dev/null); then
            echo "$LEADER" >"$MACHINE.leader"
            case $(machine_do systemctl is-system-running 2>/dev/null) in
            running | degraded) return ;;
            esac
        fi
        sleep 0.1
    done
    echo "$1 did not boot:" >&2
    tail -20 "$MACHINE.console" >&2
    return 1
}

machine_do() {
    nsenter -t "$(cat "$MACHINE.leader")" -m -u -i -n -p -C \
        env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 "$@"
}

machine_user() {
    local uid
    machine_do useradd -m -s /bin/bash "$1"
    uid=$(machine_do id -u "$1")
    machine_do mkdir -p /var/lib/systemd/linger
    machine_do touch "/var/lib/systemd/linger/$1"
    machine_do systemctl start "user@$uid.service"
}

machine_as() {
    local user=$1 uid
    shift
    uid=$(machine_do id -u "$user")
    machine_do setpriv --reuid="$uid" --regid="$uid" --init-groups \
        env -i HOME="/home/$user" USER="$user" LOGNAME="$user" SHELL=/bin/bash LANG=C.UTF-8 \
        TERM="${TERM:-dumb}" PATH=/usr/local/bin:/usr/bin:/bin XDG_RUNTIME_DIR="/run/user/$uid" "$@"
}

# machine_install DEB: installs the package with what it depends on.
machine_install() {
    install -m 644 "$1" "$MACHINE/root/gastown.deb"
    machine_do dpkg -i /root/gastown.deb >/dev/null
}

machines_end() {
    local dir
    for dir in "${MACHINES[@]}"; do
        [ -s "$dir.leader" ] && kill -KILL "$(cat "$dir.leader")" 2>/dev/null
        [ -s "$dir.pid" ] && timeout 20 tail --pid="$(cat "$dir.pid")" -f /dev/null
        rm -rf --one-file-system "$dir" "$dir".{pid,leader,console}
    done
}
trap machines_end EXIT
trap 'exit 130' INT TERM HUP
