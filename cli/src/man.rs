//! `maplog man`: the pages for man(1), made from what `--help` says.

use std::io;

use clap::{Command, CommandFactory};
use clap_mangen::Man;

use crate::text::say_bytes;
use crate::{Cli, Failure, Outcome};

/// Write a page for man(1) to standard output.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The command to write about; all in general if not given
    command: Option<String>,
}

const AFTER_HELP: &str = "\
Exit status: 0 all is well, 2 wrong usage or an error.

Example:
  maplog man > maplog.1
  maplog man append > maplog-append.1";

pub(crate) fn run(args: &Args) -> Result<Outcome, Failure> {
    let mut all = Cli::command();
    all.build();
    let command = match &args.command {
        None => all,
        Some(name) => match all.find_subcommand(name) {
            None => return Err(Failure::usage(format!("no command {name}; see `maplog --help`"))),
            Some(command) => command.clone(),
        },
    };
    let page = page(&command).map_err(|error| Failure::io("the page", &error))?;
    say_bytes(&page).map(|()| Outcome::Fine)
}

fn page(command: &Command) -> io::Result<Vec<u8>> {
    let man = Man::new(command.clone()).source(concat!("maplog ", env!("CARGO_PKG_VERSION")));
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    let notes = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    page.extend_from_slice(as_it_stands(&notes).as_bytes());
    Ok(page)
}

/// A section whose lines stay lines: they hold tables and commands.
fn as_it_stands(notes: &str) -> String {
    let lines = notes.lines().map(|line| match line {
        // A line of text that begins so is none to roff.
        line if line.starts_with(['.', '\'']) => format!("\\&{}\n", escaped(line)),
        line => escaped(line) + "\n",
    });
    format!(".SH NOTES\n.nf\n{}.fi\n", lines.collect::<String>())
}

fn escaped(line: &str) -> String {
    line.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq")
}
