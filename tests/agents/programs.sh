# The real agents: where they come from, and how each is set up to talk to the mock and to start
# without a question. For tests/run, capture and the tests in this folder.
# shellcheck shell=bash

# agents_dir CACHE: prints a directory with the programs of package.json in bin/, and node. They come
# from npm once. 77 where there is no npm, or it cannot get them.
agents_dir() {
    local here dir from program
    here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
    command -v node npm >/dev/null && [ "$(uname -m)" = x86_64 ] || return 77
    dir=$1/agents-$(cat "$here"/package*.json | sha256sum | cut -c1-12)
    mkdir -p "$1"
    (
        flock 9
        [ ! -d "$dir" ] || exit 0
        rm -rf "$dir.new"
        mkdir -p "$dir.new/bin"
        cp "$here"/package*.json "$here/.npmrc" "$dir.new"
        (cd "$dir.new" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2 </dev/null) || exit 77
        cp "$(readlink -f "$(command -v node)")" "$dir.new/bin/node"
        while read -r program from; do
            [ -x "$dir.new/node_modules/$from" ] || { echo "npm has no $from" >&2; exit 1; }
            ln -s "../node_modules/$from" "$dir.new/bin/$program"
        done <<END
claude @anthropic-ai/claude-code-linux-x64/claude
codex $(cd "$dir.new/node_modules" && echo @openai/codex-linux-x64/vendor/*/bin/codex)
opencode opencode-linux-x64/bin/opencode
amp @ampcode/cli-linux-x64/amp
gemini @google/gemini-cli/bundle/gemini.js
pi @mariozechner/pi-coding-agent/dist/cli.js
copilot @github/copilot-linux-x64/copilot
END
        mv "$dir.new" "$dir"
    ) 9>"$1/agents.lock" || return
    echo "$dir"
}

# mock_start DIRECTORY: starts the mock and prints its port; its process is in DIRECTORY/pid.
mock_start() {
    mkdir -p "$1"
    setsid "${MOCK:-$HERE/agents/mock}" "$1" >"$1/log" 2>&1 </dev/null &
    echo $! >"$1/pid"
    local try
    for try in {1..100}; do
        [ -s "$1/port" ] && cat "$1/port" && return
        sleep 0.1
    done
    echo "the mock did not start: $(cat "$1/log")" >&2
    return 1
}

# The variables by which each talks to the mock at a port, and to nobody else.
mock_env() { # PORT
    cat <<END
ANTHROPIC_BASE_URL=http://127.0.0.1:$1
ANTHROPIC_API_KEY=sk-ant-mock-0123456789abcdefghij
DISABLE_AUTOUPDATER=1
CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1
MOCK_KEY=mock-0123456789
GOOGLE_GEMINI_BASE_URL=http://127.0.0.1:$1
GEMINI_API_KEY=mock-0123456789
OPENCODE_DISABLE_AUTOUPDATE=1
OPENCODE_DISABLE_MODELS_FETCH=1
PI_OFFLINE=1
COPILOT_OFFLINE=true
COPILOT_PROVIDER_BASE_URL=http://127.0.0.1:$1/v1
COPILOT_PROVIDER_API_KEY=mock-0123456789
COPILOT_MODEL=mock
END
}

# settle_PROGRAM PORT DIRECTORY...: all that it would ask at its start in these directories is answered.
settle_claude() {
    local port=$1
    shift
    mkdir -p ~/.claude
    echo '{"skipDangerousModePermissionPrompt":true}' >~/.claude/settings.json
    printf '%s\n' "$@" | node -e '
        const lines = require("fs").readFileSync(0, "utf8").trim().split("\n");
        const trusted = { allowedTools: [], hasTrustDialogAccepted: true, hasCompletedProjectOnboarding: true };
        console.log(JSON.stringify({
            hasCompletedOnboarding: true, lastOnboardingVersion: "2.1.197", theme: "dark",
            bypassPermissionsModeAccepted: true,
            customApiKeyResponses: { approved: ["0123456789abcdefghij"], rejected: [] },
            projects: Object.fromEntries(lines.map((dir) => [dir, trusted])),
        }))' >~/.claude.json
}
settle_codex() {
    local port=$1 dir
    shift
    mkdir -p ~/.codex
    {
        cat <<END
model = "mock"
model_provider = "mock"
check_for_update_on_startup = false
[model_providers.mock]
name = "mock"
base_url = "http://127.0.0.1:$port/v1"
env_key = "MOCK_KEY"
wire_api = "responses"
requires_openai_auth = false
END
        for dir; do printf '[projects."%s"]\ntrust_level = "trusted"\n' "$dir"; done
    } >~/.codex/config.toml
}
settle_opencode() {
    # It would install what its plugins need, for minutes where there is no network, and all that
    # start meanwhile wait for that.
    mkdir -p ~/.config/opencode/node_modules
    echo '{"packages":{"":{"dependencies":{"@opencode-ai/plugin":"*"}}}}' >~/.config/opencode/package-lock.json
    cat >~/.config/opencode/opencode.json <<END
{"\$schema": "https://opencode.ai/config.json", "autoupdate": false, "share": "disabled", "model": "mock/mock",
 "provider": {"mock": {"npm": "@ai-sdk/openai-compatible", "name": "mock",
  "options": {"baseURL": "http://127.0.0.1:$1/v1", "apiKey": "mock"}, "models": {"mock": {"name": "mock"}}}}}
END
}
settle_gemini() {
    shift
    mkdir -p ~/.gemini
    echo '{"security":{"auth":{"selectedType":"gemini-api-key"}},"general":{"enableAutoUpdate":false,"disableAutoUpdate":true},"privacy":{"usageStatisticsEnabled":false}}' >~/.gemini/settings.json
    printf '%s\n' "$@" | node -e '
        const lines = require("fs").readFileSync(0, "utf8").trim().split("\n");
        console.log(JSON.stringify(Object.fromEntries(lines.map((dir) => [dir, "TRUST_FOLDER"]))))' >~/.gemini/trustedFolders.json
}
settle_pi() {
    mkdir -p ~/.pi/agent
    # Up to 0.4x all of these fields must be there.
    cat >~/.pi/agent/models.json <<END
{"providers": {"mock": {"baseUrl": "http://127.0.0.1:$1/v1", "apiKey": "mock", "api": "openai-completions",
 "models": [{"id": "mock", "name": "mock", "contextWindow": 100000, "maxTokens": 1000, "reasoning": false, "input": ["text"],
  "cost": {"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0}}]}}}
END
    echo '{"defaultProvider":"mock","defaultModel":"mock","quietStartup":true}' >~/.pi/agent/settings.json
}
settle_copilot() {
    shift
    mkdir -p ~/.copilot
    printf '%s\n' "$@" | node -e '
        const lines = require("fs").readFileSync(0, "utf8").trim().split("\n");
        console.log(JSON.stringify({ trusted_folders: lines, banner: "never" }))' >~/.copilot/config.json
}
