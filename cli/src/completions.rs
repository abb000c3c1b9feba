//! `maplog completions`: what a shell needs to complete this command.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::text::say_bytes;
use crate::{Cli, Failure, Outcome};

/// Write a shell's completions for this command to standard output.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

const AFTER_HELP: &str = "\
Where they go is the shell's business: for bash ~/.local/share/bash-completion/completions/maplog, for zsh
a file _maplog in a directory of $fpath, for fish ~/.config/fish/completions/maplog.fish.

Exit status: 0 all is well, 2 wrong usage or an error.

Example:
  maplog completions bash > maplog.bash";

pub(crate) fn run(args: &Args) -> Result<Outcome, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "maplog", &mut script);
    say_bytes(&script).map(|()| Outcome::Fine)
}
