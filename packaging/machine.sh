# Throw-away Debian machines with a real systemd. Sourced by packaging/* and tests/run.
#
# machine_new SUITE [OPTION...]
#                     boots a fresh machine; one with hybrid control groups where CGROUPS=hybrid; the
#                     options are more ones for systemd-nspawn
# machine_do CMD...   runs a command in it as root
# machine_copy PATH.. copies files of this tree into its /opt, but for what cargo has built
# machine_user NAME   makes an ordinary user with linger and waits for its manager
# machine_as NAME CMD runs a command as that user, in a login session
# machine_end         ends it; also when the sourcing script ends, however that ends
#
# A machine is a systemd-nspawn container whose root is a cached directory below a tmpfs of the
# container's own: nothing of it is left on disk, and any number may run at once.
# shellcheck shell=bash

CACHE=/var/cache/gastown-systemd
PACKAGES=systemd,systemd-sysv,dbus,dbus-user-session,libpam-systemd,tmux,git,procps,man-db,jq,strace
NSPAWN=(systemd-nspawn --quiet --read-only --volatile=overlay --register=no --link-journal=no --console=pipe)
# Where systemd runs, it gives the container a scope; elsewhere it stays where it is.
[ -d /run/systemd/system ] || NSPAWN+=(--keep-unit)

# Becomes root, by sudo where that is needed. The Rust toolchain is the caller's.
become_root() {
    [ "$(id -u)" = 0 ] && return
    command -v sudo >/dev/null || { echo "$0 needs root, and there is no sudo" >&2; exit 1; }
    exec sudo env "PATH=$PATH" "CARGO_HOME=${CARGO_HOME:-$HOME/.cargo}" \
        "RUSTUP_HOME=${RUSTUP_HOME:-$HOME/.rustup}" "$0" "$@"
}

# Runs a command as the user who called sudo, whose tree and cargo home stay theirs.
as_caller() {
    if [ "$(id -u)" = 0 ] && [ "${SUDO_UID:-0}" != 0 ]; then
        setpriv --reuid="$SUDO_UID" --regid="$SUDO_GID" --clear-groups \
            env HOME="$(getent passwd "$SUDO_UID" | cut -d: -f6)" "$@"
    else
        "$@"
    fi
}

need_cargo() {
    PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
    command -v cargo >/dev/null && return
    echo "No cargo: install a Rust toolchain, see https://rustup.rs" >&2
    return 1
}

# Installs the Debian packages that are missing on this machine.
need_packages() {
    local missing=() package
    for package; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} = 0 ] && return
    [ "$(id -u)" = 0 ] || { echo "Missing: run 'sudo apt-get install ${missing[*]}'" >&2; return 1; }
    apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null </dev/null
}

# debian_root SUITE PACKAGES [OPTION...]: prints the directory of such a root, which mmdebstrap
# makes anew each week.
debian_root() {
    local root suite=$1 packages=$2
    shift 2
    root=$CACHE/$suite-$(echo "$packages$*" | sha256sum | cut -c1-12)-$(date +%G%V)
    mkdir -p "$CACHE"
    (
        flock 9
        [ ! -d "$root" ] || exit 0
        need_packages mmdebstrap
        # Nothing runs for two weeks on a root of another time.
        find "$CACHE" -mindepth 1 -maxdepth 1 -mtime +14 -exec rm -rf {} +
        rm -rf "$root.new"
        mmdebstrap --quiet --variant=minbase --include="$packages" "$@" "$suite" "$root.new" >&2 </dev/null || exit
        mkdir -p "$root.new/var/log/journal"
        rm -f "$root.new/etc/hostname"
        mv "$root.new" "$root"
    ) 9>"$CACHE/lock"
    [ -d "$root" ] && echo "$root"
}

# The mounted control group hierarchies: one on a host with unified control groups, else several.
hierarchies() { findmnt --noheadings --raw --output TARGET --types cgroup,cgroup2; }

# Without a systemd that gives each container a scope all would share one cgroup, and the managers
# inside would kill each other's processes.
own_cgroup() {
    local hierarchy
    [ ! -d /run/systemd/system ] || return 0
    for hierarchy in $(hierarchies); do
        mkdir "$hierarchy/$1"
        # A cpuset takes nobody before it has been given processors: systemd does not use it here.
        echo "$BASHPID" >"$hierarchy/$1/cgroup.procs" || [ "${hierarchy##*/}" = cpuset ]
    done 2>/dev/null
    grep -q "^0::.*/$1\$" /proc/self/cgroup && return
    echo "No control group of its own for machine '$1'; is cgroup2 mounted and writable?" >&2
    exit 1
}
drop_cgroup() {
    local hierarchy
    for hierarchy in $(hierarchies); do
        find "$hierarchy/${1:?}" -depth -type d -exec rmdir {} + 2>/dev/null || true
    done
}

MACHINE='' LEADER='' CONSOLE='' NAME='' VM=''

machine_new() {
    local root
    root=$(debian_root "$1" "$PACKAGES")
    CONSOLE=$(mktemp)
    NAME=gastown-$1-$$
    (
        own_cgroup "$NAME"
        # As a real Debian has them, whatever the host has.
        [ "${CGROUPS:-}" = hybrid ] || export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1
        # It shuts down when this script ends, even if that is killed.
        exec setsid setpriv --pdeathsig TERM "${NSPAWN[@]}" -D "$root" --machine="$NAME" --hostname="$1" "${@:2}" --boot
    ) </dev/null >"$CONSOLE" 2>&1 &
    MACHINE=$!
    disown
    within 60 machine_runs && return
    echo "$1 did not boot:" >&2
    tail -n 20 "$CONSOLE" >&2
    return 1
}

machine_runs() {
    LEADER=$(pgrep -o -P "$MACHINE") || return 1
    case $(machine_do systemctl is-system-running 2>/dev/null) in running | degraded) ;; *) return 1 ;; esac
}

machine_do() {
    local clean=(env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
        TERM="${TERM:-dumb}")
    if [ -n "$VM" ]; then
        vm_do "${clean[@]}" "$@"
    else
        nsenter -t "$LEADER" -m -u -i -n -p -C -r -w "${clean[@]}" "$@"
    fi
}

machine_copy() { tar -c --exclude=target --owner=0 --group=0 --mode=a+rX "$@" | machine_do tar -x -C /opt; }

machine_user() {
    machine_do useradd -m -s /bin/bash "$1"
    # What loginctl enable-linger does; logind itself says EUNATCH here, in a container of 257.
    machine_do sh -c 'mkdir -p /var/lib/systemd/linger && touch "/var/lib/systemd/linger/$1"' sh "$1"
    machine_do systemctl start "user@$(machine_do id -u "$1").service"
}

machine_as() {
    local user=$1
    shift
    machine_do runuser --login "$user" --command "LANG=C.UTF-8 exec $(printf '%q ' env "$@")"
}

# machine_install DEB: installs the package; what it depends on is there already.
machine_install() {
    machine_do sh -c 'cat >/opt/gastown.deb && dpkg -i /opt/gastown.deb' <"$1" >/dev/null
}

machine_end() {
    [ -n "$MACHINE" ] || return 0
    # Without its first process all others are gone, and systemd-nspawn ends.
    kill -KILL "${LEADER:-$MACHINE}" 2>/dev/null || true
    timeout 20 tail --pid="$MACHINE" -f /dev/null || true
    [ -n "$VM" ] || drop_cgroup "$NAME"
    rm -rf "$CONSOLE" "$VM"
    MACHINE='' LEADER='' VM=''
}
trap machine_end EXIT
trap 'exit 130' INT TERM HUP

# within SECONDS CMD...: repeats the command until it succeeds.
within() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@"; do
        [ $SECONDS -lt $deadline ] || return 1
        sleep 0.1
    done
}
