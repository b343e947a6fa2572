# What the commands of gt do to a town that systemd keeps, for the release of each test.
# shellcheck shell=bash

# What `gt install --git` and `gt rig add` of 1.0.1 leave in a town, besides.
installed() { # RIG
    local rig=$1 hooks='{"hooks":{"SessionStart":[{"matcher":"","hooks":[{"type":"command","command":"gt prime --hook"}]}]}}'
    mkdir -p "$TOWN"/{plugins,.beads/formulas,.claude/commands,mayor/.claude,deacon/.claude,deacon/dogs/boot,daemon} \
        "$TOWN/$rig"/{settings,plugins,.beads,crew,mayor/rig}
    git init -q "$TOWN"
    echo '# Gas Town' >"$TOWN/CLAUDE.md"
    ln -s CLAUDE.md "$TOWN/AGENTS.md"
    tee "$TOWN"/{mayor,deacon}/.claude/settings.json <<<"$hooks" >/dev/null
    jq -n --arg rig "$rig" '{type: "daemon-patrol-config", version: 1, heartbeat: {enabled: true, interval: "3m"}, patrols:
        (["deacon", "witness", "refinery"] | map({key: ., value: {enabled: true, interval: "5m", agent: .}}) | from_entries
        | .witness.rigs = [$rig] | .refinery.rigs = [$rig])}' >"$TOWN/mayor/daemon.json"
    echo '{"type":"overseer","version":1,"name":"t","email":"t@t","source":"git-config"}' >"$TOWN/mayor/overseer.json"
    echo '{"type":"escalation","version":1,"routes":{"low":["bead"]},"contacts":{},"stale_threshold":"4h","max_reescalations":2}' \
        >"$TOWN/settings/escalation.json"
    echo "{\"type\":\"rig\",\"version\":1,\"name\":\"$rig\",\"git_url\":\"x\",\"created_at\":\"2026-01-01T00:00:00Z\"}" >"$TOWN/$rig/config.json"
    echo '{"type":"rig-settings","version":1,"merge_queue":{"enabled":true},"namepool":{"style":"mad-max"}}' >"$TOWN/$rig/settings/config.json"
    echo mayor/rig/.beads >"$TOWN/$rig/.beads/redirect"
    echo '# Crew' >"$TOWN/$rig/crew/README.md"
}

# The prefix that agents' units and sessions have, of a release.
with_gt() { # RELEASE
    release=$1
    town gastown
    # As people have it: claude, found by PATH.
    rm "$TOWN/settings/agents.json" "$TOWN/settings/config.json"
    [ "$release" = 0.1.0 ] || installed gastown
    echo "{\"type\":\"town\",\"version\":$([ "$release" = 0.1.0 ] && echo 1 || echo 2),\"name\":\"gt\"}" >"$TOWN/mayor/town.json"
    echo '{"mayor":true,"closed_pause":"3s"}' >"$TOWN/settings/systemd.json"
    mkdir -p ~/.local/bin ~/answers ~/mail "$TOWN/gastown/polecats"
    echo "gt version $release (dev)" >~/answers/gt-version-
    ln -s "$HERE/standin/gt" ~/.local/bin/gt
    ln -s "$HERE/standin/bd" ~/.local/bin/bd
    ln -s "$HERE/standin/agent" ~/.local/bin/claude
    # Nobody has a bead: without an answer it would not be known.
    for form in type=agent label=gt:agent; do echo '[]' >"$HOME/answers/bd-list---$form"; done
    PATH=$HOME/.local/bin:$PATH
    cd "$TOWN"
    socket=default
    [ "$release" != 1.0.1 ] || socket=gt-$(printf %s "$(realpath "$TOWN")" | sha256sum | cut -c1-6)
    # The prefix of rig agents and of the town's.
    rig=gt-gastown hq=hq
    [ "$release" != 1.0.1 ] || rig=pgas
    [ "$release" != 0.1.0 ] || hq=gt
    all=(mayor deacon gastown-witness gastown-refinery)
}
sessions() { tmux -L "$socket" list-sessions -F '#{session_name}' 2>/dev/null | sort | paste -sd' '; }
pid_of() {
    tmux -L "$socket" list-panes -a -F '#{@gastown_agent} #{pane_pid} #{pane_dead}' 2>/dev/null |
        awk -v a="$1" '$1 == a && $3 == 0 { print $2 }'
}
# Somebody has closed it, as history tells; it comes back, and that is no restart of its unit.
comes_back() { # AGENT PID
    eventually 60 was_closed "${1/-//}" "$2"
    eventually 90 is_new "$1" "$2"
    assert_eq "$(show "$(unit "$1")" NRestarts)" 0 "restarts of $1"
}
# has VARIABLE AGENT: of its last start.
has() { tr '\0' '\n' <"$TOWN/log/$2.env" | grep -qx "$1"; }

commands_of_gt() { # RELEASE
    local pid agent before form polecat=gastown-polecats-nux
    with_gt "$1"
    up
    eventually 120 all_up "${all[@]}"
    decoys
    assert_eq "$(sessions | tr ' ' '\n' | grep -v -e decoy -e '^gastown$' | paste -sd' ')" \
        "$(printf '%s\n' "$hq-deacon" "$hq-mayor" "$rig-refinery" "$rig-witness" | sort | paste -sd' ')" 'sessions'

    # Who is started by gt is taken over, as it runs.
    gt sling gastown-1 gastown
    eventually 60 is_up "$polecat"
    eventually 60 has_started "$polecat" 1
    assert_eq "$(tmux -L "$socket" list-panes -t "=$rig-nux:" -F '#{@gastown_agent}')" "$polecat" 'whose session it is'
    eventually 60 has BD_ACTOR=gastown/polecats/nux "$polecat"
    always 3 has_started "$polecat" 1

    # A handoff is a new process in the same run of the unit.
    eventually 60 pid_of deacon
    pid=$(pid_of deacon) before=$(show "$(unit deacon)" InvocationID)
    gt handoff deacon
    eventually 90 is_new deacon "$pid"
    pid=$(pid_of deacon)
    eventually 60 grep -q "$(unit deacon)" "/proc/$pid/cgroup"
    assert_eq "$(show "$(unit deacon)" InvocationID)" "$before" 'the run of the Deacon after its handoff'
    assert_eq "$(show "$(unit deacon)" NRestarts)" 0 'its restarts'

    # A request by mail, in the name that this gt gives its agents.
    pid=$(pid_of gastown-witness)
    BD_ACTOR=gastown/witness gt mail send deacon/ -s 'LIFECYCLE: gastown/witness requesting restart' -m restart
    sc start gt-lifecycle.service
    eventually 90 is_new gastown-witness "$pid"
    eventually 60 gives 'ls ~/mail | wc -l' 0
    gastownctl status gastown/witness >/dev/null

    # Sessions that somebody closes are no deaths.
    pid=$(pid_of gastown-witness)
    gt witness stop gastown
    comes_back gastown-witness "$pid"
    pid=$(pid_of deacon)
    gt deacon stop
    comes_back deacon "$pid"
    for agent in "${all[@]}"; do pid_of "$agent" >"$HOME/pid-$agent"; done
    gt down
    for agent in "${all[@]}"; do
        # That of 0.1.0 leaves the Refinery.
        [ "$release $agent" != '0.1.0 gastown-refinery' ] || continue
        comes_back "$agent" "$(cat "$HOME/pid-$agent")"
    done
    is_up "$polecat" || fail 'gt down leaves polecats'
    eventually 120 all_up "${all[@]}"
    for agent in "${all[@]}"; do pid_of "$agent" >"$HOME/pid-$agent"; done
    gt shutdown --yes
    for agent in "${all[@]}"; do eventually 90 is_new "$agent" "$(cat "$HOME/pid-$agent")"; done
    # Nobody's work was on its hook.
    eventually 60 is "$(unit "$polecat")" ActiveState inactive
    always 3 is "$(unit "$polecat")" ActiveState inactive
    assert_eq "$(events "$(message_id ALERT_BEGAN)")" 0 alerts
    assert_eq "$(events "$(message_id MASS_DEATH)")" 0 'mass deaths'

    if [ "$release" = 0.1.0 ]; then
        pid=$(pid_of gastown-refinery)
        gt stop --all
        comes_back gastown-refinery "$pid"
    else
        # The tick that asks whether it is docked comes within this pause.
        echo '{"mayor":true,"closed_pause":"15s"}' >"$TOWN/settings/systemd.json"
        gt rig dock gastown
        eventually 60 is "$(unit gastown-witness)" ActiveState inactive
        tick
        always 5 is "$(unit gastown-witness)" ActiveState inactive
        gt rig undock gastown
        eventually 120 after_tick all_up "${all[@]}"
    fi
    eventually 60 gives 'problems | grep -v Linger' ''
    finish
}
