//! Progress bars on the terminal. Nothing is drawn where stderr is no terminal.

use assay_contest::wire::{Progress, Stage};
use indicatif::{ProgressBar, ProgressStyle};

use crate::locale::Locale;

/// What a person calls a stage.
pub fn stage_name(stage: Stage, locale: Locale) -> &'static str {
    match stage {
        Stage::Fetch => locale.say("Fetching", "가져오기"),
        Stage::Verify => locale.say("Verifying", "검증"),
        Stage::Weigh => locale.say("Weighing", "용량 측정"),
        Stage::Load => locale.say("Loading", "적재"),
        Stage::Evaluate => locale.say("Evaluating", "평가"),
        Stage::Samples => locale.say("Samples", "예시 생성"),
        Stage::Time => locale.say("Time track", "시간 트랙"),
        Stage::Report => locale.say("Reporting", "보고서"),
    }
}

/// Draws a bar for the current stage, and leaves a line for each that is over.
pub fn bars(locale: Locale) -> impl FnMut(&Progress) + Send {
    let mut current: Option<(Stage, Option<String>, ProgressBar)> = None;
    move |progress| {
        let is_same = current
            .as_ref()
            .is_some_and(|(s, t, _)| *s == progress.stage && *t == progress.task);
        if !is_same {
            if let Some((_, _, bar)) = current.take() {
                bar.finish();
            }
            let bar = ProgressBar::new(progress.total);
            bar.set_style(style(progress.total > 0));
            bar.set_prefix(stage_name(progress.stage, locale));
            bar.set_message(progress.task.clone().unwrap_or_default());
            current = Some((progress.stage, progress.task.clone(), bar));
        }
        if let Some((stage, _, bar)) = &current {
            if bar.length() != Some(progress.total) {
                bar.set_length(progress.total);
                bar.set_style(style(progress.total > 0));
            }
            bar.set_position(progress.done);
            if *stage == Stage::Report {
                bar.finish();
            }
        }
    }
}

fn style(counts: bool) -> ProgressStyle {
    let template = if counts {
        "{prefix:>12} {bar:28} {pos:>6}/{len:<6} {elapsed:>4} {msg}"
    } else {
        "{prefix:>12} {elapsed:>4} {msg}"
    };
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
