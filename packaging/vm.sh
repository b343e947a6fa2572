# Throw-away virtual machines, for what a container cannot show: a kernel of their own with unified
# control groups, a clock, a disk and a power switch. Sourced after machine.sh, whose machine_do
# and so on then work in them too. Without KVM, which is not everywhere.
#
# vm_new SUITE        boots a fresh one
# vm_reboot           reboots it
# vm_cut              takes the power from it, and boots it again
#
# Both end with 77 when the emulation does not boot again.
# shellcheck shell=bash

VM_PACKAGES=linux-image-cloud-amd64,openssh-server,udev,e2fsprogs
VM_ROOT='' VM_PORT=''

# On a kernel that has ext4 and NVMe built in, no initrd is needed, and none is made. Nothing runs
# that a test did not ask for.
vm_root() {
    # shellcheck disable=SC2016 # these are for mmdebstrap's shell
    debian_root "$1" "$PACKAGES,$VM_PACKAGES" --dpkgopt=force-confold \
        --essential-hook='mkdir -p "$1/etc/initramfs-tools" && echo update_initramfs=no >"$1/etc/initramfs-tools/update-initramfs.conf"' \
        --customize-hook='chroot "$1" systemctl --quiet enable systemd-networkd.service' \
        --customize-hook='chroot "$1" systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
            man-db.timer sshd-keygen.service systemd-networkd-wait-online.service' \
        --customize-hook='printf "[Match]\nName=e*\n[Network]\nAddress=10.0.2.15/24\n" >"$1/etc/systemd/network/vm.network"' \
        --customize-hook='printf "UsePAM no\nMaxSessions 50\n" >"$1/etc/ssh/sshd_config.d/vm.conf"' \
        --customize-hook='install -d -m 700 "$1/root/.ssh" && chroot "$1" ssh-keygen -q -t ed25519 -N "" -f /root/.ssh/id' \
        --customize-hook='cp "$1/root/.ssh/id.pub" "$1/root/.ssh/authorized_keys"'
}

# Whether there is a qemu at all.
vm_possible() { need_packages qemu-system-x86 e2fsprogs openssh-client && command -v qemu-system-x86_64 >/dev/null; }

vm_new() {
    VM_ROOT=$(vm_root "$1")
    VM=$(mktemp -d -p "$CACHE" vm-XXXXXX)
    CONSOLE=$VM/console
    mke2fs -q -t ext4 -E lazy_itable_init=1 -d "$VM_ROOT" "$VM/disk" 4G >/dev/null
    vm_boot
}

# Boots from the disk as it is. At times the emulated processors disagree about code that the
# kernel has just changed, and it panics before anything of ours runs: then it ends, and tries again.
vm_boot() {
    local try
    for try in 1 2 3; do
        vm_start
        within 180 vm_settled && ! vm_off && return
        grep -q 'Kernel panic' "$CONSOLE" || break
        echo "The virtual machine's kernel panicked at boot $try" >&2
        vm_off || kill -KILL "$MACHINE"
    done
    echo "The virtual machine did not boot:" >&2
    tail -n 20 "$VM/qemu" "$CONSOLE" >&2
    return 1
}

# What the file system had not written when the power went is lost: it must not help those who
# rename what they have not synced.
vm_start() {
    VM_PORT=$((20000 + RANDOM % 10000))
    setsid setpriv --pdeathsig KILL qemu-system-x86_64 -machine q35,sata=off,usb=off -accel tcg,thread=multi \
        -cpu qemu64,-svm -smp 2 -m 2G -display none -nodefaults -no-reboot -serial "file:$CONSOLE" \
        -kernel "$VM_ROOT/vmlinuz" -append 'root=/dev/nvme0n1 rootflags=noauto_da_alloc rw console=ttyS0 quiet panic=-1' \
        -drive "file=$VM/disk,format=raw,if=none,id=disk,cache=unsafe" -device nvme,drive=disk,serial=1 \
        -netdev "user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:$VM_PORT-:22" -device virtio-net-pci,netdev=net,romfile= \
        -device virtio-rng-pci </dev/null >"$VM/qemu" 2>&1 &
    MACHINE=$!
    disown
}

# It runs, or has ended. One connection is for all commands.
vm_settled() {
    local state
    vm_off && return
    state=$(vm_do systemctl is-system-running --wait 2>/dev/null) || true
    case $state in running | degraded) return ;; esac
    ssh -q -f -N -M -S "$VM/control" -i "$VM_ROOT/root/.ssh/id" -p "$VM_PORT" -o ConnectTimeout=20 \
        -o ServerAliveInterval=20 -o ServerAliveCountMax=6 -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null root@127.0.0.1 \
        </dev/null >/dev/null 2>&1
    return 1
}

# Ends with 255 when the machine does not answer any more.
vm_do() { ssh -q -S "$VM/control" -o ConnectTimeout=20 root@vm "$(printf '%q ' "$@")"; }

# The emulation itself hangs at times.
vm_answers() { timeout 60 ssh -q -S "$VM/control" -o ConnectTimeout=20 root@vm true; }

# The machine has ended by itself, or its power has gone.
vm_off() { ! kill -0 "$MACHINE" 2>/dev/null; }

vm_reboot() {
    vm_do systemctl reboot || true
    within 150 vm_off || { echo "The virtual machine does not shut down" >&2; tail -n 20 "$CONSOLE" >&2; return 1; }
    vm_boot || return 77
}

vm_cut() {
    kill -KILL "$MACHINE"
    within 10 vm_off
    vm_boot || return 77
}
