//! `portcullis completions`: scripts for shells.

use clap::{Args, CommandFactory as _, ValueEnum};
use clap_complete::Shell as Syntax;

use super::{Cli, output};

/// Options of `completions`.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Options {
    /// The shell that will read the script.
    shell: Shell,
}

/// The shells that are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Prints a shell's script.
pub(super) fn run(options: &Options) {
    let syntax = match options.shell {
        Shell::Bash => Syntax::Bash,
        Shell::Zsh => Syntax::Zsh,
        Shell::Fish => Syntax::Fish,
    };
    // The generator panics when its output fails, and a vector does not.
    let mut script = Vec::new();
    clap_complete::generate(syntax, &mut Cli::command(), "portcullis", &mut script);
    output::print(&String::from_utf8_lossy(&script));
}

const EXAMPLES: &str = "\
Examples:
  portcullis completions bash > /etc/bash_completion.d/portcullis
  portcullis completions zsh  > \"${fpath[1]}/_portcullis\"
  portcullis completions fish > ~/.config/fish/completions/portcullis.fish";
