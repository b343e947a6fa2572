# What the tests of clocks share: a town that is up, and a look at it after its clock jumped.
# shellcheck shell=bash

town gastown
gastownctl heartbeat
up
eventually 120 all_up deacon gastown-witness gastown-refinery
sc stop gt-heartbeat.path
decoys
agents() { for a in deacon gastown-witness gastown-refinery; do echo "$(pid_of $a) $(show "$(unit $a)" NRestarts)"; done; }
before=$(agents)
# tick NAME: one that is done. Whether the Deacon answers pokes is not what this is about: as far
# as anyone knows it has left three unanswered, the next of which would be its end.
books=$TOWN/daemon/supervisor.json
tick() {
    eventually 60 is gt-heartbeat.service ActiveState inactive
    sc start --wait gt-heartbeat.service
}
doubtful() {
    eventually 60 is gt-heartbeat.service ActiveState inactive
    jq --arg at "$(date -u -d '-1 hour' +%FT%TZ)" '.agents.deacon.pokes = {count: 3, unanswered: 3, last: $at}' "$books" >"$books.new"
    mv "$books.new" "$books"
}
# The next tick is to come within the hour, by a clock that nobody sets.
due() {
    local next now
    next=$(show gt-heartbeat-next.timer NextElapseUSecMonotonic)
    [ -n "$next" ] && [ "$next" != infinity ] || return 1
    now=$(date -d "$(gastownctl status --json | jq -r .next_tick)" +%s)
    [ "$now" -gt "$(date +%s)" ] && [ "$now" -le $(($(date +%s) + 3600)) ]
}
jumps() { # HOW CMD...: does it, and looks
    local woke
    tick
    doubtful
    as_root "${@:2}"
    gt-heartbeat --dry-run >~/plan
    grep -q '^Nobody is judged: ' ~/plan || fail "$1: judged: $(cat ~/plan)"
    tick
    # Not by the journal, of which journalctl skips some after a step back.
    woke=$(date -d "$(jq -r .woke "$books")" +%s)
    [ "$woke" -le "$(date +%s)" ] && [ "$woke" -gt $(($(date +%s) - 600)) ] || fail "$1: the tick judged"
    assert_eq "$(agents)" "$before" "$1: agents"
    eventually 120 due
    tick
    assert_eq "$(agents)" "$before" "$1: agents after another tick"
}
