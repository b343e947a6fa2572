# What the tests of lifecycle requests share.
# shellcheck shell=bash disable=SC2034

SPOOL=$TOWN/daemon/lifecycle
stamp() { date -u +%FT%T.%NZ "$@"; }
# put NAME TEXT: as a producer does, by renaming.
put() {
    mkdir -p "$SPOOL/new"
    printf '%s' "$2" >"$SPOOL/new/.tmp-$1"
    mv -T "$SPOOL/new/.tmp-$1" "$SPOOL/new/$1.json"
}
ask_at() { put "$1" "{\"from\":\"$2\",\"action\":\"$3\",\"timestamp\":\"$4\"}"; }
ask() { ask_at "$1" "$2" "$3" "$(stamp)"; }
count() { find "$SPOOL/$1" -mindepth 1 -maxdepth 1 ! -name '.*' ! -name '*.reason' ! -name '*.dismissed' -printf x | wc -c; }
failed() { count failed; }
settled() { [ "$(count new)" = 0 ] && [ "$(count cur)" = 0 ]; }
invocation() { show "$(unit "$1")" InvocationID; }
not_invocation() { [ "$(invocation "$1")" != "$2" ] && is_up "$1"; }
# Of its process: what that writes itself may be of the one before for a moment.
has_handoff() {
    eventually 60 has_pid "$1"
    grep -qzx GT_HANDOFF=1 "/proc/$(pid_of "$1")/environ"
}
has_pid() { [ -n "$(pid_of "$1")" ]; }
has_starts() { [ "$(starts "$1")" -ge "$2" ]; }
# started AGENT N: the agent has been started so many times, and no more. It tells so a moment
# after its unit is up.
started() {
    eventually 60 has_starts "$1" "$2"
    assert_eq "$(starts "$1")" "$2" "starts of $1 ${3:-}"
}
# one_run: gt-lifecycle as the tick starts it, until it is done.
one_run() {
    sc unmask --runtime gt-lifecycle.service 2>/dev/null
    sc start gt-lifecycle.service
    eventually 90 is gt-lifecycle.service ActiveState inactive
}
# patient: restarts in quick succession, as a test asks for, are no crash loop.
patient() {
    mkdir -p ~/.config/systemd/user/gt-agent@.service.d
    printf '[Unit]\nStartLimitBurst=1000\n' >~/.config/systemd/user/gt-agent@.service.d/patient.conf
    sc daemon-reload
}
# alone: from now on gt-lifecycle runs only when the test runs it.
alone() {
    eventually 60 sc stop 'gt-heartbeat*'
    sc stop gt-lifecycle.path
    eventually 90 is gt-lifecycle.service ActiveState inactive
    # Each run times the next one.
    sc mask --runtime gt-lifecycle.service 2>/dev/null
}
