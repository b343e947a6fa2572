# What the machine tests share. Each test runs as a fresh ordinary user of a booted machine.
# shellcheck shell=bash

set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
TOWN=${TOWN:-$HOME/gt}
export GT_CALLS=$HOME/calls

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

assert_eq() { [ "$1" = "$2" ] || fail "${3:-values differ}: got '$1', want '$2'"; }

# eventually SECONDS CMD...: waits until the command succeeds.
eventually() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $deadline ] || fail "never came true: $*"
        sleep 0.1
    done
}

# always SECONDS CMD...: the command succeeds all that time.
always() {
    local deadline=$((SECONDS + $1))
    shift
    while [ $SECONDS -lt $deadline ]; do
        "$@" >/dev/null 2>&1 || fail "did not stay true: $*"
        sleep 0.2
    done
}

sc() { systemctl --user "$@"; }
show() { sc show -P "$2" "$1"; }
unit() { echo "gt-agent@$1.service"; }
is() { [ "$(show "$1" "$2")" = "$3" ]; }
is_up() { is "$(unit "$1")" ActiveState active; }
all_up() {
    local agent
    for agent; do is_up "$agent" || return 1; done
}
# The pid of the agent itself, in a unit's pane.
pid_of() {
    tmux list-panes -a -F '#{@gastown_agent} #{pane_pid} #{pane_dead}' 2>/dev/null |
        awk -v a="$1" '$1 == a && $3 == 0 { print $2 }'
}
starts() { wc -l <"$TOWN/log/$1.starts"; }
# received AGENT: the lines that a stand-in agent has been sent, as text.
received() { perl -ne 'chomp; print pack("H*", $_), "\n"' "$TOWN/log/$1.lines"; }
# events MESSAGE_ID [FIELD=VALUE]: how many the journal has.
events() {
    journalctl --user --sync >/dev/null 2>&1 || true
    journalctl --user -q -o json "MESSAGE_ID=$1" "${@:2}" | wc -l
}
# message_id NAME: the MESSAGE_ID of an event of src/journal.rs, by the catalog.
message_id() { awk -F'[ ]' -v n="$1" '$1 == n { print $2 }' "$HERE/message-ids"; }
script() { # AGENT DIRECTIVE...
    mkdir -p "$TOWN/script"
    printf '%s\n' "${@:2}" >"$TOWN/script/$1"
}

# town RIG...: a classic town with stand-in agents, not started.
town() {
    local rigs='' rig
    mkdir -p "$TOWN"/{mayor,deacon,settings,script,log}
    for rig; do
        mkdir -p "$TOWN/$rig"/{witness,refinery/rig}
        rigs+="${rigs:+,}\"$rig\":{\"git_url\":\"x\",\"added_at\":\"2025-12-20T00:00:00Z\",\"beads\":{\"repo\":\"local\",\"prefix\":\"p${rig:0:3}\"}}"
    done
    echo "{\"version\":1,\"rigs\":{$rigs}}" >"$TOWN/mayor/rigs.json"
    echo '{"type":"town-settings","version":1,"default_agent":"stand-in"}' >"$TOWN/settings/config.json"
    echo "{\"version\":1,\"agents\":{\"stand-in\":{\"command\":\"$HERE/standin/agent\",\"ready_prompt_prefix\":\"> \"}}}" \
        >"$TOWN/settings/agents.json"
}

up() { sc enable --now gastown.target 2>/dev/null; }

# Somebody else's session on the town's socket and on another, and a process called claude:
# whatever a test does, they must be there at its end.
decoys() {
    tmux new-session -d -s gt-decoy 'exec sleep 100000'
    tmux -L decoy new-session -d -s gt-deacon 'exec sleep 100000'
    (exec -a claude sleep 100000) &
    DECOYS="$(tmux display-message -p -t =gt-decoy: '#{pane_pid}') $(tmux -L decoy display-message -p -t =gt-deacon: '#{pane_pid}') $!"
    disown
}
decoys_alive() {
    local pid
    for pid in ${DECOYS:-}; do
        kill -0 "$pid" 2>/dev/null || return 1
    done
}

# finish: the last line of every test.
finish() {
    decoys_alive || fail 'a decoy has died'
    echo passed
}
