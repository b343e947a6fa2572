# How to bring each program into the states whose screens are kept. Sourced by capture.
# shellcheck shell=bash

CLAUDE=(claude --dangerously-skip-permissions)
CODEX=(codex --dangerously-bypass-approvals-and-sandbox -c features.daemon_auto_start=false)

version_of() { "$1" --version 2>&1 | grep -o '[0-9][0-9.]*[0-9]' | head -n 1; }
version_of_claude() { version_of claude; }
version_of_codex() { version_of codex; }
version_of_opencode() { version_of opencode; }
version_of_gemini() { version_of gemini; }
version_of_pi() { version_of pi; }
version_of_copilot() { version_of copilot; }
version_of_amp() { version_of amp; }
version_of_shell() { bash --version | grep -o '[0-9]\.[0-9]' | head -n 1; }

# without NAME FIELD: takes a field of a JSON file away, so that what it answers is asked.
without() {
    node -e '
        const fs = require("fs"), [file, field] = process.argv.slice(1);
        const all = JSON.parse(fs.readFileSync(file)); delete all[field];
        fs.writeFileSync(file, JSON.stringify(all))' "$1" "$2"
}

screens_of_claude() {
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
    run "${CLAUDE[@]}"
    shows '❯' free
    text 'half a draft'
    shot draft
    keys Home
    shot draft-cursor-at-start
    keys C-e
    keys C-u
    shot free-taken-back
    text 'first line'
    keys M-Enter
    text 'second line'
    shot draft-two-lines
    keys C-u
    keys C-u
    keys C-u
    shot free-taken-back-lines
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
    enter '(slow 10)'
    sees 'esc to interrupt'
    shot busy
    text 'typed meanwhile'
    shot draft-while-busy
    keys Enter
    shot busy-queued
    sees 'All is well'
    still
    shot free-after-answers
    enter '(ask)'
    shows 'production database' asks-question
    keys Escape
    still
    shot free-refused
    enter '/config'
    shows 'Esc' asks-config
    keys Escape
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
    run claude
    shows '❯' free-default-mode
    enter '(run touch made)'
    shows 'Do you want' asks-permission
    keys Escape
    enter '(edit made)'
    shows 'Do you want' asks-permission-edit
    keys Escape
    enter '(run sleep 8)'
    sleep 3
    shot busy-tool
}

screens_of_codex() {
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
    text 'half a draft'
    shot draft
    keys Home
    shot draft-cursor-at-start
    keys C-e
    keys C-u
    still
    shot free-taken-back
    text 'first line'
    keys M-Enter
    text 'second line'
    shot draft-two-lines
    keys C-u
    keys C-u
    keys C-u
    shot free-taken-back-lines
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
    sleep 2
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
    enter '(run sleep 6)'
    sleep 3
    shot busy-tool
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
    run opencode
    shows 'Ask anything' free
    text 'half a draft'
    shot draft
    keys Home
    shot draft-cursor-at-start
    keys C-e
    keys C-u
    shot free-taken-back
    text 'first line'
    keys M-Enter
    text 'second line'
    shot draft-two-lines
    keys C-u
    keys C-u
    keys C-u
    keys C-u
    shot free-taken-back-lines
    text '/'
    shot draft-slash
    keys BSpace
    keys C-p
    shows 'Install plugin' unknown-commands
    keys Escape
    shows 'Ask anything' free-again
    enter '(slow 10)'
    sees 'esc interrupt'
    shot busy
    text 'typed meanwhile'
    shot draft-while-busy
    keys Enter
    shot busy-queued
    sees 'All is well'
    still
    shot free-after-answers
    text 'half a draft'
    shot draft-after-answers
    keys C-u
    enter '(ask)'
    shows 'production' asks-question
    keys Escape
    still
    shot free-refused
    keys '!'
    shot shell-mode
    keys Escape
    sed -i 's/"autoupdate"/"permission": {"bash": "ask"}, &/' ~/.config/opencode/opencode.json
    run opencode
    sees 'Ask anything'
    still
    enter '(run touch x)'
    shows 'Permission required' asks-permission
}

screens_of_gemini() {
    settle_gemini "$PORT" "$TOWN"
    rm ~/.gemini/trustedFolders.json
    run gemini --approval-mode yolo
    shows 'Do you trust' asks-trust
    settle_gemini "$PORT" "$TOWN"
    rm ~/.gemini/settings.json
    run env -u GEMINI_API_KEY gemini --approval-mode yolo
    shows 'How would you like' asks-login
    settle_gemini "$PORT" "$TOWN"
    run gemini --approval-mode yolo
    shows 'Type your message' free
    text 'half a draft'
    shot draft
    keys Home
    shot draft-cursor-at-start
    keys C-e
    keys C-u
    shot free-taken-back
    text 'first line'
    keys M-Enter
    text 'second line'
    shot draft-two-lines
    keys C-u
    keys BSpace
    keys C-u
    shot free-taken-back-lines
    text '/'
    shot draft-slash
    keys C-u
    text '!'
    shot shell-mode
    text 'rm x'
    shot shell-mode-typed
    keys C-u
    keys Escape
    enter '(slow 10)'
    sees 'esc to cancel'
    shot busy
    text 'typed meanwhile'
    shot draft-while-busy
    keys Enter
    shot busy-queued
    sees 'All is well'
    still
    shot free-after-answers
    enter '(ask)'
    still
    shot asks-question
    keys Escape
    still
    shot free-refused
    enter '/settings'
    still
    shot asks-settings
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
    text 'half a draft'
    shot draft
    keys Home
    shot draft-cursor-at-start
    keys C-e
    keys C-u
    shot free-taken-back
    text '/'
    shot unknown-slash
    keys C-u
    text '!ls'
    shot shell-mode-typed
    keys C-u
    enter '(slow 10)'
    sees 'Working'
    shot busy
    text 'typed meanwhile'
    shot draft-while-busy
    keys Enter
    shot busy-queued
    sees 'All is well'
    still
    shot free-after-answers
    enter '/model'
    still
    shot asks-model
    keys Escape
    enter '/settings'
    still
    shot asks-settings
    keys Escape
    enter '/login'
    still
    shot asks-login
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
    enter '(slow 10)'
    sees 'word2'
    shot busy
    text 'typed meanwhile'
    shot draft-while-busy
    keys Enter
    shot busy-queued
    sees 'All is well'
    still
    shot free-after-answers
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
