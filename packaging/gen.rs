//! Writes the man pages and completions of `gastownctl` from its command line:
//! `cargo run --example gen -- DIR` makes DIR/man, DIR/bash, DIR/zsh and DIR/fish.

use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::io::Write;
use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;
use gastown::ctl::cli::{Cli, EXAMPLES};

/// Commands that take agents.
const OF_AGENTS: &[&str] = &["request", "attach", "screen", "logs", "history"];

/// Commands that take agents or rigs.
const OF_BOTH: &[&str] = &["status", "start", "stop", "restart", "cycle", "recover"];

/// Commands that take a rig.
const OF_RIGS: &[&str] = &["park", "unpark", "estop", "thaw"];

/// Other names of the pages in packaging/man.
const ALIASES: &[(&str, &[&str])] = &[
    (
        "gastown-systemd.7",
        &[
            "gastown.target.7",
            "gastown.slice.7",
            "gt-town.service.7",
            "gt-tmux.service.7",
        ],
    ),
    ("gt-agent@.service.5", &["gt-agent.8"]),
    (
        "gt-heartbeat.8",
        &[
            "gt-heartbeat.service.8",
            "gt-heartbeat.timer.8",
            "gt-heartbeat.path.8",
            "gt-heartbeat-changed.service.8",
            "gt-heartbeat-look.service.8",
            "gt-alert@.service.8",
        ],
    ),
    (
        "gt-lifecycle.8",
        &["gt-lifecycle.service.8", "gt-lifecycle.path.8"],
    ),
    (
        "gt-spawn-trigger.8",
        &["gt-spawn-trigger.service.8", "gt-spawn-trigger.path.8"],
    ),
];

fn main() -> Result<(), Box<dyn Error>> {
    let dir = std::env::args_os().nth(1).ok_or("Give a directory")?;
    let dir = Path::new(&dir);
    for sub in ["man", "bash", "zsh", "fish"] {
        fs::create_dir_all(dir.join(sub))?;
    }
    clap_mangen::generate_to(Cli::command(), dir.join("man"))?;
    fs::write(dir.join("man/gastownctl.1"), page()?)?;
    // Examples are typed as they stand: no line of them is filled or hyphenated.
    let hooks = dir.join("man/gastownctl-hooks.1");
    let text = fs::read_to_string(&hooks)?;
    fs::write(hooks, text.replace("\nExamples:", "\n.nf\nExamples:"))?;
    for (page, names) in ALIASES {
        let section = page.rsplit('.').next().unwrap_or_default();
        for name in *names {
            fs::write(
                dir.join("man").join(name),
                format!(".so man{section}/{page}\n"),
            )?;
        }
    }
    fs::write(dir.join("bash/gastownctl"), bash()?)?;
    fs::write(dir.join("zsh/_gastownctl"), zsh()?)?;
    fs::write(dir.join("fish/gastownctl.fish"), fish()?)?;
    Ok(())
}

/// The page of the command itself: the examples as they are, and where to read on.
fn page() -> Result<Vec<u8>, Box<dyn Error>> {
    let mut out = Vec::new();
    // `gastownctl help` has no page of its own.
    let man = clap_mangen::Man::new(Cli::command().after_help("").disable_help_subcommand(true));
    man.render_title(&mut out)?;
    man.render_name_section(&mut out)?;
    man.render_synopsis_section(&mut out)?;
    man.render_subcommands_section(&mut out)?;
    let text = EXAMPLES
        .replace('\\', "\\e")
        .replace('-', "\\-")
        .replace('\'', "\\(aq");
    let (examples, statuses) = text
        .split_once("\n\n")
        .ok_or("The examples have another form")?;
    let examples = examples.trim_start_matches("Examples:\n");
    let statuses = statuses.trim_start_matches("Exit statuses: ");
    writeln!(
        out,
        ".SH EXAMPLES\n.nf\n{examples}\n.fi\n.SH \"EXIT STATUS\"\n{statuses}"
    )?;
    writeln!(
        out,
        ".SH \"SEE ALSO\"\n.BR gastown\\-systemd (7),\n.BR gastown\\-systemd.json (5),\n\
         .BR gt\\-agent@.service (5),\n.BR gt\\-heartbeat (8),\n.BR systemctl (1),\n\
         .BR journalctl (1),\n.BR tmux (1)"
    )?;
    Ok(out)
}

fn script(shell: Shell) -> Result<String, Box<dyn Error>> {
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "gastownctl", &mut out);
    Ok(String::from_utf8(out)?)
}

/// What ends in an option, of any command, that takes a value; as a pattern of the shell.
fn valued() -> String {
    let command = Cli::command();
    let options = command
        .get_subcommands()
        .flat_map(clap::Command::get_arguments);
    let options = options.filter(|arg| !arg.is_positional() && arg.get_action().takes_values());
    let names = options.flat_map(|option| {
        let long = option.get_long().map(|long| format!("--{long}"));
        long.into_iter()
            .chain(option.get_short().map(|short| format!("-{short}")))
    });
    let names: BTreeSet<String> = names.map(|name| format!("*:{name}")).collect();
    names.into_iter().collect::<Vec<_>>().join(" | ")
}

/// The generated function, and one around it that puts names where it has place-holders.
fn bash() -> Result<String, Box<dyn Error>> {
    let valued = valued();
    let (agents, both, rigs) = (OF_AGENTS.join("|"), OF_BOTH.join("|"), OF_RIGS.join("|"));
    Ok(format!(
        r#"{}
_gastownctl_with_names() {{
    _gastownctl "$@"
    local reply kept=() kind=
    case ${{COMP_WORDS[1]}} in
    {agents}) kind=agents ;;
    {both}) kind=all ;;
    {rigs}) kind=rigs ;;
    esac
    # The value of an option is no name, nor is what is requested.
    case ${{COMP_WORDS[1]}}:$COMP_CWORD:$3 in
    request:2:* | *:=) kind= ;;
    {valued}) kind= ;;
    esac
    for reply in "${{COMPREPLY[@]}}"; do
        [[ $reply == [\<\[]* || $reply == *...* ]] && continue
        # Options are not what comes first where names do.
        [[ -n $kind && -z $2 && $reply == -* ]] || kept+=("$reply")
    done
    if [[ -n $kind && $COMP_CWORD -gt 1 && $2 != -* ]]; then
        kept+=($(compgen -W "$(gastownctl names "$kind" 2>/dev/null)" -- "$2"))
    fi
    COMPREPLY=("${{kept[@]}}")
}}
complete -F _gastownctl_with_names -o nosort -o bashdefault -o default gastownctl
"#,
        script(Shell::Bash)?
    ))
}

/// The generated script, with names instead of files as the values of agents and rigs.
fn zsh() -> Result<String, Box<dyn Error>> {
    let functions = "\
(( $+functions[_gastownctl_agents] )) ||
_gastownctl_agents() { compadd -- ${(f)\"$(gastownctl names agents 2>/dev/null)\"} }
(( $+functions[_gastownctl_rigs] )) ||
_gastownctl_rigs() { compadd -- ${(f)\"$(gastownctl names rigs 2>/dev/null)\"} }
(( $+functions[_gastownctl_all] )) ||
_gastownctl_all() { compadd -- ${(f)\"$(gastownctl names all 2>/dev/null)\"} }

";
    let text: String = script(Shell::Zsh)?
        .lines()
        .map(|line| {
            let values = |who: &str| line.replace(":_default", &format!(":_gastownctl_{who}"));
            let line = match line.trim_start() {
                l if l.to_uppercase().contains(" RIG") && l.contains("::agent") => values("all"),
                l if l.starts_with("'::agent --") || l.starts_with("':agent --") => {
                    values("agents")
                }
                l if l.starts_with("'*::agents --") => values("agents"),
                l if l.starts_with("':rig --") || l.starts_with("'::rig --") => values("rigs"),
                _ => line.to_string(),
            };
            line + "\n"
        })
        .collect();
    // The last part of the script calls the function; ours must be there by then.
    let (head, tail) = text
        .rsplit_once("if [ \"$funcstack[1]\"")
        .ok_or("The zsh script has another form")?;
    Ok(format!("{head}{functions}if [ \"$funcstack[1]\"{tail}"))
}

fn fish() -> Result<String, Box<dyn Error>> {
    // Only options take files, and these say so.
    let mut text = script(Shell::Fish)? + "complete -c gastownctl -f\n";
    for (commands, kind) in [(OF_AGENTS, "agents"), (OF_BOTH, "all"), (OF_RIGS, "rigs")] {
        text += &format!(
            "complete -c gastownctl -n \"__fish_seen_subcommand_from {}\" -f -a \"(gastownctl names {kind} 2>/dev/null)\"\n",
            commands.join(" ")
        );
    }
    Ok(text)
}
