# What the machine tests share. Each test runs as a fresh ordinary user of a booted machine.
# shellcheck shell=bash

set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# A test makes and breaks the caller's town, so it runs where tests/run has put it, and nowhere else.
[ "$HERE" = /opt/tests ] || { echo "$0 is for a throw-away machine; run tests/run" >&2; exit 1; }
TOWN=${TOWN:-$HOME/gt}
export GT_CALLS=$HOME/calls

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

assert_eq() { [ "$1" = "$2" ] || fail "${3:-values differ}: got '$1', want '$2'"; }

# Seconds since the boot: a test may set the clock.
uptime_s() { cut -d. -f1 /proc/uptime; }

# eventually SECONDS CMD...: waits until the command succeeds. The limit costs nothing where it does, so it is
# one for a machine that stands still for seconds, unless the time itself is what is tested.
eventually() {
    local deadline=$(($(uptime_s) + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$(uptime_s)" -lt $deadline ] || fail "never came true: $*"
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

# gives LINE TEXT: a line of shell prints just that. For `eventually` and `always`, whose arguments
# are expanded but once.
gives() { [ "$(eval "$1")" = "$2" ]; }

# says STATUS TEXT CMD...: the command ends with that status and says that.
says() {
    local want=$1 text=$2 status=0 said
    shift 2
    said=$("$@" 2>&1) || status=$?
    [ "$status" = "$want" ] && [[ $said == *"$text"* ]] || fail "'$*' ended with $status and said: $said"
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
# is_new AGENT PID: it is up, as another process than that one. Read once, for between two looks the
# process may end; and before its unit, which is active when the new process is the agent.
is_new() {
    local pid
    pid=$(pid_of "$1")
    [ -n "$pid" ] && [ "$pid" != "$2" ] && is_up "$1"
}
starts() { wc -l <"$TOWN/log/$1.starts"; }
# assert_starts AGENT N: an agent says that it started a moment after its unit is active.
has_started() { [ "$(starts "$1" 2>/dev/null)" = "$2" ]; }
assert_starts() { eventually 60 has_started "$1" "$2"; }
# received AGENT: the lines that a stand-in agent has been sent, as text.
received() { perl -ne 'chomp; print pack("H*", $_), "\n"' "$TOWN/log/$1.lines"; }
# Waits until the journal has all that was told before: only root may have it synchronized, but it takes
# messages in turn.
journal_settles() {
    local mark=$BASHPID.$EPOCHREALTIME try
    printf 'MESSAGE=mark\nGT_TEST_MARK=%s\n' "$mark" | logger --journald
    for try in $(seq 100); do
        [ -z "$(journalctl --user -q -o cat "GT_TEST_MARK=$mark")" ] || return 0
        sleep 0.1
    done
    return 1
}
# events MESSAGE_ID [FIELD=VALUE]: how many the journal has.
events() {
    journal_settles || { echo 'the journal takes no messages'; return; }
    journalctl --user -q -o json "MESSAGE_ID=$1" "${@:2}" | wc -l
}
# dies TEXT: as `fail`, and ends the test also from within `$(...)`, where nothing found would look like nothing
# wrong.
dies() {
    echo "FAILED: $*" >&2
    kill -TERM $$
}
# message_id NAME: the MESSAGE_ID of an event of src/journal.rs, by the catalog.
message_id() {
    awk -F'[ ]' -v n="$1" '$1 == n { print $2; found = 1 } END { exit !found }' "$HERE/message-ids" || dies "there is no event '$1'"
}
# problems: those that status tells, a line each.
problems() {
    local said
    said=$(gastownctl status --json || true)
    jq -e 'has("problems")' <<<"$said" >/dev/null || dies "status tells nothing: $said"
    jq -r '.problems[]' <<<"$said"
}
# was_closed AGENT PID: somebody has closed the session of that process of it, as history tells.
was_closed() {
    gastownctl history "$1" | awk -v pid="$2" '
        /runs as process [0-9]/ { ran = 0 }
        $0 ~ "(runs as|adopted) process " pid "( |$)" { ran = 1 }
        ran && /somebody closed its session/ { closed = 1 }
        END { exit !closed }'
}
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
# tick: a whole tick that begins now: one that is under way may have read the files already.
tick() {
    eventually 90 tick_ended
    sc start --wait gt-heartbeat.service
}
tick_ended() { [[ $(show gt-heartbeat.service ActiveState) == @(inactive|failed) ]]; }
# after_tick CMD...: for `eventually`: a tick for changed files does not ask everybody, and may be the one that
# is under way, so there may have to be another one.
after_tick() {
    tick
    "$@"
}

# as_root CMD...: has the machine's root run a command, and waits until it has.
as_root() {
    local ask
    ask=$(mktemp /run/as-root/.ask-XXXXXX)
    printf '%q ' "$@" >"$ask"
    mv "$ask" "${ask/.ask/ask}"
    eventually 90 test ! -e "${ask/.ask/ask}" -a ! -e "${ask/.ask/.run}"
}

# sick FILE: reading it fails, as on a sick disk, until it is healed: the first page of a process is nobody's.
sick() {
    if [ -z "${SICK:-}" ]; then
        sleep 100000 &
        SICK=$!
        disown
    fi
    as_root mount --bind "/proc/$SICK/mem" "$1"
    says 1 'Input/output error' cat "$1"
}
heal() { as_root umount "$1"; }

# Has root restart our user manager, as a reboot would.
restart_manager() {
    local before
    before=$(pgrep -ox -u "$USER" systemd)
    as_root systemctl restart --no-block "user@$(id -u).service"
    eventually 60 test ! -e "/proc/$before"
    eventually 60 sc is-system-running --wait
}

# kill_runs NAME N MS...: kills that many processes of ours with that name, each at random within one of these
# times after it is seen, and prints their ids: it meets also one that lives for a moment. For the background.
kill_runs() {
    exec perl -MTime::HiRes=sleep -e '
        my ($name, $n, @within) = @ARGV;
        # The kernel cuts it.
        my ($short, %killed) = substr $name, 0, 15;
        $| = 1;
        while ($n > 0) {
            for my $dir (grep { -o } glob "/proc/[0-9]*") {
                open my $in, "<", "$dir/comm" or next;
                next if (<$in> // "") ne "$short\n" || $killed{$dir};
                sleep rand($within[rand @within]) / 1000;
                next unless kill "KILL", substr $dir, 6;
                $killed{$dir} = 1;
                $n--;
                print substr($dir, 6), "\n";
            }
            sleep 0.01;
        }' "$@"
}

# stop_lasts AGENT: from now on a stop of it lasts until ~/lasts is removed.
stop_lasts() {
    local dir=~/.config/systemd/user/gt-agent@$1.service.d
    mkdir -p "$dir"
    printf '[Service]\nTimeoutStopSec=3min\nExecStopPost=/bin/sh -c "while [ -e %%h/lasts ]; do sleep 0.1; done"\n' >"$dir/lasts.conf"
    sc daemon-reload
    touch ~/lasts
}

# Somebody else's session on the town's socket and on another, and a process called claude:
# whatever a test does, they must be there at its end.
decoys() {
    # A server that is just being started would take the socket from the one that this starts.
    eventually 90 gives 'sc list-jobs --no-legend gt-tmux.service' ''
    tmux new-session -d -s gt-decoy 'exec sleep 100000'
    tmux -L decoy new-session -d -s gt-deacon 'exec sleep 100000'
    (exec -a claude sleep 100000) &
    DECOYS="$(tmux display-message -p -t =gt-decoy: '#{pane_pid}') $(tmux -L decoy display-message -p -t =gt-deacon: '#{pane_pid}') $!"
    disown
}
# editor SESSION: a person's editor in a scope of its own, with a window that somebody in that session has asked
# for, and that has the environment of who asked.
editor() {
    local pane tmux
    pane=$(tmux display-message -p -t "=$1:" '#{pane_id}')
    tmux=$(tmux display-message -p -t "=$1:" '#{socket_path},#{pid},0')
    # shellcheck disable=SC2016 # these are for that shell
    systemd-run --user --scope --quiet --unit=editor.scope bash -c '(
        export TMUX=$0 TMUX_PANE=$1
        exec -a window sleep 100000
    ) & exec -a editor sleep 100000' "$tmux" "$pane" 2>/dev/null &
    DECOYS+=" $!"
    disown
    eventually 60 window
    DECOYS+=" $(window)"
}
window() { pgrep -u "$USER" -fx 'window 100000'; }
decoys_alive() {
    local pid
    for pid in ${DECOYS:-}; do
        kill -0 "$pid" 2>/dev/null || return 1
    done
}

# end_server [OPTION...]: ends a tmux server, if one is there, and waits until it is gone: a session that
# is made meanwhile may be on it, and ends with it.
end_server() {
    local pid
    pid=$(tmux "$@" display-message -p '#{pid}' 2>/dev/null) || return 0
    tmux "$@" kill-server || true
    eventually 60 test ! -e "/proc/$pid"
}

# finish: the last line of every test.
finish() {
    decoys_alive || fail 'a decoy has died'
    echo passed
}

# What the tests of spawns share.

# polecat NAME [DIRECTIVE...]: starts a stand-in as other tools do, in session gt-gastown-NAME.
polecat() {
    local name=$1
    shift
    [ $# = 0 ] || script "gastown-polecats-$name" "$@"
    tmux new-session -d -s "gt-gastown-$name" -e "GT_TOWN_ROOT=$TOWN" -e "BD_ACTOR=gastown/polecats/$name" \
        "exec $HERE/standin/agent"
}
# spawned NAME [ISSUE [SPAWNED_AT]]: the text of a spawn.
spawned() {
    printf '{"rig":"gastown","polecat":"%s","session":"gt-gastown-%s","issue":"%s","spawned_at":"%s","mail_id":""}' \
        "$1" "$1" "${2:-gt-$1}" "${3:-$(date -u +%FT%TZ)}"
}
# spawn NAME ...: puts it into the spool, as producers do. The file is called NAME.json.
spawn() {
    spawned "$@" >"$TOWN/daemon/spawn/new/.tmp-$1"
    mv "$TOWN/daemon/spawn/new/.tmp-$1" "$TOWN/daemon/spawn/new/$1.json"
}
# begun NAME: how many times it was told to begin. Any other input is a failure.
begun() {
    local lines=$TOWN/log/gastown-polecats-$1.lines
    [ -e "$lines" ] || { echo 0; return; }
    received "gastown-polecats-$1" | grep -vx 'Begin\.' >&2 && fail "$1 got $(received "gastown-polecats-$1" | paste -sd'|')"
    wc -l <"$lines"
}
has_begun() { [ "$(begun "$1")" -ge 1 ]; }
spool_is() { # NEW-AND-CUR FAILED
    [ "$(find "$TOWN"/daemon/spawn/{new,cur} -type f ! -name '.*' | wc -l) $(find "$TOWN/daemon/spawn/failed" -type f ! -name '*.reason' | wc -l)" = "$1 $2" ]
}
reason_of() { cat "$TOWN/daemon/spawn/failed/$1.json.reason"; }
# Milliseconds since the epoch.
now_ms() { date +%s%3N; }
# Starts the town without agents of its own: these tests are about polecats.
up_bare() {
    echo '{"type":"daemon-patrol-config","patrols":{"deacon":{"enabled":false},"witness":{"enabled":false},"refinery":{"enabled":false}}}' \
        >"$TOWN/mayor/daemon.json"
    up
    eventually 120 sc is-active -q gt-tmux.service
    eventually 120 sc is-active -q gt-spawn-trigger.path
}
