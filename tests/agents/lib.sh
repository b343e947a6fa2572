# What the tests with real agents share. Each has a mock of the models' services of its own.
# shellcheck shell=bash
. "$(dirname "${BASH_SOURCE[0]}")/../machine/lib.sh"
. "$HERE/agents/programs.sh"
export PATH=/opt/agents/bin:$PATH

# What all showed in the end is what tells why a test has failed.
evidence() {
    [ $? = 0 ] && return
    tmux list-panes -a -F '#{pane_id} #{session_name}' | while read -r pane session; do
        echo "-- $session"
        tmux capture-pane -p -t "$pane" | grep -v '^ *$' || true
    done
    echo "-- prompts"
    prompts
} >&2
trap evidence EXIT

# real_town PROGRAM RIG...: a town whose agents are that program, not started. It asks nothing when it
# is started by them, and it talks to the mock. Timers are so long that only `poke` pokes.
real_town() {
    local program=$1 rig dirs=("$TOWN/deacon" "$TOWN/mayor")
    shift
    town "$@"
    for rig; do dirs+=("$TOWN/$rig/witness" "$TOWN/$rig/refinery/rig" "$TOWN/$rig/refinery"); done
    rm "$TOWN/settings/agents.json"
    echo "{\"type\":\"town-settings\",\"version\":1,\"default_agent\":\"$program\"}" >"$TOWN/settings/config.json"
    mkdir -p ~/.local/bin ~/.config/gastown
    ln -sf /opt/agents/bin/* ~/.local/bin/
    PORT=$(mock_start ~/mock)
    touch ~/mock/requests ~/mock/ends
    mock_env "$PORT" >~/.config/gastown/secrets.env
    chmod 600 ~/.config/gastown/secrets.env
    "settle_$program" "$PORT" "${dirs[@]}"
}

# said PATTERN: how many prompts the model got with a text of the user that matches, by jq.
said() { jq -s --arg p "$1" '[.[] | select(any(.said[]; test($p)))] | length' ~/mock/requests; }
has_said() { [ "$(said "$1")" -ge 1 ]; }
# The prompts that the model got, one a line.
prompts() { jq -r '.said | join(" / ")' ~/mock/requests; }

# pane AGENT: by its slash form with dashes; agent_screen AGENT: what it shows.
pane() {
    tmux list-panes -a -F '#{@gastown_agent} #{pane_id}' | awk -v a="$1" '$1 == a { print $2 }'
}
agent_screen() { tmux capture-pane -p -t "$(pane "$1")"; }
# heard AGENT...: each has got its first words, answered them, and waits. Some programs take long.
heard() {
    local agent
    for agent; do
        eventually 300 has_said "$(agent_words "$agent")"
        eventually 180 shows "$agent" 'All is well.'
    done
}
agent_words() { echo "You are witness \\(rig: ${1%-witness}\\)"; }
# keeps AGENT FILE: what it shows, once that is still.
is_still() { agent_screen "$1" >"$2" && sleep 0.3 && agent_screen "$1" | diff "$2" -; }
keeps() { eventually 180 is_still "$@"; }
shows() { agent_screen "$1" | grep >/dev/null -F -- "$2"; }
types() { tmux send-keys -t "$(pane "$1")" -l -- "$2"; }
# sends AGENT TEXT [SHOWN]: types it and presses Enter; one that comes too soon would be a part of the text.
sends() {
    types "$1" "$2"
    eventually 180 shows "$1" "${3:-$2}"
    sleep 0.5
    press "$1" Enter
}
press() { tmux send-keys -t "$(pane "$1")" "${@:2}"; }

# has_reported AGENT WORD: that is what its process said last, by the hooks of its program.
has_reported() {
    [[ $(tmux show-options -pqv -t "$(pane "$1")" @gastown_report) == "$2":*:"$(pid_of "$1")":* ]]
}
# reports PROGRAM AGENT: with the hooks of its program, from its next start on, it says what it does. Not
# before the other checks, for these are about screens.
reports() {
    gastownctl hooks "$1" --install
    gastownctl restart "${2/-//}"
    eventually 180 shows "$2" 'All is well.'
    eventually 180 has_reported "$2" free
    sends "$2" '(slow 6)'
    eventually 180 has_reported "$2" busy
    eventually 180 has_reported "$2" free
}

pokes_noted() { events "$(message_id POKED)" "GT_AGENT=${1/-//}"; }

# Starts no agents of the roster but Witnesses. A tick may come at any time, and who has just been
# started is not poked: before `pokes` nobody is.
witnesses_only() {
    echo '{"type":"daemon-patrol-config","patrols":{"deacon":{"enabled":false},"refinery":{"enabled":false}}}' >"$TOWN/mayor/daemon.json"
    echo '{"deacon":{"grace":"1h"}}' >"$TOWN/settings/systemd.json"
}
# pokes [SETTINGS]: from now on each tick pokes who is free, and two have begun.
pokes() {
    echo "{\"deacon\":{\"grace\":\"1s\"}${1:+,$1}}" >"$TOWN/settings/systemd.json"
    tick
    tick
}

# beside AGENT: pokes, and somebody begins to type as soon as the poke stands in the input line: before
# its Enter, where the machine is quick enough. is_theirs AGENT: only that stands there then.
beside() {
    (
        until shows "$1" HEARTBEAT; do sleep 0.05; done
        types "$1" ' and mine'
    ) &
    local typist=$!
    pokes
    eventually 180 gives "kill -0 $typist 2>/dev/null || echo typed" typed
}
is_theirs() {
    has_only_theirs() {
        local line
        line=$(agent_screen "$1" | grep '^[❯›]' | tail -n 1)
        [[ $line == *'and mine'* && $line != *HEARTBEAT* ]]
    }
    eventually 180 has_only_theirs "$1"
}

# alert_by: the program that is called for alerts is the shell's from standard input.
alert_by() {
    mkdir -p ~/.config/gastown
    { echo '#!/bin/sh' && cat; } >~/.config/gastown/alert
    chmod +x ~/.config/gastown/alert
}

# real_polecat NAME COMMAND...: starts a polecat as other tools do, in session gt-gastown-NAME.
real_polecat() {
    local dir=$TOWN/gastown/polecats/$1 environment
    mkdir -p "$dir"
    mapfile -t environment < <(mock_env "$PORT")
    tmux new-session -d -x 120 -y 40 -s "gt-gastown-$1" -c "$dir" -e "GT_TOWN_ROOT=$TOWN" \
        -e "BD_ACTOR=gastown/polecats/$1" -- env "PATH=$PATH" "${environment[@]}" "${@:2}"
}

# begins PROGRAM COMMAND...: in a town of that program a polecat is told to begin once it can hear it,
# once and whole.
begins() {
    real_town "$1" gastown
    "settle_$1" "$PORT" "$TOWN/gastown/polecats/nux"
    up_bare
    real_polecat nux "${@:2}"
    spawn nux
    eventually 300 has_said '^Begin\.$'
    eventually 180 spool_is 0 0
    always 3 gives 'said .' 1
}
