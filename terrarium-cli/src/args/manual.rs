//! The arguments of `completions` and `man`.

use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

pub(super) const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  terrariumctl completions bash > /etc/bash_completion.d/terrariumctl
  terrariumctl completions zsh > /usr/local/share/zsh/site-functions/_terrariumctl
  terrariumctl completions fish > ~/.config/fish/completions/terrariumctl.fish";

#[derive(Clone, Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    pub(crate) shell: Shell,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ManArgs {
    /// The folder that the pages are written into, one for each command; it is made if it is not there
    #[arg(long, value_name = "DIR")]
    pub(crate) into: PathBuf,
}
