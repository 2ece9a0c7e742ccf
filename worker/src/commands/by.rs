//! By what a checkpoint is graded: the arguments that `grade`, `rescore` and `merge` share.

use std::path::PathBuf;

use anyhow::bail;
use assay_contest::Profile;

use crate::grounds::Grounds;

/// A contest or a folder of tasks, and how prompts are built.
#[derive(clap::Args)]
#[command(group(clap::ArgGroup::new("grounds").required(true).args(["contest", "tasks"])))]
pub struct By {
    /// Grade by this contest's rules
    #[arg(long, value_name = "FILE")]
    contest: Option<PathBuf>,
    /// Run tasks of a folder of task files, outside any contest
    #[arg(long, value_name = "PATH[,NAME…]")]
    tasks: Option<String>,
    /// How prompts are built: plain, chat, chat-single or chat-single-0.4.9
    #[arg(long)]
    profile: Option<Profile>,
    /// Only the first N documents of each task
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Let the chat template have the model think first
    #[arg(long)]
    enable_thinking: bool,
    /// Most tokens of an answer, instead of the tasks' own budgets
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_gen_toks: Option<u32>,
}

impl By {
    /// What is graded by, and whether it is not quite the contest's own rules.
    pub fn grounds(&self) -> anyhow::Result<(Grounds, bool)> {
        let mut grounds = match (&self.contest, &self.tasks) {
            (Some(file), _) => Grounds::contest(file)?,
            (None, Some(spec)) => Grounds::tasks(spec)?,
            (None, None) => bail!("--contest or --tasks is needed"),
        };
        let rules = (
            grounds.profile,
            grounds.limit,
            grounds.enable_thinking,
            grounds.max_gen_toks,
        );
        grounds.profile = self.profile.unwrap_or(grounds.profile);
        grounds.limit = self.limit.or(grounds.limit);
        grounds.enable_thinking |= self.enable_thinking;
        grounds.max_gen_toks = self.max_gen_toks.or(grounds.max_gen_toks);
        let asked = (
            grounds.profile,
            grounds.limit,
            grounds.enable_thinking,
            grounds.max_gen_toks,
        );
        Ok((grounds, rules != asked))
    }
}
