# How to bring each program into the states whose screens are kept. Sourced by capture.
# shellcheck shell=bash

CLAUDE=(claude --dangerously-skip-permissions)
CODEX=(codex --dangerously-bypass-approvals-and-sandbox -c features.daemon_auto_start=false)

version_of() {
    case $1 in
    shell) bash --version | grep -o '[0-9]\.[0-9]' | head -n 1 ;;
    *) "$1" --version 2>&1 | grep -o '[0-9]\+\.[0-9.]*[0-9]' | head -n 1 ;;
    esac
}

# without NAME FIELD: takes a field of a JSON file away, so that what it answers is asked.
without() {
    node -e '
        const fs = require("fs"), [file, field] = process.argv.slice(1);
        const all = JSON.parse(fs.readFileSync(file)); delete all[field];
        fs.writeFileSync(file, JSON.stringify(all))' "$1" "$2"
}

# with_field FILE FIELD TEXT: gives a JSON file a field; a dot is between the names of inner ones.
with_field() {
    node -e '
        const fs = require("fs"), [file, field, text] = process.argv.slice(1);
        const all = JSON.parse(fs.readFileSync(file)), names = field.split("."), last = names.pop();
        names.reduce((inner, name) => (inner[name] ??= {}), all)[last] = JSON.parse(text);
        fs.writeFileSync(file, JSON.stringify(all))' "$1" "$2" "$3"
}

# What is asked of most. The keys that take back two lines differ, and so does what tells of work.
a_draft() {
    text 'half a draft'
    shot draft
    keys Home
    shot draft-cursor-at-start
    keys C-e
    keys C-u
    still
    shot free-taken-back
}
two_lines() { # KEY...
    text 'first line'
    keys M-Enter
    text 'second line'
    shot draft-two-lines
    for key; do keys "$key"; done
    shot free-taken-back-lines
}
works_and_queues() { # TEXT
    enter '(slow 10)'
    sees "$1"
    shot busy
    text 'typed meanwhile'
    shot draft-while-busy
    keys Enter
    shot busy-queued
    sees 'All is well'
    still
    shot free-after-answers
}

# Up to 2.0 claude has another prompt, and asks for trust only where it asks for permissions.
screens_of_older_claude() {
    settle_claude "$PORT" "$TOWN"
    without ~/.claude.json theme
    without ~/.claude.json hasCompletedOnboarding
    run "${CLAUDE[@]}"
    shows 'text style' asks-theme
    settle_claude "$PORT" "$TOWN"
    without ~/.claude.json projects
    run claude
    shows 'exit' asks-trust
    settle_claude "$PORT" "$TOWN"
    without ~/.claude.json customApiKeyResponses
    run "${CLAUDE[@]}"
    shows 'API key' asks-key
    settle_claude "$PORT" "$TOWN"
    without ~/.claude.json bypassPermissionsModeAccepted
    run "${CLAUDE[@]}"
    shows 'Yes, I accept' asks-bypass
    settle_claude "$PORT" "$TOWN"
    run "${CLAUDE[@]}"
    shows 'bypass permissions on' free
    text 'half a draft'
    shot draft
    keys C-u
    still
    shot free-taken-back
    text '!'
    shot shell-mode
    keys BSpace
    text '/'
    shot draft-slash
    keys C-u
    works_and_queues 'esc to interrupt'
    run claude
    shows '? for shortcuts' free-default-mode
    enter '(run touch made)'
    shows 'Do you want' asks-permission
}

# pasted TEXT: a person pastes it.
pasted() {
    printf '%s' "$1" | T load-buffer -
    T paste-buffer -p -t =it:
}

# odd_draft NAME DRAFT SIGN COMMAND...: what shows a draft of which a part looks like something else.
odd_draft() {
    run "${@:4}"
    sees "$3"
    still
    pasted "$2"
    still
    shot "$1"
}
odd_drafts() { # SIGN COMMAND...
    odd_draft draft-rules $'look at\n├── a\n└── b\n' "$@"
    odd_draft draft-bars $'┃ Name ┃\n' "$@"
    odd_draft draft-breaks $'\n\n' "$@"
    odd_draft draft-empty-first $'\n\nand more' "$@"
    keys Up
    keys Up
    still
    shot draft-empty-first
}

# The input line as in vi. Where the screen does not tell it from another, the names say so.
vi_modes() {
    shot free-vi-insert
    text 'half a draft'
    shot draft-vi-insert
    keys Escape
    shot draft-vi-normal
    # One takes it for two letters where they come at once.
    keys d
    keys d
    still
    shot asks-vi-normal
    keys i
}
# editor KEY NAME: opens vi with a key, and leaves it.
editor() {
    keys "$1"
    shows $'\n~' "$2"
    keys Escape
    enter ':q!'
    still
}

screens_of_claude() {
    case $version in 1.* | 2.0.*) screens_of_older_claude && return ;; esac
    settle_claude "$PORT" "$TOWN"
    without ~/.claude.json theme
    without ~/.claude.json hasCompletedOnboarding
    run "${CLAUDE[@]}"
    shows 'text style' asks-theme
    keys Enter
    shows 'Enter to continue' asks-notes
    settle_claude "$PORT" "$TOWN"
    without ~/.claude.json projects
    run "${CLAUDE[@]}"
    shows 'No, exit' asks-trust
    settle_claude "$PORT" "$TOWN"
    without ~/.claude.json customApiKeyResponses
    run "${CLAUDE[@]}"
    shows 'API key' asks-key
    settle_claude "$PORT" "$TOWN"
    rm ~/.claude/settings.json
    without ~/.claude.json bypassPermissionsModeAccepted
    run "${CLAUDE[@]}"
    shows 'Yes, I accept' asks-bypass
    settle_claude "$PORT" "$TOWN"
    run env -u ANTHROPIC_API_KEY "${CLAUDE[@]}"
    sees '❯'
    still
    enter '/login'
    shows 'Select login method' asks-login
    settle_claude "$PORT" "$TOWN"
    run "${CLAUDE[@]}"
    shows '❯' free
    a_draft
    two_lines C-u C-u C-u
    text '!'
    shot shell-mode
    text 'rm -r /tmp/x'
    shot shell-mode-typed
    keys C-u
    keys BSpace
    text '/'
    shot draft-slash
    keys C-u
    keys '?'
    shot free-shortcuts
    keys BSpace
    works_and_queues 'esc to interrupt'
    enter '(ask)'
    shows 'production database' asks-question
    keys Escape
    still
    shot free-refused
    enter '(ask many)'
    shows 'production database' asks-questions
    keys Enter
    shows 'shall be told' asks-questions-many
    keys Tab
    shows 'Review' asks-questions-review
    keys Escape
    still
    keys C-u
    enter '(fail 429)'
    sees 'attempt 3'
    shot busy-tries-again
    keys Escape
    still
    keys C-u
    keys C-u
    enter '(fail 400)'
    shows 'API Error' free-after-error
    pasted "$(seq 40)"
    shows '[Pasted text' draft-pasted
    keys C-u
    keys C-u
    enter '(full 990000)'
    sees 'All is well'
    still
    echo '(slow 9)' >"$HOME/mock/answer"
    enter '/compact'
    sees 'Compacting'
    shot busy-compacting
    sees 'Compacted'
    rm "$HOME/mock/answer"
    still
    enter '/config'
    shows 'Esc' asks-config
    keys Escape
    keys Escape
    still
    enter '/help'
    shows 'Esc' asks-help
    keys Escape
    still
    keys C-o
    shows 'ctrl+o' asks-transcript
    keys C-o
    still
    keys C-r
    shows 'earch prompts' asks-search
    keys Escape
    still
    enter '/model'
    shows 'Esc' asks-model
    keys Escape
    enter '/permissions'
    shows 'Esc' asks-permissions
    keys Escape
    enter '/resume'
    still
    shot asks-resume
    keys Escape
    keys Escape
    keys Escape
    still
    shot asks-rewind
    keys Escape
    still
    enter '/goal'
    shows 'Esc to ' asks-goal
    keys Escape
    still
    enter '/stats'
    shows 'Esc to ' asks-stats
    keys Escape
    still
    enter '/btw what'
    shows 'Esc to close' asks-aside
    keys Escape
    still
    text '@'
    shot draft-files
    keys C-u
    editor C-g asks-editor
    enter '/keybindings'
    shows '~/.claude/keybindings.json' asks-editor-keybindings
    keys Escape
    enter ':q!'
    still
    shot free-after-editor
    # It gives this hint three times.
    with_field ~/.claude.json queuedCommandUpHintCount 3
    run "${CLAUDE[@]}"
    sees '❯'
    still
    enter '(slow 10)'
    sees 'esc to interrupt'
    enter 'queued by a person'
    sees '❯ queued by a person'
    shot busy-queued-without-hint
    run env CLAUDE_CODE_NO_FLICKER=1 "${CLAUDE[@]}"
    shows '❯' free-fullscreen
    editor C-g asks-editor-fullscreen
    odd_drafts '❯' "${CLAUDE[@]}"
    run env CLAUDE_CODE_NATIVE_CURSOR=1 "${CLAUDE[@]}"
    shows '❯' free-native-cursor
    text 'half a draft'
    shot draft-native-cursor
    editor C-g asks-editor-native-cursor
    # A limit of a subscription, and a login that has expired.
    run env -u ANTHROPIC_API_KEY CLAUDE_CODE_OAUTH_TOKEN=sk-ant-oat01-mock "${CLAUDE[@]}"
    sees '❯'
    still
    enter '(fail 401)'
    shows '/login' free-login-expired
    keys C-u
    enter '(limit five_hour)'
    shows 'limit' asks-limit
    with_field ~/.claude/settings.json editorMode '"vim"'
    run "${CLAUDE[@]}"
    sees '❯'
    still
    vi_modes
    enter '(slow 10)'
    sees word2
    keys Escape
    shot busy-vi-normal
    settle_claude "$PORT" "$TOWN"
    echo '@/etc/hostname' >"$TOWN/CLAUDE.md"
    run "${CLAUDE[@]}"
    shows 'imports?' asks-imports
    rm "$TOWN/CLAUDE.md"
    run claude --permission-mode plan
    shows 'plan mode on' free-plan-mode
    enter '(plan)'
    shows '2.' asks-plan
    keys Escape
    run "${CLAUDE[@]}"
    sees '❯'
    still
    enter '(background sleep 60)'
    sees 'All is well'
    shows '1 shell' free-background
    keys Down
    still
    shot asks-background
    SIZE=(80 7)
    run "${CLAUDE[@]}"
    sees '❯'
    still
    shot unknown-small-window
    SIZE=(120 40)
    run claude --permission-mode default
    shows '❯' free-default-mode
    enter '(run touch made)'
    shows 'Do you want' asks-permission
    keys Escape
    enter '(edit made)'
    shows 'Do you want' asks-permission-edit
    keys Escape
    enter '(run sleep 8)'
    sees 'Running'
    shot busy-tool
    run "${CLAUDE[@]}"
    sees '❯'
    still
    keys C-z
    shows 'suspended' asks-suspended
}

# Up to 0.101 codex asks for trust only where it asks for permissions, and shows nothing of its work
# while the lines of an answer come.
screens_of_older_codex() {
    settle_codex "$PORT" "$TOWN"
    sed -i '/^\[projects/,$d' ~/.codex/config.toml
    run codex
    shows 'ontinue' asks-trust
    rm ~/.codex/config.toml
    run "${CODEX[@]}"
    shows 'Sign in' asks-login
    settle_codex "$PORT" "$TOWN"
    run "${CODEX[@]}"
    shows 'context left' free
    a_draft
    two_lines C-u C-u C-u
    text '/'
    shot draft-slash
    keys C-u
    text '!rm x'
    shot draft-shell
    keys C-u
    keys BSpace
    works_and_queues 'esc to interrupt'
    enter '(tell sleep 6)'
    sees 'line 1'
    shot free-while-lines-come
    sees 'unning'
    sleep 2
    shot busy-tool
    sees 'Ran '
    still
    for dialog in approvals model diff; do
        enter "/$dialog"
        still
        shot "asks-$dialog"
        keys q
        keys Escape
        still
        keys C-u
    done
    keys Escape
    keys Escape
    still
    shot asks-rewind
    keys q
    still
    keys C-u
    [ "$version" = 0.63.0 ] || editor C-g asks-editor
    run codex -c features.daemon_auto_start=false -a untrusted -s read-only
    shows 'context left' free-default-mode
    enter '(run touch made)'
    shows 'Would you like' asks-permission
    keys Escape
    still
    shot free-refused
}

screens_of_codex() {
    case $version in 0.??.* | 0.10?.*) screens_of_older_codex && return ;; esac
    settle_codex "$PORT" "$TOWN"
    sed -i '/^\[projects/,$d' ~/.codex/config.toml
    run "${CODEX[@]}"
    sees '›'
    shot busy-starting
    shows 'Trust this folder' asks-trust
    rm ~/.codex/config.toml
    run "${CODEX[@]}"
    shows 'Sign in' asks-login
    settle_codex "$PORT" "$TOWN"
    run "${CODEX[@]}"
    shows ' · ' free
    a_draft
    two_lines C-u C-u C-u
    text '/'
    shot draft-slash
    keys C-u
    keys Escape
    text '!'
    shot shell-mode
    text 'rm x'
    shot shell-mode-typed
    keys C-u
    keys BSpace
    enter '(slow 10)'
    sees word2
    shot busy
    text 'typed meanwhile'
    shot draft-while-busy
    keys C-u
    sees 'word19'
    still
    shot free-after-answers
    enter '/permissions'
    still
    shot asks-permissions
    keys Escape
    enter '/model'
    still
    shot asks-model
    keys Escape
    keys Escape
    enter '/memories'
    shows 'Enable memories' asks-memories
    keys Escape
    echo made >"$TOWN/made"
    enter '/diff'
    shows 'q close' asks-diff
    keys q
    enter '/resume'
    shows 'esc exit' asks-resume
    keys Escape
    still
    enter '/hooks'
    shows 'esc close' asks-hooks
    keys Escape
    still
    enter '/side'
    shows 'Side from' asks-side
    keys C-c
    still
    keys Escape
    keys Escape
    shows 'Browsing transcript' asks-rewind
    keys Escape
    still
    keys C-u
    keys C-r
    still
    shot draft-history-search
    keys Escape
    editor C-g asks-editor
    enter '/vim'
    still
    keys i
    vi_modes
    keys Escape
    enter '/vim'
    still
    enter '(run sleep 6)'
    sees 'Running sleep'
    shot busy-tool
    odd_drafts ' · ' "${CODEX[@]}"
    run codex -c features.daemon_auto_start=false -a on-request -s read-only
    shows ' · ' free-default-mode
    enter '(escalate touch made)'
    shows 'Would you like' asks-permission
    keys Escape
    still
    shot free-refused
}

screens_of_opencode() {
    settle_opencode "$PORT"
    # 1.0 would get this from the network before its first turn.
    mkdir -p ~/.local/share/opencode/bin
    printf '#!/bin/sh\n' >~/.local/share/opencode/bin/rg
    chmod +x ~/.local/share/opencode/bin/rg
    run opencode
    shows 'Ask anything' free
    a_draft
    two_lines C-u BSpace C-u
    text '/'
    shot draft-slash
    keys BSpace
    keys C-p
    shows 'Switch model' asks-commands
    keys Escape
    shows 'Ask anything' free-again
    works_and_queues 'esc interrupt'
    text 'half a draft'
    shot draft-after-answers
    keys C-u
    # 1.0 has no tool for that.
    case $version in
    1.0.*) ;;
    *)
        enter '(ask)'
        shows 'production' asks-question
        keys Escape
        still
        shot free-refused
        ;;
    esac
    keys '!'
    shot shell-mode
    keys Escape
    still
    keys C-x
    editor e asks-editor
    keys C-x l
    still
    shot asks-sessions
    keys Escape
    keys C-x g
    still
    shot asks-timeline
    keys Escape
    enter '/help'
    still
    # In 1.0 nothing tells this from a free input line but the window that floats above it.
    [[ $version == 1.0.* ]] || shot asks-help
    keys Escape
    odd_drafts 'Ask anything' opencode
    sed -i 's/"autoupdate"/"permission": {"bash": "ask"}, &/' ~/.config/opencode/opencode.json
    run opencode
    sees 'Ask anything'
    still
    enter '(run touch x)'
    shows 'Permission required' asks-permission
    # In windows of more than 120 columns, as an agent's is at first, there is a sidebar, and 1.0 shows
    # nothing of a permission below its input line.
    local servers
    servers=$(printf '"server%s": {"type": "local", "command": ["cat"], "enabled": false},' {1..6})
    sed -i "s/\"autoupdate\"/\"mcp\": {${servers%,}}, &/" ~/.config/opencode/opencode.json
    SIZE=(130 24)
    run opencode
    sees 'Ask anything'
    still
    enter 'hello'
    sees 'All is well'
    still
    shot free-beside-sidebar
    enter '(run touch x)'
    shows 'Permission required' asks-permission-beside-sidebar
    SIZE=(120 40)
}

screens_of_gemini() {
    local older='' editor=C-g
    # Up to 0.2x it asks for trust only where the settings want that, and has no tool to ask with.
    case $version in 0.[12]*) older=1 editor=C-x ;; esac
    settle_gemini "$PORT" "$TOWN"
    rm ~/.gemini/trustedFolders.json
    with_field ~/.gemini/settings.json security.folderTrust.enabled true
    run gemini --approval-mode yolo
    shows 'Do you trust' asks-trust
    settle_gemini "$PORT" "$TOWN"
    rm ~/.gemini/settings.json
    run env -u GEMINI_API_KEY gemini --approval-mode yolo
    shows 'How would you like' asks-login
    settle_gemini "$PORT" "$TOWN"
    run gemini --approval-mode yolo
    shows 'Type your message' free
    a_draft
    two_lines C-u BSpace C-u
    text '/'
    shot draft-slash
    keys C-u
    text '!'
    shot shell-mode
    text 'rm x'
    shot shell-mode-typed
    keys C-u
    keys Escape
    works_and_queues 'esc to cancel'
    if [ -z "$older" ]; then
        enter '(ask)'
        still
        shot asks-question
        keys Escape
        still
        shot free-refused
    fi
    enter '/settings'
    still
    shot asks-settings
    odd_drafts 'Type your message' gemini --approval-mode yolo
    run gemini --approval-mode yolo
    sees 'Type your message'
    still
    editor "$editor" asks-editor
    with_field ~/.gemini/settings.json general.vimMode true
    run gemini --approval-mode yolo
    [ -z "$older" ] || { sees '[NORMAL]' && still && keys i; }
    sees '[INSERT]'
    still
    vi_modes
    settle_gemini "$PORT" "$TOWN"
    run gemini
    shows 'Type your message' free-default-mode
    sleep 5
    enter '(run touch made)'
    shows '● 1.' asks-permission
    keys Escape
    sleep 1
    enter '(edit made)'
    shows '● 1.' asks-permission-edit
}

screens_of_pi() {
    settle_pi "$PORT"
    run pi
    shows 'mock' free
    a_draft
    text '/'
    shot draft-slash
    keys C-u
    text '!ls'
    shot shell-mode-typed
    keys C-u
    works_and_queues 'Working'
    enter '/model'
    still
    shot asks-model
    keys Escape
    enter '/settings'
    still
    shot asks-settings
    keys Escape
    editor C-g asks-editor
    enter '/resume'
    still
    shot asks-resume
    keys Escape
    # 0.30 has no such command.
    case $version in
    0.[123]*) ;;
    *)
        enter '/tree'
        still
        shot asks-tree
        keys Escape
        ;;
    esac
    enter '/login'
    still
    shot asks-login
    odd_drafts mock pi
}

screens_of_copilot() {
    settle_copilot "$PORT" "$TOWN"
    rm ~/.copilot/config.json
    run copilot --yolo
    shows '1.' asks-trust
    settle_copilot "$PORT" "$TOWN"
    run copilot --yolo
    sees '? help'
    shows '❯' free
    text 'half a draft'
    shot draft
    keys C-u
    still
    shot free-taken-back
    text '/'
    shot draft-slash
    keys C-u
    text '!'
    shot shell-mode
    keys BSpace
    works_and_queues 'word2'
    editor C-g asks-editor
    odd_drafts '? help' copilot --yolo
    run copilot
    sees '? help'
    still
    enter '(run touch made)'
    shows '1.' asks-permission
}

screens_of_amp() {
    run amp --dangerously-allow-all --no-ide
    shows 'og in' asks-login
}

screens_of_shell() {
    run bash --norc --noprofile
    shows '$' shell
    text 'rm -r /tmp/x'
    shot shell-typed
    keys C-u
    enter 'sleep 5'
    shot unknown-command
}
