//! From the text of `contest.toml` to a [`Contest`], or to everything that is wrong with it.

mod check;
mod deployment;
mod fault;
mod grading;
mod notes;
mod read;
mod references;
mod score;

use std::collections::BTreeMap;

use chrono::SecondsFormat;
use toml::de::DeTable;

use fault::Fault;
use notes::{Item, Notes};
use read::Section;

use crate::measure::Name;
use crate::mistake::ContestErrors;
use crate::rules::{
    Base, CacheRule, CheckpointRules, Contest, FORMATS, LineageRule, MODULES, Phase, Quota, RecipeRule,
};

/// Longest `contest.toml`, in bytes. A contest with every measure of hundreds of tasks has a tenth of it.
pub const MAX_BYTES: usize = 256 * 1024;
/// Largest number of bytes a file limit may name: 2^53, exact in every JSON reader.
const MAX_FILE_BYTES: u64 = 1 << 53;
/// Most characters of a title.
const TITLE: usize = 200;

impl Contest {
    /// Reads and checks a `contest.toml`.
    ///
    /// # Errors
    /// Every mistake in it with line, column, code and sentences. A file that is not TOML has only its syntax reported:
    /// what a half-read file lacks says nothing.
    pub fn parse(source: &str) -> Result<Contest, ContestErrors> {
        let notes = Notes::new(source);
        if source.len() > MAX_BYTES {
            notes.add(0..0, "", Fault::too_long(source.len(), MAX_BYTES));
            return Err(notes.into_errors());
        }
        let (table, errors) = DeTable::parse_recoverable(source);
        if !errors.is_empty() {
            for error in &errors {
                notes.add(error.span().unwrap_or(0..0), "", Fault::syntax(error.message()));
            }
            return Err(notes.into_errors());
        }
        let contest = contest(&notes, table.get_ref());
        if notes.is_empty() {
            Ok(contest)
        } else {
            Err(notes.into_errors())
        }
    }
}

/// The contest as far as it can be read; it is only good when nothing was noted.
fn contest<'p>(notes: &'p Notes<'_>, table: &'p DeTable<'p>) -> Contest {
    let mut root = Section::root(notes, table);
    let base = base(notes, root.table("base"));
    let grading = grading::read(notes, root.table("grading"));
    let contest = Contest {
        id: root.string("id", check::slug).value,
        title: root.text("title", check::line(TITLE)),
        timezone: root.string("timezone", check::timezone).value,
        phases: phases(notes, &mut root),
        checkpoint: checkpoint(notes, root.table("checkpoint")),
        score: score::read(notes, root.table("score"), &base, &grading),
        quota: quota(root.table("quota")),
        references: references::read(notes, &mut root),
        base,
        grading,
    };
    root.close();
    contest
}

fn phases(notes: &Notes<'_>, root: &mut Section<'_, '_>) -> Vec<Phase> {
    let mut phases: Vec<Phase> = Vec::new();
    let mut last_closes = None;
    for mut section in root.tables("phases", 1..=32) {
        let id = section.string("id", check::slug);
        if phases.iter().any(|phase| phase.id == id.value) && !id.value.is_empty() {
            notes.add(id.span.clone(), &id.key, Fault::repeated(&id.value));
        }
        let title = section.text("title", check::line(TITLE));
        let (opens, closes) = (section.time("opens"), section.time("closes"));
        if let (Some(opens_at), Some(closes_at)) = (opens.value, closes.value) {
            if closes_at <= opens_at {
                notes.add(closes.span.clone(), &closes.key, Fault::phase_order());
            }
            if last_closes.is_some_and(|last| opens_at < last) {
                notes.add(opens.span.clone(), &opens.key, Fault::phase_overlap());
            }
            last_closes = Some(closes_at);
        }
        section.close();
        // One spelling of each time, so that the canonical form does not depend on how it was written.
        let written = |time: Item<Option<chrono::DateTime<chrono::FixedOffset>>>| {
            time.value
                .map_or_else(String::new, |time| time.to_rfc3339_opts(SecondsFormat::AutoSi, true))
        };
        phases.push(Phase {
            id: id.value,
            title,
            opens: written(opens),
            closes: written(closes),
        });
    }
    phases
}

fn base(notes: &Notes<'_>, mut section: Section<'_, '_>) -> Base {
    let base = Base {
        name: section.string("name", check::line(TITLE)).value,
        dir: section.string("dir", check::folder).value,
        config_sha256: section.string("config_sha256", check::sha256).value,
        tokenizer_sha256: section.string("tokenizer_sha256", check::sha256).value,
        chat_template_sha256: section.string("chat_template_sha256", check::sha256).value,
        bytes: section.integer("bytes", 1..=MAX_FILE_BYTES),
        measures: measures(notes, &mut section),
    };
    section.close();
    base
}

/// `measures`: of a model that is no submission, in the names of a submission's; its size has a key of its own.
fn measures(notes: &Notes<'_>, section: &mut Section<'_, '_>) -> BTreeMap<String, f64> {
    let mut measures = BTreeMap::new();
    for item in section.numbers("measures", 4096) {
        let (name, value) = &item.value;
        match Name::parse(name) {
            None => notes.add(item.span.clone(), &item.key, Fault::unknown_measure(name)),
            Some(parsed) if parsed.of_base || name == "bytes" => {
                notes.add(item.span.clone(), &item.key, Fault::measure_of_base(name));
            }
            // `a.b = 1` beside `"a.b" = 2`: TOML sees two keys, we see one.
            Some(_) => {
                if measures.insert(name.clone(), *value).is_some() {
                    notes.add(item.span.clone(), &item.key, Fault::repeated(name));
                }
            }
        }
    }
    measures
}

fn checkpoint(notes: &Notes<'_>, mut section: Section<'_, '_>) -> CheckpointRules {
    let recipes = check::one_of("unknown-recipe-rule", &["optional", "required"]);
    let lineages = check::one_of("unknown-lineage-rule", &["report", "required"]);
    let caches = check::one_of("unknown-cache-rule", &["bfloat16", "declared"]);
    let rules = CheckpointRules {
        formats: values(section.strings("formats", 1..=FORMATS.len(), check::one_of("unknown-format", FORMATS))),
        modules: values(section.strings("modules", 1..=MODULES.len(), check::one_of("unknown-module", MODULES))),
        locked: values(section.strings("locked", 0..=128, check::identifier)),
        max_bytes: section.integer("max_bytes", 1..=MAX_FILE_BYTES),
        // A sharded 32B model has a few dozen; every file is a row, an upload and a fetch.
        max_files: u32::try_from(section.integer("max_files", 1..=1024)).unwrap_or(1),
        recipe: match section.string_or("recipe", "optional", recipes).value.as_str() {
            "required" => RecipeRule::Required,
            _ => RecipeRule::Optional,
        },
        lineage: match section.string_or("lineage", "report", lineages).value.as_str() {
            "required" => LineageRule::Required,
            _ => LineageRule::Report,
        },
        kv_cache: match section.string_or("kv_cache", "bfloat16", caches).value.as_str() {
            "declared" => CacheRule::Declared,
            _ => CacheRule::Bfloat16,
        },
        deployment: section
            .table_maybe("deployment")
            .map(|section| deployment::read(notes, section)),
    };
    section.close();
    rules
}

fn quota(mut section: Section<'_, '_>) -> Quota {
    let quota = Quota {
        graded_per_day: u32::try_from(section.integer("graded_per_day", 1..=10_000)).unwrap_or(1),
    };
    section.close();
    quota
}

fn values(items: Vec<Item<String>>) -> Vec<String> {
    items.into_iter().map(|item| item.value).collect()
}

#[cfg(test)]
mod tests;
